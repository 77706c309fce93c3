"""The samples open through the plugin in a real viewer, where and as they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn

PLUGIN = "napari-clusternet"


def _open(viewer: Any, key: str) -> list[Any]:
    return list(viewer.open_sample(PLUGIN, key))


def test_the_volume_opens_in_millimetres_with_uint8_strokes(make_napari_viewer_proxy: Any) -> None:
    image, truth, strokes = _open(make_napari_viewer_proxy(), "mni152")
    assert image.data.shape == truth.data.shape == strokes.data.shape == (94, 116, 98)
    assert strokes.data.dtype == np.uint8
    assert not truth.visible
    for layer in (image, truth, strokes):
        # 2 mm voxels; the file's origin is (x, y, z) = (-98, -134, -72)
        np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (-72, -134, -98))
        np.testing.assert_allclose(layer.data_to_world((1, 1, 1)), (-70, -132, -96))
        assert {str(unit) for unit in layer.units} == {"millimeter"}


def test_strokes_have_the_colours_of_their_classes_from_the_beginning(
    make_napari_viewer_proxy: Any,
) -> None:
    viewer = make_napari_viewer_proxy()
    image, strokes = _open(viewer, "rmnp")
    water = np.array([0, 0x72, 0xB2]) / 255  # blue
    np.testing.assert_allclose(strokes.get_color(1)[:3], water, atol=1e-6)
    control = cn.current(viewer)
    control.segment(image, features="bands", n_clusters=20)
    control.runner.wait()
    assert control.classes.names[1] == "water"
    np.testing.assert_allclose(control.classes.colours[1], water)
    np.testing.assert_allclose(control.labels_layer.get_color(1)[:3], water, atol=1e-6)
    # a ring of 24 pixels, each 0.0015 degrees; invalid pixels let the picture through
    control.suggest()
    np.testing.assert_allclose(viewer.layers["next stroke"].size, 24 * 0.0015)
    certainty = control.active.show_certainty()
    shown = certainty.colormap.map(
        (np.array([0.0, 0.5]) - certainty.contrast_limits[0]) / np.ptp(certainty.contrast_limits)
    )
    np.testing.assert_array_equal(shown[:, 3], [0, 1])


def test_bands_come_first_and_strokes_lie_on_the_scene(make_napari_viewer_proxy: Any) -> None:
    image, strokes = _open(make_napari_viewer_proxy(), "sentinel2")
    assert image.data.shape == (4, 300, 300)
    assert image.data.dtype == np.uint16
    assert image.axis_labels == ("band", "y", "x")
    # 10 m pixels: column 3, row 2 of band 1 lies at 20 m, 30 m, as does the stroke over it
    np.testing.assert_allclose(image.data_to_world((1, 2, 3)), (1, 20, 30))
    np.testing.assert_allclose(strokes.data_to_world((2, 3)), (20, 30))
    assert strokes.data.dtype == np.uint8
    assert set(np.unique(strokes.data)) == {0, 1, 2, 3, 4}


def test_the_hyperspectral_sample_brings_sixteen_classes(make_napari_viewer_proxy: Any) -> None:
    image, truth, strokes = _open(make_napari_viewer_proxy(), "indian-pines")
    assert image.data.shape == (25, 145, 145)
    assert len(strokes.metadata["class_names"]) == int(truth.data.max()) == 16
    stroked = strokes.data > 0
    np.testing.assert_array_equal(strokes.data[stroked], truth.data[stroked])


def test_the_picture_lies_at_its_longitude_and_latitude(make_napari_viewer_proxy: Any) -> None:
    pytest.importorskip("rasterio", reason="the extra geo is not installed")
    image, strokes = _open(make_napari_viewer_proxy(), "rmnp")
    assert image.rgb
    # pixel (0, 0)'s centre: the file's corner plus half a pixel of 0.0015 degrees
    corner = np.array([40.61968153576429, -106.0566005603556])
    for layer in (image, strokes):
        world = np.array(layer.data_to_world((0, 0)))
        assert np.abs(world - corner).max() <= 0.0015 / 2 + 1e-9
        assert {str(unit) for unit in layer.units} == {"degree"}


def test_the_manifest_is_valid() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution(PLUGIN)
    manifest.validate_imports()
    samples = {sample.key for sample in manifest.contributions.sample_data}
    assert samples == {"indian-pines", "sentinel2", "mni152", "rmnp"}
