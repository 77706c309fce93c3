"""Every reader keeps what the file says; every writer what the layer says; and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from npe2 import PluginManager, read

from napari_clusternet._napari.readers import image_reader, session_reader
from napari_clusternet._napari.writers import write_labels as write_layer
from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image
from napari_clusternet.io.labels import write_labels
from napari_clusternet.io.layer_data import layer_data
from napari_clusternet.io.opening import open_image
from napari_clusternet.session import Session

PLUGIN = "napari-clusternet"
RNG = np.random.default_rng(0)
#: 3 m rows to the south, 2 m columns, the first pixel's centre at (y, x) = (5000, 300).
PLACE = np.array([[-3.0, 0, 5000], [0, 2, 300], [0, 0, 1]])


@pytest.fixture(autouse=True)
def _plugin_is_known() -> None:
    PluginManager.instance().discover(include_npe1=False)


def opened(path: Path | list[Path]) -> Any:
    """Read as a drop does, and add the layer to a viewer."""
    several = isinstance(path, list)
    names = [str(p) for p in path] if several else [str(path)]
    (data,) = read(names, stack=several, plugin_name=PLUGIN)
    return ViewerModel()._add_layer_from_data(*data)[0]


def same_image(layer: Any, expected: Image) -> None:
    """Check that a layer, made an image again, is what the file is."""
    found = open_image(layer)
    np.testing.assert_allclose(found.affine, expected.affine, rtol=1e-9, atol=1e-9)
    assert found.units == expected.units
    assert found.crs == expected.crs
    assert found.band_names == expected.band_names
    assert found.data.dtype == expected.data.dtype
    np.testing.assert_equal(found.nodata, expected.nodata)
    for one, other in zip(found.read(), expected.read(), strict=True):
        np.testing.assert_array_equal(one, other)


def write_scene(path: Path, data: np.ndarray, names: tuple[str, ...] = (), **profile: Any) -> Path:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    from rasterio.transform import Affine

    transform = Affine(2, 0, 299, 0, -3, 5001.5)  # of the corner, half a pixel before PLACE
    with rasterio.open(
        path, "w", driver="GTiff", count=len(data), height=data.shape[1], width=data.shape[2],
        dtype=data.dtype, crs="EPSG:32621", transform=transform, **profile,
    ) as file:  # fmt: skip
        file.write(data)
        for i, name in enumerate(names, start=1):
            file.set_band_description(i, name)
    return path


def test_geotiff_bands_first_with_names_nodata_and_crs(tmp_path: Path) -> None:
    data = RNG.integers(1, 4000, (4, 30, 40)).astype(np.uint16)
    data[:, :5] = 9999
    names = ("B02", "B03", "B04", "B08")
    path = write_scene(tmp_path / "scene.tif", data, names, nodata=9999, photometric="minisblack")
    layer = opened(path)
    assert layer.axis_labels == ("band", "y", "x")
    assert layer.data.shape == (4, 30, 40)
    np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), (1, 5000 - 6, 300 + 6))
    assert [str(unit) for unit in layer.units] == ["pixel", "meter", "meter"]
    assert layer.metadata["crs"] == "EPSG:32621"
    assert layer.metadata["band_names"] == names
    assert layer.contrast_limits[1] < 4001  # nodata do not count
    same_image(layer, open_image(path))


def test_declared_colours_are_shown_as_colours(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (3, 30, 40)).astype(np.uint8)
    path = write_scene(tmp_path / "rgb.tif", data, photometric="rgb")
    layer = opened(path)
    assert layer.rgb
    np.testing.assert_array_equal(layer.data, data.transpose(1, 2, 0))
    same_image(layer, open_image(path))
    plain = opened(write_scene(tmp_path / "three.tif", data, photometric="minisblack"))
    assert not plain.rgb


def test_a_pyramid_is_multiscale(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    data = RNG.integers(0, 255, (1, 256, 256)).astype(np.uint8)
    path = write_scene(tmp_path / "big.tif", data, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    layer = opened(path)
    assert layer.multiscale
    assert [level.shape for level in layer.data] == [(256, 256), (128, 128), (64, 64)]
    assert [level.shape for level in open_image(layer).levels] == [(256, 256), (128, 128), (64, 64)]
    same_image(layer, open_image(path))


def test_a_mask_comes_along(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    data = RNG.integers(0, 255, (1, 30, 40)).astype(np.uint8)
    path = write_scene(tmp_path / "masked.tif", data)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.tile(np.arange(40) > 9, (30, 1)))
    layer = opened(path)
    assert not open_image(layer).read()[1][:, :10].any()
    same_image(layer, open_image(path))


def test_large_files_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_clusternet.io.layer_data.LAZY_BYTES", 1000)
    data = RNG.integers(0, 255, (1, 256, 256)).astype(np.uint8)
    layer = opened(write_scene(tmp_path / "big.tif", data))
    assert hasattr(layer.data, "dask")
    np.testing.assert_array_equal(np.asarray(layer.data), data[0])


def test_nifti_in_millimetres(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra medical is not installed")
    matrix = np.array([[-0.8, 0, 0, 10], [0, 0.9, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    data = RNG.normal(size=(7, 6, 5)).astype(np.float32)
    file = nibabel.Nifti1Image(data, matrix)
    file.header.set_xyzt_units("mm")
    nibabel.save(file, tmp_path / "a.nii.gz")
    layer = opened(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), (33, 21.8, 7.6), rtol=1e-6)
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    np.testing.assert_array_equal(layer.data, data.T)
    same_image(layer, open_image(tmp_path / "a.nii.gz"))


def test_dicom_folder_and_files(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")
    from pydicom.dataset import FileDataset, FileMetaDataset

    files = []
    for k in range(3):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = meta[2, 2].value, meta[2, 3].value
        item.SeriesInstanceUID, item.Rows, item.Columns = "1.2.3", 4, 5
        item.ImagePositionPatient, item.PixelSpacing = [0, 0, 2 * k], [1, 1]
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
        item.PixelRepresentation = 0
        item.PixelData = np.full((4, 5), k + 1, "<u2").tobytes()
        files.append(tmp_path / f"{k}.dcm")
        item.save_as(files[-1], enforce_file_format=True)
    for layer in (opened(tmp_path), opened(files[::-1])):
        assert layer.data.shape == (3, 4, 5)
        np.testing.assert_array_equal(layer.data[:, 0, 0], [1, 2, 3])
        np.testing.assert_allclose(layer.data_to_world((1, 0, 0)), (2, 0, 0))


def test_other_folders_and_stacks_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    assert image_reader(str(tmp_path)) is None
    assert image_reader([str(tmp_path / "a.txt")]) is None
    assert session_reader(str(tmp_path / "a.tif")) is None


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz"):
        read([str(tmp_path / "a.nii.gz")], stack=False, plugin_name=PLUGIN)


@pytest.mark.parametrize("suffix", [".tif", ".zarr", ".nii.gz"])
def test_labels_round_trip_as_layers(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("nibabel", reason="the extra medical is not installed")
    affine = np.diag([3.0, 0.5, 0.25, 1])
    affine[:3, 3] = 5, 6, 7
    values = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    layer = Labels(
        values, name="a", affine=affine, units=("mm",) * 3, axis_labels=("z", "y", "x"),
        features={"class": ["none", "bone", "fat"]},
    )  # fmt: skip
    path = tmp_path / f"a{suffix}"
    manager = ViewerModel()
    manager.add_layer(layer)
    assert manager.layers.save(str(path), plugin=PLUGIN) == [str(path)]
    back = opened(path)
    assert isinstance(back, Labels)
    assert back.data.dtype == np.uint8
    np.testing.assert_array_equal(back.data, values)
    np.testing.assert_allclose(back.data_to_world((1, 1, 1)), (8, 6.5, 7.25), rtol=1e-6)
    assert {str(unit) for unit in back.units} == {"millimeter"}
    assert back.metadata["class_names"] == ["bone", "fat"]


def test_labels_keep_the_crs_of_their_image(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", np.ones((1, 30, 40), np.uint8))
    image = open_image(opened(path))
    labels = Labels(np.ones((30, 40), np.uint8), name="a", **image.layer_metadata)
    data, attributes, _ = labels.as_layer_data_tuple()
    write_layer(str(tmp_path / "labels.tif"), data, attributes)
    back = open_image(tmp_path / "labels.tif")
    assert back.crs == "EPSG:32621"
    np.testing.assert_allclose(back.affine, PLACE, rtol=1e-9)
    assert back.extra["class_names"] == {1: "class 1"}


def test_a_session_without_a_viewer_is_three_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napari, "current_viewer", lambda: None)
    data = RNG.random((2, 12, 14)).astype(np.float32)
    session = Session(Image.from_array(data, axes="CYX", name="scene"), "bands", n_clusters=4)
    strokes = np.zeros((12, 14), np.uint8)
    strokes[2, 2], strokes[8, 8] = 1, 2
    session.update(strokes)
    session.save(tmp_path / "a.clusternet")
    layers = read([str(tmp_path / "a.clusternet")], stack=False, plugin_name=PLUGIN)
    assert [kind for _, _, kind in layers] == ["image", "labels", "labels"]
    assert [keywords["name"] for _, keywords, _ in layers] == [
        "scene", "scene classes", "scene strokes",
    ]  # fmt: skip
    np.testing.assert_array_equal(layers[1][0], session.labels)
    np.testing.assert_array_equal(layers[2][0], strokes)


def test_units_napari_does_not_know_become_pixels(tmp_path: Path) -> None:
    path = write_labels(
        tmp_path / "a.zarr", np.ones((4, 5), np.uint8),
        Image.from_array(np.ones((4, 5)), units="furlongs long"),
    )  # fmt: skip
    layer = opened(path)
    assert {str(unit) for unit in layer.units} == {"pixel"}


def test_flat_and_empty_images_have_a_contrast() -> None:
    for value in (0.0, 5.0, np.nan):
        image = Image.from_array(np.full((3, 4), value))
        low, high = layer_data(image)[1]["contrast_limits"]
        assert low < high
