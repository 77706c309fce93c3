"""What tells whether a session or a source is still the one that a run was started with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from napari_clusternet.device import Device
from napari_clusternet.image import Image
from napari_clusternet.io.lazy import stamp_of
from napari_clusternet.predictor import Predictor
from napari_clusternet.session_image import describe_image

#: Files of a folder whose size and time are looked at; a store may hold millions.
_FILES = 4096


def fingerprint(value: Any) -> str:
    """Return a digest of arrays, networks, dataclasses and plain values, nested as they like.

    The same on every machine and in every process; where something is computed (`Device`) and
    what is private does not count.
    """
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()[:32]


def session_fingerprint(predictor: Predictor) -> str:
    """Return the digest of everything that decides about labels."""
    state = predictor.state
    return fingerprint((predictor.extractor, predictor.base, state.divides, state.classes))


def _parts(value: Any) -> Iterator[bytes]:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, Device):
        return
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
        return
    yield f"{type(value).__name__}:".encode()
    if hasattr(value, "state_dict"):
        value = dict(value.state_dict())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "__dict__") and not callable(getattr(value, "__get__", None)):
        value = {name: part for name, part in vars(value).items() if not name.startswith("_")}
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            yield f"{name}=".encode()
            yield from _parts(value[name])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    else:
        yield f"{value!r};".encode()


def source_record(image: Image) -> dict[str, Any]:
    """Return what identifies an image, as JSON can hold it.

    Of a file its size and time, of a folder those of its first files, of pixels in memory a
    checksum; and always the grid and a checksum of a block in the middle.
    """
    record = describe_image(image)
    if isinstance(image.data, np.ndarray):
        record["pixels"] = zlib.crc32(np.ascontiguousarray(image.data).data)
    elif image.source is not None:
        files = [image.source, *map(Path, image.extra.get("files", ()))]
        record["stamps"] = [_stamps(file) for file in files[:_FILES]]
    # as it will come back from a file: tuples become lists
    back: dict[str, Any] = json.loads(json.dumps(record))
    return back


def _stamps(path: Path) -> str:
    files = [path] if path.is_file() else islice(_files(path), _FILES)
    return fingerprint([(str(file.relative_to(path.parent)), stamp_of(file)) for file in files])


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(files))
