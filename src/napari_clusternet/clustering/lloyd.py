"""Nearest centroids and the Lloyd step as plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from napari_clusternet.clustering._accelerator import accelerator_assign, accelerator_pass
from napari_clusternet.clustering._passes import Centers, Nearest, Pass, cpu_pass, for_chunks
from napari_clusternet.clustering._rows import check_rows, refuse_nonfinite
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.clustering._rows import FloatArray, Rows

    Labels = npt.NDArray[np.integer[Any]]


def run_pass(rows: Rows, centers: FloatArray, device: str, n_threads: int | None = None) -> Pass:
    """Run one pass on `device`; rows and centroids are already checked."""
    ready = Centers(np.ascontiguousarray(centers, np.float32))
    if device == "cpu":
        return cpu_pass(rows, ready, n_threads)
    return accelerator_pass(rows, ready, device)


def lloyd_step(
    X: Any,  # noqa: N803
    centers: Any,
    *,
    n_threads: int | None = None,
    device: str = "cpu",
) -> tuple[Labels, npt.NDArray[np.float64], npt.NDArray[np.int64], float]:
    """Assign every row to its nearest centroid and sum rows by centroid: one Lloyd iteration.

    The new centroids are ``sums / counts``. Repeatable to the bit whatever the threads.

    Parameters
    ----------
    X : array of shape (n, d)
        Finite rows; float16 and float64 are converted block by block, never as a whole.
    centers : array of shape (k, d)
        Centroids.
    n_threads : int, optional
        Threads on CPU; torch's number by default.
    device : str
        Torch device that computes.

    Returns
    -------
    labels : array of shape (n,), int32
        Index of each row's nearest centroid.
    sums : array of shape (k, d), float64
        Sum of the rows of each centroid.
    counts : array of shape (k,), int64
        Number of rows of each centroid.
    inertia : float
        Sum of squared distances to the nearest centroid.

    Raises
    ------
    InputError
        If shapes do not match or a row is not finite.
    """
    table = _ready(centers).values
    rows = check_rows(X, table.shape[1])
    found = run_pass(rows, table, device, n_threads)
    sums = found.sums + found.counts[:, None] * found.shift.astype(np.float64)
    return found.labels, sums, found.counts, float(found.within.sum())


@overload
def assign(
    X: Any,  # noqa: N803
    centers: Any,
    *,
    n_threads: int | None = ...,
    return_distance: Literal[False] = ...,
    out: Labels | None = ...,
    device: str = ...,
) -> Labels: ...
@overload
def assign(
    X: Any,  # noqa: N803
    centers: Any,
    *,
    n_threads: int | None = ...,
    return_distance: Literal[True],
    out: Labels | None = ...,
    device: str = ...,
) -> tuple[Labels, FloatArray]: ...
def assign(
    X: Any,  # noqa: N803
    centers: Any,
    *,
    n_threads: int | None = None,
    return_distance: bool = False,
    out: Labels | None = None,
    device: str = "cpu",
) -> Labels | tuple[Labels, FloatArray]:
    """Return the index of each row's nearest centroid, the lowest index where several tie.

    Parameters
    ----------
    X : array of shape (n, d)
        Finite rows of any real dtype; converted block by block, never as a whole.
    centers : array of shape (k, d)
        Centroids.
    n_threads : int, optional
        Threads on CPU; torch's number by default.
    return_distance : bool
        Also return Euclidean distances.
    out : array of shape (n,), optional
        Where to write labels, of any integer dtype that holds k - 1, such as uint16.
    device : str
        Torch device that computes.

    Returns
    -------
    labels : array of shape (n,)
        `out`, or a new int32 array.
    distances : array of shape (n,), float32
        Only with `return_distance`: distance to the nearest centroid.

    Raises
    ------
    InputError
        If shapes do not match, `out` cannot hold the labels, or a row is not finite.
    """
    ready = _ready(centers)
    rows = check_rows(X, ready.values.shape[1])
    k = len(ready.values)
    labels = np.empty(len(rows), np.int32) if out is None else _check_out(out, rows, k)
    distances = np.empty(len(rows), np.float32) if return_distance else None
    if device != "cpu":
        accelerator_assign(rows, ready, device, labels, distances)
    else:
        _assign(rows, ready, labels, distances, n_threads)
    return labels if distances is None else (labels, distances)


class Assigner:
    """`assign` to the same centroids on CPU, again and again: they are made ready once.

    Parameters
    ----------
    centers : array of shape (k, d)
        Centroids.

    Raises
    ------
    InputError
        If they are no finite table.
    """

    def __init__(self, centers: Any) -> None:
        self._centers = _ready(centers)

    def __call__(self, X: Any) -> Labels:  # noqa: N803
        """Return the index of each row's nearest centroid, int32 of shape (n,)."""
        rows = check_rows(X, self._centers.values.shape[1])
        labels = np.empty(len(rows), np.int32)
        _assign(rows, self._centers, labels)
        return labels


def _assign(
    rows: Rows,
    ready: Centers,
    labels: Labels,
    distances: FloatArray | None = None,
    n_threads: int | None = None,
) -> None:
    nearest = Nearest(rows, ready)

    def task(chunk: slice) -> None:
        for part, x, found, best in nearest.blocks(chunk):
            labels[part] = found
            if distances is not None:
                squared = np.maximum(best + np.einsum("ij,ij->i", x, x), 0)
                np.sqrt(squared, out=distances[part])

    for_chunks(task, len(rows), lambda _: None, n_threads)


def _ready(centers: Any) -> Centers:
    table = check_rows(centers, argument="centers")
    refuse_nonfinite(table, "centers")
    return Centers(np.ascontiguousarray(table, np.float32))


def _check_out(out: Labels, rows: Rows, k: int) -> Labels:
    whole = isinstance(out, np.ndarray) and out.dtype.kind in "iu"
    if not whole or out.shape != (len(rows),) or np.iinfo(out.dtype).max < k - 1:
        remedy = f"Give an integer array of shape ({len(rows)},) that holds {k - 1}"
        invalid("out", out, "cannot hold the labels", remedy)
    return out
