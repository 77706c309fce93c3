"""What stroke methods read: the features of stroked pixels, or of the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.classify.base import feature_tiles
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]


def stroke_samples(
    extractor: Extractor, image: Image, strokes: LabelArray
) -> Generator[Progress, None, tuple[FloatArray, LabelArray, IntArray]]:
    """Read the features of the stroked pixels; yields `Progress`.

    Returns
    -------
    rows : numpy.ndarray of float32, shape (n, n_features)
        In C order of the pixels, so that tiles do not matter.
    classes : numpy.ndarray of uint8 or uint16, shape (n,)
    pixels : numpy.ndarray of int, shape (n,)
        Flat index of each pixel in the image.
    """
    samples, found = [], []
    index = np.arange(strokes.size).reshape(strokes.shape)
    for i, n, region, features, valid in feature_tiles(extractor, image, strokes > 0):
        stroked = (strokes[region] > 0) & valid
        samples.append(features[:, stroked].T)
        found.append(index[region][stroked])
        yield Progress("reading strokes", i, n)
    pixels = np.concatenate(found)
    order = np.argsort(pixels)
    pixels = pixels[order]
    return np.concatenate(samples)[order], strokes.reshape(-1)[pixels], pixels


def whole_image(
    extractor: Extractor, image: Image
) -> Generator[Progress, None, tuple[FloatArray, BoolArray]]:
    """Read the features of all pixels into memory; yields `Progress`.

    Returns
    -------
    features : numpy.ndarray of float32, shape (F, [Z,] Y, X)
        0 where invalid.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    """
    features = np.zeros((extractor.n_features, *image.shape), np.float32)
    valid = np.zeros(image.shape, dtype=bool)
    for i, n, region, block, inside in feature_tiles(extractor, image):
        block[:, ~inside] = 0
        features[(slice(None), *region)] = block
        valid[region] = inside
        yield Progress("reading features", i, n)
    return features, valid


def spread(classes: IntArray, wanted: int, fewest: int = 1) -> IntArray:
    """Choose at most about `wanted` of many stroked pixels, evenly, every class by its share.

    Parameters
    ----------
    classes : numpy.ndarray of int, shape (n,)
        Classes of the stroked pixels.
    wanted : int
        Pixels to keep.
    fewest : int
        Pixels of each class that are kept in any case, if it has so many.

    Returns
    -------
    numpy.ndarray of int
        Ascending indices.
    """
    share = min(1.0, wanted / len(classes))
    chosen = []
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        n = min(len(members), round(max(fewest, len(members) * share)))
        chosen.append(members[np.arange(n) * len(members) // n])
    return np.sort(np.concatenate(chosen))


def stroke_numbers(pixels: IntArray, classes: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Give every stroke a number: stroked pixels of one class that touch, corners included.

    Only the stroked pixels are looked at, however large the image is.

    Parameters
    ----------
    pixels : numpy.ndarray of int, shape (n,)
        Flat indices of the stroked pixels, in order.
    classes : numpy.ndarray of int, shape (n,)
        Their classes.
    shape : tuple of int
        Shape ([Z,] Y, X) of the image.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        0, 1, ... for every pixel.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(pixels)
    places = np.stack(np.unravel_index(pixels, shape))
    first, second = [], []
    steps = [step for step in np.ndindex(*(3,) * len(shape)) if step > (1,) * len(shape)]
    for step in np.array(steps) - 1:  # half the neighbours: the others are found from there
        there = places + step[:, None]
        inside = ((there >= 0) & (there < np.array(shape)[:, None])).all(axis=0)
        flat = np.ravel_multi_index(tuple(there[:, inside]), shape)
        found = np.minimum(np.searchsorted(pixels, flat), n - 1)
        here = np.flatnonzero(inside)
        same = (pixels[found] == flat) & (classes[found] == classes[here])
        first.append(here[same])
        second.append(found[same])
    rows, columns = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    numbers: IntArray = connected_components(graph, directed=False)[1]
    return numbers


def stroke_folds(strokes: LabelArray, pixels: IntArray, n_folds: int = 3) -> IntArray | None:
    """Cut the stroked pixels into folds for cross-validation, whole strokes if possible.

    Pixels of one stroke are alike, so a classifier that has seen half of a stroke looks better
    than it is on the other half. Where every class has two strokes or more, whole strokes (pixels
    that touch) are dealt out; else each class's pixels are cut in order.

    Parameters
    ----------
    strokes : numpy.ndarray of int, shape ([Z,] Y, X)
        The strokes.
    pixels : numpy.ndarray of int, shape (n,)
        Flat indices of the stroked pixels to deal out.
    n_folds : int
        Folds at most.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Fold of every pixel. Without any one fold each class is still there.
    None
        If a class has a single pixel.
    """
    stroked = np.flatnonzero(strokes)
    numbers = stroke_numbers(stroked, strokes.reshape(-1)[stroked], strokes.shape)
    groups = numbers[np.searchsorted(stroked, pixels)]
    classes = strokes.reshape(-1)[pixels]
    values = np.unique(classes)
    counts = [len(np.unique(groups[classes == value])) for value in values]
    by_stroke = min(counts) >= 2
    sizes = counts if by_stroke else [int((classes == value).sum()) for value in values]
    n_folds = min(n_folds, *sizes)
    if n_folds < 2:
        return None
    folds = np.empty(len(pixels), dtype=np.int64)
    for value in values:
        members = np.flatnonzero(classes == value)
        if by_stroke:
            folds[members] = np.unique(groups[members], return_inverse=True)[1] % n_folds
        else:
            folds[members] = np.arange(len(members)) * n_folds // len(members)
    return folds
