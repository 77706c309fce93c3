"""The weight of each pixel in the loss: class balance and borders between objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

#: Objects further away than so many sigmas add less than w0 * 4e-6 and are not looked at.
_REACH = 5.0


def border_weights(
    mask: npt.NDArray[Any],
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    background: int | None = None,
    spacing: Sequence[float] | None = None,
) -> FloatArray:
    """Return ``w0 exp(-(d1 + d2)^2 / (2 sigma^2))`` (Ronneberger et al. 2015, eq. 2).

    d1 and d2 are the distances of a pixel to its nearest and second nearest object. An object is
    a connected region of one class (neighbours share a side). A pixel inside an object is at
    distance 0 from it. So with a `background`, narrow gaps between two objects weigh most, as in
    the paper; without one, every region is an object, and all borders between regions weigh.

    Parameters
    ----------
    mask : numpy.ndarray of int, shape ([Z,] Y, X)
        0 for no class, 1..K.
    w0, sigma : float
        The paper's 10, and 5 pixels (of the finest axis).
    background : int, optional
        The class that is no object, such as what lies between cells or buildings.
    spacing : sequence of float, optional
        Pixel size per axis; distances along coarser axes count for more pixels.

    Returns
    -------
    numpy.ndarray of float32, shape ([Z,] Y, X)
        0 where fewer than two objects are within 5 sigma.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    steps = np.ones(mask.ndim) if spacing is None else np.asarray(spacing) / min(spacing)
    margin = np.ceil(_REACH * sigma / steps).astype(int)
    objects = _objects(mask, background)
    nearest = np.full((2, *mask.shape), np.inf, np.float32)
    for number, box in enumerate(find_objects(objects), start=1):
        around = tuple(
            slice(max(0, part.start - m), part.stop + m)
            for part, m in zip(box, margin, strict=True)
        )
        distance = distance_transform_edt(objects[around] != number, sampling=steps)
        first, second = nearest[0][around], nearest[1][around]
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    weights = w0 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * sigma**2))
    return np.asarray(weights, dtype=np.float32)


def class_weights(masks: Sequence[npt.NDArray[Any]], n_classes: int) -> FloatArray:
    """Return w_c per label, so that every class has the same weight in all: n / (K n_c).

    Parameters
    ----------
    masks : sequence of numpy.ndarray of int
        0 for no class, 1..K.
    n_classes : int
        K.

    Returns
    -------
    numpy.ndarray of float32, shape (K + 1,)
        Indexed by label; 0 for label 0 and for classes without a pixel.
    """
    counts = np.zeros(n_classes + 1)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=n_classes + 1)
    counts[0] = 0
    present = counts > 0
    weights = np.zeros(n_classes + 1)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


def _objects(mask: npt.NDArray[Any], background: int | None) -> npt.NDArray[np.int32]:
    """Return the number, 1..n, of each pixel's connected region; 0 on the background."""
    from scipy.ndimage import label

    objects = np.zeros(mask.shape, np.int32)
    count = 0
    for value in np.unique(mask):
        if value in (0, background):
            continue
        regions, n = label(mask == value)
        objects[regions > 0] = regions[regions > 0] + count
        count += n
    return objects
