"""Session files: everything a session needs to go on as if it had never been closed.

One safetensors file with JSON metadata. Dataclasses of a session become JSON with references to
named arrays; only the classes listed here are ever built from it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.config import SESSION
from napari_clusternet.errors import FileFormatError, InputError, invalid
from napari_clusternet.extraction import is_array, matrix_steps
from napari_clusternet.features.matrix import FeatureMatrix, Outside
from napari_clusternet.field import Field
from napari_clusternet.history import ClusterState, Divide, Entry, History
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.partition import Move, Partition
from napari_clusternet.progress import drain
from napari_clusternet.session_checks import (
    check_field,
    check_history,
    check_matrix,
    check_outside,
    check_seed,
    check_state,
    check_strokes,
)
from napari_clusternet.session_image import choose_image, describe_image, reopens
from napari_clusternet.session_scene import describe_scene, find_scene

if TYPE_CHECKING:
    from napari_clusternet.session import Session

KIND = "clusternet-session"
VERSION = 2  # 1 wrote every split again for each step

_CLASSES = {cls.__name__: cls for cls in (ClusterState, Divide, Entry, Move)}
_REQUIRED = ("cluster_map", "order", "segments", "strokes", "base", "state", "history", "image")


class _Packer:
    """Turns nested dataclasses, tuples and arrays into JSON plus named arrays.

    What many steps share, arrays and objects, is written once and named by its place after that.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.objects: list[dict[str, Any]] = []  # each after those that it refers to
        self._names: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets the same id

    def pack(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            name = self._names.setdefault(id(value), f"a{len(self._names)}")
            self.arrays[name] = value
            return {"array": name}
        if _is_packed(value):
            return {"object": self._place(value)}
        if isinstance(value, list | tuple):
            if all(map(_is_packed, value)):
                return {"objects": [self._place(item) for item in value]}
            return [self.pack(item) for item in value]
        return value

    def _place(self, value: Any) -> int:
        if id(value) not in self._places:
            parts = {f.name: self.pack(getattr(value, f.name)) for f in fields(value)}
            self.objects.append({"class": type(value).__name__, "fields": parts})
            self._places[id(value)] = len(self.objects) - 1
            self._kept.append(value)
        return self._places[id(value)]


def _is_packed(value: Any) -> bool:
    return type(value).__name__ in _CLASSES


class _Unpacker:
    """Builds what a `_Packer` packed; objects of version 1 stand where they are used."""

    def __init__(self, arrays: dict[str, Any], objects: list[dict[str, Any]]) -> None:
        self._arrays, self._made = arrays, list[Any]()
        self._shared: dict[str, Divide] = {}
        for record in objects:
            self._made.append(self._object(record))

    def unpack(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(self.unpack(item) for item in value)
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return self._arrays[value["array"]]
        if "object" in value:
            return self._at(value["object"])
        if "objects" in value:
            return tuple(map(self._at, value["objects"]))
        key = repr(value) if value["class"] == Divide.__name__ else ""
        if key not in self._shared:
            made = self._object(value)
            if not key:
                return made
            self._shared[key] = made
        return self._shared[key]

    def _at(self, place: Any) -> Any:
        if type(place) is not int or not 0 <= place < len(self._made):
            raise LookupError(f"object {place!r}")
        return self._made[place]

    def _object(self, record: dict[str, Any]) -> Any:
        parts = {name: self.unpack(part) for name, part in record["fields"].items()}
        return _CLASSES[record["class"]](**parts)


@dataclass(frozen=True)
class SessionSnapshot:
    """All of a session that goes into its file, as it was when this was made.

    Attributes
    ----------
    image : Image
        The session's image.
    arrays, metadata : dict
        Content of the file, but for the image's pixels.
    """

    image: Image
    arrays: dict[str, Any]
    metadata: dict[str, Any]

    def write(self, path: str | Path) -> Path:
        """Write the file, atomically; may run in another thread than the session's.

        The pixels go along unless the image's own file gives them back.

        Raises
        ------
        OSError
            If the system refuses to write; the earlier file is unchanged.
        """
        arrays, image = dict(self.arrays), self.image
        record = describe_image(image)
        if isinstance(image.mask, np.ndarray):
            arrays["image_mask"] = image.mask  # not to be had from the image's own file
        if not reopens(record, arrays) and image.data.nbytes <= SESSION.embed_bytes:
            arrays["image_data"] = np.asarray(image.data)
            if image.mask is not None:
                arrays["image_mask"] = np.asarray(image.mask)
        save_model(path, arrays, {**self.metadata, "image": record}, kind=KIND, version=VERSION)
        return Path(path)


def take_snapshot(session: Session, extra: Mapping[str, Any] | None = None) -> SessionSnapshot:
    """Copy what a session's file holds, so that the session may go on while it is written.

    Parameters
    ----------
    session : Session
    extra : mapping, optional
        Anything JSON can hold, for the program that saves; see `load_with_extra`.
    """
    engine, packer, history = session._engine, _Packer(), session._history
    state = packer.pack(engine.state)
    entries = packer.pack(tuple(history.entries))
    changing = engine.partition.arrays() | {"strokes": engine.strokes}
    arrays = packer.arrays | {name: np.array(value) for name, value in changing.items()}
    arrays["base"] = session._base
    metadata: dict[str, Any] = {
        "mode": session.mode,
        "objects": packer.objects,
        "random_state": session.random_state,
        "state": state,
        "history": {"entries": entries, "position": history.position, "limit": history.limit},
        "features": _names(session.features, arrays),
        "extra": dict(extra or {}),
    }
    if is_array(session.features):
        arrays["rows"], arrays["valid"] = engine.matrix.rows, engine.matrix.valid
    if session.field is not None:
        metadata["field"] = {
            "region": [[part.start, part.stop] for part in session.field.region],
            "fitted_on": describe_image(session.field.fitted_on),
            "scene": _about(session.field),
        }
        arrays |= _field_arrays(session.field, engine.matrix)
    return SessionSnapshot(session.image, arrays, metadata)


def _about(field: Field) -> dict[str, Any] | None:
    return field.about if field.scene is None else describe_scene(field.scene)


def _field_arrays(field: Field, matrix: FeatureMatrix) -> dict[str, Any]:
    arrays = {"fitted_image_data": np.asarray(field.fitted_on.data)}
    if field.fitted_on.mask is not None:
        arrays["fitted_image_mask"] = np.asarray(field.fitted_on.mask)
    outside = matrix.outside
    assert outside is not None
    arrays |= {"outside_places": outside.places, "outside_rows": np.asarray(outside.rows)}
    return arrays if outside.maps is None else arrays | {"outside_maps": outside.maps}


def _field(
    record: dict[str, Any], arrays: dict[str, Any], shape: tuple[int, ...]
) -> tuple[Field, Outside]:
    """Rebuild the field, for `find_scene` to give its scene back, and the pixels outside."""
    prefix = "fitted_"
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    fitted_on = choose_image("", record["fitted_on"], own, None)
    region = tuple(slice(int(start), int(stop)) for start, stop in record["region"])
    outside = Outside(
        np.asarray(arrays["outside_places"], np.int64), arrays["outside_rows"],
        arrays.get("outside_maps"),
    )  # fmt: skip
    check_outside(outside, len(shape))
    about = record.get("scene")
    check_field(region, shape, about)
    return Field(None, region, fitted_on, about), outside


def save_session(session: Session, path: str | Path) -> Path:
    """Write `session` to `path`, atomically; see `Session.save`."""
    return take_snapshot(session).write(path)


def load_session(cls: type[Session], path: str | Path, image: Image | None) -> Session:
    """Read what `save_session` wrote; see `Session.load`."""
    session, _ = load_with_extra(cls, path, image)
    find_scene(session, image)
    return session


def load_with_extra(
    cls: type[Session], path: str | Path, images: Image | Iterable[Image] | None
) -> tuple[Session, dict[str, Any]]:
    """Read a session and the extra entries that were saved beside it.

    Parameters
    ----------
    cls : type
        `Session`.
    path : path-like
        The session file.
    images : Image or iterable of Image, optional
        The image, or candidates of which the right one is taken; where none is, the image is
        taken from the file, or from where it was. Of a session on a field the image may also be
        the scene's, for `napari_clusternet.session_scene.find_scene` to check.

    Raises
    ------
    FileFormatError
        If the file is damaged, of a future version, or not a session.
    InputError
        If the image is missing or not the one the session was made for.
    """
    # a user's nodata may be NaN inside the embedded image, so NaN is looked for where it matters
    arrays, metadata = load_model(
        path, kind=KIND, version=VERSION, required=_REQUIRED, finite=False
    )
    extra = metadata.get("extra", {})
    if "field" in metadata and isinstance(images, Image):
        images = [images]
    try:
        picture = choose_image(path, metadata["image"], arrays, images)
        return _rebuild(cls, arrays, metadata, picture), extra if isinstance(extra, dict) else {}
    except InputError:
        raise
    except (
        LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
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
    session.image, session.mode, session.field = image, metadata["mode"], None
    session._listeners = []
    session.random_state = check_seed(metadata["random_state"])
    if session.mode not in ("enhanced", "paper"):
        raise ValueError(f"mode {session.mode!r}")
    session._base = np.asarray(arrays["base"], dtype=np.float32)
    partition = Partition.from_arrays(
        arrays["cluster_map"].reshape(image.shape), arrays["order"], arrays["segments"],
        arrays.get("outside_ids"),
    )  # fmt: skip
    unpacker = _Unpacker(arrays, metadata.get("objects", []))
    state = unpacker.unpack(metadata["state"])
    strokes = arrays["strokes"].reshape(-1)
    check_strokes(strokes, state, partition)
    if "rows" in arrays:
        session._extractor = None
        matrix = FeatureMatrix(arrays["rows"], arrays["valid"].reshape(image.shape))
        session.features = arrays["rows"]
    else:
        session.features = _features(metadata["features"], arrays)
        fitted_on, outside = None, None
        if "field" in metadata:
            session.field, outside = _field(metadata["field"], arrays, image.shape)
            fitted_on = session.field.fitted_on
        steps = matrix_steps(image, session.features, session.random_state, fitted_on, outside)
        session._extractor, matrix = drain(steps)
    check_matrix(matrix, partition, session._base)
    check_state(state, matrix.n_features)
    session._history = _history(metadata["history"], unpacker, partition)
    engine = session._new_engine(matrix, partition, state)
    engine.restore_strokes(strokes)
    session._engine = engine
    return session


def _history(stored: dict[str, Any], unpacker: _Unpacker, partition: Partition) -> History:
    history = History(int(stored["limit"]))
    history.entries = list(unpacker.unpack(stored["entries"]))
    history.position = stored["position"]
    check_history(history.entries, history.position, partition)
    return history


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
