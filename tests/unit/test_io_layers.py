"""napari layers as images, by duck typing alone and with the real layers where installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.io.opening import open_image

RNG = np.random.default_rng(0)
BANDS = RNG.random((3, 8, 9))


def stand_in(data: Any, **attributes: Any) -> SimpleNamespace:
    """Return the least that counts as a layer."""
    ndim = data.ndim
    defaults = {"scale": np.ones(ndim), "translate": np.zeros(ndim), "affine": np.eye(ndim + 1)}
    return SimpleNamespace(**{"data": data, "name": "scene", **defaults, **attributes})


def test_scale_translate_and_affine_compose_on_the_spatial_axes() -> None:
    # The outer affine swaps y and x and doubles x, after scale (2, 3) and translation (10, 20).
    outer = np.eye(4)
    outer[1:3, 1:3] = [[0, 1], [2, 0]]
    layer = stand_in(BANDS, scale=(1, 2, 3), translate=(0, 10, 20), affine=outer)
    image = open_image(layer, axes="CYX")
    # y' = x = 3 j + 20; x' = 2 y = 2 (2 i + 10) = 4 i + 20
    np.testing.assert_array_equal(image.affine, [[0, 3, 20], [4, 0, 20], [0, 0, 1]])
    np.testing.assert_array_equal(np.asarray(image.data), BANDS)
    assert image.name == "scene"


def test_axes_are_needed_unless_labels_name_them() -> None:
    with pytest.raises(InputError, match="axes="):
        open_image(stand_in(BANDS))
    named = stand_in(BANDS.transpose(1, 2, 0), axis_labels=("y", "x", "c"))
    np.testing.assert_array_equal(np.asarray(open_image(named).data), BANDS)
    assert open_image(stand_in(BANDS[0])).n_bands == 1


def test_rgb_units_source_and_metadata(tmp_path: Path) -> None:
    layer = stand_in(
        np.zeros((8, 9, 3), np.uint8), rgb=True, scale=(2, 3), translate=(0, 0), affine=np.eye(3),
        units=("mm", "micrometer"), source=SimpleNamespace(path=str(tmp_path / "a.tif")),
        metadata={"crs": "EPSG:4326", "nodata": 0, "other": object()},
    )  # fmt: skip
    image = open_image(layer)
    assert (image.n_bands, image.shape, image.spacing) == (3, (8, 9), (2, 3))
    assert image.units == ("millimeter", "micrometer")
    assert (image.crs, image.nodata, image.source) == ("EPSG:4326", 0, tmp_path / "a.tif")


def test_multiscale_data_become_levels() -> None:
    fine = RNG.random((16, 16))
    layer = stand_in(fine, scale=(2, 2))
    layer.data, layer.multiscale, layer.ndim = [fine, fine[::2, ::2]], True, 2
    image = open_image(layer, nodata=5)
    assert [level.shape for level in image.levels] == [(16, 16), (8, 8)]
    # Index 0 of the coarse level is the middle of pixels 0 and 1: 0.5 * 2 = 1.
    np.testing.assert_array_equal(image.levels[1].affine, [[4, 0, 1], [0, 4, 1], [0, 0, 1]])
    assert image.levels[1].nodata == 5


def test_other_layers_are_refused() -> None:
    points = stand_in(np.zeros((5, 2)))
    points.data = [np.zeros((4, 2)).tolist()]  # like a shapes layer's list of polygons
    with pytest.raises(InputError, match="not an image or labels layer"):
        open_image(points)


def test_real_napari_layers() -> None:
    layers = pytest.importorskip("napari.layers")
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # (y, x) -> (-x, y)
    layer = layers.Image(
        BANDS, name="scene", scale=(1, 2, 3), rotate=turn, translate=(0, 5, 6),
        units=("pixel", "mm", "mm"), axis_labels=("c", "y", "x"),
    )  # fmt: skip
    image = open_image(layer)
    # Scaled (2 i, 3 j), turned (-3 j, 2 i), shifted by (5, 6).
    np.testing.assert_allclose(image.affine, [[0, -3, 5], [2, 0, 6], [0, 0, 1]], atol=1e-12)
    for i, j in ((0, 0), (3, 4)):
        expected = layer.data_to_world((0, i, j))[1:]
        np.testing.assert_allclose((image.affine @ [i, j, 1])[:2], expected)
    assert image.units == ("millimeter", "millimeter")
    again = layers.Image(BANDS[0], **image.layer_metadata)
    np.testing.assert_allclose(open_image(again).affine, image.affine, atol=1e-12)
    labels = layers.Labels(np.ones((4, 5, 6), np.uint8), scale=(3, 1, 1))
    assert open_image(labels, axes="ZYX").spacing == (3, 1, 1)
