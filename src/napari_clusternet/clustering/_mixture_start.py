"""First parameters of a Gaussian mixture: from k-means, from means, or as given."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._expectation import Mixture, maximization
from napari_clusternet.clustering._rows import check_rows, refuse_nonfinite
from napari_clusternet.clustering.kmeans import KMeans
from napari_clusternet.clustering.lloyd import assign
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from napari_clusternet.clustering._rows import FloatArray, Rows


def first_mixture(
    rows: Rows, k: int, init: Any, reg_covar: float, rng: np.random.Generator, device: str
) -> Mixture:
    """Return where EM starts: k components, or fewer where there are fewer distinct rows.

    Parameters
    ----------
    rows : array of shape (n, d)
        Finite rows.
    k : int
        Components wanted.
    init : "kmeans", means of shape (k, d), or (weights, means, covariances)
        How to choose them.
    reg_covar : float
        Added to every variance that is estimated.
    rng : numpy.random.Generator
        Source of chance.
    device : str
        Torch device that computes.

    Raises
    ------
    InputError
        If `init` is none of these.
    """
    if isinstance(init, tuple):
        return _given(init, k, rows.shape[1])
    if isinstance(init, str):
        if init != "kmeans":
            invalid("init", init, "unknown", "Use 'kmeans', means, or all three arrays")
        groups = KMeans(k, max_iter=20, sample_size=None, random_state=rng, device=device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the mixture says it in its own words
            return _from_groups(rows, groups.fit(rows).cluster_centers_, reg_covar, device)
    means = check_rows(init, rows.shape[1], "init")
    refuse_nonfinite(means, "init")
    if len(means) != k:
        invalid("init", means, f"expected {k} means", "Give one row a component")
    return _from_groups(rows, means.astype(np.float32), reg_covar, device)


def _given(init: tuple[Any, ...], k: int, d: int) -> Mixture:
    shapes = {"weights": (k,), "means": (k, d), "covariances": (k, d)}
    if len(init) != len(shapes):
        invalid("init", init, "not three arrays", "Give (weights, means, covariances)")
    arrays = [np.asarray(a, np.float64) for a in init]
    for (name, shape), a in zip(shapes.items(), arrays, strict=True):
        if a.shape != shape or not np.isfinite(a).all():
            invalid("init", a, f"{name} are not finite of shape {shape}", "Give a row a component")
    weights, means, covariances = arrays
    if (weights < 0).any() or weights.sum() <= 0 or (covariances <= 0).any():
        invalid("init", init, "negative weights or variances", "Give positive ones")
    return Mixture(weights / weights.sum(), means, covariances)


def _from_groups(rows: Rows, centers: FloatArray, reg_covar: float, device: str) -> Mixture:
    """Return the mixture of the groups of rows nearest to each centroid."""
    labels = assign(rows, centers, device=device)
    k, d = centers.shape
    variance = np.broadcast_to(rows.var(axis=0, dtype=np.float64) + reg_covar, (k, d))
    start = Mixture(np.full(k, 1 / k), centers.astype(np.float64), variance)
    moments = np.empty((k, 2 * d))
    for j in range(d):
        x = rows[:, j] - start.shift[j]
        moments[:, j] = np.bincount(labels, x, minlength=k)
        moments[:, d + j] = np.bincount(labels, x * x, minlength=k)
    counts = np.bincount(labels, minlength=k).astype(np.float64)
    return maximization(counts, moments, start, reg_covar)
