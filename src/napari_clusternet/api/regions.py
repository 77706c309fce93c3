"""Methods that need no strokes: an image falls into regions by itself."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from napari_clusternet.classify.base import check_strokes
from napari_clusternet.clustering import make_clusterer
from napari_clusternet.config import UNSUPERVISED_METHOD
from napari_clusternet.errors import invalid
from napari_clusternet.extraction import fit_extractor
from napari_clusternet.image import Image
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.unsupervised import UNSUPERVISED
from napari_clusternet.unsupervised.base import RegionMethod, Tools

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_clusternet.clusternet import ClusterNet

    RegionArray = npt.NDArray[np.uint16]


def unsupervised_steps(
    image: Any,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    method: str = UNSUPERVISED_METHOD,
    random_state: int = 0,
    device: str = "auto",
    **parameters: Any,
) -> Generator[Progress, None, RegionArray]:
    """Find regions as a generator of `Progress` that returns them; see `unsupervised`."""
    kind = UNSUPERVISED.load(method, "method")
    picture = open_image(image, axes=axes, spacing=spacing)
    if picture.ndim not in kind.ndims:
        able = [name for name in UNSUPERVISED if picture.ndim in UNSUPERVISED.load(name).ndims]
        invalid(
            "method", method, f"it does not handle images with {picture.ndim} spatial axes",
            f"Use one of {', '.join(able)}",
        )  # fmt: skip
    chosen = make_method(method, **_open_images(parameters, picture, axes, spacing))
    return (yield from chosen.region_steps(picture, default_tools(device), random_state))


def unsupervised(
    image: Any,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    method: str = UNSUPERVISED_METHOD,
    random_state: int = 0,
    callback: Callback | None = None,
    device: str = "auto",
    **parameters: Any,
) -> RegionArray:
    """Divide an image into regions, without strokes.

    Parameters
    ----------
    image : Image, array-like, path or napari layer
        What `open_image` takes.
    axes, spacing
        See `open_image`; for arrays.
    method : str
        A method of kind ``"unsupervised"`` of `methods`.
    random_state : int
        Seed; the same seed, data and device give the same regions.
    callback : callable, optional
        Called with a `Progress` at every step; may raise to cancel.
    device : str
        ``"auto"``, ``"cpu"`` or another torch device.
    **parameters
        Parameters of the method, such as ``n_clusters=5``; `parameters_of` lists them.

    Returns
    -------
    numpy.ndarray of uint16, shape ([Z,] Y, X)
        Regions 1..n, without gaps; 0 where invalid. Pixels of one region need not touch.

    Raises
    ------
    InputError
        If an argument does not fit, or the method has no such parameter.

    Examples
    --------
    >>> regions = cn.unsupervised("scene.tif", method="kmeans", n_clusters=5)
    >>> int(regions.max())
    5
    """
    steps = unsupervised_steps(
        image, axes=axes, spacing=spacing, method=method, random_state=random_state,
        device=device, **parameters,
    )  # fmt: skip
    return drain(steps, callback)


def parameters_of(method: str) -> dict[str, Any]:
    """Return the parameters of a method without strokes, name -> default.

    Raises
    ------
    InputError
        If there is no such method.
    """
    found: dict[str, Any] = {}
    for item in fields(UNSUPERVISED.load(method, "method")):
        if item.init:
            factory = item.default_factory
            found[item.name] = item.default if factory is MISSING else factory()
    return found


def make_method(method: str, **parameters: Any) -> RegionMethod:
    """Return a method without strokes, ready to run.

    Raises
    ------
    InputError
        If there is no such method, it has no such parameter, or a value cannot be used.
    """
    known = parameters_of(method)
    for name, value in parameters.items():
        if name not in known:
            invalid(
                name, value, f"method {method!r} has no such parameter",
                f"Its parameters: {', '.join(known) or 'none'}",
            )  # fmt: skip
    made: RegionMethod = UNSUPERVISED.load(method, "method")(**parameters)
    return made


def default_tools(device: str = "auto") -> Tools:
    """Return what the other families offer to methods without strokes."""

    def clusterer(name: str, n_clusters: int, random_state: int) -> Any:
        return make_clusterer(name, n_clusters, random_state=random_state, device=device)

    def learn_steps(
        image: Image, random_state: int, **parameters: Any
    ) -> Generator[Progress, None, ClusterNet]:
        from napari_clusternet.clusternet import ClusterNet

        options = {"random_state": random_state, "device": device, **parameters}
        model = ClusterNet.from_preset("quick", **options)
        yield from model.fit_steps([image])
        return model

    return Tools(clusterer, fit_extractor, device, learn_steps)


def _open_images(
    parameters: Mapping[str, Any],
    picture: Image,
    axes: str | None,
    spacing: Sequence[float] | None,
) -> dict[str, Any]:
    """Open the images and check the scribbles among the parameters of a method."""
    opened = dict(parameters)
    references = opened.get("references")
    if references is not None:
        if not isinstance(references, list | tuple):
            references = [references]
        opened["references"] = tuple(
            open_image(one, axes=axes, spacing=spacing) for one in references
        )
    if opened.get("scribbles") is not None:
        opened["scribbles"] = check_strokes(opened["scribbles"], picture, min_classes=1)
    return opened
