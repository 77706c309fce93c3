"""NIfTI-1 and -2, plain or gzipped, through nibabel (extra ``medical``)."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.errors import missing_extra
from napari_clusternet.image import Image
from napari_clusternet.io.base import (
    OpenOptions,
    check_claim,
    keep_axes,
    loses,
    reading,
    refuse,
    unit_name,
    usable_affine,
)
from napari_clusternet.io.lazy import FileArray, Slices, WholeFileArray, in_image_order, stamp_of

#: NIfTI's unit code of the spatial axes; files that say "unknown" mean millimetres in practice.
_UNITS = {"unknown": "millimeter", "mm": "millimeter", "micron": "micrometer", "meter": "metre"}
_CODES = {"millimeter": "mm", "micrometer": "micron", "metre": "meter"}
_NIFTI1_MAX_AXIS = 32767


def _nibabel() -> Any:
    if find_spec("nibabel") is None:
        missing_extra("nibabel", "medical", "A NIfTI file")
    import nibabel

    return nibabel


def _dataobj(path: Path) -> Any:
    # A memory map of a file that shrinks kills the process; reading slices raises instead.
    return _nibabel().load(path, mmap=False).dataobj


@dataclass(frozen=True)
class _Sliced(FileArray):
    """An uncompressed NIfTI, axes in nibabel's order reversed."""

    def read(self, region: Slices) -> npt.NDArray[Any]:
        return np.asarray(_dataobj(self.path)[region[::-1]]).T


@dataclass(frozen=True)
class _Gzipped(WholeFileArray):
    """A gzipped NIfTI, axes in nibabel's order reversed."""

    def load(self) -> npt.NDArray[Any]:
        return np.asarray(_dataobj(self.path)).T.astype(self.dtype, copy=False)


class NiftiFormat:
    """NIfTI; see `napari_clusternet.io.base.Format`."""

    name = "nifti"
    suffixes = (".nii", ".nii.gz")
    writes = True

    def sniff(self, path: Path) -> bool:
        """Return whether the name and the header are NIfTI's."""
        return path.is_file() and path.name.lower().endswith(self.suffixes)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open a volume as ([C,] Z, Y, X), world axes (z, y, x), RAS+ as in the file."""
        nibabel = _nibabel()
        stamp = stamp_of(path)
        gzipped = path.name.lower().endswith(".gz")
        with reading(path):
            file = nibabel.load(path, mmap=False)
            header = file.header
            shape = tuple(int(n) for n in file.shape)[::-1]
            raw = header.get_data_dtype()
            check_claim(path, shape, raw, chunk=shape if gzipped else ())
            _check_length(path, file.dataobj.offset + math.prod(shape) * raw.itemsize, gzipped)
            letters = "CTZYX"[-len(shape) :]  # (x, y, z, time, vector component), reversed
            axes = options.axes
            kept = tuple(range(len(shape)))
            if axes is None:
                axes, kept = _axes(path, letters, shape, options.generic_axis)
            fields = _fields(path, file, options, sum(a in "ZYX" for a in axes))
            kind = _Gzipped if gzipped else _Sliced
            source = kind(path, shape, _scaled_dtype(raw, file.dataobj), stamp)
        native = (1,) * (len(shape) - 1) + shape[-1:]
        array, axes = in_image_order(source, native, axes, kept)
        return Image.from_array(
            array, axes=axes, complex_values=options.complex_values, name=path.name, source=path,
            **fields,
        )  # fmt: skip

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Write labels with the affine, codes and units of `like`."""
        nibabel = _nibabel()
        if like.crs is not None:
            loses("a CRS", "NIfTI", "Write a .tif to keep it")
        big = max(labels.shape) > _NIFTI1_MAX_AXIS
        form = nibabel.Nifti2Image if big else nibabel.Nifti1Image
        own = like.extra.get("nifti", {})
        matrix = _xyz(like.affine)
        file = form(labels.T, matrix)
        _set_codes(file, matrix, own)
        file.header.set_xyzt_units(own.get("units") or _unit_code(like.units))
        if class_names:
            text = json.dumps({"class_names": class_names}).encode()
            file.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
        nibabel.save(file, path)


def _set_codes(file: Any, matrix: npt.NDArray[np.float64], own: Mapping[str, Any]) -> None:
    """Give the header the source's codes, as long as they then mean `matrix`."""
    s_code, q_code = own.get("sform_code", 1), own.get("qform_code", 1)
    file.set_sform(matrix, code=s_code)
    file.set_qform(matrix, code=q_code, strip_shears=True)
    if not np.allclose(file.header.get_best_affine(), matrix, rtol=1e-5, atol=1e-5):
        file.set_sform(matrix, code=1)


def _axes(
    path: Path, letters: str, shape: tuple[int, ...], generic: str | None
) -> tuple[str, tuple[int, ...]]:
    """Keep Z even when it has length 1: the affine is in space."""
    if len(shape) < 2:
        refuse(path, f"it has shape {shape}", "Give an image or a volume")
    fixed = [max(n, 2) if a == "Z" else n for a, n in zip(letters, shape, strict=True)]
    return keep_axes(path, letters, fixed, generic)


def _scaled_dtype(raw: np.dtype[Any], dataobj: Any) -> np.dtype[Any]:
    """Return the type after ``scl_slope``; float32 where it holds every stored value."""
    slope, inter = dataobj.slope, dataobj.inter
    if (slope, inter) == (1, 0) or raw.kind not in "iuf":
        return raw
    return np.dtype(np.float32 if raw.itemsize <= 2 or raw == np.float32 else np.float64)


def _check_length(path: Path, needed: int, gzipped: bool) -> None:
    """Refuse a file shorter than its header says, without decoding it where possible."""
    if not gzipped:
        found = path.stat().st_size
    else:
        with path.open("rb") as stream:
            stream.seek(-4, 2)
            trailer = int.from_bytes(stream.read(4), "little")
        if trailer == needed % (1 << 32):  # gzip ends with the content's length modulo 2^32
            return
        found = 0
        with gzip.open(path) as stream:  # several members, or damaged: count
            while found < needed and (block := stream.read(1 << 20)):
                found += len(block)
    if found < needed:
        refuse(
            path, f"the file is cut short: its header needs {needed} bytes, it has {found}",
            "Copy or export the file again",
        )  # fmt: skip


def _xyz(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return an affine in ([z,] y, x) order as NIfTI's 4 x 4 in (x, y, z) order."""
    full = np.eye(4)
    ndim = len(affine) - 1
    full[:ndim, :ndim] = affine[:-1, :-1][::-1, ::-1]
    full[:ndim, 3] = affine[:-1, -1][::-1]
    return full


def _zyx(matrix: npt.NDArray[np.float64], ndim: int) -> npt.NDArray[np.float64]:
    """Return NIfTI's affine in ([z,] y, x) order: rows and columns reversed."""
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = matrix[:ndim, :ndim][::-1, ::-1]
    affine[:ndim, -1] = matrix[:ndim, 3][::-1]
    return affine


def _fields(path: Path, file: Any, options: OpenOptions, ndim: int) -> dict[str, Any]:
    affine = _zyx(np.asarray(file.affine, dtype=float), ndim)
    header = file.header
    space = header.get_xyzt_units()[0]
    classes = {}
    for extension in header.extensions:
        if extension.get_code() == 6 and b'"class_names"' in bytes(extension.content):
            stored = json.loads(bytes(extension.content).rstrip(b"\0"))["class_names"]
            classes = {int(label): str(name) for label, name in stored.items()}
    own = {
        "qform_code": int(header["qform_code"]), "sform_code": int(header["sform_code"]),
        "units": space, "dtype": header.get_data_dtype().name,
    }  # fmt: skip
    return {
        "affine": usable_affine(path, affine, options),
        "units": _UNITS.get(space, "millimeter"),
        "extra": {"nifti": own, "class_names": classes},
    }


def _unit_code(units: tuple[str, ...]) -> str:
    code = _CODES.get(unit_name(units[0]))
    if code is None or len(set(units)) > 1:
        loses(f"the units {units}", "NIfTI", "They were written as unknown")
        return "unknown"
    return code


FORMAT = NiftiFormat()
