"""Neighbouring regions merge, the most alike first: agglomeration on a region adjacency graph."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
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
    ends = [np.stack(pair, axis=1) for pair in _across(segments, segments, valid)]
    return np.sort(np.concatenate(ends), axis=1)


def border_strength(
    edges: npt.NDArray[Any], segments: IntArray, valid: npt.NDArray[np.bool_] | None = None
) -> DoubleArray:
    """Return the larger edge value of each pixel pair, in the order of `neighbour_pairs`.

    Parameters
    ----------
    edges : numpy.ndarray, shape ([Z,] Y, X)
        Such as the magnitude of a gradient.
    segments, valid
        As given to `neighbour_pairs`.
    """
    parts = [np.maximum(one, other) for one, other in _across(edges, segments, valid)]
    return np.concatenate(parts).astype(np.float64)


def _across(
    values: npt.NDArray[Any], segments: IntArray, valid: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield, axis by axis, the values on both sides of each border."""
    for axis in range(segments.ndim):
        one = np.moveaxis(segments, axis, 0)
        border = one[:-1] != one[1:]
        if valid is not None:
            inside = np.moveaxis(valid, axis, 0)
            border &= inside[:-1] & inside[1:]
        moved = np.moveaxis(values, axis, 0)
        yield moved[:-1][border], moved[1:][border]


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
    size_power: float = 1.0,
) -> Generator[Progress, None, IntArray]:
    """Merge the cheapest pair of neighbours until `n_regions` are left or none touch.

    The cost is (n_a n_b / (n_a + n_b))^p * |m_a - m_b|^2, times the mean strength of the border
    between the two. p = 1 is Ward's.

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
    size_power : float
        p: the smaller, the less the size of regions counts.

    Yields
    ------
    Progress
        Every few hundred merges.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Group of each segment, 0..g - 1.
    """
    strength = np.ones(len(pairs)) if strength is None else strength
    graph = _Graph(means, sizes, pairs, strength, size_power)
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
        self,
        means: DoubleArray,
        sizes: IntArray,
        pairs: IntArray,
        strength: DoubleArray,
        size_power: float,
    ) -> None:
        self._power = size_power
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
        size = self._sizes[a] * self._sizes[b] / (self._sizes[a] + self._sizes[b])
        cost = size**self._power * float(gap @ gap) * total / count
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
