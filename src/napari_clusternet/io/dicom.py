"""A DICOM series - a folder of slices - as one volume, through pydicom (extra ``medical``).

Places follow PS3.3 section C.7.6.2 (image plane): the slices are sorted by their position along
the normal of the image plane, never by file name or instance number. Axes as in NIfTI: world
(z, y, x) in millimetres, x to the right, y to the front, z to the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.errors import missing_extra
from napari_clusternet.image import Image
from napari_clusternet.io.base import (
    BoundedFile,
    OpenOptions,
    check_claim,
    reading,
    refuse,
)
from napari_clusternet.io.lazy import FileArray, Slices, in_image_order, stamp_of

#: Header fields that are read; the rest, the patient's name included, is left alone.
_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "InstanceNumber", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelPaddingValue",
    "RescaleSlope", "RescaleIntercept",
]  # fmt: skip
#: Share of the slice distance by which distances may differ.
_UNEVEN = 0.02
#: Angle, as a sine, by which slices may differ in orientation.
_TILT = 1e-3
#: Files of a folder that are looked at to tell whether it holds DICOM.
_SNIFFED = 16
#: Patient coordinates (left, back, head) -> world (z, y, x) with x right, y front.
_LPS_TO_ZYX = np.array([[0.0, 0, 1], [0, -1, 0], [-1, 0, 0]])


def _pydicom() -> Any:
    if find_spec("pydicom") is None:
        missing_extra("pydicom", "medical", "A DICOM series")
    import pydicom

    return pydicom


@dataclass(frozen=True)
class _Slice:
    """One file of a series: what its header says."""

    path: Path
    stamp: tuple[int, int]
    header: Any
    position: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    scale: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.header.Rows), int(self.header.Columns)


@dataclass(frozen=True)
class _Volume(FileArray):
    """The slices' rescaled pixels, (Z, Y, X); `path` is the folder."""

    files: tuple[Path, ...] = ()
    stamps: tuple[tuple[int, int], ...] = ()
    scales: tuple[tuple[float, float], ...] = ()

    @property
    def stamped(self) -> Path:
        return self.files[0]

    def read(self, region: Slices) -> npt.NDArray[Any]:
        planes, rows, columns = region
        shape = tuple(s.stop - s.start for s in region)
        out = np.empty(shape, self.dtype)
        for place, i in enumerate(range(planes.start, planes.stop)):
            out[place] = self._plane(i)[rows, columns]
        return out

    def _plane(self, i: int) -> npt.NDArray[Any]:
        path = self.files[i]
        if stamp_of(path) != self.stamps[i]:
            refuse(path, "the file changed after it was opened", "Open the series again")
        with reading(path):
            stored = _read(path).pixel_array
        if stored.shape != self.shape[1:]:
            refuse(path, f"its pixels are {stored.shape}, not {self.shape[1:]}", "Export it again")
        slope, intercept = self.scales[i]
        if (slope, intercept) == (1, 0):
            return np.asarray(stored)
        scaled: npt.NDArray[Any] = stored * slope + intercept
        return scaled


class DicomFormat:
    """DICOM; see `napari_clusternet.io.base.Format`."""

    name = "dicom"
    suffixes = (".dcm", ".dicom", ".ima")
    writes = False

    def sniff(self, path: Path) -> bool:
        """Return whether it is a DICOM file, or a folder that holds some."""
        if not path.is_dir():
            return _is_dicom(path)
        inside = (p for p in sorted(path.iterdir())[:_SNIFFED] if p.is_file())
        return any(_is_dicom(p) for p in inside)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open the series in a folder, or a single slice, as (1, Z, Y, X)."""
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        image = open_series([p for p in files if p.is_file() and _is_dicom(p)], folder=path)
        if options.axes is not None and options.axes.upper() not in ("ZYX", "CZYX"):
            refuse(path, f"axes={options.axes!r}: a series is a volume 'ZYX'", "Leave axes= out")
        return image

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Refuse: DICOM segmentations are not written.

        Raises
        ------
        FileFormatError
            Always.
        """
        refuse(path, "DICOM is not written", "Write a .nii.gz")


def open_series(paths: Iterable[Path], *, folder: Path | None = None) -> Image:
    """Open the files of one DICOM series as a lazy volume.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        The slices, in any order.
    folder : pathlib.Path, optional
        What to call the source; by default the folder of the first file.

    Returns
    -------
    Image
        (1, Z, Y, X), rescaled by slope and intercept, affine in millimetres.

    Raises
    ------
    FileFormatError
        If a file is damaged, the files are of several series, slices are missing, twice there, or
        of different sizes or orientations; the message names the files.
    MissingExtraError
        If pydicom is not installed.
    """
    files = [Path(p) for p in paths]
    source = folder or (files[0].parent if files else Path())
    found = [_read_header(file) for file in files]
    slices = [item for item in found if item is not None]
    if not slices:
        refuse(source, "there is no DICOM image in it", "Give the folder of a series")
    try:
        return _one_volume(source, slices)
    except (
        NotImplementedError,
        ArithmeticError,
        AttributeError,
        TypeError,
        StopIteration,
    ) as error:
        refuse(
            source, f"its headers hold what no DICOM image does ({error})", "Copy the series anew"
        )


def _one_volume(source: Path, slices: Sequence[_Slice]) -> Image:
    """Put the slices of one series together."""
    _check_one_series(source, slices)
    first = slices[0]
    for other in slices[1:]:
        if other.shape != first.shape or not np.allclose(other.axes, first.axes, atol=_TILT):
            refuse(
                source, f"{other.path.name!r} differs from {first.path.name!r} in size, pixel "
                "spacing or orientation", "Give the slices of one stack",
            )  # fmt: skip
    ordered, step = _stacked(source, slices)
    return _volume(source, ordered, step)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read(path: Path, **options: Any) -> Any:
    with BoundedFile(path) as stream:
        return _pydicom().dcmread(stream, **options)


def _read_header(path: Path) -> _Slice | None:
    """Return what a file says; None if it holds no picture, such as a DICOMDIR or a report."""
    stamp = stamp_of(path)
    with reading(path):
        header = _read(path, stop_before_pixels=True, specific_tags=_TAGS)
        if "Rows" not in header or "Columns" not in header:
            kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
            if kind is None or "Image Storage" in kind.name:
                refuse(path, "it is cut short: its size is missing", "Copy or export it again")
            return None
        if int(header.get("NumberOfFrames") or 1) > 1:
            refuse(path, "it holds many frames in one file", "Convert it to NIfTI (dcm2niix)")
        if int(header.get("SamplesPerPixel", 1)) != 1:
            refuse(path, "it is a colour picture", "Give a series of grey values")
        missing = [
            name for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
            if not header.get(name)
        ]  # fmt: skip
        if missing:
            refuse(path, f"it has no {' and no '.join(missing)}", "Export a series of slices")
        rows, columns = (np.array(header.ImageOrientationPatient, float)[i : i + 3] for i in (0, 3))
        down, right = (float(size) for size in header.PixelSpacing)
        axes = np.stack([columns * down, rows * right])  # of a step in row, and in column, number
        position = np.array(header.ImagePositionPatient, float)
        scale = (float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0)))
        if not np.isfinite([*position, *axes.ravel(), *scale]).all() or scale[0] == 0:
            refuse(path, "its place or scale is not finite, or the scale 0", "Export it again")
        _check_pixels(path, header)
        return _Slice(path, stamp, header, position, axes, scale)


def _check_pixels(path: Path, header: Any) -> None:
    """Check, before anything is decoded, that the pixels are there and can be decoded."""
    syntax = header.file_meta.TransferSyntaxUID
    bits = int(header.BitsAllocated)
    needed = int(header.Rows) * int(header.Columns) * bits // 8
    if bits not in (8, 16, 32):
        refuse(path, f"its pixels have {bits} bits", "Convert it to NIfTI (dcm2niix)")
    check_claim(path, (int(header.Rows), int(header.Columns)), f"u{bits // 8}")
    if not syntax.is_compressed:
        if path.stat().st_size < needed:
            refuse(
                path, f"the file is cut short: its pixels need {needed} bytes, it has "
                f"{path.stat().st_size}", "Copy or export it again",
            )  # fmt: skip
    elif not _pydicom().pixels.get_decoder(syntax).is_available:
        refuse(path, f"it is compressed as {syntax.name}, for which no decoder is installed",
               "pip install 'pylibjpeg[all]', or convert it to NIfTI (dcm2niix)")  # fmt: skip


def _check_one_series(source: Path, slices: Sequence[_Slice]) -> None:
    series: dict[str, list[_Slice]] = {}
    for item in slices:
        series.setdefault(str(item.header.get("SeriesInstanceUID", "")), []).append(item)
    if len(series) > 1:
        listed = "; ".join(
            f"{str(items[0].header.get('SeriesDescription', '')) or uid!r}: {len(items)} slices, "
            f"such as {items[0].path.name!r}"
            for uid, items in series.items()
        )
        refuse(
            source, f"it holds {len(series)} series ({listed})",
            "Put each series into a folder of its own, or choose the files of one",
        )  # fmt: skip


def _stacked(
    source: Path, slices: Sequence[_Slice]
) -> tuple[list[_Slice], npt.NDArray[np.float64]]:
    """Return the slices along their normal, and the step from one to the next in millimetres."""
    normal = np.cross(*slices[0].axes[::-1])
    normal /= np.linalg.norm(normal)
    ordered = sorted(slices, key=lambda s: float(s.position @ normal))
    places = np.array([s.position for s in ordered])
    if len(ordered) == 1:
        return ordered, normal * min(np.linalg.norm(slices[0].axes, axis=1))
    heights = np.diff(places @ normal)
    usual = float(np.median(heights))
    twice = np.flatnonzero(heights < max(_UNEVEN * usual, 1e-4))
    if twice.size:
        one, other = ordered[twice[0]].path.name, ordered[twice[0] + 1].path.name
        refuse(source, f"{one!r} and {other!r} lie at the same place",
               "Give one time point, echo or copy only")  # fmt: skip
    wide = np.flatnonzero(np.abs(heights - usual) > _UNEVEN * usual)
    if wide.size:
        _refuse_gap(source, ordered, heights, usual, int(wide[0]))
    step = (places[-1] - places[0]) / (len(ordered) - 1)
    straight = places[0] + np.arange(len(ordered))[:, None] * step
    if np.abs(places - straight).max() > max(_UNEVEN * usual, 0.01):
        refuse(source, "its slices do not lie on a straight line", "Export the series again")
    return ordered, step


def _refuse_gap(
    source: Path, ordered: Sequence[_Slice], heights: npt.NDArray[Any], usual: float, at: int
) -> None:
    between = f"between {ordered[at].path.name!r} and {ordered[at + 1].path.name!r}"
    missing = round(float(heights[at]) / usual) - 1
    whole = missing > 0 and abs(heights[at] - (missing + 1) * usual) < 2 * _UNEVEN * usual
    what = f"{missing} slices are missing" if whole else "the distance is another"
    refuse(
        source, f"{what} {between}: {heights[at]:.3f} mm, elsewhere {usual:.3f} mm",
        "Copy the whole series, or resample it to even distances",
    )  # fmt: skip


def _volume(source: Path, slices: Sequence[_Slice], step: npt.NDArray[np.float64]) -> Image:
    first = slices[0]
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_ZYX @ np.stack([step, *first.axes], axis=1)
    affine[:3, 3] = _LPS_TO_ZYX @ first.position
    scales = tuple(s.scale for s in slices)
    shape = (len(slices), *first.shape)
    array = _Volume(
        source, shape, _dtype(slices), first.stamp, tuple(s.path for s in slices),
        tuple(s.stamp for s in slices), scales,
    )  # fmt: skip
    data, axes = in_image_order(array, (1, *first.shape), "ZYX", (0, 1, 2))
    described = str(first.header.get("SeriesDescription", "")).strip()
    return Image.from_array(
        data, axes=axes, affine=affine, units="millimeter", nodata=_padding(slices),
        name=described or source.name, source=source,
    )  # fmt: skip


def _dtype(slices: Sequence[_Slice]) -> np.dtype[Any]:
    """Return the least integer type that holds every rescaled value; float32 for fractions."""
    bounds = []
    for item in slices:
        bits = int(item.header.get("BitsStored", item.header.BitsAllocated))
        signed = bool(item.header.get("PixelRepresentation", 0))
        ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1])
        bounds.extend((ends * item.scale[0] + item.scale[1]).tolist())
    if not all(float(value).is_integer() for s in slices for value in s.scale):
        return np.dtype(np.float32)
    low, high = int(min(bounds)), int(max(bounds))
    kinds = (np.uint8, np.uint16, np.int16, np.int32, np.int64)
    return np.dtype(next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max))


def _padding(slices: Sequence[_Slice]) -> float | None:
    """Return the value around the scanned circle, if all slices have the same."""
    values = {
        None if s.header.get("PixelPaddingValue") is None
        else float(s.header.PixelPaddingValue) * s.scale[0] + s.scale[1]
        for s in slices
    }  # fmt: skip
    return values.pop() if len(values) == 1 else None


FORMAT = DicomFormat()
