"""Neighbouring regions merge, the most alike first: agglomeration on a region adjacency graph."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    DoubleArray = npt.NDArray[np.float64]

#: Merges between two reports of progress.
_REPORT = 500


def neighbour_pairs(segments: IntArray, valid: npt.NDArray[np.bool_] | None = None) -> IntArray:
    """Return every pixel pair across a border, as segment numbers (n, 2), lower first.

    Parameters
    ----------
    segments : numpy.ndarray of int64, shape ([Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X), optional
        Pairs with another pixel are left out.
    """
    parts = []
    for axis in range(segments.ndim):
        one = np.moveaxis(segments, axis, 0)
        a, b = one[:-1], one[1:]
        border = a != b
        if valid is not None:
            inside = np.moveaxis(valid, axis, 0)
            border &= inside[:-1] & inside[1:]
        parts.append(np.stack([a[border], b[border]], axis=1))
    return np.sort(np.concatenate(parts), axis=1)


def region_means(
    values: npt.NDArray[Any], segments: IntArray, valid: npt.NDArray[np.bool_]
) -> tuple[DoubleArray, IntArray]:
    """Return mean values (n, C) and sizes (n,) of segments 0..n - 1 over valid pixels.

    Parameters
    ----------
    values : numpy.ndarray, shape (C, [Z,] Y, X)
    segments : numpy.ndarray of int64, shape ([Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    """
    flat = segments[valid]
    sizes = np.bincount(flat)
    sums = [np.bincount(flat, weights=band[valid]) for band in values]
    return np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None], sizes


def merge_steps(
    pairs: IntArray,
    means: DoubleArray,
    sizes: IntArray,
    n_regions: int,
    strength: DoubleArray | None = None,
) -> Generator[Progress, None, IntArray]:
    """Merge the cheapest pair of neighbours until `n_regions` are left or none touch.

    The cost is Ward's, n_a n_b / (n_a + n_b) * |m_a - m_b|^2, times the mean strength of the
    border between the two.

    Parameters
    ----------
    pairs : numpy.ndarray of int64, shape (p, 2)
        Pixel pairs across borders, from `neighbour_pairs`.
    means, sizes : numpy.ndarray, shape (n, C) and (n,)
        From `region_means`.
    n_regions : int
        Regions to leave.
    strength : numpy.ndarray, shape (p,), optional
        Strength of the border at each pair; 1 by default.

    Yields
    ------
    Progress
        Every few hundred merges.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Group of each segment, 0..g - 1.
    """
    graph = _Graph(means, sizes, pairs, np.ones(len(pairs)) if strength is None else strength)
    total = max(0, len(means) - n_regions)
    done = 0
    while done < total and graph.merge_cheapest():
        done += 1
        if done % _REPORT == 0:
            yield Progress("merging regions", done, total)
    yield Progress("merging regions", total, total)
    return graph.groups()


class _Graph:
    """Regions and their borders; `merge_cheapest` joins two."""

    def __init__(
        self, means: DoubleArray, sizes: IntArray, pairs: IntArray, strength: DoubleArray
    ) -> None:
        self._means = list(means.copy())
        self._sizes = sizes.astype(float).tolist()
        self._parents = np.arange(len(means))
        self._versions = [0] * len(means)
        # neighbour -> [summed strength, pixel pairs]
        self._borders: list[dict[int, list[float]]] = [{} for _ in sizes]
        keys, where = np.unique(pairs, axis=0, return_inverse=True)
        where = where.reshape(-1)
        sums = np.bincount(where, weights=strength, minlength=len(keys))
        counts = np.bincount(where, minlength=len(keys))
        for (a, b), total, count in zip(keys.tolist(), sums, counts, strict=True):
            self._borders[a][b] = [float(total), float(count)]
            self._borders[b][a] = [float(total), float(count)]
        self._heap: list[tuple[float, int, int, int, int]] = []
        for a, b in keys.tolist():
            self._heap.append(self._entry(a, b))
        heapq.heapify(self._heap)

    def _entry(self, a: int, b: int) -> tuple[float, int, int, int, int]:
        gap = self._means[a] - self._means[b]
        total, count = self._borders[a][b]
        ward = self._sizes[a] * self._sizes[b] / (self._sizes[a] + self._sizes[b])
        cost = ward * float(gap @ gap) * total / count
        return cost, a, b, self._versions[a], self._versions[b]

    def merge_cheapest(self) -> bool:
        """Merge the cheapest pair; return whether there was one."""
        while self._heap:
            _, a, b, version_a, version_b = heapq.heappop(self._heap)
            if (version_a, version_b) == (self._versions[a], self._versions[b]):
                self._merge(a, b)
                return True
        return False

    def _merge(self, a: int, b: int) -> None:
        size = self._sizes[a] + self._sizes[b]
        self._means[a] = (self._sizes[a] * self._means[a] + self._sizes[b] * self._means[b]) / size
        self._sizes[a] = size
        self._parents[b] = a
        self._versions[a] += 1
        self._versions[b] = -1  # dead: no entry of the heap fits it any more
        borders = self._borders[a]
        del borders[b], self._borders[b][a]
        for other, (total, count) in self._borders[b].items():
            del self._borders[other][b]
            mine = borders.setdefault(other, [0.0, 0.0])
            mine[0] += total
            mine[1] += count
            self._borders[other][a] = list(mine)
        self._borders[b] = {}
        for other in borders:
            heapq.heappush(self._heap, self._entry(a, other))

    def groups(self) -> IntArray:
        """Return the group of each first region, 0..g - 1."""
        parents = self._parents
        while (parents[parents] != parents).any():
            parents = parents[parents]
        return np.unique(parents, return_inverse=True)[1].reshape(-1).astype(np.int64)
