"""First centroids: k-means++ or random rows; always distinct points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._rows import check_rows, draw, refuse_nonfinite
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from napari_clusternet.clustering._rows import FloatArray, Rows

#: k-means++ costs k passes over its rows, so it is given few: 8 a centroid, but at least 4096.
_ROWS_PER_SEED, _LEAST_ROWS = 8, 4096

#: Squared distances under this share of the largest are rounding: the points are the same.
_SAME = 1e-10


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
