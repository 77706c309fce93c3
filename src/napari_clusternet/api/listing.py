"""The list of methods, from the tables of the families."""

from __future__ import annotations

from dataclasses import dataclass

from napari_clusternet.api.strokes import CLUSTERNET
from napari_clusternet.classify import STROKE_METHODS


@dataclass(frozen=True)
class Method:
    """What there is to choose from.

    Attributes
    ----------
    name : str
        What to pass as ``method=``.
    kind : str
        ``"strokes"`` for methods of `segment`.
    summary : str
        One line for people.
    ndims : tuple of int
        Numbers of spatial axes it handles.
    """

    name: str
    kind: str
    summary: str
    ndims: tuple[int, ...]


def methods() -> list[Method]:
    """List every method, ours first, from the tables of the families."""
    ours = Method(CLUSTERNET, "strokes", "clusters of learned features get classes", (2, 3))
    others = [(name, STROKE_METHODS.load(name)) for name in STROKE_METHODS]
    return [ours, *(Method(n, "strokes", cls.summary, tuple(cls.ndims)) for n, cls in others)]
