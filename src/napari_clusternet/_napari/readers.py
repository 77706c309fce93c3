"""Files dropped on the viewer: images with all that they say about themselves, and sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.dicom import FORMAT as DICOM
from napari_clusternet.io.dicom import open_series
from napari_clusternet.io.layer_data import labels_layer_data, layer_data
from napari_clusternet.io.omezarr import FORMAT as OME_ZARR
from napari_clusternet.io.opening import local_path, open_image

if TYPE_CHECKING:
    from napari.types import LayerDataTuple

    Reader = Callable[[Any], list[LayerDataTuple]]

SESSION_SUFFIX = ".clusternet"


def image_reader(path: str | Sequence[str]) -> Reader | None:
    """Return what reads an image or labels; None where it is not ours to read."""
    if not isinstance(path, str):
        return read_series if all(DICOM.sniff(Path(p)) for p in path) else None
    place = Path(path)
    if place.is_dir() and not (OME_ZARR.sniff(place) or DICOM.sniff(place)):
        return None
    return read_image


def session_reader(path: str | Sequence[str]) -> Reader | None:
    """Return what opens one of our sessions."""
    return read_session if isinstance(path, str) and path.endswith(SESSION_SUFFIX) else None


def read_image(path: str) -> list[LayerDataTuple]:
    """Read one image, lazily where it is large.

    Raises
    ------
    ClusterNetError
        If the file is damaged, or its axes are ambiguous; the message says what to do.
    """
    return [_layer(open_image(path))]


def read_series(paths: Sequence[str]) -> list[LayerDataTuple]:
    """Read the files of one DICOM series as a volume."""
    return [_layer(open_series([local_path(path) for path in paths]))]


def read_session(path: str) -> list[LayerDataTuple]:
    """Open a session in the current viewer; without one, return its image, strokes and labels."""
    viewer = napari.current_viewer()
    if viewer is not None:
        from napari_clusternet._napari.controller import current

        current(viewer).open_session(path)
        return [(None,)]  # napari's sign for "done, and no layers to add"
    from napari_clusternet.session import Session
    from napari_clusternet.session_file import load_with_extra

    session, extra = load_with_extra(Session, path, None)
    image = session.image
    names = class_names(extra)
    return [
        _layer(image),
        labels_layer_data(session.labels, image, f"{image.name} classes", names),
        labels_layer_data(session.strokes.copy(), image, f"{image.name} strokes", names),
    ]


def class_names(extra: dict[str, Any]) -> dict[int, str]:
    """Return class -> name from what a session's file holds beside the session."""
    stored = extra.get("classes", [])
    if not isinstance(stored, list) or not all(isinstance(item, dict) for item in stored):
        invalid("classes", stored, "not a list of classes", "The session file was edited")
    return {k: str(item.get("name", f"class {k}")) for k, item in enumerate(stored, start=1)}


def _layer(image: Image) -> LayerDataTuple:
    """Return an image as a layer, with units that napari knows."""
    data, keywords, kind = layer_data(image)
    keywords["units"] = tuple(unit if _known(unit) else "pixel" for unit in keywords["units"])
    return data, keywords, kind


def _known(unit: str) -> bool:
    import pint

    try:
        pint.get_application_registry().Unit(unit)
    except (pint.UndefinedUnitError, ValueError, AttributeError, TypeError):
        return False
    return True
