"""Methods that need strokes: both steps in one call."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.classify.base import check_strokes
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import invalid
from napari_clusternet.extraction import fit_extractor, is_array, resolve_steps
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.session import Session

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    LabelArray = npt.NDArray[np.unsignedinteger]

#: The method of the paper; `Session` implements it.
CLUSTERNET = "clusternet"


def segment_steps(
    image: Any,
    strokes: Any,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    features: Any = SESSION.features,
    method: str = CLUSTERNET,
    mode: Mode = SESSION.mode,
    threshold: float = SESSION.threshold,
    n_clusters: int = SESSION.n_clusters,
    random_state: int = 0,
) -> Generator[Progress, None, LabelArray]:
    """Segment as a generator of `Progress` that returns the labels; see `segment`."""
    picture = open_image(image, axes=axes, spacing=spacing)
    painted = check_strokes(strokes, picture)
    if method == CLUSTERNET:
        session = yield from Session.open_steps(
            picture, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
            random_state=random_state,
        )  # fmt: skip
        return session.update(painted)
    classifier = STROKE_METHODS.load(method, "method")()
    if is_array(features):
        invalid(
            "features", features, f"method={method!r} takes no array of features",
            "Give a fitted ClusterNet or a name, or use method='clusternet'",
        )  # fmt: skip
    features = yield from resolve_steps(picture, features, mode, random_state)
    extractor = fit_extractor(picture, features, random_state)
    labels: LabelArray = yield from classifier.segment_steps(
        picture, painted, extractor, random_state
    )
    return labels


def segment(
    image: Any,
    strokes: Any,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    features: Any = SESSION.features,
    method: str = CLUSTERNET,
    mode: Mode = SESSION.mode,
    threshold: float = SESSION.threshold,
    n_clusters: int = SESSION.n_clusters,
    random_state: int = 0,
    callback: Callback | None = None,
) -> LabelArray:
    """Segment an image from a few strokes: both steps in one call.

    Parameters
    ----------
    image : Image, array-like, path or napari layer
        What `open_image` takes.
    strokes : array-like of int, shape ([Z,] Y, X)
        0 for none, 1..n for classes; at least two classes.
    axes, spacing
        See `open_image`; for arrays.
    features : ClusterNet, array-like, str or tuple
        See `Session`.
    method : str
        ``"clusternet"`` or another stroke method of `methods`.
    mode : {"enhanced", "paper"}
        ``"paper"`` follows the paper to the letter, ``"enhanced"`` is our best.
    threshold, n_clusters
        See `Session`; for ``method="clusternet"``.
    random_state : int
        Seed; the same seed, data and device give the same labels.
    callback : callable, optional
        Called with a `Progress` at every step; may raise to cancel.

    Returns
    -------
    numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
        Class of every pixel; 0 where invalid, and in paper mode where unclassified.

    Raises
    ------
    InputError
        If an argument does not fit.
    StrokeError
        If the strokes do not fit the image or hold fewer than two classes.
    """
    steps = segment_steps(
        image, strokes, axes=axes, spacing=spacing, features=features, method=method, mode=mode,
        threshold=threshold, n_clusters=n_clusters, random_state=random_state,
    )  # fmt: skip
    return drain(steps, callback)
