"""A DICOM series opens in its place; mixed, gappy and damaged ones are refused (fault row 28)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")

from napari_clusternet.errors import FileFormatError  # noqa: E402
from napari_clusternet.io.dicom import open_series  # noqa: E402
from napari_clusternet.io.opening import open_image  # noqa: E402

SERIES = "1.2.826.0.1.3680043.8.498.1"
#: Stored values of slice k, row i, column j: 100 k + 10 i + j.
VALUES = np.arange(5)[:, None, None] * 100 + np.arange(6)[:, None] * 10 + np.arange(7)


def write_slice(path: Path, k: int, values: np.ndarray, **changes: Any) -> Path:
    """Write slice k of an axial series: 2.5 mm apart, 0.5 mm rows, 0.8 mm columns."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name, str(k)])
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    fields = {
        "SeriesInstanceUID": SERIES, "SeriesDescription": "thorax", "InstanceNumber": 99 - k,
        "ImagePositionPatient": [10.0, 20.0, -30 + 2.5 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.8],
        "Rows": values.shape[0], "Columns": values.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12,
        "HighBit": 11, "PixelRepresentation": 0, "RescaleSlope": 1, "RescaleIntercept": -1024,
    } | changes  # fmt: skip
    for name, value in fields.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = values.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Path]:
    """Write slices under names that sort otherwise than they lie; return the folder."""

    def write(count: int = 5, **changes: Any) -> Path:
        for k in range(count):
            write_slice(tmp_path / f"{(k * 3) % 5}.dcm", k, VALUES[k], **changes)
        return tmp_path

    return write


def test_a_folder_is_a_volume_in_millimetres(series: Callable[..., Path]) -> None:
    folder = series()
    (folder / "notes.txt").write_text("not a slice")
    image = open_image(folder)
    assert image.axes == "CZYX"
    assert image.is_lazy
    assert image.name == "thorax"
    assert image.data.dtype == np.int16  # 0..4095 - 1024
    np.testing.assert_array_equal(np.asarray(image.data)[0], VALUES - 1024)
    assert image.units == ("millimeter",) * 3
    np.testing.assert_allclose(image.spacing, (2.5, 0.5, 0.8))
    # voxel (k, i, j) = (1, 2, 3): x = 10 + 3 * 0.8 to the left, y = 20 + 2 * 0.5 to the back,
    # z = -30 + 2.5 to the head; x right and y front are their negatives
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [-27.5, -21, -12.4, 1])


def test_it_lies_where_the_same_volume_in_nifti_lies(
    series: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    nibabel = pytest.importorskip("nibabel")
    from napari_clusternet.io.labels import write_labels

    image = open_image(series())
    place = tmp_path_factory.mktemp("out") / "labels.nii.gz"
    path = write_labels(place, np.ones(image.shape, np.uint8), image)
    # NIfTI is (x, y, z), right-front-head: the first voxel is 10 mm left, 20 mm back
    np.testing.assert_allclose(nibabel.load(path).affine[:3, 3], [-10, -20, -30], atol=1e-5)


def test_a_window_reads_only_its_slices(series: Callable[..., Path]) -> None:
    folder = series()
    image = open_image(folder)
    (folder / f"{(4 * 3) % 5}.dcm").unlink()  # the last slice
    np.testing.assert_array_equal(
        np.asarray(image.data[0, 1:3, 2:4, 5]), VALUES[1:3, 2:4, 5] - 1024
    )
    with pytest.raises(FileFormatError):
        np.asarray(image.data[0, 4])


def test_fractions_and_slopes_of_their_own(tmp_path: Path) -> None:
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", k, VALUES[k], RescaleSlope=0.5 + k, RescaleIntercept=1)
    image = open_image(tmp_path)
    assert image.data.dtype == np.float32
    expected = VALUES[:3] * (0.5 + np.arange(3)[:, None, None]) + 1
    np.testing.assert_allclose(np.asarray(image.data)[0], expected)


def test_a_tilted_gantry_shears_the_volume(tmp_path: Path) -> None:
    for k in range(3):
        place = [10.0, 20.0 + k, -30 + 2.5 * k]
        write_slice(tmp_path / f"{k}.dcm", k, VALUES[k], ImagePositionPatient=place)
    image = open_image(tmp_path)
    np.testing.assert_allclose(image.affine[:3, 0], [2.5, -1, 0])  # 1 mm to the back per slice


def test_padding_is_nodata(series: Callable[..., Path]) -> None:
    image = open_image(series(PixelPaddingValue=0))
    assert image.nodata == -1024
    assert not image.read()[1][0, 0, 0]  # stored 0


def test_one_slice_is_a_volume_of_one(series: Callable[..., Path]) -> None:
    assert open_image(series() / "0.dcm").shape == (1, 6, 7)


def test_missing_slices_are_counted(series: Callable[..., Path]) -> None:
    folder = series()
    (folder / f"{(2 * 3) % 5}.dcm").unlink()
    with pytest.raises(FileFormatError, match=r"1 slices are missing between .* 5\.000 mm"):
        open_image(folder)


def test_mixed_series_are_named(series: Callable[..., Path]) -> None:
    folder = series()
    other = write_slice(
        folder / "x.dcm", 0, VALUES[0], SeriesInstanceUID=SERIES + "2", SeriesDescription="scout"
    )
    with pytest.raises(FileFormatError, match=r"2 series .*thorax': 5 slices.*scout': 1 slices"):
        open_image(folder)
    assert open_series(sorted(set(folder.iterdir()) - {other})).shape == (5, 6, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImagePositionPatient": [10.0, 20.0, -30.0]}, "at the same place"),
        ({"PixelSpacing": [0.5, 0.9]}, "differs from"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "differs from"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"NumberOfFrames": 3}, "many frames"),
        ({"RescaleSlope": 0}, "scale 0"),
    ],
)
def test_a_slice_that_does_not_belong(
    series: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    folder = series(4)
    write_slice(folder / "z.dcm", 4, VALUES[4], **changes)
    with pytest.raises(FileFormatError, match=message):
        open_image(folder)


def test_pixels_cut_short_are_refused_before_reading(series: Callable[..., Path]) -> None:
    folder = series()
    file = folder / "0.dcm"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FileFormatError, match=r"0\.dcm"):
        open_image(folder)


def test_broken_pixel_data_name_the_file(series: Callable[..., Path]) -> None:
    folder = series()
    file = folder / "0.dcm"
    file.write_bytes(file.read_bytes()[:-10])  # header whole, pixels not
    image = open_image(folder)
    with pytest.raises(FileFormatError, match=r"0\.dcm"):
        np.asarray(image.data)


def test_a_folder_without_slices_is_of_no_format(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileFormatError, match="dicom"):
        open_image(tmp_path)


def test_a_field_that_claims_gigabytes_takes_none(series: Callable[..., Path]) -> None:
    """Rows, (0028,0010) US of length 2, becomes a field of unknown text of 3 GB."""
    import tracemalloc

    folder = series()
    for file in folder.iterdir():
        content = file.read_bytes()
        at = content.index(b"\x28\x00\x10\x00US")
        claim = b"\x28\x00\x10\x00UN\0\0" + (3 << 30).to_bytes(4, "little")
        file.write_bytes(content[:at] + claim + content[at + 10 :])
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"\.dcm"):
        open_image(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20
