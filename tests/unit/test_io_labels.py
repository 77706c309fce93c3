"""`write_labels` and `read_labels`: equal after a round trip, with every metadata field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.labels import read_labels, write_labels
from napari_clusternet.io.opening import open_image

RNG = np.random.default_rng(0)
#: 0.5 mm between planes of 0.1 x 0.123456789 mm pixels, origin (-7, 5, 3.25).
VOLUME = np.array(
    [[0.5, 0, 0, -7], [0, 0.1, 0, 5], [0, 0, 0.123456789, 3.25], [0, 0, 0, 1]], dtype=float
)
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


def grid(
    affine: npt.NDArray[np.float64],
    units: str = "millimeter",
    crs: str | None = None,
    extra: dict[str, object] | None = None,
) -> Image:
    shape = (5, 6, 7)[-(len(affine) - 1) :]
    array = np.zeros(shape, np.uint8)
    axes = "ZYX"[-len(shape) :]
    return Image.from_array(array, axes=axes, affine=affine, units=units, crs=crs, extra=extra)


def some_labels(like: Image, highest: int = 3) -> npt.NDArray[np.int64]:
    labels = RNG.integers(0, highest + 1, like.shape)
    labels.flat[0] = highest
    return labels


GRIDS = {
    "plane.tif": grid(VOLUME[1:, 1:], "micrometer"),
    "volume.tif": grid(VOLUME),
    "volume.ome.tif": grid(VOLUME, "metre"),
    "volume.nii": grid(VOLUME),
    "volume.nii.gz": grid(VOLUME, "micrometer"),
    "plane.nii.gz": grid(VOLUME[1:, 1:]),
    "volume.zarr": grid(VOLUME, extra={"ome-zarr": "0.5"}),
    "old.ome.zarr": grid(VOLUME, extra={"ome-zarr": "0.4"}),
    "plane.zarr": grid(VOLUME[1:, 1:], "metre"),
    "scene.tif": grid(VOLUME[1:, 1:], "metre", "EPSG:32621"),
    "turned.tif": grid(VOLUME[1:, 1:] @ TURN, "degree", "EPSG:4326"),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_round_trip_keeps_everything(tmp_path: Path, name: str, highest: int, dtype: type) -> None:
    like = GRIDS[name]
    labels = some_labels(like, highest)
    written = write_labels(tmp_path / name, labels, like, class_names={1: "Straße", 2: "a < b"})
    assert written == tmp_path / name
    assert list(tmp_path.iterdir()) == [written]  # no temporary left
    back = open_image(written)
    # NIfTI stores its affine in float32; the others exactly.
    precision = 1e-6 if ".nii" in name else 1e-12
    np.testing.assert_allclose(back.affine, like.affine, rtol=precision, atol=precision)
    np.testing.assert_allclose(back.spacing, like.spacing, rtol=precision)
    assert back.units == like.units
    assert back.crs == like.crs
    assert back.extra["class_names"] == {1: "Straße", 2: "a < b"}
    assert back.data.dtype == dtype
    np.testing.assert_array_equal(np.asarray(back.data)[0], labels)
    np.testing.assert_array_equal(read_labels(written, like), labels)


def test_geotiff_declares_zero_as_nodata(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "a.tif", some_labels(GRIDS["scene.tif"]), GRIDS["scene.tif"])
    assert open_image(path).nodata == 0


def test_geotransform_returns_to_the_last_bit(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    transform = rasterio.Affine(1 / 3, 0, 1e6 / 7, 0, -1 / 3, 5e6 / 9)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 6, "width": 7}
    with rasterio.open(
        tmp_path / "in.tif", "w", crs="EPSG:3857", transform=transform, **profile
    ) as dataset:
        dataset.write(np.zeros((1, 6, 7), np.uint8))
    image = open_image(tmp_path / "in.tif")
    write_labels(tmp_path / "out.tif", some_labels(image), image)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.transform == transform


def test_nifti_codes_and_unknown_units_return(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    file = nibabel.Nifti1Image(np.zeros((7, 6, 5), np.int16), np.diag([-2.0, 2, 3, 1]))
    file.set_sform(file.affine, code=4)
    file.set_qform(file.affine, code=0)
    nibabel.save(file, tmp_path / "in.nii.gz")
    image = open_image(tmp_path / "in.nii.gz")
    assert image.units == ("millimeter",) * 3  # what NIfTI files that say nothing mean
    write_labels(tmp_path / "out.nii.gz", some_labels(image), image)
    back = nibabel.load(tmp_path / "out.nii.gz")
    assert (int(back.header["sform_code"]), int(back.header["qform_code"])) == (4, 0)
    assert back.header.get_xyzt_units()[0] == "unknown"
    np.testing.assert_array_equal(back.affine, file.affine)


@pytest.mark.parametrize(
    ("name", "like", "message"),
    [
        ("a.tif", grid(VOLUME[1:, 1:] @ TURN), "TIFF cannot carry a rotated"),
        ("a.zarr", grid(VOLUME[1:, 1:] @ TURN), "OME-Zarr cannot carry a rotated"),
        ("a.nii", grid(VOLUME[1:, 1:], crs="EPSG:4326"), "NIfTI cannot carry a CRS"),
        ("a.nii", grid(VOLUME, "degree"), "NIfTI cannot carry the units"),
        ("a.tif", grid(VOLUME, "parsec"), "OME-TIFF cannot carry the unit 'parsec'"),
        ("a.tif", grid(VOLUME, crs="EPSG:4326"), "OME-TIFF of a volume cannot carry a CRS"),
    ],
)
def test_what_a_format_cannot_carry_is_said(
    tmp_path: Path, name: str, like: Image, message: str
) -> None:
    labels = some_labels(like)
    with pytest.warns(UserWarning, match=message):
        write_labels(tmp_path / name, labels, like)
    np.testing.assert_array_equal(read_labels(tmp_path / name), labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((6, 7), np.float32), "not labels"),
        (np.full((6, 7), -1), "from -1 to -1"),
        (np.full((6, 7), 65536), "65535"),
        (np.zeros((6, 8), np.uint8), r"shape \(6, 7\)"),
        (np.zeros((2, 3, 6, 7), np.uint8), r"\(\[Z,\] Y, X\)"),
    ],
)
def test_unfit_labels_are_refused(
    tmp_path: Path, labels: npt.NDArray[np.generic], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_labels(tmp_path / "a.tif", labels, GRIDS["plane.tif"])
    assert list(tmp_path.iterdir()) == []


def test_unfit_targets_are_refused(tmp_path: Path) -> None:
    labels = np.ones((6, 7), np.uint8)
    with pytest.raises(FileFormatError, match=r"\.nii.*\.tif.*\.zarr"):
        write_labels(tmp_path / "a.png", labels)
    folder = tmp_path / "thesis.zarr"
    folder.mkdir()
    (folder / "chapter.txt").write_text("text")
    with pytest.raises(FileFormatError, match="other content"):
        write_labels(folder, labels)
    assert (folder / "chapter.txt").read_text() == "text"
    write_labels(tmp_path / "a.tif", labels)
    before = (tmp_path / "a.tif").read_bytes()
    with pytest.raises(FileFormatError, match="overwrite=True"):
        write_labels(tmp_path / "a.tif", labels * 2, overwrite=False)
    assert (tmp_path / "a.tif").read_bytes() == before


@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz", "a.zarr"])
def test_writing_twice_replaces(tmp_path: Path, name: str) -> None:
    one = np.ones((6, 7), np.uint8)
    write_labels(tmp_path / name, one)
    write_labels(tmp_path / name, one * 2)
    np.testing.assert_array_equal(read_labels(tmp_path / name), one * 2)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_read_palette_picture_stack_and_array(tmp_path: Path) -> None:
    from PIL import Image as Pillow
    from tifffile import imwrite

    indices = RNG.integers(0, 4, (6, 7)).astype(np.uint8)
    picture = Pillow.fromarray(indices, mode=None).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png"), indices)
    stack = RNG.integers(0, 300, (5, 6, 7)).astype(np.int32)
    imwrite(tmp_path / "s.tif", stack)
    np.save(tmp_path / "s.npy", stack)
    for name in ("s.tif", "s.npy"):
        found = read_labels(tmp_path / name, grid(VOLUME))
        np.testing.assert_array_equal(found, stack)
        assert found.dtype == np.uint16


def test_read_labels_checks_place_and_values(tmp_path: Path) -> None:
    like = GRIDS["scene.tif"]
    path = write_labels(tmp_path / "a.tif", some_labels(like), like)
    with pytest.raises(InputError, match="shape"):
        read_labels(path, np.zeros((6, 8)))
    shifted = like.affine.copy()
    shifted[0, 2] += 10
    with pytest.raises(InputError, match="Resample"):
        read_labels(path, replace(like, affine=shifted))
    np.save(tmp_path / "half.npy", np.full((6, 7), 0.5))
    with pytest.raises(InputError, match="not labels"):
        read_labels(tmp_path / "half.npy")
    np.save(tmp_path / "whole.npy", np.full((6, 7), 2.0))
    assert read_labels(tmp_path / "whole.npy").max() == 2


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("crs", ["EPSG:32621", 'PROJCS["somewhere"]'])
def test_ome_zarr_keeps_the_crs(tmp_path: Path, version: str, crs: str) -> None:
    like = grid(np.diag([-10.0, 10.0, 1.0]), "metre", crs, {"ome-zarr": version})
    image = open_image(write_labels(tmp_path / "a.zarr", some_labels(like), like))
    assert image.crs == crs
    assert image.affine.tolist() == like.affine.tolist()


@pytest.mark.parametrize("suffix", [".tif", ".nii.gz", ".zarr"])
def test_a_volume_of_one_slice_comes_back(tmp_path: Path, suffix: str) -> None:
    volume = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    image = Image.from_array(volume, axes="ZYX", spacing=(4, 2, 2), units="millimeter")
    path = write_labels(tmp_path / f"a{suffix}", volume, like=image)
    np.testing.assert_array_equal(read_labels(path, like=image), volume)
