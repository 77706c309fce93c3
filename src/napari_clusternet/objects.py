"""Masks to objects: touching objects come apart by a watershed, in 2D and 3D.

The recipe of the SpaceNet winners: beside the footprint a network predicts the objects' edges and
where two of them touch. Seeds are the cores that are left without edges; from there the
footprint is flooded, contacts last. `edge_map` and `contact_map` make such maps from numbered
objects, to train on, and `split_objects` does without a network, from a plain mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    ObjectArray = npt.NDArray[np.unsignedinteger[Any]]

#: Certainty of a core to be a seed, and of a footprint to be flooded.
SEED, FOOTPRINT = 0.75, 0.5


def watershed_objects(
    footprint: npt.ArrayLike,
    edge: npt.ArrayLike | None = None,
    contact: npt.ArrayLike | None = None,
    *,
    seed: float = SEED,
    threshold: float = FOOTPRINT,
    min_pixels: int = 0,
) -> ObjectArray:
    """Return the objects of a footprint, numbered, by a watershed.

    Seeds are the connected parts of ``footprint * (1 - edge) > seed``; the landscape is
    ``footprint * (1 - contact)``, flooded from high to low within ``footprint > threshold``.

    Parameters
    ----------
    footprint : array-like of float in [0, 1], shape ([Z,] Y, X)
        Probability that a pixel belongs to an object; a mask of booleans will do.
    edge : array-like of float in [0, 1], same shape, optional
        Probability that it lies on an object's edge; 0 by default.
    contact : array-like of float in [0, 1], same shape, optional
        Probability that two objects touch there; 0 by default.
    seed, threshold : float
        See above.
    min_pixels : int
        Objects of fewer pixels are left out.

    Returns
    -------
    numpy.ndarray of uint16, or uint32 past 65535 objects; same shape
        0 for background, 1..n for objects, in the order of their seeds' first pixels. A footprint
        without any seed stays background.

    Raises
    ------
    InputError
        If the maps differ in shape or hold values outside [0, 1].
    """
    from scipy.ndimage import label
    from skimage.segmentation import watershed

    body = _probability("footprint", footprint)
    core = body * (1 - _probability("edge", edge, body.shape))
    height = body * (1 - _probability("contact", contact, body.shape))
    seeds, _ = label(core > seed)
    objects = watershed(-height, seeds, mask=body > threshold)  # type: ignore[no-untyped-call]
    return _renumbered(objects, min_pixels)


def split_objects(
    mask: npt.ArrayLike,
    depth: float = 3.0,
    *,
    spacing: Sequence[float] | None = None,
    min_pixels: int = 0,
) -> ObjectArray:
    """Return the objects of a plain mask, numbered; thin necks between them are cut.

    The footprint is the mask, its edge all pixels less than `depth` deep, and the landscape is
    how deep a pixel lies in the mask, so that borders follow the necks. Parts that are nowhere
    `depth` deep stay whole.

    Parameters
    ----------
    mask : array-like of bool, shape ([Z,] Y, X)
        Pixels of objects.
    depth : float
        In pixels of the finest axis. Two parts come apart where their neck is thinner than about
        twice this. 0 takes the connected parts as they are.
    spacing : sequence of float, optional
        Pixel size per axis.
    min_pixels : int
        Objects of fewer pixels are left out.

    Returns
    -------
    numpy.ndarray of uint16, or uint32 past 65535 objects; same shape
        0 for background, 1..n.
    """
    from scipy.ndimage import distance_transform_edt, label, maximum
    from skimage.segmentation import watershed

    inside = np.asarray(mask).astype(bool)
    parts, n = label(inside)
    if depth <= 0 or n == 0:
        return _renumbered(parts, min_pixels)
    depths = distance_transform_edt(inside, sampling=_steps(inside, spacing))
    deepest = np.concatenate([[0.0], np.atleast_1d(maximum(depths, parts, np.arange(1, n + 1)))])
    seeds, _ = label(inside & ((depths >= depth) | (deepest[parts] < depth)))
    objects = watershed(-depths, seeds, mask=inside)  # type: ignore[no-untyped-call]
    return _renumbered(objects, min_pixels)


def edge_map(
    objects: npt.ArrayLike, width: float = 2.0, spacing: Sequence[float] | None = None
) -> BoolArray:
    """Return the pixels of objects no more than `width` from where their object ends.

    Parameters
    ----------
    objects : array-like of int, shape ([Z,] Y, X)
        0 for background, other numbers for objects.
    width : float
        In pixels of the finest axis; 1 is the outermost pixel of each object.
    spacing : sequence of float, optional
        Pixel size per axis.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    numbers = np.asarray(objects)
    steps = _steps(numbers, spacing)
    edges = np.zeros(numbers.shape, dtype=bool)
    for number, box in enumerate(find_objects(numbers.astype(np.int64)), start=1):
        if box is None:
            continue
        around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        own = numbers[around] == number
        edges[around] |= own & (distance_transform_edt(own, sampling=steps) <= width)
    return edges


def contact_map(
    objects: npt.ArrayLike, width: float = 3.0, spacing: Sequence[float] | None = None
) -> BoolArray:
    """Return the pixels within `width` of two objects or more: where objects nearly touch.

    Parameters
    ----------
    objects, spacing
        See `edge_map`.
    width : float
        In pixels of the finest axis.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    numbers = np.asarray(objects)
    steps = _steps(numbers, spacing)
    margin = np.ceil(width / steps).astype(int)
    near = np.zeros(numbers.shape, dtype=np.uint16)
    for number, box in enumerate(find_objects(numbers.astype(np.int64)), start=1):
        if box is None:
            continue
        around = tuple(
            slice(max(0, part.start - m), part.stop + m)
            for part, m in zip(box, margin, strict=True)
        )
        away = numbers[around] != number
        near[around] += distance_transform_edt(away, sampling=steps) <= width
    contacts: BoolArray = near >= 2
    return contacts


def _steps(array: npt.NDArray[Any], spacing: Sequence[float] | None) -> npt.NDArray[np.float64]:
    if spacing is None:
        return np.ones(array.ndim)
    if len(spacing) != array.ndim or min(spacing) <= 0:
        invalid("spacing", spacing, "not a positive size per axis", f"Give {array.ndim} numbers")
    return np.asarray(spacing, dtype=float) / min(spacing)


def _probability(
    argument: str, values: npt.ArrayLike | None, shape: tuple[int, ...] | None = None
) -> FloatArray:
    if values is None:
        return np.zeros(shape or (), np.float32)
    array = np.asarray(values).astype(np.float32)
    if shape is not None and array.shape != shape:
        invalid(argument, array, f"the footprint has shape {shape}", "Give a map of that shape")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        invalid(argument, array, "values are not all from 0 to 1",
                "Give probabilities or a mask; divide bytes by 255")  # fmt: skip
    return array


def _renumbered(objects: npt.NDArray[Any], min_pixels: int) -> ObjectArray:
    """Return objects of at least `min_pixels`, numbered 1..n without gaps."""
    counts = np.bincount(objects.ravel())
    kept = counts >= max(1, min_pixels)
    kept[0] = False
    kind = np.uint16 if kept.sum() <= np.iinfo(np.uint16).max else np.uint32
    numbers = np.zeros(len(counts), kind)
    numbers[kept] = np.arange(1, kept.sum() + 1)
    found: ObjectArray = numbers[objects]
    return found
