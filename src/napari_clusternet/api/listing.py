"""The list of methods, from the tables of the families."""

from __future__ import annotations

from dataclasses import dataclass

from napari_clusternet.api.strokes import CLUSTERNET
from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.errors import invalid
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
    advice : str
        What it is good for and how long it takes, in plain words; may be empty.
    """

    name: str
    kind: str
    summary: str
    ndims: tuple[int, ...]
    advice: str = ""


#: Kind -> the table of its methods.
_FAMILIES: dict[str, Registry] = {
    "strokes": STROKE_METHODS,
    "unsupervised": UNSUPERVISED,
    "masks": SUPERVISED,
}


def methods(kind: str | None = None) -> list[Method]:
    """List the methods there are, ours first, from the tables of the families.

    Parameters
    ----------
    kind : {"strokes", "unsupervised", "masks"}, optional
        Only methods of this kind; all by default.

    Returns
    -------
    list of Method

    Raises
    ------
    InputError
        If there is no such kind.

    Examples
    --------
    >>> [method.name for method in cn.methods("masks")]
    ['unet', 'ternausnet', 'linknet', 'pspnet', 'deeplabv3plus']
    """
    if kind is not None and kind not in _FAMILIES:
        invalid("kind", kind, "no such kind of method", f"Use one of {', '.join(_FAMILIES)}")
    ours = Method(CLUSTERNET, "strokes", "clusters of learned features get classes", (2, 3))
    wanted = _FAMILIES if kind is None else {kind: _FAMILIES[kind]}
    others = [(name, k, table.load(name)) for k, table in wanted.items() for name in table]
    listed = [
        Method(name, k, c.summary, tuple(c.ndims), getattr(c, "advice", ""))
        for name, k, c in others
    ]
    return [ours, *listed] if "strokes" in wanted else listed
