"""Damaged and hostile files: refused by name, nothing changed, nothing left behind.

The number in a test's name is its row in the project's list of faults.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io._ome import ome_grid
from napari_clusternet.io.labels import read_labels, write_labels
from napari_clusternet.io.opening import open_image

tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(1, 99, (64, 80)).astype(np.uint8)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux limits")


def read_all(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    return open_image(path, **options).read()[0]


def tiff_header(
    tags: list[tuple[int, int, int, int]], following: int = 0, size: int = 298
) -> bytes:
    """Return a little-endian TIFF of one directory of (tag, type, count, value) at offset 8."""
    body = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag in tags:
        body += struct.pack("<HHII", *tag)
    return (body + struct.pack("<I", following)).ljust(size, b"\0")


def huge_tiff(compression: int, edge: int = 400_000) -> bytes:
    return tiff_header([
        (256, 4, 1, edge), (257, 4, 1, edge), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, edge), (279, 4, 1, 90),
    ])  # fmt: skip


def geotiff(path: Path, pixels: np.ndarray[Any, Any] = PIXELS, **options: Any) -> Path:
    rasterio = pytest.importorskip("rasterio")
    profile = {
        "driver": "GTiff", "count": 1, "dtype": pixels.dtype, "height": pixels.shape[0],
        "width": pixels.shape[1], "crs": "EPSG:32621", "tiled": True, "blockxsize": 16,
        "blockysize": 16, "transform": rasterio.Affine(10, 0, 3e5, 0, -10, 5e6), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels, 1)
    return path


def nifti(path: Path, **header: Any) -> Path:
    nibabel = pytest.importorskip("nibabel")
    file = nibabel.Nifti1Image(PIXELS.reshape(8, 8, 80), np.diag([2.0, 2, 2, 1]))
    nibabel.save(file, path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for name, value in header.items():
        at, form = {"dim": (40, "<8h"), "sform": (280, "<12f"), "pixdim": (76, "<8f")}[name]
        data = data[:at] + struct.pack(form, *value) + data[at + struct.calcsize(form) :]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def ome_zarr(path: Path, dataset: str = "0", version: int = 3) -> Path:
    group = zarr.create_group(str(path), zarr_format=version)
    group.create_array("0", shape=PIXELS.shape, dtype="uint8", chunks=(16, 16))[...] = PIXELS
    scale = [{"type": "scale", "scale": [1, 1]}]
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scales = [{"axes": axes, "datasets": [{"path": dataset, "coordinateTransformations": scale}]}]
    metadata = {"version": "0.5", "multiscales": scales}
    group.attrs.update(metadata if version == 2 else {"ome": metadata})
    return path


# --- pixels in files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodata", "dtype", "missing"),
    [
        (float("nan"), "float32", True),  # NaN
        (-9999, "float32", True),
        (None, "float32", False),  # undeclared: cannot be known, the value stays a value
    ],
)
def test_row_3_nodata(tmp_path: Path, nodata: float | None, dtype: str, missing: bool) -> None:
    pixels = PIXELS.astype(dtype)
    pixels[3, 4] = -9999 if nodata is None else nodata
    image = open_image(geotiff(tmp_path / "a.tif", pixels, nodata=nodata))
    expected = [[3, 4]] if missing else []
    assert np.argwhere(~image.read()[1]).tolist() == expected


def test_row_3_nodata_outside_the_dtype_masks_nothing(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif")
    values, valid = open_image(path, nodata=-9999).read()
    assert valid.all()
    np.testing.assert_array_equal(values[0], PIXELS)


def test_row_6_complex_is_refused_or_magnitude(tmp_path: Path) -> None:
    waves = ((3 + 4j) * PIXELS.astype(float)).astype(np.complex64)
    for path in (geotiff(tmp_path / "g.tif", waves), tmp_path / "p.tif"):
        if path.name == "p.tif":
            tifffile.imwrite(path, waves)
        with pytest.raises(InputError, match="complex_values='magnitude'"):
            open_image(path)
        # |3 + 4i| = 5
        np.testing.assert_allclose(read_all(path, complex_values="magnitude")[0], 5.0 * PIXELS)


def test_row_7_values_beyond_float32_are_masked(tmp_path: Path) -> None:
    pixels = PIXELS.astype(np.float64)
    pixels[5, 6] = 1e300
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    values, valid = open_image(tmp_path / "a.tif").read()
    assert np.argwhere(~valid).tolist() == [[5, 6]]
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["a.tif", "g.tif", "a.nii.gz", "a.zarr", "a.npy"])
def test_row_8_one_pixel(tmp_path: Path, name: str) -> None:
    one = np.full((1, 1), 7, np.uint8)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, one)
    else:
        like = Image.from_array(one, crs="EPSG:4326" if name == "g.tif" else None, units="metre")
        write_labels(path, one, like)
    assert read_all(path).tolist() == [[[7]]]


def test_row_8_size_zero(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 5)))
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(0, 5), chunks=(1, 5), dtype="uint8")
    (tmp_path / "a.tif").write_bytes(huge_tiff(1, edge=0))
    for name in ("a.npy", "a.zarr", "a.tif"):
        with pytest.raises((FileFormatError, InputError)):
            open_image(tmp_path / name)


# --- claims that no machine could hold ----------------------------------------------------------

OPEN_UNDER_LIMIT = """
    import resource, sys
    from napari_clusternet.errors import FileFormatError
    from napari_clusternet.io.opening import all_formats, open_image
    all_formats()
    import dask.array, nibabel, rasterio, tifffile, zarr, PIL.Image
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
    for path in sys.argv[1:]:
        try:
            open_image(path).read()
        except FileFormatError as error:
            assert path in str(error), error
            print("refused", error)
        else:
            print("read", path)
"""


@LINUX
def test_row_23_tiny_file_with_a_huge_claim_is_refused_without_memory(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    pytest.importorskip("nibabel")
    paths = [tmp_path / f"{name}.tif" for name in ("plain", "deflate", "lzw")]
    for path, compression in zip(paths, (1, 8, 5), strict=True):
        path.write_bytes(huge_tiff(compression))
        assert path.stat().st_size == 298
    paths.append(nifti(tmp_path / "dims.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]))
    paths.append(nifti(tmp_path / "some.nii.gz", dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]))
    ihdr = struct.pack(">I4s2I5BI", 13, b"IHDR", 400_000, 400_000, 8, 0, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + ihdr
    (tmp_path / "big.png").write_bytes(png + b"\0\0\0\0IEND\xaeB`\x82")
    paths.append(tmp_path / "big.png")
    store = tmp_path / "chunk.zarr"
    zarr.create_array(str(store), shape=(400_000,) * 2, chunks=(400_000,) * 2, dtype="uint8")
    paths.append(store)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OPEN_UNDER_LIMIT), *map(str, paths)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * len(paths), done.stdout
    assert "(400000, 400000)" in lines[1]


@LINUX
def test_row_24_zstd_bombs_are_refused_without_memory(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    bomb = imagecodecs.zstd_encode(bytes(1 << 30))  # 1 GiB of zeros in 33 kB
    assert len(bomb) < 40_000
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=(16, 16), compression="zstd")
    with tifffile.TiffFile(path) as tif:
        places = [tif.pages.first.tags[code].valueoffset for code in (324, 325)]
    whole = bytearray(path.read_bytes())
    for at, value in zip(places, (len(whole), len(bomb)), strict=True):
        whole[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(whole + bomb)
    store = tmp_path / "a.zarr"
    codec = zarr.codecs.ZstdCodec()
    array = zarr.create_array(
        str(store), shape=(16, 16), chunks=(16, 16), dtype="uint8", compressors=[codec]
    )
    array[...] = PIXELS[:16, :16]
    (store / "c" / "0" / "0").write_bytes(bomb)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OPEN_UNDER_LIMIT), str(path), str(store)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert [line.split()[0] for line in lines] == ["refused"] * 2, done.stdout


def test_row_23_a_header_that_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 3 << 30) + b"{}")
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"a\.npy"):
        open_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "dim",
    [
        [3, 32767, 32767, 32767, 1, 1, 1, 1],
        [3, -8, 8, 80, 1, 1, 1, 1],
        [-3, 8, 8, 80, 1, 1, 1, 1],
        [3, 0, 8, 80, 1, 1, 1, 1],
    ],
)
def test_row_25_nifti_dimensions(tmp_path: Path, suffix: str, dim: list[int]) -> None:
    path = nifti(tmp_path / f"a{suffix}", dim=dim)
    with pytest.raises(FileFormatError, match=f"a{suffix}"):
        read_all(path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_row_25_truncated_nifti(tmp_path: Path, suffix: str, kept: float) -> None:
    path = nifti(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(FileFormatError, match=f"a{suffix}"):
        open_image(path)


# --- affines ------------------------------------------------------------------------------------


def test_row_26_singular_affine(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", sform=[0] * 12)
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz.*singular.*spacing="):
        open_image(path)
    assert open_image(path, spacing=(3, 2, 1)).spacing == (3, 2, 1)
    nan = nifti(tmp_path / "b.nii", sform=[float("nan")] * 12)
    with pytest.raises(FileFormatError, match="not finite"):
        open_image(nan)
    store = ome_zarr(tmp_path / "a.zarr")
    metadata = store / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"scale": [', '"scale": [0, 0], "was": ['))
    with pytest.raises(FileFormatError, match=r"a\.zarr.*singular"):
        open_image(store)
    with pytest.raises(InputError, match="singular"):
        open_image(PIXELS, affine=np.zeros((3, 3)))


# --- damage -------------------------------------------------------------------------------------


def damaged(path: Path) -> list[str]:
    """Return which truncations of `path` neither raise FileFormatError nor read the same."""
    whole, expected = path.read_bytes(), read_all(path)
    wrong = []
    for kept in sorted({*range(0, 400, 23), *range(0, len(whole), max(1, len(whole) // 37))}):
        part = path.with_name(f"part{kept}{path.suffix}")
        part.write_bytes(whole[:kept])
        try:
            if not np.array_equal(read_all(part), expected):
                wrong.append(f"{kept}: other pixels")
        except FileFormatError as error:
            if part.name not in str(error):
                wrong.append(f"{kept}: not named")
        part.unlink()
    return wrong


@pytest.mark.filterwarnings("ignore")
def test_row_27_truncated_tiffs_and_pictures(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    paths = [tmp_path / f"{name}.tif" for name in ("plain", "tiled", "ome")]
    tifffile.imwrite(paths[0], PIXELS)
    tifffile.imwrite(paths[1], PIXELS, tile=(16, 16), compression="deflate")
    tifffile.imwrite(paths[2], PIXELS, ome=True)
    paths += [tmp_path / "p.png", tmp_path / "p.jpg"]
    for path in paths[3:]:
        Pillow.fromarray(PIXELS).save(path)
    assert {path.name: damaged(path) for path in paths} == {path.name: [] for path in paths}


@pytest.mark.filterwarnings("ignore")
def test_row_27_truncated_cog(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    plain = geotiff(tmp_path / "in.tif", np.kron(PIXELS, np.ones((8, 8), np.uint8)))
    copy(plain, tmp_path / "cog.tif", driver="COG", BLOCKSIZE=128)
    assert damaged(tmp_path / "cog.tif") == []


def test_row_27_circular_directories(tmp_path: Path) -> None:
    tags = [
        (256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 4), (279, 4, 1, 16),
    ]  # fmt: skip
    (tmp_path / "a.tif").write_bytes(tiff_header(tags, following=8))
    with pytest.warns(UserWarning, match=r"a\.tif.*circular"):
        image = open_image(tmp_path / "a.tif")
    assert image.read()[0].shape == (1, 4, 4)  # its first image is whole, and it ends


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore")
def test_row_27_two_directories_in_a_circle(tmp_path: Path) -> None:
    tags = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    # the second begins at byte 2, in the header: that says 42 tags, of 12 bytes each
    content = tiff_header(tags, following=2, size=2 + 2 + 42 * 12) + struct.pack("<I", 8)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileFormatError):
        open_image(tmp_path / "a.tif")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("file", ["zarr.json", ".zarray", "a.tif"])
def test_row_27_pieces_without_pixels(tmp_path: Path, file: str) -> None:
    path = tmp_path / "a.tif"
    if file == path.name:
        path.write_bytes(
            tiff_header([
                (256, 4, 1, 6), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
                (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 0), (279, 4, 1, 24),
            ])
        )  # fmt: skip
    else:
        version = 3 if file == "zarr.json" else 2
        path = tmp_path / "a.zarr"
        zarr.create_array(path, shape=(4, 6), chunks=(4, 6), dtype="u1", zarr_format=version)
        about = json.loads((path / file).read_text())
        grid = about["chunk_grid"]["configuration"] if version == 3 else about
        grid["chunk_shape" if version == 3 else "chunks"] = [0, 6]
        (path / file).write_text(json.dumps(about))
    with pytest.raises(FileFormatError, match=r"its pieces have \(1, 0, 6\) pixels"):
        open_image(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a.tif", "g.tif", "a.nii", "a.npy", "a.png"])
def test_flipped_header_bytes_raise_our_own_errors_only(tmp_path: Path, name: str) -> None:
    from PIL import Image as Pillow

    path = tmp_path / name
    {
        "a.tif": lambda: tifffile.imwrite(path, PIXELS, tile=(16, 16), compression="deflate"),
        "g.tif": lambda: geotiff(path),
        "a.nii": lambda: nifti(path),
        "a.npy": lambda: np.save(path, PIXELS),
        "a.png": lambda: Pillow.fromarray(PIXELS).save(path),
    }[name]()
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for trial in range(60):
        hurt = bytearray(whole)
        for at in rng.integers(0, min(400, len(hurt)), 3):
            hurt[at] = rng.integers(0, 256)
        other = tmp_path / f"hurt{trial}{path.suffix}"
        other.write_bytes(hurt)
        try:
            image = open_image(other)
            # Damage may yield a valid header; what it then claims must not be read blindly.
            if np.prod(image.data.shape) < 1 << 22:
                image.read()
        except (FileFormatError, InputError):
            pass
        other.unlink()


def test_row_29_file_changed_after_opening(tmp_path: Path) -> None:
    paths = [tmp_path / "a.tif", tmp_path / "b.nii.gz", geotiff(tmp_path / "g.tif")]
    tifffile.imwrite(paths[0], PIXELS)
    nifti(paths[1])
    for path in paths:
        image = open_image(path)
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size // 2)
        with pytest.raises(FileFormatError, match="changed after it was opened"):
            image.read()
    image = open_image(ome_zarr(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr" / "0" / "zarr.json").unlink()
    with pytest.raises(FileFormatError, match=r"a\.zarr"):
        image.read()


def test_damaged_zarr_metadata(tmp_path: Path) -> None:
    store = ome_zarr(tmp_path / "a.zarr")
    for name in ("zarr.json", "0/zarr.json"):
        whole = (store / name).read_text()
        hurts = [
            "", "{}", "[]", whole[:80], whole.replace("uint8", "object"),
            whole.replace("multiscales", "scales"), whole.replace('"datasets"', '"sets"'),
        ]  # fmt: skip
        for hurt in hurts:
            if hurt == whole:
                continue
            (store / name).write_text(hurt)
            with pytest.raises((FileFormatError, InputError)):
                open_image(store)
        (store / name).write_text(whole)
    np.testing.assert_array_equal(read_all(store)[0], PIXELS)


# --- hostile files ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("escape", ["../secret", "../../secret", "/etc", "0/../../secret", "a\\b"])
def test_row_22_zarr_path_leaves_the_store(tmp_path: Path, version: int, escape: str) -> None:
    zarr.create_array(str(tmp_path / "secret"), shape=(4, 4), dtype="uint8", chunks=(4, 4))
    store = ome_zarr(tmp_path / "a.zarr", dataset=escape, version=version)
    with pytest.raises(FileFormatError, match="outside the store"):
        open_image(store)


def test_row_22_zarr_link_leaves_the_store(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "secret"), shape=(4, 4), dtype="uint8", chunks=(4, 4))
    store = ome_zarr(tmp_path / "a.zarr", dataset="link")
    (store / "link").symlink_to(tmp_path / "secret", target_is_directory=True)
    with pytest.raises(FileFormatError, match="outside the store"):
        open_image(store)


def test_row_17_pickles_in_zarr_and_npy_never_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Payload:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(touched),))

    np.save(tmp_path / "a.npy", np.array([[Payload()]]), allow_pickle=True)
    store = ome_zarr(tmp_path / "a.zarr", version=2)
    file = store / "0" / ".zarray"
    metadata = json.loads(file.read_text())
    metadata["filters"] = [{"id": "pickle"}]
    file.write_text(json.dumps(metadata))
    for path in (tmp_path / "a.npy", store):
        with pytest.raises(FileFormatError, match="pickle"):
            read_all(path)
    assert not touched.exists()


def test_ome_xml_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "ha">]><OME><Image><Pixels/></Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, description=bomb, metadata=None)
    with pytest.raises(FileFormatError, match=r"a\.tif"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="entity"):
        ome_grid(bomb, "YX")


# --- names --------------------------------------------------------------------------------------


def test_row_30_names(tmp_path: Path) -> None:
    folder = tmp_path / ("ü " * 30) / ("日本 " * 20)
    folder.mkdir(parents=True)
    for suffix in (".tif", ".nii.gz", ".zarr"):
        path = write_labels(folder / f"Ärger & 'quotes' #1{suffix}", PIXELS)
        np.testing.assert_array_equal(read_labels(path), PIXELS)
    crs = Image.from_array(PIXELS, crs="EPSG:4326", units="degree")
    np.testing.assert_array_equal(
        read_labels(write_labels(folder / "geo ü.tif", PIXELS, crs)), PIXELS
    )


def test_row_30_read_only_and_missing(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "a.tif", PIXELS)
    before = path.read_bytes()
    path.chmod(0o444)
    np.testing.assert_array_equal(read_labels(path), PIXELS)
    with pytest.raises(FileFormatError, match="read-only"):
        write_labels(path, PIXELS * 2)
    assert path.read_bytes() == before
    for missing in (tmp_path / "none.tif", "x" * 5000, "nul\0.tif"):
        with pytest.raises(FileNotFoundError):
            open_image(missing)
    (tmp_path / "a.xyz").write_text("text")
    with pytest.raises(FileFormatError, match=r"a\.xyz.*Known: .*tiff.*nifti"):
        open_image(tmp_path / "a.xyz")
    with pytest.raises(InputError, match="addresses"):
        open_image("https://example.org/a.tif")


# --- full disk ----------------------------------------------------------------------------------

WRITE_UNDER_LIMIT = """
    import resource, sys
    import numpy as np
    from napari_clusternet.image import Image
    from napari_clusternet.io.labels import write_labels
    target, limit, crs = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None
    shape = (64, 300, 300) if "nii" in target else (600, 600)
    noise = np.random.default_rng(0).integers(0, 255, shape)
    like = Image.from_array(noise, axes="ZYX"[-noise.ndim:], crs=crs, units="millimeter")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_labels(target, noise, like)
    except OSError as error:
        assert target in str(error), error
        print("refused", error)
    else:
        print("written")
"""


@LINUX
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "crs", "limit"),
    [
        ("a.tif", "", 1000), ("a.tif", "", 250_000), ("g.tif", "EPSG:32621", 1000),
        ("g.tif", "EPSG:32621", 250_000), ("g.tif", "EPSG:32621", 359_000),
        ("a.nii.gz", "", 100_000), ("a.zarr", "", 4000),
    ],
)  # fmt: skip
def test_row_31_disk_full_keeps_the_old_file(
    tmp_path: Path, name: str, crs: str, limit: int
) -> None:
    target = tmp_path / name
    write_labels(target, PIXELS)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITE_UNDER_LIMIT), str(target), str(limit), crs],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("refused"), done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(read_labels(target), PIXELS)


def test_row_31_swallowed_write_error_is_found_by_reading_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rasterio does not report a disk that fills while it closes: simulate that."""
    from napari_clusternet.io import tiff

    write = tiff.TiffFormat.write_labels

    def short(self: Any, path: Path, *rest: Any) -> None:
        write(self, path, *rest)
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size - 100)

    target = write_labels(tmp_path / "a.tif", PIXELS)
    monkeypatch.setattr(tiff.TiffFormat, "write_labels", short)
    with pytest.raises(FileFormatError, match=r"a\.tif.*does not read back"):
        write_labels(target, PIXELS[::-1], Image.from_array(PIXELS, units="millimeter"))
    assert list(tmp_path.iterdir()) == [target]
    np.testing.assert_array_equal(read_labels(target), PIXELS)
