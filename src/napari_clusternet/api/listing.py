"""The list of methods, from the tables of the families."""

from __future__ import annotations

from dataclasses import dataclass

from napari_clusternet.api.strokes import CLUSTERNET
from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.registry import Registry
from napari_clusternet.supervised import SUPERVISED
from napari_clusternet.unsupervised import UNSUPERVISED


@dataclass(frozen=True)
class Method:
    """What there is to choose from.

    Attributes
    ----------
    name : str
        What to pass as ``method=``.
    kind : str
        ``"strokes"`` for methods of `segment`, ``"unsupervised"`` for those of `unsupervised`,
        ``"masks"`` for those of `supervised`.
    summary : str
        One line for people.
    ndims : tuple of int
        Numbers of spatial axes it handles.
    """

    name: str
    kind: str
    summary: str
    ndims: tuple[int, ...]


#: Kind -> the table of its methods.
_FAMILIES: dict[str, Registry] = {
    "strokes": STROKE_METHODS,
    "unsupervised": UNSUPERVISED,
    "masks": SUPERVISED,
}


def methods() -> list[Method]:
    """List every method, ours first, from the tables of the families."""
    ours = Method(CLUSTERNET, "strokes", "clusters of learned features get classes", (2, 3))
    others = [(name, kind, table.load(name)) for kind, table in _FAMILIES.items() for name in table]
    return [ours, *(Method(name, kind, c.summary, tuple(c.ndims)) for name, kind, c in others)]
