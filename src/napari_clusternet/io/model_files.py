"""Model and session files: named arrays (safetensors) and JSON metadata in one file; no pickle."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.io.atomic import atomic_path

if TYPE_CHECKING:
    import numpy.typing as npt

#: The one key of the safetensors header that is ours; it holds JSON.
KEY = "napari_clusternet"

#: Version of the layout described here. Readers accept it and every earlier one.
VERSION = 1

#: A header larger than this is an attack or damage: ours take some kilobytes.
MAX_HEADER = 32 << 20

#: dtype -> what safetensors calls it.
_DTYPES = {"bool": "BOOL", "float16": "F16", "float32": "F32", "float64": "F64"} | {
    f"{sign}int{bits}": f"{letter}{bits}"
    for sign, letter in (("", "I"), ("u", "U"))
    for bits in (8, 16, 32, 64)
}


def save_model(
    path: str | os.PathLike[str],
    tensors: Mapping[str, npt.ArrayLike],
    metadata: Mapping[str, Any],
    *,
    kind: str = "clusternet-model",
    version: int = VERSION,
) -> None:
    """Write arrays and metadata to one file, atomically.

    Parameters
    ----------
    path : path-like
        File to write; what it held is replaced only once the new file is complete.
    tensors : mapping of str to array
        Arrays of any shape and of a boolean, integer or float dtype.
    metadata : mapping
        Anything JSON can hold; NaN and infinity are refused.
    kind : str
        What the file is, so that a session is not taken for a model.
    version : int
        Version of `kind`'s layout.

    Raises
    ------
    InputError
        If the metadata is not JSON.
    OSError
        If the system refuses to write; the earlier file is unchanged.
    """
    arrays = {name: _plain(np.asarray(value)) for name, value in tensors.items()}
    content = {
        "format": kind,
        "version": version,
        "tensors": sorted(arrays),
        "checksums": {name: _checksum(array) for name, array in arrays.items()},
        "metadata": dict(metadata),
    }
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        invalid("metadata", metadata, f"not JSON ({error})", "Give finite numbers, text and lists")
    with atomic_path(path) as temporary:
        _write(arrays, temporary, text)


def load_model(
    path: str | os.PathLike[str],
    *,
    kind: str = "clusternet-model",
    version: int = VERSION,
    required: Collection[str] = (),
    finite: bool = True,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `save_model` wrote, checking it first; nothing in the file is ever executed.

    Parameters
    ----------
    path : path-like
        File to read.
    kind : str
        What the file must be.
    version : int
        Newest version of `kind` the caller understands.
    required : collection of str
        Names of arrays, or of metadata entries, that must be there.
    finite : bool
        Whether NaN or infinite values are refused.

    Returns
    -------
    tensors : dict of str to numpy.ndarray
    metadata : dict

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, not ours, of another kind or a newer version, lacks
        something required, or holds NaN; the message names the file and the remedy.
    """
    source = Path(path)
    _check_header(source)
    content, tensors = _read(source)
    if content.get("format") != kind:
        _refuse(source, f"it is a {content.get('format')!r}, not a {kind!r}", "Give such a file")
    found = content.get("version")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        _refuse(source, f"its version {found!r} is not a number", "Save it again")
    if found > version:
        _refuse(
            source, f"it has version {found}, this program reads up to {version}",
            "Update napari-clusternet",
        )  # fmt: skip
    metadata = content.get("metadata")
    names = content.get("tensors")
    known = isinstance(content.get("checksums", {}), dict)
    if not isinstance(metadata, dict) or not isinstance(names, list) or not known:
        _refuse(source, "its metadata is incomplete", "Save it again")
    missing = (set(map(str, names)) - set(tensors)) | {
        name for name in required if name not in tensors and name not in metadata
    }
    if missing:
        _refuse(source, f"it lacks {sorted(missing)}", "It is damaged or edited; save it again")
    checksums = content.get("checksums", {})  # older files have none
    for name in sorted(tensors):
        if name in checksums and checksums[name] != _checksum(tensors[name]):
            _refuse(source, f"{name!r} is not what was written", "Use an earlier file, or a copy")
    if finite:
        _check_finite(source, tensors)
    return tensors, metadata


def _write(arrays: dict[str, npt.NDArray[Any]], path: Path, text: str) -> None:
    """Write a safetensors file: length of the header, header in JSON, arrays one after the other.

    The library's own writer makes a temporary file of its own, which stays if it is killed.
    """
    header: dict[str, Any] = {"__metadata__": {KEY: text}}
    # wider ones first, so that all are aligned
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        kind = _DTYPES[arrays[name].dtype.name]
        shape = list(arrays[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(raw)) + raw)
        for name in names:
            stream.write(arrays[name].reshape(-1).view(np.uint8).data)


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `array` in C order and little-endian, as safetensors stores it."""
    if array.dtype.name not in _DTYPES:
        invalid("tensors", array, "neither boolean, integer nor float", "Convert it first")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _checksum(array: npt.NDArray[Any]) -> int:
    """Return the CRC-32 of an array's bytes: damage is found, edits by a stranger are not."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _refuse(path: Path, problem: str, remedy: str) -> NoReturn:
    invalid("path", str(path), problem, remedy, error=FileFormatError)


def _check_header(path: Path) -> None:
    """Refuse a header that cannot be ours before anything is allocated for it."""
    remedy = "Give a file written by this program; if it was, save or download it again"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            _refuse(path, "it is not a file", remedy)
        size = status.st_size
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        _refuse(path, f"it cannot be read ({error.strerror})", "Check the name and permissions")
    if len(start) < 9 or start[8:9] != b"{":
        _refuse(path, "it is not a safetensors file", remedy)
    length = struct.unpack("<Q", start[:8])[0]
    if length > min(MAX_HEADER, size - 8):
        _refuse(path, f"its header claims {length} bytes of a file of {size}", remedy)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    remedy = "Give a file written by this program; if it was, save or download it again"
    try:
        # safetensors checks that offsets are in bounds, do not overlap and leave no gap
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                _refuse(path, f"it has no {KEY!r} metadata", remedy)
            content = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        _refuse(path, f"it is damaged ({error})", remedy)
    if not isinstance(content, dict):
        _refuse(path, "its metadata is not a JSON object", remedy)
    return content, tensors


def _check_finite(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            _refuse(
                path, f"{name!r} holds NaN or infinite values",
                "The training that wrote it failed; use an earlier file or train again",
            )  # fmt: skip
