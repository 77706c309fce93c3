"""Session files: everything a session needs to go on as if it had never been closed.

One safetensors file with JSON metadata. Dataclasses of a session become JSON with references to
named arrays; only the classes listed here are ever built from it.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.engine import ClusterEngine
from napari_clusternet.errors import FileFormatError, InputError, invalid
from napari_clusternet.extraction import is_array, matrix_steps
from napari_clusternet.features.matrix import FeatureMatrix
from napari_clusternet.history import ClusterState, Divide, Entry, History
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.io.opening import open_image
from napari_clusternet.partition import Move, Partition
from napari_clusternet.progress import drain

if TYPE_CHECKING:
    from napari_clusternet.session import Session

KIND = "clusternet-session"
VERSION = 1

_CLASSES = {cls.__name__: cls for cls in (ClusterState, Divide, Entry, Move)}
_REQUIRED = ("cluster_map", "order", "segments", "strokes", "base", "state", "history", "image")
#: Bytes of the image's middle that are checked against the image given at loading.
_CHECK_EDGE = 64


class _Packer:
    """Turns nested dataclasses, tuples and arrays into JSON plus named arrays, each once."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def pack(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            name = self._names.setdefault(id(value), f"a{len(self._names)}")
            self.arrays[name] = value
            return {"array": name}
        if type(value).__name__ in _CLASSES:
            parts = {f.name: self.pack(getattr(value, f.name)) for f in fields(value)}
            return {"class": type(value).__name__, "fields": parts}
        if isinstance(value, list | tuple):
            return [self.pack(item) for item in value]
        return value


def _unpack(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item, arrays) for item in value)
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        cls = _CLASSES[value["class"]]
        return cls(**{name: _unpack(part, arrays) for name, part in value["fields"].items()})
    return value


def save_session(session: Session, path: str | Path) -> Path:
    """Write `session` to `path`, atomically; see `Session.save`."""
    engine, packer = session._engine, _Packer()
    history = session._history
    state = packer.pack(engine.state)
    entries = packer.pack(history.entries)
    arrays = (
        packer.arrays
        | engine.partition.arrays()
        | {
            "strokes": engine.strokes,
            "base": session._base,
        }
    )
    metadata: dict[str, Any] = {
        "mode": session.mode,
        "random_state": session.random_state,
        "state": state,
        "history": {"entries": entries, "position": history.position, "limit": history.limit},
        "features": _names(session.features, arrays),
        "image": _describe_image(session.image),
    }
    mask, in_memory = session.image.mask, session.image.source is None
    if isinstance(mask, np.ndarray) or (mask is not None and in_memory):
        arrays["image_mask"] = np.asarray(mask)  # not to be had from the image's own file
    if in_memory:
        arrays["image_data"] = np.asarray(session.image.data)
    if is_array(session.features):
        arrays["rows"], arrays["valid"] = engine.matrix.rows, engine.matrix.valid
    save_model(path, arrays, metadata, kind=KIND, version=VERSION)
    return Path(path)


def load_session(cls: type[Session], path: str | Path, image: Image | None) -> Session:
    """Read what `save_session` wrote; see `Session.load`."""
    # a user's nodata may be NaN inside the embedded image, so NaN is looked for where it matters
    arrays, metadata = load_model(
        path, kind=KIND, version=VERSION, required=_REQUIRED, finite=False
    )
    picture = _find_image(path, metadata["image"], arrays, image)
    try:
        return _rebuild(cls, arrays, metadata, picture)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        invalid(
            "path",
            str(path),
            f"its parts do not fit together ({' '.join(str(error).split())})",
            "It is damaged or edited; use an earlier file",
            error=FileFormatError,
        )


def _rebuild(
    cls: type[Session], arrays: dict[str, Any], metadata: dict[str, Any], image: Image
) -> Session:
    session = cls.__new__(cls)
    session.image, session.mode = image, metadata["mode"]
    session._listeners = []
    session.random_state = int(metadata["random_state"])
    if session.mode not in ("enhanced", "paper"):
        raise ValueError(f"mode {session.mode!r}")
    session._base = np.asarray(arrays["base"], dtype=np.float32)
    partition = Partition.from_arrays(
        arrays["cluster_map"].reshape(image.shape), arrays["order"], arrays["segments"]
    )
    state = _unpack(metadata["state"], arrays)
    _check_state(state, partition)
    if "rows" in arrays:
        session._extractor = None
        matrix = FeatureMatrix(arrays["rows"], arrays["valid"].reshape(image.shape))
        session.features = arrays["rows"]
    else:
        session.features = _features(metadata["features"], arrays)
        steps = matrix_steps(image, session.features, session.random_state)
        session._extractor, matrix = drain(steps)
    if matrix.n_features != state.centroids.shape[1] or matrix.n_features != len(session._base.T):
        raise ValueError(f"{matrix.n_features} features, centroids {state.centroids.shape}")
    enhanced = session.mode == "enhanced"
    engine = ClusterEngine(
        matrix, partition, state, enhanced=enhanced, random_state=session.random_state
    )
    engine.restore_strokes(arrays["strokes"].reshape(-1))
    session._engine = engine
    stored = metadata["history"]
    session._history = History(int(stored["limit"]))
    session._history.entries = list(_unpack(stored["entries"], arrays))
    session._history.position = int(stored["position"])
    if not 0 <= session._history.position <= len(session._history.entries):
        raise ValueError("history position")
    return session


def _check_state(state: ClusterState, partition: Partition) -> None:
    n = partition.n_ids
    lengths = {len(t) for t in (state.counts, state.centroids, state.assigned, state.classes)}
    if lengths | {len(state.states), len(state.certainty)} != {n}:
        raise ValueError(f"tables of {sorted(lengths)} rows for {n} clusters")
    if not np.isfinite(state.centroids).all() or not np.isfinite(state.certainty).all():
        raise ValueError("NaN in the tables")


def _describe_image(image: Image) -> dict[str, Any]:
    return {
        "source": None if image.source is None else str(image.source),
        "name": image.name,
        "shape": list(image.data.shape),
        "dtype": image.bands.dtype,
        "check": _checksum(image),
        "affine": image.affine.tolist(),
        "units": list(image.units),
        "crs": image.crs,
        "band_names": list(image.band_names),
        "nodata": None if image.nodata is None else str(float(image.nodata)),
        "opened_with": dict(image.extra.get("opened_with", {})),
    }


def _checksum(image: Image) -> int:
    """CRC of a block in the middle of the image, as float32."""
    middle = tuple(
        slice(max(0, size // 2 - _CHECK_EDGE // 2), size // 2 + _CHECK_EDGE // 2)
        for size in image.shape
    )
    values, valid = image.read(middle)
    return zlib.crc32(np.packbits(valid).tobytes(), zlib.crc32(values.tobytes()))


def _find_image(
    path: str | Path, record: dict[str, Any], arrays: dict[str, Any], image: Image | None
) -> Image:
    """Return the image given, embedded, or where it was; checked to be the same one."""
    settings = {
        "affine": record["affine"],
        "units": record["units"],
        "crs": record["crs"],
        "band_names": record["band_names"],
        "nodata": None if record["nodata"] is None else float(record["nodata"]),
        "mask": arrays.get("image_mask"),
    }
    if image is None and "image_data" in arrays:
        data = arrays["image_data"]
        axes = "CYX" if data.ndim == 3 else "CZYX"
        image = Image.from_array(data, axes=axes, name=record["name"], **settings)
    elif image is None:
        source = record["source"]
        if not isinstance(source, str) or "://" in source or not Path(source).exists():
            invalid(
                "image", source, f"the image of {str(path)!r} is not there", "Pass image= to load"
            )
        image = open_image(source, **settings, **record["opened_with"])
    if list(image.data.shape) != record["shape"] or _checksum(image) != record["check"]:
        invalid(
            "image",
            image.name,
            f"not the image the session was made for (shape {tuple(record['shape'])}, "
            f"now {tuple(image.data.shape)}, or other values)",
            "Give that image, or open a new session",
        )
    return image


def _names(features: Any, arrays: dict[str, Any]) -> Any:
    """Describe features in JSON; models go into `arrays` as the files they would be saved as."""
    if isinstance(features, tuple):
        return [_names(part, arrays) for part in features]
    if isinstance(features, str) or is_array(features):
        return features if isinstance(features, str) else None
    name = f"model_{sum(key.startswith('model_') for key in arrays)}"
    arrays[name] = _file_bytes(features)
    return {"model": name}


def _features(record: Any, arrays: dict[str, Any]) -> Any:
    """Rebuild what `_names` described."""
    if isinstance(record, list):
        return tuple(_features(part, arrays) for part in record)
    return _model(arrays[record["model"]]) if isinstance(record, dict) else record


def _file_bytes(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.safetensors")
        return np.frombuffer((Path(folder) / "model.safetensors").read_bytes(), np.uint8)


def _model(content: Any) -> Any:
    from napari_clusternet.clusternet import ClusterNet

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(np.asarray(content, np.uint8).tobytes())
        return ClusterNet.load(file)
