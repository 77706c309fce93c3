"""Step 2 of ClusterNet (section 2.2): from stroked pixels to the classes of clusters.

Pure functions on small tables; `napari_clusternet.Session` applies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]

#: Lloyd iterations inside a cluster after a split; two to four centroids settle well within it.
SPLIT_ITERATIONS = 20
#: Pixels of a big cluster that the iterations look at; all of them are assigned at the end.
SPLIT_SAMPLE = 20_000


def present_classes(counts: IntArray, threshold: float) -> npt.NDArray[np.bool_]:
    """Which classes a cluster's strokes speak for.

    Class c is present if its share of the cluster's *stroked* pixels, r_c, is above the
    threshold. A minority under the threshold is taken for a slip of the brush.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (n_clusters, n_classes)
        Stroked pixels per cluster and class.
    threshold : float
        t of section 3.4, in (0, 1).

    Returns
    -------
    numpy.ndarray of bool, shape (n_clusters, n_classes)
        None where a cluster has no strokes. Where strokes are so mixed that no class passes,
        the two commonest classes are present.
    """
    totals = counts.sum(axis=1, keepdims=True)
    present: npt.NDArray[np.bool_] = counts > threshold * totals
    undecided = (totals[:, 0] > 0) & ~present.any(axis=1)
    if undecided.any():
        best = np.argsort(-counts[undecided], axis=1, kind="stable")[:, :2]
        rows = np.flatnonzero(undecided)[:, None]
        present[rows, best] = counts[rows, best] > 0
    return present


def stroke_classes(counts: IntArray, threshold: float) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Apply the three cases of section 2.2 to every cluster.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (n_clusters, n_classes)
        Stroked pixels per cluster and class.
    threshold : float
        t of section 3.4.

    Returns
    -------
    classes : numpy.ndarray of int, shape (n_clusters,)
        1..n_classes for clusters whose strokes agree (cases 1 and 2), else 0.
    mixed : numpy.ndarray of bool, shape (n_clusters,)
        Clusters to split (case 3).
    """
    if counts.shape[1] == 0:
        return np.zeros(len(counts), np.int64), np.zeros(len(counts), dtype=bool)
    present = present_classes(counts, threshold)
    voices = present.sum(axis=1)
    classes = np.where(voices == 1, counts.argmax(axis=1) + 1, 0)
    return classes, voices > 1


def split_pixels(
    pixels: FloatArray, starts: FloatArray
) -> tuple[npt.NDArray[np.uint16], FloatArray] | None:
    """Split the pixels of one cluster by k-means from given centroids (section 2.2, case 3).

    Parameters
    ----------
    pixels : numpy.ndarray, shape (n, n_features)
        Feature vectors of the cluster's pixels.
    starts : numpy.ndarray, shape (m, n_features)
        Starting centroids: the mean of the stroked pixels of each class.

    Returns
    -------
    parts : numpy.ndarray of uint16, shape (n,)
        Part 0..m-1 of every pixel, the nearest of `centroids`.
    centroids : numpy.ndarray of float32, shape (m, n_features)
        Final centroids.
    None
        If the pixels cannot be told apart: one part would take them all.
    """
    centroids = np.asarray(starts, dtype=np.float32)
    sample = pixels[:: max(1, len(pixels) // SPLIT_SAMPLE)].astype(np.float32)
    parts = nearest(sample, centroids)
    for _ in range(SPLIT_ITERATIONS):
        moved = _part_means(sample, parts, centroids)
        again = nearest(sample, moved)
        if np.ptp(again) == 0:
            break
        settled = np.array_equal(again, parts)
        centroids, parts = moved, again
        if settled:
            break
    parts = nearest(pixels, centroids)
    return None if np.ptp(parts) == 0 else (parts.astype(np.uint16), centroids)


def principal_starts(pixels: FloatArray) -> FloatArray:
    """Two starting centroids, a standard deviation either way along the first component.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (n, n_features)
        Feature vectors of a cluster's pixels.

    Returns
    -------
    numpy.ndarray of float32, shape (2, n_features)
    """
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(pixels))
    offset = axes[:, -1] * np.sqrt(max(0.0, variances[-1]))
    return np.stack([mean + offset, mean - offset]).astype(np.float32)


def _part_means(pixels: FloatArray, parts: IntArray, centroids: FloatArray) -> FloatArray:
    """Mean of each part's pixels; a part without pixels keeps its centroid."""
    members = (parts == np.arange(len(centroids))[:, None]).astype(np.float32)
    sizes = members.sum(axis=1, keepdims=True)
    means: FloatArray = np.where(sizes > 0, (members @ pixels) / np.maximum(sizes, 1), centroids)
    return means


def nearest(pixels: FloatArray, centroids: FloatArray, block: int = 8192) -> IntArray:
    """Index of the nearest of a few centroids for every pixel, ties to the first.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (n, n_features)
        Feature vectors, float16 or float32; converted block by block.
    centroids : numpy.ndarray of float32, shape (m, n_features)
        The centroids.
    """
    half_norms = 0.5 * (centroids**2).sum(axis=1)
    index = np.empty(len(pixels), dtype=np.intp)
    for start in range(0, len(pixels), block):
        rows = pixels[start : start + block].astype(np.float32)
        index[start : start + block] = (half_norms - rows @ centroids.T).argmin(axis=1)
    return index
