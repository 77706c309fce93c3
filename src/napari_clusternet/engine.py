"""What a session computes on: features, clusters, strokes and the tables between them.

The way of a stroke through `ClusterEngine`: `count` puts the changed pixels into the tables of
the clusters they lie in, `split_mixed` splits those that became mixed (section 2.2, case 3),
`classify` gives every cluster its class, `relabel` looks the classes up through the cluster map.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.classify.clusters import (
    SPLIT_SAMPLE,
    present_classes,
    principal_starts,
    split_pixels,
    stroke_classes,
)
from napari_clusternet.classify.posterior import StrokePosterior
from napari_clusternet.features.matrix import FeatureMatrix
from napari_clusternet.history import (
    ASSIGNED,
    CLASSIFIED,
    INFERRED,
    MIXED,
    UNCLASSIFIED,
    ClusterState,
    Divide,
    Entry,
)
from napari_clusternet.partition import MAX_CLUSTER_ID, Move, Partition, look_up

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Pixels of each cluster that the stroke classifier looks at (enhanced mode).
SAMPLE_PER_CLUSTER = 12
#: How many stroked pixels the classifier's opinion of a cluster weighs (enhanced mode).
POSTERIOR_WEIGHT = 8.0


class ClusterEngine:
    """Clusters, strokes and classes of one image.

    Parameters
    ----------
    matrix : FeatureMatrix
        Features of the valid pixels.
    partition : Partition
        Their clusters.
    state : ClusterState
        The clusters' tables.
    enhanced : bool
        Whether clusters without strokes get a class from the stroke classifier.
    random_state : int
        Seed of that classifier.
    """

    def __init__(
        self,
        matrix: FeatureMatrix,
        partition: Partition,
        state: ClusterState,
        *,
        enhanced: bool,
        random_state: int,
    ) -> None:
        self.matrix, self.partition, self.state = matrix, partition, state
        self.enhanced, self.random_state = enhanced, random_state
        self.strokes: LabelArray = np.zeros(partition.cluster_map.size, np.uint8)
        self.labels: LabelArray = np.zeros(partition.cluster_map.shape, np.uint8)
        self._stroked: IntArray = np.zeros(0, np.int64)
        self._samples = np.zeros((0, SAMPLE_PER_CLUSTER, matrix.n_features), np.float32)

    # ---- strokes -------------------------------------------------------------------------------

    def set_strokes(self, pixels: IntArray, new: IntArray) -> None:
        """Write changed strokes; `pixels` are in order."""
        wider = np.promote_types(new.dtype, self.strokes.dtype)
        self.strokes = self.strokes.astype(wider, copy=False)
        self.strokes[pixels] = new
        self._stroked = _with(_without(self._stroked, pixels), pixels[new > 0])

    def restore_strokes(self, strokes: LabelArray) -> None:
        """Take over the flat strokes of a saved session and bring the labels up to date."""
        if strokes.shape != self.strokes.shape or strokes.dtype.kind != "u":
            raise ValueError(f"strokes of {strokes.dtype}, shape {strokes.shape}")
        self.strokes = strokes.copy()
        self._stroked = np.flatnonzero(strokes)
        if self.enhanced:
            self._refresh_samples(())
        self._write_labels(range(1, self.partition.n_ids + 1))

    def count(self, pixels: IntArray, old: LabelArray, new: LabelArray) -> IntArray:
        """Count changed strokes into their clusters; return the ids of the clusters concerned."""
        ids = self._ids(pixels).astype(np.int64)
        counts = self.state.counts
        wider = max(0, int(new.max(initial=0)) - counts.shape[1])
        counts = np.pad(counts, ((0, 0), (0, wider)))
        for classes, sign in ((old, -1), (new, 1)):
            there = classes > 0
            np.add.at(counts, (ids[there] - 1, classes[there].astype(np.int64) - 1), sign)
        self.state = replace(self.state, counts=counts)
        return np.unique(ids)

    def _ids(self, pixels: IntArray) -> IntArray:
        """Cluster ids of pixels, given by flat index."""
        return self.partition.cluster_map.reshape(-1)[pixels]

    # ---- splits and merges ---------------------------------------------------------------------

    def split_mixed(self, touched: Iterable[int], moves: list[Move]) -> None:
        """Case 3 of section 2.2: split until no cluster among `touched` is mixed.

        Every change is added to `moves` as it is made, so that it can be taken back.

        A cluster whose strokes of different classes have the same features cannot be split and
        stays mixed.
        """
        rows = np.array(sorted(touched), dtype=np.int64) - 1
        voices = present_classes(self.state.counts[rows], self.state.threshold).sum(axis=1)
        mixed = rows[voices > 1] + 1
        if mixed.size == 0:
            return
        ids = self._ids(self._stroked)
        queue = [(int(cluster), self._stroked[ids == cluster]) for cluster in mixed]
        while queue:
            cluster, stroked = queue.pop()
            counts = self.state.counts[cluster - 1 : cluster]
            present = np.flatnonzero(present_classes(counts, self.state.threshold)[0]) + 1
            if len(present) < 2:
                continue
            if self.partition.n_ids + len(present) - 1 > MAX_CLUSTER_ID:
                warnings.warn("all 65535 cluster ids are in use; merge clusters", stacklevel=4)
                break
            classes, features = self.strokes[stroked], self.matrix.take(stroked)
            starts = np.stack([features[classes == c].mean(axis=0) for c in present])
            parts = self.divide(cluster, starts, moves, stroked)
            ids = self._ids(stroked)
            queue.extend((part, stroked[ids == part]) for part in parts)

    def divide(
        self, cluster: int, starts: FloatArray, moves: list[Move], stroked: IntArray
    ) -> list[int]:
        """Split one cluster, whose stroked pixels are given, by k-means from `starts`.

        The changes are added to `moves`.

        Returns
        -------
        list of int
            Ids of the parts, the largest (which keeps the cluster's id) first; empty if the
            pixels cannot be told apart.
        """
        result = split_pixels(self.matrix.take(self.partition.members(cluster)), starts)
        if result is None:
            return []
        parts, centroids = result
        sizes = np.bincount(parts, minlength=len(centroids))
        kept = [int(part) for part in np.argsort(-sizes, kind="stable") if sizes[part]]
        n_ids = self.partition.n_ids
        ids = [cluster, *range(n_ids + 1, n_ids + len(kept))]
        for part, target in zip(kept[1:], ids[1:], strict=True):
            moves.append(self.partition.move(cluster, target, parts == part))
            parts = parts[parts != part]
        self._add_rows(Divide(cluster, tuple(ids), centroids[kept]), stroked)
        return ids

    def divide_in_two(self, cluster: int, moves: list[Move]) -> list[int]:
        """Split one cluster along its direction of largest variance; see `divide`."""
        rows = self.matrix.take(self.partition.sample(cluster, SPLIT_SAMPLE))
        stroked = self._stroked[self._ids(self._stroked) == cluster]
        return self.divide(cluster, principal_starts(rows), moves, stroked)

    def _add_rows(self, divide: Divide, stroked: IntArray) -> None:
        """Bring the tables up to date after a split."""
        state, ids, grow = self.state, divide.ids, len(divide.ids) - 1
        centroids = np.concatenate([state.centroids, divide.centroids[1:]])
        centroids[divide.source - 1] = divide.centroids[0]
        counts = np.pad(state.counts, ((0, grow), (0, 0)))
        parts, strokes = self._ids(stroked), self.strokes[stroked]
        for i in ids:
            counts[i - 1] = np.bincount(strokes[parts == i], minlength=counts.shape[1] + 1)[1:]
        inherited = np.repeat(state.assigned[divide.source - 1], grow)
        self.state = replace(
            state,
            centroids=centroids,
            counts=counts,
            assigned=np.append(state.assigned, inherited),
            divides=(*state.divides, divide),
        )

    def merge(self, ids: list[int], moves: list[Move]) -> None:
        """Merge sorted cluster ids into the first; the others stay empty."""
        state, target, rows = self.state, ids[0], np.array(ids) - 1
        weights = np.array([self.partition.size(i) for i in ids], dtype=np.float64)
        counts, centroids = state.counts.copy(), state.centroids.copy()
        assigned = state.assigned.copy()
        counts[rows[0]], counts[rows[1:]] = counts[rows].sum(axis=0), 0
        centroids[rows[0]] = np.average(centroids[rows], axis=0, weights=weights)
        agreed = len(set(assigned[rows].tolist())) == 1
        assigned[rows[0]], assigned[rows[1:]] = assigned[rows[0]] if agreed else 0, 0
        for i in ids[1:]:
            everything = np.ones(self.partition.size(i), dtype=bool)
            moves.append(self.partition.move(i, target, everything))
        divides = [Divide(i, (target,), centroids[rows[:1]]) for i in ids[1:]]
        self.state = replace(
            state,
            counts=counts,
            centroids=centroids,
            assigned=assigned,
            divides=(*state.divides, *divides),
        )

    # ---- classes -------------------------------------------------------------------------------

    def classify(self, moves: Iterable[Move]) -> None:
        """Give every cluster its class, state and certainty."""
        state = self.state
        totals = state.counts.sum(axis=1)
        classes, mixed = stroke_classes(state.counts, state.threshold)
        states = np.where(classes > 0, CLASSIFIED, np.where(mixed, MIXED, UNCLASSIFIED))
        certainty = state.counts.max(axis=1, initial=0) / np.maximum(totals, 1)
        seen = int((state.counts.sum(axis=0) > 0).sum())
        if self.enhanced:
            self._refresh_samples(moves)
        if self.enhanced and seen >= 2:
            posterior = self._posterior() * POSTERIOR_WEIGHT + state.counts
            posterior /= (totals + POSTERIOR_WEIGHT)[:, None]
            states = np.where(states == UNCLASSIFIED, INFERRED, states)
            classes = np.where(classes > 0, classes, posterior.argmax(axis=1) + 1)
            certainty = np.take_along_axis(posterior, classes[:, None] - 1, axis=1)[:, 0]
        elif self.enhanced and seen == 1:
            warnings.warn("strokes: only one class so far; need at least two", stacklevel=6)
        by_hand = state.assigned > 0
        self.state = replace(
            state,
            classes=np.where(by_hand, state.assigned, classes),
            states=np.where(by_hand, ASSIGNED, states),
            certainty=np.where(by_hand, 1.0, certainty).astype(np.float32),
        )

    def _refresh_samples(self, moves: Iterable[Move]) -> None:
        """Keep the features of each cluster's sample pixels at hand."""
        n, known = self.partition.n_ids, len(self._samples)
        changed = {i for move in moves for i in (move.source, move.target) if i <= n}
        changed |= set(range(known + 1, n + 1))
        samples = np.zeros((n, *self._samples.shape[1:]), np.float32)
        samples[: min(n, known)] = self._samples[:n]
        for i in changed:
            if self.partition.size(i):
                samples[i - 1] = self.matrix.take(self.partition.sample(i, SAMPLE_PER_CLUSTER))
        self._samples = samples

    def _posterior(self) -> npt.NDArray[np.float32]:
        """Mean class posterior of each cluster's sample, shape (n_ids, n_classes)."""
        model = StrokePosterior(self.random_state)
        model.fit(self.matrix.take(self._stroked), self.strokes[self._stroked])
        n, m, n_features = self._samples.shape
        n_classes = self.state.counts.shape[1]
        pixels = model.predict(self._samples.reshape(-1, n_features), n_classes)
        means: npt.NDArray[np.float32] = pixels.reshape(n, m, n_classes).mean(axis=1)
        return means

    # ---- labels --------------------------------------------------------------------------------

    def relabel(self, before: ClusterState, moves: Iterable[Move]) -> None:
        """Bring the labels up to date: only the clusters concerned, unless they are many."""
        now, was = self.state.classes, before.classes
        common = min(len(now), len(was))
        changed = set((np.flatnonzero(now[:common] != was[:common]) + 1).tolist())
        changed |= {i for move in moves for i in (move.source, move.target)}
        self._write_labels([i for i in changed if i <= self.partition.n_ids])

    def _write_labels(self, clusters: Collection[int]) -> None:
        classes = self.state.classes
        dtype = np.uint8 if classes.max(initial=0) <= 255 else np.uint16
        size = sum(self.partition.size(i) for i in clusters)
        if dtype != self.labels.dtype or size > self.labels.size // 8:
            self.labels = look_up(with_zero(classes.astype(dtype)), self.partition.cluster_map)
            return
        labels = self.labels.copy()  # earlier results stay as they were
        for i in clusters:
            labels.reshape(-1)[self.partition.members(i)] = classes[i - 1]
        self.labels = labels

    # ---- undo and redo -------------------------------------------------------------------------

    def undo(self, entry: Entry) -> None:
        """Go back to where `entry` began, exactly."""
        for move in reversed(entry.moves):
            self.partition.undo(move)
        self._restore(entry.before, entry, entry.old)

    def redo(self, entry: Entry) -> None:
        """Go forward to where `entry` ended, exactly."""
        for move in entry.moves:
            self.partition.redo(move)
        self._restore(entry.after, entry, entry.new)

    def _restore(self, state: ClusterState, entry: Entry, strokes: IntArray) -> None:
        self.set_strokes(entry.pixels, strokes)
        before, self.state = self.state, state
        if self.enhanced:
            self._refresh_samples(entry.moves)
        self.relabel(before, entry.moves)


def _without(stroked: IntArray, pixels: IntArray) -> IntArray:
    """`stroked` without `pixels`; all in order, so that there is nothing to sort."""
    places = np.searchsorted(stroked, pixels)
    known = places < stroked.size
    known[known] = stroked[places[known]] == pixels[known]
    return np.delete(stroked, places[known])


def _with(stroked: IntArray, pixels: IntArray) -> IntArray:
    """`stroked` with `pixels` that are not among them; all in order."""
    return np.insert(stroked, np.searchsorted(stroked, pixels), pixels)


def with_zero(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Prepend the value of id 0, which is 0."""
    return np.concatenate([np.zeros(1, values.dtype), values])
