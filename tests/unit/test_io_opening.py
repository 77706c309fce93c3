"""`open_image`: what each format says arrives, keywords override it, nothing is read too early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_clusternet.errors import FileFormatError, InputError, MissingExtraError
from napari_clusternet.image import Image
from napari_clusternet.io import geotiff, lazy
from napari_clusternet.io.opening import open_image

tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
RNG = np.random.default_rng(0)


def values(image: Image) -> npt.NDArray[Any]:
    return np.asarray(image.data)


# --- TIFF ---------------------------------------------------------------------------------------


def test_plain_tiff_of_one_page(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 60000, (30, 40)).astype(np.uint16)
    path = tmp_path / "Bild ä 1.tif"
    tifffile.imwrite(path, pixels)
    image = open_image(str(path))
    np.testing.assert_array_equal(values(image), pixels[None])
    assert image.is_lazy
    assert image.source == path.resolve()
    assert image.units == ("pixel", "pixel")
    assert image.name == path.name


@pytest.mark.parametrize("options", [{}, {"compression": "deflate", "tile": (16, 16)}])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int16", "float64", "float32", "bool"])
def test_row_5_every_dtype_and_byte_order(
    tmp_path: Path, dtype: str, options: dict[str, Any]
) -> None:
    pixels = RNG.integers(0, 2 if dtype == "bool" else 100, (4, 33, 35)).astype(dtype)
    byteorder = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, byteorder=byteorder, photometric="minisblack", **options
    )
    image = open_image(tmp_path / "a.tif", axes="CYX")
    np.testing.assert_array_equal(values(image), pixels)
    np.testing.assert_array_equal(image.read()[0], pixels.astype(np.float32))


def test_stack_without_meaning_is_refused_until_axes_are_named(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 9, (5, 6, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    with pytest.raises(FileFormatError, match="axes="):
        open_image(tmp_path / "a.tif")
    assert open_image(tmp_path / "a.tif", axes="CYX").axes == "CYX"
    volume = open_image(tmp_path / "a.tif", axes="ZYX")
    assert (volume.shape, volume.n_bands) == ((5, 6, 7), 1)


def test_imagej_spacing_unit_and_channels(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (4, 2, 6, 7)).astype(np.uint16)
    # 2 pixels a micron across, 4 down: 0.5 and 0.25 um; planes 3 um apart.
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, imagej=True, resolution=(2, 4),
        metadata={"axes": "ZCYX", "spacing": 3.0, "unit": "um"},
    )  # fmt: skip
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(values(image), pixels.swapaxes(0, 1))
    assert image.spacing == (3.0, 0.25, 0.5)
    assert image.units == ("micrometer",) * 3


def test_ome_tiff_spacing_units_channels_origin(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (2, 3, 6, 7)).astype(np.uint8)
    plane = {f"Position{a}": [v] * 6 for a, v in zip("XYZ", (1.5, 2.5, 3.5), strict=True)}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, photometric="minisblack",
        metadata={
            "axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.1,
            "PhysicalSizeY": 0.2, "PhysicalSizeZ": 0.7, "PhysicalSizeXUnit": "mm",
            "PhysicalSizeYUnit": "mm", "PhysicalSizeZUnit": "mm",
            "Plane": plane | {f"Position{a}Unit": ["mm"] * 6 for a in "XYZ"},
        },
    )  # fmt: skip
    image = open_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(values(image), pixels)
    assert image.band_names == ("DAPI", "GFP")
    assert image.units == ("millimeter",) * 3
    assert image.spacing == (0.7, 0.2, 0.1)
    assert image.affine[:-1, -1].tolist() == [3.5, 2.5, 1.5]


def test_time_series_is_refused_naming_axes(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 7), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(FileFormatError, match=r"TYX.*axes="):
        open_image(tmp_path / "a.tif")


def test_pyramid_levels_cover_the_same_extent(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        size = {"PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0, "axes": "YX"}
        writer.write(pixels, subifds=1, tile=(16, 16), metadata=size)
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))
    image = open_image(tmp_path / "a.ome.tif")
    fine, coarse = image.levels
    np.testing.assert_array_equal(values(coarse)[0], pixels[::2, ::2])
    # The first coarse pixel covers pixels 0 and 1, centre 0.5: at 0.5 * 2 um = 1 um.
    np.testing.assert_array_equal(coarse.affine, [[4, 0, 1], [0, 4, 1], [0, 0, 1]])
    np.testing.assert_array_equal(fine.affine, image.affine)


# --- GeoTIFF ------------------------------------------------------------------------------------


def write_geotiff(path: Path, pixels: npt.NDArray[Any], **options: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    names = options.pop("names", None)
    mask = options.pop("mask", None)
    overviews = options.pop("overviews", None)
    profile = {
        "driver": "GTiff", "count": len(pixels), "dtype": pixels.dtype, "crs": "EPSG:32621",
        "height": pixels.shape[1], "width": pixels.shape[2],
        "transform": rasterio.Affine(10, 0, 300000, 0, -10, 5000000), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
        for i, name in enumerate(names or [], start=1):
            dataset.set_band_description(i, name)
        if mask is not None:
            dataset.write_mask(mask)
        if overviews:
            dataset.build_overviews(overviews)


def test_geotiff_says_crs_affine_names_nodata(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 99, (3, 20, 30)).astype(np.int16)
    pixels[:, 4, 5] = -1
    write_geotiff(tmp_path / "a b ü.tif", pixels, names=["B02", "B03", "B04"], nodata=-1)
    image = open_image(tmp_path / "a b ü.tif")
    np.testing.assert_array_equal(values(image), pixels)
    # Corner (300000 E, 5000000 N), 10 m pixels: the first centre is 5 m east and 5 m south of it.
    np.testing.assert_array_equal(image.affine, [[-10, 0, 4999995], [0, 10, 300005], [0, 0, 1]])
    assert image.crs == "EPSG:32621"
    assert image.units == ("metre", "metre")
    assert image.band_names == ("B02", "B03", "B04")
    assert image.nodata == -1
    assert np.argwhere(~image.read()[1]).tolist() == [[4, 5]]


def test_geotiff_custom_crs_is_kept_as_wkt(tmp_path: Path) -> None:
    crs = "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m"
    write_geotiff(tmp_path / "a.tif", np.zeros((1, 4, 5), np.uint8), crs=crs)
    image = open_image(tmp_path / "a.tif")
    assert image.crs is not None
    assert "Lambert" in image.crs


def test_geotiff_mask_band_and_alpha(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 99, (3, 20, 30)).astype(np.uint8)
    valid = RNG.random((20, 30)) > 0.3
    write_geotiff(tmp_path / "m.tif", pixels, mask=valid)
    image = open_image(tmp_path / "m.tif")
    np.testing.assert_array_equal(image.read()[1], valid)
    rgba = np.concatenate([pixels, (valid * 255).astype(np.uint8)[None]])
    write_geotiff(tmp_path / "a.tif", rgba, photometric="RGB", alpha="yes")
    image = open_image(tmp_path / "a.tif")
    assert image.n_bands == 3
    np.testing.assert_array_equal(image.read()[1], valid)


def test_geotiff_band_declared_alpha_can_be_a_band(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (4, 20, 30)).astype(np.uint8)
    write_geotiff(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    image = open_image(tmp_path / "a.tif", axes="CYX")
    np.testing.assert_array_equal(np.asarray(image.data), pixels)
    assert image.mask is None


def test_lazy_pixels_take_every_basic_index(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (5, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    data = open_image(tmp_path / "a.tif", axes="CYX").data
    for key in [
        np.s_[:, ::3, 5],
        np.s_[1],
        np.s_[[3, 1], 2:9],
        np.s_[:, [7, 7, 0]],
        np.s_[:, ::-2],
    ]:
        np.testing.assert_array_equal(np.asarray(data[key]), pixels[key])


def test_geotiff_overviews_are_levels(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 99, (2, 64, 128)).astype(np.uint8)
    write_geotiff(tmp_path / "a.tif", pixels, overviews=[2, 4])
    image = open_image(tmp_path / "a.tif", name="scene", nodata=7)
    assert [level.shape for level in image.levels] == [(64, 128), (32, 64), (16, 32)]
    np.testing.assert_array_equal(values(image.levels[1]), pixels[:, ::2, ::2])  # nearest
    # 20 m pixels; the first centre lies 10 m inside the same corner.
    np.testing.assert_allclose(
        image.levels[1].affine, [[-20, 0, 4999990], [0, 20, 300010], [0, 0, 1]]
    )
    assert {(level.name, level.nodata, level.crs) for level in image.levels} == {
        ("scene", 7.0, "EPSG:32621")
    }


def test_geotiff_reads_only_the_blocks_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "CHUNK_BYTES", 1)
    pixels = RNG.integers(1, 99, (1, 64, 64)).astype(np.uint8)
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    write_geotiff(tmp_path / "a.tif", pixels, **tiled)
    regions = []
    read = geotiff._Bands.read

    def recording(self: Any, region: Any) -> Any:
        regions.append(region)
        return read(self, region)

    monkeypatch.setattr(geotiff._Bands, "read", recording)
    image = open_image(tmp_path / "a.tif")
    assert regions == []
    part = image.read((slice(20, 30), slice(0, 16)))[0]
    np.testing.assert_array_equal(part, pixels[:, 20:30, :16])
    assert len(regions) == 1
    assert regions[0][1].stop - regions[0][1].start <= 16


def test_geotiff_without_rasterio_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_geotiff(tmp_path / "a.tif", np.zeros((1, 4, 5), np.uint8))
    monkeypatch.setattr(geotiff, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"napari-clusternet\[geo\]"):
        open_image(tmp_path / "a.tif")


# --- NIfTI --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_axes_affine_units(tmp_path: Path, suffix: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    voxels = RNG.integers(0, 99, (4, 5, 6)).astype(">i2")  # (x, y, z)
    # x to the left (-2 mm a voxel), y 3 mm, z 4 mm with a shear of 0.5 mm along x.
    affine = np.array([[-2, 0, 0.5, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]])
    file = nibabel.Nifti1Image(voxels, affine)
    file.header.set_xyzt_units("mm")
    nibabel.save(file, tmp_path / f"a{suffix}")
    image = open_image(tmp_path / f"a{suffix}")
    assert image.shape == (6, 5, 4)
    assert values(image)[0, 1, 2, 3] == voxels[3, 2, 1]
    np.testing.assert_array_equal(
        image.affine, [[4, 0, 0, 30], [0, 3, 0, 20], [0.5, 0, -2, 10], [0, 0, 0, 1]]
    )
    assert image.units == ("millimeter",) * 3


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_slope_is_applied(tmp_path: Path, suffix: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    file = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    file.header.set_slope_inter(0.5, -3)
    file.header.set_data_dtype(np.int16)
    nibabel.save(file, tmp_path / f"a{suffix}")
    raw = np.asarray(nibabel.load(tmp_path / f"a{suffix}").dataobj.get_unscaled())
    image = open_image(tmp_path / f"a{suffix}")
    assert image.data.dtype == np.float32
    np.testing.assert_allclose(values(image)[0], raw.T * 0.5 - 3)


def test_nifti_fourth_axis_is_refused_until_named(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    voxels = RNG.integers(0, 99, (4, 5, 6, 3)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2, 3, 1])), tmp_path / "a.nii")
    with pytest.raises(FileFormatError, match="axes="):
        open_image(tmp_path / "a.nii")
    image = open_image(tmp_path / "a.nii", axes="CZYX")
    np.testing.assert_array_equal(values(image), voxels.T)
    assert image.spacing == (3, 2, 1)


# --- OME-Zarr -----------------------------------------------------------------------------------


def write_zarr(path: Path, version: str, pixels: npt.NDArray[Any], **group: Any) -> None:
    v2 = version == "0.4"
    store = zarr.create_group(str(path), zarr_format=2 if v2 else 3)
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"),
    ]
    datasets = []
    for level, step in enumerate((1, 2)):
        data = pixels[:, :, ::step, ::step]
        array = store.create_array(
            f"s{level}", shape=data.shape, dtype=data.dtype, chunks=(1, 2, 8, 8)
        )
        array[...] = data
        scale = {"type": "scale", "scale": [1, 3, 0.5 * step, 0.5 * step]}
        shift = {"type": "translation", "translation": [0, 10, 20, 20 + 0.25 * (step - 1)]}
        datasets.append({"path": f"s{level}", "coordinateTransformations": [scale, shift]})
    metadata = {
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": "red"}, {"label": "green"}]},
        **group,
    }
    if v2:
        metadata["multiscales"][0]["version"] = version
        store.attrs.update(metadata)
    else:
        store.attrs.update({"ome": {"version": version, **metadata}})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_levels_affine_units_channels(tmp_path: Path, version: str) -> None:
    pixels = RNG.integers(0, 999, (2, 4, 16, 24)).astype(np.uint16)
    path = tmp_path / "Zellen 1 ö.zarr"
    write_zarr(path, version, pixels)
    image = open_image(path)
    np.testing.assert_array_equal(values(image), pixels)
    assert image.axes == "CZYX"
    np.testing.assert_array_equal(
        image.affine, [[3, 0, 0, 10], [0, 0.5, 0, 20], [0, 0, 0.5, 20], [0, 0, 0, 1]]
    )
    assert image.units == ("micrometer",) * 3
    assert image.band_names == ("red", "green")
    coarse = image.levels[1]
    np.testing.assert_array_equal(values(coarse), pixels[:, :, ::2, ::2])
    assert coarse.spacing == (3, 1, 1)
    assert coarse.affine[2, 3] == 20.25
    assert coarse.band_names == ("red", "green")


def test_ome_zarr_scale_of_the_whole_image_comes_last(tmp_path: Path) -> None:
    pixels = np.zeros((2, 4, 16, 24), np.uint8)
    write_zarr(tmp_path / "a.zarr", "0.5", pixels)
    file = tmp_path / "a.zarr" / "zarr.json"
    metadata = json.loads(file.read_text())
    whole = [{"type": "scale", "scale": [1, 2, 2, 2]}]
    metadata["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = whole
    file.write_text(json.dumps(metadata))
    image = open_image(tmp_path / "a.zarr")
    assert image.spacing == (6, 1, 1)  # 2 * (3, 0.5, 0.5)
    assert image.affine[:-1, -1].tolist() == [20, 40, 40]  # 2 * (10, 20, 20)


def test_huge_sparse_zarr_opens_and_reads_only_what_is_touched(tmp_path: Path) -> None:
    # 1 Tpx: 1 TB if anything read it.
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(1 << 20, 1 << 20), chunks=(1024, 1024), dtype="uint8"
    )
    array[:4, :4] = 7
    image = open_image(tmp_path / "a.zarr")
    assert image.shape == (1 << 20, 1 << 20)
    read, valid = image.read((slice(0, 8), slice(2, 6)))
    assert valid.all()
    # Rows 0-3, columns 2-3 of the window hold 7: 4 * 2 * 7.
    assert read.sum() == 56


# --- pictures, arrays, keywords -----------------------------------------------------------------


def test_pictures(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    rgba = RNG.integers(0, 255, (6, 7, 4)).astype(np.uint8)
    rgba[2, 3, 3] = 0
    rgba[..., 3] |= (np.arange(42).reshape(6, 7) != 2 * 7 + 3).astype(np.uint8)
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    np.testing.assert_array_equal(values(image), rgba[..., :3].transpose(2, 0, 1))
    assert image.band_names == ("red", "green", "blue")
    assert np.argwhere(~image.read()[1]).tolist() == [[2, 3]]
    grey = RNG.integers(0, 60000, (6, 7)).astype(np.uint16)
    Pillow.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(values(open_image(tmp_path / "g.png"))[0], grey)
    Pillow.fromarray(rgba[..., :3]).save(tmp_path / "a.jpg")
    assert open_image(tmp_path / "a.jpg").data.shape == (3, 6, 7)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, order: Any) -> None:
    pixels = np.asarray(RNG.random((3, 6, 7)), order=order)
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(values(open_image(tmp_path / "a.npy", axes="CYX")), pixels)


def test_keywords_override_what_the_file_says(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (2, 20, 30)).astype(np.uint8)
    write_geotiff(tmp_path / "a.tif", pixels, nodata=0, names=["a", "b"])
    mask = RNG.random((20, 30)) > 0.5
    image = open_image(
        tmp_path / "a.tif", spacing=(5, 2), units="pixel", crs="EPSG:3857", nodata=200,
        band_names=["c", "d"], mask=mask, name="n",
    )  # fmt: skip
    # The origin and the directions (north up) stay, the sizes change.
    np.testing.assert_array_equal(image.affine, [[-5, 0, 4999995], [0, 2, 300005], [0, 0, 1]])
    found = (image.units, image.crs, image.nodata, image.band_names, image.name)
    assert found == (("pixel", "pixel"), "EPSG:3857", 200, ("c", "d"), "n")
    np.testing.assert_array_equal(image.read()[1], mask)
    moved = open_image(image, affine=np.eye(3))
    np.testing.assert_array_equal(moved.affine, np.eye(3))
    assert moved.crs == "EPSG:3857"
    with pytest.raises(InputError, match="spacing"):
        open_image(image, affine=np.eye(3), spacing=(1, 1))
    with pytest.raises(InputError, match="nodata"):
        open_image(image, nodata="none")  # type: ignore[arg-type]


def test_override_moves_the_levels_with_it(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", np.ones((1, 64, 64), np.uint8), overviews=[2])
    mask = np.zeros((64, 64), bool)
    mask[:, 32:] = True
    image = open_image(tmp_path / "a.tif", affine=np.eye(3), mask=mask)
    # Twice coarser: step 2, first centre between pixels 0 and 1.
    np.testing.assert_allclose(
        image.levels[1].affine, [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]], atol=1e-6
    )
    np.testing.assert_array_equal(image.levels[1].read()[1], mask[::2, ::2])


def test_images_arrays_and_dask_pass_through() -> None:
    import dask.array as da

    image = open_image(np.zeros((3, 4, 5)), axes="CYX", spacing=(2, 3))
    assert open_image(image) is image
    assert image.spacing == (2, 3)
    assert open_image(da.zeros((4, 5))).is_lazy
    with pytest.raises(InputError, match="axes"):
        open_image(np.zeros((3, 4, 5)))


def test_lazy_pixels_can_be_sent_to_another_process(tmp_path: Path) -> None:
    import pickle

    pixels = RNG.integers(0, 99, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="deflate")
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(values(image)[0], pixels)  # the file is now held open
    sent = pickle.loads(pickle.dumps(image.data))
    np.testing.assert_array_equal(np.asarray(sent)[0], pixels)


@pytest.mark.parametrize(
    ("shape", "native", "expected"),
    [
        # 3 * 2048^2 bytes = 12.6 MB; once more doubled would pass 16 MB.
        ((3, 1 << 16, 1 << 16), (3, 256, 256), (3, 2048, 2048)),
        ((100, 100), (8, 8), (100, 100)),
        ((10, 1 << 15, 1 << 15), (1, 1 << 15, 1 << 15), (1, 1 << 15, 1 << 15)),
    ],
)
def test_chunks_grow_to_a_useful_size(
    shape: tuple[int, ...], native: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert lazy.grow_chunks(shape, native, 1) == expected


def test_samples(development_data: Path) -> None:
    scene = open_image(development_data / "samples" / "rmnp-rgb.tif")
    assert (scene.crs, scene.units, scene.nodata) == ("EPSG:4326", ("degree", "degree"), 255)
    brain = open_image(development_data / "samples" / "mni152_t1_2mm.nii.gz")
    assert (brain.shape, brain.spacing) == ((94, 116, 98), (2, 2, 2))
    assert brain.affine[:-1, -1].tolist() == [-72, -134, -98]
