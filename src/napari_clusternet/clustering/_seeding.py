"""Where centroids start and move to: distinct first rows, means, and splits when empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._rows import check_rows, draw, refuse_nonfinite
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from napari_clusternet.clustering._passes import Pass
    from napari_clusternet.clustering._rows import FloatArray, Rows

#: k-means++ costs k passes over its rows, so it is given few: 8 a centroid, but at least 4096.
_ROWS_PER_SEED, _LEAST_ROWS = 8, 4096

#: Squared distances under this share of the largest are rounding: the points are the same.
_SAME = 1e-10

#: Half the gap between the halves of a split cluster, in its RMS radius per feature.
_SPLIT = 0.1

#: Mean squared radius under this share of the centroids' is rounding: identical points.
_POINT = 1e-6


def seed_centers(rows: Rows, k: int, init: Any, rng: np.random.Generator) -> FloatArray:
    """Return first centroids of shape (k, d), or fewer where there are fewer distinct rows.

    Parameters
    ----------
    rows : array of shape (n, d)
        Finite rows.
    k : int
        Centroids wanted.
    init : {"k-means++", "random"} or array of shape (k, d)
        How to choose them.
    rng : numpy.random.Generator
        Source of chance.

    Raises
    ------
    InputError
        If `init` is none of these.
    """
    if isinstance(init, str):
        if init == "k-means++":
            few = draw(rows, max(_ROWS_PER_SEED * k, _LEAST_ROWS), rng)
            return few[_plus_plus(few.astype(np.float64), k, rng)].astype(np.float32)
        if init == "random":
            return _distinct(rows, k, rng)
        invalid("init", init, "unknown", "Use 'k-means++', 'random' or an array of centroids")
    centers = check_rows(init, rows.shape[1], "init")
    if len(centers) != k:
        invalid("init", centers, f"expected {k} centroids", "Give one row a cluster")
    refuse_nonfinite(centers, "init")
    return np.array(centers, np.float32)


def _distinct(rows: Rows, k: int, rng: np.random.Generator) -> FloatArray:
    chosen = np.unique(draw(rows, k, rng).astype(np.float32), axis=0)
    if len(chosen) < min(k, len(rows)):  # duplicates: look further before settling for fewer
        more = np.unique(draw(rows, 64 * k, rng).astype(np.float32), axis=0)
        chosen = draw(more, k, rng)
    return rng.permutation(chosen)


def _plus_plus(rows: Rows, k: int, rng: np.random.Generator) -> list[int]:
    """Rows drawn in proportion to their squared distance (Arthur & Vassilvitskii, 2007)."""
    rows = rows - rows.mean(axis=0)  # less cancellation far from the origin
    squares = np.einsum("ij,ij->i", rows, rows)
    chosen = [int(rng.integers(len(rows)))]
    nearest = np.full(len(rows), np.inf)
    tiny = _SAME * squares.max()
    while len(chosen) < k:
        last = chosen[-1]
        distance = squares - 2 * (rows @ rows[last]) + squares[last]
        np.minimum(nearest, distance, out=nearest)
        nearest[nearest <= tiny] = 0
        total = nearest.cumsum()
        if total[-1] == 0:
            break  # every row is already a centroid
        chosen.append(int(total.searchsorted(rng.random() * total[-1], side="right")))
    return chosen


def update_centers(found: Pass, centers: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the means of each centroid's rows; empty clusters split the largest.

    Parameters
    ----------
    found : Pass
        Sums and counts of a pass.
    centers : array of shape (k, d)
        The centroids of that pass; an empty one that nothing can be split for keeps its place.
    rng : numpy.random.Generator
        Source of the small steps apart.
    """
    counts = found.counts[:, None]
    means = found.sums / np.maximum(counts, 1) + found.shift
    moved = np.where(counts > 0, means, centers).astype(np.float32)
    empty = np.flatnonzero(found.counts == 0)
    if not empty.size:
        return moved
    radius = found.within / np.maximum(found.counts, 1)
    spread = np.square(centers - found.shift).sum(axis=1).max()
    size = np.where(radius > _POINT * spread, found.counts, 0).astype(float)
    for j in empty:
        largest = int(size.argmax())
        if size[largest] < 2:
            break
        step = rng.standard_normal(moved.shape[1]) * _SPLIT
        step *= np.sqrt(radius[largest] / moved.shape[1])
        moved[j] = moved[largest] + step
        moved[largest] -= step.astype(np.float32)
        size[largest] = size[j] = size[largest] / 2
        radius[j] = radius[largest]
    return moved
