"""Methods that learn from full masks: images whose every pixel has a class, or none."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.labels import read_labels
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.supervised import SUPERVISED
from napari_clusternet.supervised.base import MaskMethod, TrainingSet, check_training

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    LabelArray = npt.NDArray[np.unsignedinteger]

DEFAULT_METHOD = "unet"


def supervised_steps(
    train_images: Any,
    train_masks: Any,
    image: Any,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    method: str = DEFAULT_METHOD,
    random_state: int = 0,
    **parameters: Any,
) -> Generator[Progress, None, Any]:
    """Learn and label as a generator of `Progress` that returns the labels; see `supervised`."""
    chosen = make_mask_method(method, **parameters)
    known = training_set(train_images, train_masks, chosen.ndims, axes, spacing)
    first = known.images[0]
    wanted = [open_image(one, axes=axes, spacing=spacing) for one in _listed(image)]
    for picture in wanted:
        first.bands.check(picture, "the training set")
        if picture.ndim != first.ndim:
            invalid("image", picture.name, f"it has {picture.ndim} spatial axes, the training "
                    f"images have {first.ndim}", "Give images alike")  # fmt: skip
    trained = yield from chosen.fit_steps(known.images, known.masks, random_state)
    labels = []
    for picture in wanted:
        found = yield from trained.predict_steps(picture)
        labels.append(found)
    return labels if isinstance(image, list | tuple) else labels[0]


def supervised(
    train_images: Any,
    train_masks: Any,
    image: Any,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    method: str = DEFAULT_METHOD,
    random_state: int = 0,
    callback: Callback | None = None,
    **parameters: Any,
) -> LabelArray | list[LabelArray]:
    """Learn from images with full masks, and label another image.

    Parameters
    ----------
    train_images : list of (Image, array-like, path or napari layer)
        What `open_image` takes; all with the same bands.
    train_masks : list of (array-like of int, path or napari Labels layer)
        A mask ([Z,] Y, X) for each training image: 0 for pixels whose class is not known, which
        are ignored, and 1..K for classes. A background is a class too.
    image : what `open_image` takes, or a list of such
        What to label; with the bands of the training images.
    axes, spacing
        See `open_image`; for arrays, of all images.
    method : str
        A method of kind ``"masks"`` of `methods`.
    random_state : int
        Seed; the same seed, data and device give the same labels.
    callback : callable, optional
        Called with a `Progress` at every step; may raise to cancel.
    **parameters
        Parameters of the method, such as ``steps=200`` or ``device="cpu"``;
        `mask_parameters_of` lists them.

    Returns
    -------
    numpy.ndarray of uint8 (uint16 past class 255), shape ([Z,] Y, X)
        Class of every pixel; 0 only where the image is invalid. A list of these if `image` is a
        list.

    Raises
    ------
    InputError
        If an argument does not fit, or the method has no such parameter.
    MissingExtraError
        If the method needs an extra that is not installed.

    Examples
    --------
    >>> labels = cn.supervised(["a.tif", "b.tif"], ["a_mask.tif", "b_mask.tif"], "scene.tif")
    """
    steps = supervised_steps(
        train_images, train_masks, image, axes=axes, spacing=spacing, method=method,
        random_state=random_state, **parameters,
    )  # fmt: skip
    labels: LabelArray | list[LabelArray] = drain(steps, callback)
    return labels


def training_set(
    train_images: Any,
    train_masks: Any,
    ndims: Sequence[int],
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
) -> TrainingSet:
    """Open images and masks to learn from; see `supervised`.

    Parameters
    ----------
    train_images, train_masks, axes, spacing
        See `supervised`.
    ndims : sequence of int
        Numbers of spatial axes the method handles.

    Returns
    -------
    TrainingSet

    Raises
    ------
    InputError
        If they do not fit each other; see `napari_clusternet.supervised.base.check_training`.
    """
    pictures = [open_image(one, axes=axes, spacing=spacing) for one in _listed(train_images)]
    return check_training(pictures, [_mask(one) for one in _listed(train_masks)], ndims)


def mask_parameters_of(method: str) -> dict[str, Any]:
    """Return the parameters of a method that learns from masks, name -> default.

    Raises
    ------
    InputError
        If there is no such method.
    """
    found: dict[str, Any] = {}
    for item in fields(SUPERVISED.load(method, "method")):
        if item.init:
            factory = item.default_factory
            found[item.name] = item.default if factory is MISSING else factory()
    return found


def make_mask_method(method: str, **parameters: Any) -> MaskMethod:
    """Return a method that learns from masks, ready to learn.

    Raises
    ------
    InputError
        If there is no such method, it has no such parameter, or a value cannot be used.
    """
    known = mask_parameters_of(method)
    for name, value in parameters.items():
        if name not in known:
            invalid(name, value, f"method {method!r} has no such parameter",
                    f"Its parameters: {', '.join(known)}")  # fmt: skip
    made: MaskMethod = SUPERVISED.load(method, "method")(**parameters)
    return made


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _mask(given: Any) -> Any:
    if isinstance(given, str | os.PathLike):
        return read_labels(given)
    if isinstance(given, Image):
        return given.data[0]
    return given.data if hasattr(given, "data_to_world") else given
