"""Methods that need strokes: both steps in one call."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.classify.base import StrokeMethod, check_strokes
from napari_clusternet.config import CLUSTERNET as STEP1
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import invalid
from napari_clusternet.extraction import fit_extractor, is_array, resolve_steps
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.session import Session

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger]

#: The method of the paper; `Session` implements it.
CLUSTERNET = "clusternet"
#: Fields of a method that `segment` fills with its own arguments.
SHARED = ("device", "mode", "n_clusters", "open_session", "threshold")


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
    device: str = STEP1.device,
    **parameters: Any,
) -> Generator[Progress, None, LabelArray]:
    """Segment as a generator of `Progress` that returns the labels; see `segment`."""
    shared = {
        "threshold": threshold, "mode": mode, "n_clusters": n_clusters, "device": device,
        "open_session": Session.open_steps,
    }  # fmt: skip
    classifier = make_stroke_method(method, shared, **parameters)
    picture = open_image(image, axes=axes, spacing=spacing)
    painted = check_strokes(strokes, picture)
    if classifier is None:
        session = yield from Session.open_steps(
            picture, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
            random_state=random_state,
        )  # fmt: skip
        session.update(painted)
        session.take((yield from session.refine_steps()))
        return session.labels
    _check_fit(classifier, picture, features)
    if isinstance(features, str) and features == "auto" and classifier.uses == "bands":
        features = "bands"
    features = yield from resolve_steps(picture, features, mode, random_state)
    extractor = fit_extractor(picture, features, random_state)
    return (yield from classifier.segment_steps(picture, painted, extractor, random_state))


def _check_fit(method: StrokeMethod, image: Image, features: Any) -> None:
    """Refuse features and images that the method does not take."""
    if is_array(features):
        invalid(
            "features", features, f"method={method.name!r} takes no array of features",
            "Give a fitted ClusterNet or a name, or use method='clusternet'",
        )  # fmt: skip
    if image.ndim not in method.ndims:
        able = [name for name in STROKE_METHODS if image.ndim in STROKE_METHODS.load(name).ndims]
        invalid(
            "method", method.name, f"it does not handle images with {image.ndim} spatial axes",
            f"Use one of {', '.join([CLUSTERNET, *able])}",
        )  # fmt: skip


def stroke_parameters(method: str) -> dict[str, Any]:
    """Return the parameters that a stroke method has of its own, name -> default.

    Raises
    ------
    InputError
        If there is no such method.
    """
    kind = None if method == CLUSTERNET else STROKE_METHODS.load(method, "method")
    if kind is None or not is_dataclass(kind):
        return {}
    own = [item for item in fields(kind) if item.init and item.name not in SHARED]
    return {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in own
    }


def make_stroke_method(
    method: str, shared: dict[str, Any], **parameters: Any
) -> StrokeMethod | None:
    """Return a stroke method, ready to run; None for ClusterNet's own clusters.

    Parameters
    ----------
    method : str
        A stroke method of `methods`.
    shared : dict
        Arguments of `segment`, passed on to methods that have a field of the name.
    **parameters
        The method's own parameters.

    Raises
    ------
    InputError
        If there is no such method, it has no such parameter, or a value cannot be used.
    """
    known = stroke_parameters(method)
    for name, value in parameters.items():
        if name not in known:
            invalid(
                name, value, f"method {method!r} has no such parameter",
                f"Its parameters: {', '.join(known) or 'none'}",
            )  # fmt: skip
    if method == CLUSTERNET:
        return None
    kind = STROKE_METHODS.load(method, "method")
    names = {item.name for item in fields(kind)} if is_dataclass(kind) else set()
    passed = {name: value for name, value in shared.items() if name in names}
    made: StrokeMethod = kind(**passed, **parameters)
    return made


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
    device: str = STEP1.device,
    **parameters: Any,
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
        See `Session`. ``"auto"`` is the raw bands for methods that were published with them.
    method : str
        ``"clusternet"`` or another stroke method of `methods`.
    mode : {"enhanced", "paper"}
        ``"paper"`` follows the paper to the letter, ``"enhanced"`` is our best.
    threshold, n_clusters
        See `Session`; for ``method="clusternet"`` and ``"rgb_kmeans"``.
    random_state : int
        Seed; the same seed, data and device give the same labels.
    callback : callable, optional
        Called with a `Progress` at every step; may raise to cancel.
    device : str
        ``"auto"``, ``"cpu"`` or another torch device; for methods that train a network.
    **parameters
        Parameters of the method, such as ``smoothness=5``; the methods page lists them.

    Returns
    -------
    numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
        Class of every pixel; 0 where invalid, and in paper mode where unclassified.

    Raises
    ------
    InputError
        If an argument does not fit, or the method has no such parameter.
    StrokeError
        If the strokes do not fit the image or hold fewer than two classes.

    Examples
    --------
    >>> labels = cn.segment("scene.tif", cn.read_labels("strokes.tif"), features="bands")
    >>> sorted(np.unique(labels).tolist())
    [1, 2, 3]
    """
    steps = segment_steps(
        image, strokes, axes=axes, spacing=spacing, features=features, method=method, mode=mode,
        threshold=threshold, n_clusters=n_clusters, random_state=random_state, device=device,
        **parameters,
    )  # fmt: skip
    return drain(steps, callback)
