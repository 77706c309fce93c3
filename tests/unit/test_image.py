"""`Image`: axes, spacing, validity and comparison of bands."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.image import Image


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((4, 5), None, (1, 4, 5)),
        ((4, 5, 3), "YXC", (3, 4, 5)),
        ((4, 5, 3), "yxs", (3, 4, 5)),
        ((2, 4, 5), "ZYX", (1, 2, 4, 5)),
        ((2, 3, 4, 5), "ZCYX", (3, 2, 4, 5)),
        ((1, 3, 4, 5), "TCYX", (3, 4, 5)),
        ((5, 4), "XY", (1, 4, 5)),
    ],
)
def test_axes(shape, axes, expected):
    assert Image.from_array(np.zeros(shape), axes=axes).data.shape == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"array": np.zeros((3, 4, 5))}, "ambiguous"),
        ({"array": np.zeros((3, 4, 5)), "axes": "YX"}, "3 axes"),
        ({"array": np.zeros((3, 4, 5)), "axes": "TYX"}, "not an order"),
        ({"array": np.zeros((3, 4, 5)), "axes": "YYX"}, "not an order"),
        ({"array": np.zeros((4, 5)), "spacing": (1, 0)}, "positive"),
        ({"array": np.zeros((4, 5)), "spacing": (1, 1, 1)}, "positive"),
        ({"array": np.zeros((4, 5)), "affine": np.diag([1, 0, 1])}, "singular"),
        ({"array": np.zeros((4, 5)), "affine": np.eye(3), "spacing": (1, 1)}, "only one"),
        ({"array": np.zeros((4, 5)), "band_names": ["a", "b"]}, "1 bands"),
        ({"array": np.zeros((4, 5)), "units": ["m", "m", "m"]}, "2 spatial axes"),
        ({"array": np.zeros((4, 5)), "mask": np.ones((5, 4))}, r"\(4, 5\)"),
        ({"array": np.array([["a"]])}, "not numeric"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Image.from_array(**arguments)


def test_spacing_is_that_of_a_rotated_affine():
    # a rotation by 90 degrees of pixels 2 tall and 3 wide
    image = Image.from_array(np.zeros((4, 5)), affine=[[0, -3, 7], [2, 0, 8], [0, 0, 1]])
    assert image.spacing == (2, 3)


def test_read_a_region_with_nodata_mask_and_nan():
    values = np.arange(12.0).reshape(3, 4)
    values[0, 0] = np.nan
    mask = np.ones((3, 4), bool)
    mask[0, 1] = False
    read, valid = Image.from_array(values, nodata=4, mask=mask).read((slice(0, 2), slice(0, 3)))
    np.testing.assert_array_equal(valid, [[False, False, True], [False, True, True]])
    np.testing.assert_array_equal(read, [[[0, 0, 2], [0, 5, 6]]])
    assert read.dtype == np.float32


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Image.from_array(np.zeros((3, 4, 4), "u1"), axes="CYX"), "3 bands"),
        (Image.from_array(np.zeros((2, 4, 4), "u1"), axes="CYX", band_names="BA"), r"\['B', 'A'\]"),
        (Image.from_array(np.zeros((2, 4, 4), "u2"), axes="CYX"), "uint16.*uint8"),
    ],
)
def test_other_bands_are_named(other, message):
    bands = Image.from_array(np.zeros((2, 4, 4), "u1"), axes="CYX", band_names="AB").bands
    with pytest.raises(InputError, match=message):
        bands.check(other, "the model")


def test_floats_may_stand_in_for_integers():
    bands = Image.from_array(np.zeros((4, 4), np.uint8)).bands
    bands.check(Image.from_array(np.zeros((4, 4), np.float32)), "the model")
