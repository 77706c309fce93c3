"""`Partition`: which pixel belongs to which cluster, with an index of every cluster's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.integer]
    Segment = tuple[int, int]

Scalar = TypeVar("Scalar", bound=np.generic)

#: Largest cluster id: wider Labels layers cost napari ten times as much.
MAX_CLUSTER_ID = 65535
#: Its multiples, less their whole parts, fill the unit interval evenly and in no period.
_GOLDEN = (5**0.5 - 1) / 2
#: Pixels a look-up handles at a time, small enough to stay in cache.
_LOOKUP_BLOCK = 1 << 17


@dataclass(frozen=True)
class Move:
    """One exact change of a partition: pixels that went from one cluster to another.

    Attributes
    ----------
    source, target : int
        Cluster ids.
    pixels : numpy.ndarray of int
        `source`'s pixels before the move, in index order.
    moved : numpy.ndarray of bool
        Which of `pixels` went to `target`.
    created : bool
        Whether `target` was a new id.
    """

    source: int
    target: int
    pixels: IntArray
    moved: npt.NDArray[np.bool_]
    created: bool


class Partition:
    """A map of cluster ids with the pixels of every cluster at hand.

    Splitting or merging touches only the pixels of the clusters concerned.

    Parameters
    ----------
    cluster_map : numpy.ndarray of uint16, shape ([Z,] Y, X)
        Cluster id 1..K per pixel, 0 where there is none (invalid pixels). Taken over, not copied,
        unless there are pixels outside.
    outside_ids : numpy.ndarray of uint16, shape (n,), optional
        Cluster ids of pixels outside the map, whose flat indices follow the map's own.
    n_ids : int
        Highest cluster id at least.

    Attributes
    ----------
    version : int
        Grows with every change, undo included.
    """

    def __init__(
        self,
        cluster_map: npt.NDArray[np.uint16],
        outside_ids: npt.NDArray[np.uint16] | None = None,
        n_ids: int = 0,
    ) -> None:
        self.version = 0
        self._touched: dict[int, int] = {}
        self._lay_out(cluster_map, outside_ids)
        index = np.uint32 if self._flat.size < 2**32 else np.int64
        self._order: IntArray = np.argsort(self._flat, kind="stable").astype(index)
        counts = np.bincount(self._flat, minlength=n_ids + 1)
        stops = np.cumsum(counts)
        self._segments: list[list[Segment]] = [
            [(int(stop - n), int(stop))] if n else []
            for n, stop in zip(counts[1:], stops[1:], strict=True)
        ]

    def _lay_out(
        self, cluster_map: npt.NDArray[np.uint16], outside_ids: npt.NDArray[np.uint16] | None
    ) -> None:
        flat = cluster_map.reshape(-1)
        if outside_ids is not None:
            flat = np.concatenate([flat, outside_ids])
        self._flat = flat
        self.cluster_map = flat[: cluster_map.size].reshape(cluster_map.shape)

    def arrays(self) -> dict[str, Any]:
        """Everything the partition holds, as named arrays: the way into a file."""
        inside = self.cluster_map.size
        places = [(i, *place) for i, places in enumerate(self._segments) for place in places]
        segments = np.array(places, dtype=np.int64).reshape(-1, 3)
        empty = np.array([[self.n_ids, 0, 0]], dtype=np.int64)  # keeps trailing empty ids
        return {
            "cluster_map": self.cluster_map,
            "order": self._order,
            "segments": np.concatenate([segments, empty]),
        } | ({"outside_ids": self._flat[inside:]} if self._flat.size > inside else {})

    @classmethod
    def from_arrays(
        cls,
        cluster_map: npt.NDArray[np.uint16],
        order: IntArray,
        segments: IntArray,
        outside_ids: npt.NDArray[np.uint16] | None = None,
    ) -> Partition:
        """Build a partition from its `arrays`.

        Raises
        ------
        ValueError
            If they contradict each other.
        """
        self = cls.__new__(cls)
        self._lay_out(np.ascontiguousarray(cluster_map), outside_ids)
        self.version, self._touched, self._order = 0, {}, np.array(order)
        n_ids = int(segments[-1, 0])
        if not 0 <= n_ids <= MAX_CLUSTER_ID:
            raise ValueError(f"{n_ids} clusters")
        self._segments = [[] for _ in range(n_ids)]
        expected = np.zeros(order.size, dtype=self._flat.dtype)
        for i, start, stop in segments[:-1].tolist():
            if not (0 <= i < n_ids and 0 <= start < stop <= order.size) or expected[start]:
                raise ValueError(f"segment {(i, start, stop)}")
            self._segments[i].append((start, stop))
            expected[start:stop] = i + 1
        seen = np.zeros(self._flat.size, dtype=bool)
        seen[self._order] = True  # IndexError beyond the map
        if order.size != self._flat.size or not seen.all():
            raise ValueError("the index is not a permutation of the pixels")
        if not np.array_equal(self._flat[self._order], expected):
            raise ValueError("the index does not fit the cluster map")
        return self

    def copy(self) -> Partition:
        """Return a partition that changes by itself from now on."""
        other = Partition.__new__(Partition)
        other._touched, other._flat = dict(self._touched), self._flat.copy()
        other.version, shape = self.version, self.cluster_map.shape
        other.cluster_map = other._flat[: self.cluster_map.size].reshape(shape)
        other._order, other._segments = self._order.copy(), [list(s) for s in self._segments]
        return other

    @property
    def n_ids(self) -> int:
        """Highest cluster id in use or used before; ids of merged clusters stay empty."""
        return len(self._segments)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Pixels of each cluster id 1..n_ids, those outside the map included, shape (n_ids,)."""
        return np.array([self.size(i + 1) for i in range(self.n_ids)], dtype=np.int64)

    def size(self, cluster: int) -> int:
        """Pixels of one cluster."""
        return sum(stop - start for start, stop in self._segments[cluster - 1])

    @property
    def n_pixels(self) -> int:
        """Pixels of the map and outside it, invalid ones included."""
        return self._flat.size

    @property
    def sizes_inside(self) -> npt.NDArray[np.int64]:
        """Pixels of each cluster id 1..n_ids that are on the map, shape (n_ids,)."""
        outside = self._flat[self.cluster_map.size :]
        return self.sizes - np.bincount(outside, minlength=self.n_ids + 1)[1:]

    def ids(self, pixels: IntArray) -> npt.NDArray[np.uint16]:
        """Cluster ids of pixels by flat index."""
        found: npt.NDArray[np.uint16] = self._flat[pixels]
        return found

    def inside(self, cluster: int) -> IntArray:
        """Flat indices of one cluster's pixels that are on the map."""
        pixels = self.members(cluster)
        n = self.cluster_map.size
        return pixels if self._flat.size == n else pixels[pixels < n]

    def members(self, cluster: int) -> IntArray:
        """Flat indices of one cluster's pixels, those outside the map included."""
        parts = [self._order[start:stop] for start, stop in self._segments[cluster - 1]]
        if len(parts) == 1:
            return parts[0]
        joined: IntArray = np.concatenate([self._order[:0], *parts])
        return joined

    def changed_since(self, version: int) -> list[int]:
        """Ids of the clusters, empty ones included, whose pixels changed after a `version`."""
        return sorted(
            cluster
            for cluster, touched in self._touched.items()
            if touched > version and cluster <= self.n_ids
        )

    def sample(self, cluster: int, n: int) -> IntArray:
        """`n` pixels of a cluster, spread through its index; repeated if it has fewer.

        One of each of `n` equal stretches, but not always the same place in it: that could be the
        same column of every so many rows.
        """
        pixels = self.members(cluster)
        places = ((np.arange(n) + _GOLDEN * np.arange(n) % 1) * pixels.size / n).astype(np.intp)
        return pixels[np.minimum(places, pixels.size - 1)]

    def move(self, source: int, target: int, moved: npt.NDArray[np.bool_]) -> Move:
        """Move some pixels of `source` to `target`, which may be the next new id.

        Parameters
        ----------
        source, target : int
            Cluster ids; ``target == n_ids + 1`` makes a new cluster.
        moved : numpy.ndarray of bool
            One flag for each of ``members(source)``.

        Raises
        ------
        InputError
            If all 65535 ids are in use.
        """
        if target > MAX_CLUSTER_ID:
            invalid("target", target, "all cluster ids are in use", "Merge clusters first")
        created = target == self.n_ids + 1
        if created:
            self._segments.append([])
        step = Move(source, target, self.members(source).copy(), moved, created)
        self._apply(step)
        return step

    def redo(self, step: Move) -> None:
        """Apply a recorded move again."""
        if step.created:
            self._segments.append([])
        self._apply(step)

    def undo(self, step: Move) -> None:
        """Take a recorded move back; it must be the last one that was applied.

        Ids and the order of `source`'s index come back exactly.
        """
        gone = int(step.moved.sum())
        held = self._segments[step.target - 1]
        kept, returned = _cut(held, sum(b - a for a, b in held) - gone)
        self._segments[step.target - 1] = kept
        segments = _join(self._segments[step.source - 1] + returned)
        self._segments[step.source - 1] = segments
        self._write(segments, step.pixels)
        self._flat[step.pixels[step.moved]] = step.source
        if step.created:
            self._segments.pop()
        self._touch(step)

    def _apply(self, step: Move) -> None:
        segments = self._segments[step.source - 1]
        stay, go = step.pixels[~step.moved], step.pixels[step.moved]
        self._write(segments, np.concatenate([stay, go]))
        kept, given = _cut(segments, stay.size)
        self._segments[step.source - 1] = kept
        self._segments[step.target - 1] = self._segments[step.target - 1] + given
        self._flat[go] = step.target
        self._touch(step)

    def _touch(self, step: Move) -> None:
        self.version += 1
        self._touched[step.source] = self._touched[step.target] = self.version

    def _write(self, segments: list[Segment], pixels: IntArray) -> None:
        done = 0
        for start, stop in segments:
            self._order[start:stop] = pixels[done : done + stop - start]
            done += stop - start


def _cut(segments: list[Segment], n: int) -> tuple[list[Segment], list[Segment]]:
    """Cut a list of segments after its first `n` places."""
    first: list[Segment] = []
    rest: list[Segment] = []
    for start, stop in segments:
        middle = min(stop, start + n)
        if middle > start:
            first.append((start, middle))
        if middle < stop:
            rest.append((middle, stop))
        n -= middle - start
    return first, rest


def _join(segments: list[Segment]) -> list[Segment]:
    """Sort segments and join those that touch, so that undo leaves no fragments behind."""
    joined: list[Segment] = []
    for start, stop in sorted(segments):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def look_up(table: npt.NDArray[Scalar], ids: IntArray) -> npt.NDArray[Scalar]:
    """Return ``table[ids]`` for a large map of ids, block by block.

    Parameters
    ----------
    table : numpy.ndarray, shape (n_ids + 1,)
        Value for each id, id 0 included.
    ids : numpy.ndarray of int
        Any shape, C-contiguous.

    Returns
    -------
    numpy.ndarray of `table`'s dtype, shape of `ids`
    """
    flat = ids.reshape(-1)
    values = np.empty(flat.shape, table.dtype)
    for start in range(0, flat.size, _LOOKUP_BLOCK):
        part = slice(start, start + _LOOKUP_BLOCK)
        # ids are in range, so nothing is clipped; but indexing is twice as slow, as it looks.
        # A second thread gains nothing: it waits for the same memory
        np.take(table, flat[part], out=values[part], mode="clip")
    return values.reshape(ids.shape)
