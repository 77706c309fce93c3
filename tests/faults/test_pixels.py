"""Rows 1-9 of the fault list: pixels that must be masked, refused or taken as their cast."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.extractor import transform
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.features.pretrained_weights import weights_file
from napari_clusternet.image import Image

NOISE = np.random.default_rng(0).integers(1, 200, (2, 21, 25)).astype(np.float32)


@pytest.fixture(params=list(EXTRACTORS))
def fit(request):
    if request.param.startswith("pretrained") and weights_file() is None:
        pytest.skip("the extra pretrained is not installed")
    return EXTRACTORS.load(request.param).fit


@pytest.fixture(params=["bands", "filters"])
def fit_local(request):
    """Features that follow from a pixel's surroundings alone, not from the place in the image."""
    return EXTRACTORS.load(request.param).fit


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row1_nan_and_inf_are_masked(fit, bad):
    values = NOISE.copy()
    values[1, 3, 4] = bad
    image = Image.from_array(values, axes="CYX")
    features = transform(fit(image), image)
    assert np.isfinite(features).all()
    assert not features[:, 3, 4].any()
    assert features.any(axis=0).sum() == 21 * 25 - 1


def test_row2_an_image_without_data_is_refused(fit):
    image = Image.from_array(NOISE * 0 - 1, axes="CYX", nodata=-1, name="empty")
    with pytest.raises(InputError, match=r"empty.*no valid pixel.*nodata"):
        fit(image)


def test_row2_a_tile_without_data_is_zero(fit):
    values = NOISE.copy()
    values[:, :7] = -1
    image = Image.from_array(values, axes="CYX", nodata=-1)
    features = transform(fit(image), image, (7, 25))
    assert not features[:, :7].any()
    assert features[:, 7:].any()


def test_row3_nodata_may_be_nan_or_outside_the_dtype():
    values = NOISE.astype(np.uint8)
    assert Image.from_array(values, axes="CYX", nodata=-9999).read()[1].all()
    assert Image.from_array(values, axes="CYX", nodata=float("nan")).read()[1].all()


def test_row3_zero_in_integers_is_nodata_only_in_all_bands():
    values = NOISE.astype(np.uint8)
    values[0, 0, 0] = 0  # dark in one band
    values[:, 0, 1] = 0  # missing
    valid = Image.from_array(values, axes="CYX", nodata=0).read()[1]
    assert valid[0, 0]
    assert not valid[0, 1]


def test_row4_a_constant_band_is_zero_and_warned_of(fit_local):
    values = NOISE.copy()
    values[1] = 7
    image = Image.from_array(values, axes="CYX", band_names=["red", "dead"])
    with pytest.warns(UserWarning, match=r"'dead'.*constant"):
        extractor = fit_local(image)
    features = transform(extractor, image)
    assert not features[1].any()
    assert np.isfinite(features).all()


@pytest.mark.parametrize("dtype", ["uint16", "float64", ">u2", ">f4", "int32", "uint8"])
def test_row5_any_dtype_equals_its_cast(fit, dtype):
    cast, given = (Image.from_array(NOISE.astype(t), axes="CYX") for t in ("float32", dtype))
    np.testing.assert_array_equal(transform(fit(given), given), transform(fit(cast), cast))


def test_row5_bool_equals_its_cast(fit):
    given = Image.from_array(NOISE > 100, axes="CYX")
    cast = Image.from_array((NOISE > 100).astype(np.float32), axes="CYX")
    np.testing.assert_array_equal(transform(fit(given), given), transform(fit(cast), cast))


def test_row6_complex_is_refused_or_magnitude():
    values = np.full((3, 3), 3 + 4j)
    with pytest.raises(InputError, match=r"complex128.*magnitude"):
        Image.from_array(values)
    image = Image.from_array(values, complex_values="magnitude")
    np.testing.assert_array_equal(image.read()[0], 5)


def test_row7_values_beyond_float32_are_invalid(fit):
    values = NOISE.astype(np.float64)
    values[0, 2, 2] = 1e300
    image = Image.from_array(values, axes="CYX")
    assert np.isfinite(transform(fit(image), image)).all()
    assert not image.read()[1][2, 2]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_row8_an_empty_image_is_refused(shape):
    with pytest.raises(InputError, match="length 0"):
        Image.from_array(np.zeros(shape))


@pytest.mark.filterwarnings("ignore:bands .* are constant")
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (1, 1, 1), (2, 1, 5)])
def test_row8_tiny_images_work(fit, shape):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = Image.from_array(values, axes="ZYX"[-len(shape) :])
    features = transform(fit(image), image)
    assert features.shape[1:] == shape
    assert np.isfinite(features).all()


@pytest.mark.filterwarnings("ignore:bands .* are constant")
def test_row9_equal_pixels_have_equal_features(fit_local):
    image = Image.from_array(np.full((2, 9, 9), 3.0), axes="CYX")
    assert not transform(fit_local(image), image).any()
