"""One pass over all rows in blocks: nearest centroid and sums, on threads or an accelerator."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_clusternet.clustering._rows import CHUNK, raise_nonfinite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_clusternet.clustering._rows import FloatArray, Rows

Result = TypeVar("Result")

#: Scores (rows x centroids) a thread holds at a time: small enough for its cache.
_SCORES = 1 << 20

#: Each pass uses all cores and changes torch's default for new threads while it runs.
_ONE_AT_A_TIME = threading.Lock()


def for_chunks(
    task: Callable[[slice], Result],
    n_rows: int,
    merge: Callable[[Result], None],
    n_threads: int | None = None,
) -> None:
    """Run `task` on chunks of rows on threads and `merge` its results in row order.

    The chunks are the same whatever the number of threads, and each thread's linear algebra
    runs on itself alone, so sums merged in this order are repeatable to the bit.
    """
    import torch

    with _ONE_AT_A_TIME:
        threads = torch.get_num_threads()
        if n_rows <= CHUNK:  # starting a thread would take longer
            torch.set_num_threads(1)
            try:
                merge(task(slice(0, n_rows)))
            finally:
                torch.set_num_threads(threads)
            return
        workers = n_threads or threads
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        waiting: deque[Future[Result]] = deque()
        try:
            for start in range(0, n_rows, CHUNK):
                waiting.append(pool.submit(task, slice(start, min(start + CHUNK, n_rows))))
                if len(waiting) > 4 * workers:  # bounds the partial sums held
                    merge(waiting.popleft().result())
            while waiting:
                merge(waiting.popleft().result())
        finally:
            try:
                pool.shutdown(cancel_futures=True)
            finally:  # closing a window may interrupt the waiting
                torch.set_num_threads(threads)  # the pool's setting became that of new threads


@dataclass(frozen=True)
class Centers:
    """Centroids made ready for scores = |c|^2 - 2 x.c, about their own mean.

    Working about the mean keeps float32 accurate for data far from the origin.
    """

    values: FloatArray

    @cached_property
    def shift(self) -> FloatArray:
        """Mean of the centroids, shape (d,)."""
        mean: FloatArray = self.values.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    @cached_property
    def centred(self) -> FloatArray:
        """Centroids less `shift`, shape (k, d)."""
        return self.values - self.shift

    @cached_property
    def weights(self) -> Any:
        """Torch tensor of -2 c, shape (d, k)."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(-2 * self.centred.T))

    @cached_property
    def bias(self) -> Any:
        """Torch tensor of |c|^2, shape (k,)."""
        import torch

        return torch.from_numpy(np.einsum("ij,ij->i", self.centred, self.centred))


class Nearest:
    """Nearest centroid of chunks of rows; one instance serves many threads.

    Measured on CPU: `torch.addmm` with the bias built in, then `numpy.argmin`, in blocks that
    stay in cache. numpy's matmul needs a second sweep for the bias; torch's argmin is 10x slower.
    """

    def __init__(self, rows: Rows, centers: Centers) -> None:
        self.rows, self.centers = rows, centers
        k = len(centers.values)
        self.block = int(np.clip(_SCORES // k, 256, 4096))
        self._local = threading.local()
        _ = centers.weights, centers.bias  # made once, before threads ask for them

    def _buffers(self) -> tuple[Any, Any]:
        if not hasattr(self._local, "buffers"):
            import torch

            k, d = self.centers.values.shape
            self._local.buffers = torch.empty(CHUNK, d), torch.empty(self.block, k)
        return self._local.buffers  # type: ignore[no-any-return]

    def centred(self, chunk: slice) -> FloatArray:
        """Return the thread's buffer of a chunk's rows as `blocks` filled it, shape (m, d)."""
        rows: FloatArray = self._buffers()[0].numpy()[: chunk.stop - chunk.start]
        return rows

    def blocks(self, chunk: slice) -> Iterator[tuple[slice, FloatArray, Any, FloatArray]]:
        """Yield (rows, centred rows, labels, scores of the labels) for blocks of a chunk.

        The rows are a buffer of the thread: they hold until its next chunk.
        """
        import torch

        row_buffer, score_buffer = self._buffers()
        for start in range(chunk.start, chunk.stop, self.block):
            part = slice(start, min(start + self.block, chunk.stop))
            block = row_buffer[start - chunk.start : part.stop - chunk.start]
            x = block.numpy()  # a copy: aligned, float32, whatever the input's layout
            np.subtract(self.rows[part], self.centers.shift, out=x, casting="unsafe")
            scores = score_buffer[: len(x)]
            torch.addmm(self.centers.bias, block, self.centers.weights, out=scores)
            found = scores.numpy()
            labels = found.argmin(axis=1)
            best = found[np.arange(len(x)), labels]
            if not np.isfinite(best).all():  # any NaN or inf in a row reaches its best score
                raise_nonfinite(self.rows, start + int((~np.isfinite(best)).argmax()))
            yield part, x, labels, best


@dataclass
class Pass:
    """What one pass over the rows found.

    Attributes
    ----------
    sums : array of shape (k, d), float64
        Sum of each centroid's rows, less `shift` each.
    counts : array of shape (k,), int64
        Rows of each centroid.
    within : array of shape (k,), float64
        Sum of squared distances of each centroid's rows to it.
    shift : array of shape (d,)
        What was taken from each row.
    labels : array of shape (n,), int32
        Nearest centroid of each row.
    """

    sums: np.ndarray[Any, np.dtype[np.float64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]
    within: np.ndarray[Any, np.dtype[np.float64]]
    shift: FloatArray
    labels: np.ndarray[Any, np.dtype[np.int32]]

    @classmethod
    def empty(cls, n: int, centers: Centers) -> Pass:
        """Return a pass that has seen nothing of `n` rows yet."""
        k, d = centers.values.shape
        sums, counts, within = np.zeros((k, d)), np.zeros(k, np.int64), np.zeros(k)
        return cls(sums, counts, within, centers.shift, np.empty(n, np.int32))


def cpu_pass(rows: Rows, centers: Centers, n_threads: int | None = None) -> Pass:
    """Assign every row and sum rows by centroid; float64 totals merged in row order."""
    nearest = Nearest(rows, centers)
    found = Pass.empty(len(rows), centers)
    k = len(centers.values)

    def task(chunk: slice) -> tuple[Any, Any, Any]:
        within = np.zeros(k)
        for part, x, labels, best in nearest.blocks(chunk):
            found.labels[part] = labels
            distances = np.maximum(best + np.einsum("ij,ij->i", x, x), 0)
            within += np.bincount(labels, distances, minlength=k)
        labels = found.labels[chunk]
        return (
            _sum_by_label(nearest.centred(chunk), labels, k),
            np.bincount(labels, minlength=k),
            within,
        )

    def merge(part: tuple[Any, Any, Any]) -> None:
        found.sums += part[0]
        found.counts += part[1]
        found.within += part[2]

    for_chunks(task, len(rows), merge, n_threads)
    return found


def _sum_by_label(x: FloatArray, labels: Any, k: int) -> FloatArray:
    """Sum rows by label: a sparse product, 10x faster than sorting and segmented sums."""
    from scipy.sparse import csc_array

    n = len(x)
    ones, ends = np.ones(n, np.float32), np.arange(n + 1, dtype=np.int32)
    return csc_array((ones, labels, ends), shape=(k, n)) @ x
