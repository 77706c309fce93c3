"""What a session computes on: features, clusters, strokes and the tables between them.

The way of a stroke through `ClusterEngine`: `count` puts the changed pixels into the tables of
the clusters they lie in, `split_mixed` splits those that became mixed (section 2.2, case 3),
`classify` gives every cluster its class, `relabel` looks the classes up through the cluster map.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Generator, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.classify.clusters import (
    SPLIT_SAMPLE,
    nearest,
    present_classes,
    principal_starts,
    split_pixels,
    stroke_classes,
)
from napari_clusternet.cluster_posterior import ClusterPosterior
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
from napari_clusternet.thorough import Thorough

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Pixels of the clusters that are split while the user waits (enhanced mode).
SPLIT_PIXELS = 20_000
#: Classifiers that are averaged hedge: their shares to this power, summing to 1, are right as often
#: as they say.
SHARPENING = 1.5
#: Rounds of splits by what the strokes say about a cluster's pixels (enhanced mode).
REFINE_ROUNDS = 4


@dataclass(frozen=True)
class Refinement:
    """What `ClusterEngine.refine_steps` worked out.

    Attributes
    ----------
    state : ClusterState
        The clusters' tables afterwards.
    moves : tuple of Move
        Changes of the partition, in order.
    posterior : ClusterPosterior
        With samples of the new clusters.
    """

    state: ClusterState
    moves: tuple[Move, ...]
    posterior: ClusterPosterior


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
        Whether clusters without strokes get a class from classifiers that learn from the strokes.
    random_state : int
        Seed of those.
    spacing : sequence of float
        Pixel size ([Z,] Y, X).
    """

    def __init__(
        self,
        matrix: FeatureMatrix,
        partition: Partition,
        state: ClusterState,
        *,
        enhanced: bool,
        random_state: int,
        spacing: Sequence[float],
    ) -> None:
        self.matrix, self.partition, self.state = matrix, partition, state
        self.enhanced = enhanced
        self.strokes: LabelArray = np.zeros(partition.n_pixels, np.uint8)
        self.labels: LabelArray = np.zeros(partition.cluster_map.shape, np.uint8)
        self._stroked: IntArray = np.zeros(0, np.int64)
        self._posterior = ClusterPosterior(matrix, spacing, random_state)

    # ---- strokes -------------------------------------------------------------------------------

    def set_strokes(self, pixels: IntArray, new: IntArray) -> None:
        """Write changed strokes; `pixels` are in order."""
        wider = np.promote_types(new.dtype, self.strokes.dtype)
        self.strokes = self.strokes.astype(wider, copy=False)
        self.strokes[pixels] = new
        self._stroked = _with(_without(self._stroked, pixels), pixels[new > 0])

    def take_strokes(self, strokes: LabelArray) -> None:
        """Take flat strokes, those outside the image included, and classify the clusters anew."""
        stroked = np.flatnonzero(strokes)
        classes = strokes[stroked].astype(np.int64)
        counts = np.zeros((self.partition.n_ids, int(classes.max(initial=0))), np.int64)
        np.add.at(counts, (self._ids(stroked).astype(np.int64) - 1, classes - 1), 1)
        self.state = replace(self.state, counts=counts, posterior=None)
        self._set_all_strokes(strokes)
        with warnings.catch_warnings():  # of strokes that the user knows of
            warnings.simplefilter("ignore")
            self.classify(())
        self._write_labels(range(1, self.partition.n_ids + 1))

    def restore_strokes(self, strokes: LabelArray) -> None:
        """Take over the flat strokes of a saved session and bring the labels up to date."""
        self._set_all_strokes(strokes)
        if self.enhanced:
            self._posterior.refresh(self.partition, ())
        self._write_labels(range(1, self.partition.n_ids + 1))

    def _set_all_strokes(self, strokes: LabelArray) -> None:
        if strokes.shape != self.strokes.shape or strokes.dtype.kind != "u":
            raise ValueError(f"strokes of {strokes.dtype}, shape {strokes.shape}")
        self.strokes = strokes.copy()
        self._stroked = np.flatnonzero(strokes)

    def count(self, pixels: IntArray, old: LabelArray, new: LabelArray) -> IntArray:
        """Count changed strokes into their clusters; return the ids of the clusters concerned."""
        ids = self._ids(pixels).astype(np.int64)
        counts = self.state.counts
        wider = max(0, int(new.max(initial=0)) - counts.shape[1])
        counts = np.pad(counts, ((0, 0), (0, wider)))
        for classes, sign in ((old, -1), (new, 1)):
            there = classes > 0
            np.add.at(counts, (ids[there] - 1, classes[there].astype(np.int64) - 1), sign)
        self.state = replace(self.state, counts=counts, posterior=None)
        return np.unique(ids)

    def _ids(self, pixels: IntArray) -> IntArray:
        """Cluster ids of pixels, given by flat index."""
        return self.partition.ids(pixels)

    def _stroked_in(self, cluster: int) -> IntArray:
        """Stroked pixels of a cluster, by flat index."""
        stroked: IntArray = self._stroked[self._ids(self._stroked) == cluster]
        return stroked

    # ---- splits and merges ---------------------------------------------------------------------

    def split_mixed(self, touched: Iterable[int], moves: list[Move]) -> None:
        """Case 3 of section 2.2: split until no cluster among `touched` is mixed.

        Every change is added to `moves` as it is made, so that it can be taken back.

        A cluster whose strokes of different classes have the same features cannot be split and
        stays mixed. In enhanced mode, where classes do not hang on it, so do those for which the
        user would have to wait, the least stroked ones; refining splits them.
        """
        rows = np.array(sorted(touched), dtype=np.int64) - 1
        voices = present_classes(self.state.counts[rows], self.state.threshold).sum(axis=1)
        mixed = rows[voices > 1] + 1
        if mixed.size == 0:
            return
        ids = self._ids(self._stroked)
        queue = [(int(cluster), self._stroked[ids == cluster]) for cluster in mixed]
        queue.sort(key=lambda item: len(item[1]))
        left = SPLIT_PIXELS if self.enhanced else None
        while queue and (left is None or left > 0):
            cluster, stroked = queue.pop()
            if left is not None:
                left -= self.partition.size(cluster)
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
        rows = self.matrix.take(self.partition.members(cluster))
        result = split_pixels(rows, starts)
        return [] if result is None else self._carry_out(cluster, *result, moves, stroked)

    def _carry_out(
        self,
        cluster: int,
        parts: IntArray,
        centroids: FloatArray,
        moves: list[Move],
        stroked: IntArray,
    ) -> list[int]:
        """Move the pixels of one cluster to the parts they are in; return the parts' ids."""
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
        return self.divide(cluster, principal_starts(rows), moves, self._stroked_in(cluster))

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
            posterior=_with_copies(state.posterior, divide.source - 1, grow),
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

    def classify(self, moves: Iterable[Move], posterior: FloatArray | None = None) -> None:
        """Give every cluster its class, state and certainty.

        `posterior` (n_ids, n_classes) is what the strokes say about the clusters' pixels; it is
        worked out quickly if it is not given.
        """
        state = self.state
        totals = state.counts.sum(axis=1)
        classes, mixed = stroke_classes(state.counts, state.threshold)
        states = np.where(classes > 0, CLASSIFIED, np.where(mixed, MIXED, UNCLASSIFIED))
        certainty = state.counts.max(axis=1, initial=0) / np.maximum(totals, 1)
        seen = int((state.counts.sum(axis=0) > 0).sum())
        if self.enhanced:
            self._posterior.refresh(self.partition, _changed(moves))
        if self.enhanced and seen >= 2:
            if posterior is None:
                posterior = state.posterior  # the strokes are the same
            if posterior is None:
                painted = self.strokes[self._stroked]
                posterior = self._posterior.quick(self._stroked, painted, state.counts.shape[1])
            # what strokes say of their own pixels is known, of the others it is inferred
            others = np.maximum(self.partition.sizes - totals, 0)[:, None]
            share = state.counts + posterior * others
            share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
            best = share.argmax(axis=1) + 1
            states = np.where(totals == 0, INFERRED, np.where(classes == best, CLASSIFIED, MIXED))
            classes = best
            sharp = share**SHARPENING
            certainty = sharp.max(axis=1) / np.maximum(sharp.sum(axis=1), 1e-12)
        elif self.enhanced and seen == 1:
            warnings.warn("strokes: only one class so far; need at least two", stacklevel=6)
        by_hand = state.assigned > 0
        self.state = replace(
            state,
            classes=np.where(by_hand, state.assigned, classes),
            states=np.where(by_hand, ASSIGNED, states),
            certainty=np.where(by_hand, 1.0, certainty).astype(np.float32),
            posterior=posterior,
        )

    @property
    def can_refine(self) -> bool:
        """Whether there are strokes of two classes to learn from."""
        return self.enhanced and int((self.state.counts.sum(axis=0) > 0).sum()) >= 2

    def refine_steps(self) -> Generator[None, None, Refinement]:
        """Classify anew with all evidence, and split clusters whose pixels are of several classes.

        It is worked out on a copy, which may be in another thread; `take` carries it out. Comes
        back often.
        """
        own = copy(self)
        own.partition, own._posterior = self.partition.copy(), self._posterior.copy()
        own.strokes = self.strokes.copy()
        moves: list[Move] = []
        yield from own._refine_here(moves)
        return Refinement(own.state, tuple(moves), own._posterior)

    def take(self, refinement: Refinement) -> None:
        """Carry out what `refine_steps` worked out, of this engine as it is."""
        before, self.state = self.state, refinement.state
        for move in refinement.moves:
            self.partition.redo(move)
        self._posterior = refinement.posterior
        self.relabel(before, refinement.moves)

    def _refine_here(self, moves: list[Move]) -> Generator[None, None, None]:
        painted = self.strokes[self._stroked]
        found = yield from self._posterior.thorough_steps(
            self.partition, self.state.centroids, self._stroked, painted, self.state.counts.shape[1]
        )
        whole = set((np.flatnonzero(self.state.assigned) + 1).tolist())  # not to be split
        for _ in range(REFINE_ROUNDS):
            disputed = found.disputed(self.partition, whole)
            yield from found.look_steps({i: found.more_pixels(self.partition, i) for i in disputed})
            unknown: list[int] = []
            for cluster in disputed:
                ids = self._divide_disputed(cluster, found, moves)
                if len(ids) < 2:
                    whole.add(cluster)
                else:
                    now = self._ids(found.looked_at(cluster))
                    unknown += found.sort_out(ids, cluster, now)
                yield
            yield from found.look_steps({i: self.partition.sample(i, 4) for i in unknown})
            if whole.issuperset(disputed):
                break
        self.classify(moves, found.means(self.partition, self.state.centroids))

    def _divide_disputed(self, cluster: int, found: Thorough, moves: list[Move]) -> list[int]:
        """Split a cluster by its pixels' probabilities; return the parts, none if it is one."""
        sides = found.parts(cluster)
        if sides is None or self.partition.n_ids + sides[1].shape[1] > MAX_CLUSTER_ID:
            return []
        pixels, weights = sides
        rows = self.matrix.take(pixels)
        starts = (weights.T @ rows / weights.sum(axis=0)[:, None]).astype(np.float32)
        parts = nearest(self.matrix.take(self.partition.members(cluster)), starts)
        if np.ptp(parts) == 0:
            return []
        return self._carry_out(cluster, parts, starts, moves, self._stroked_in(cluster))

    # ---- labels --------------------------------------------------------------------------------

    def relabel(self, before: ClusterState, moves: Iterable[Move]) -> None:
        """Bring the labels up to date: only the clusters concerned, unless they are many."""
        now, was = self.state.classes, before.classes
        common = min(len(now), len(was))
        changed = set((np.flatnonzero(now[:common] != was[:common]) + 1).tolist())
        changed |= _changed(moves)
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
            labels.reshape(-1)[self.partition.inside(i)] = classes[i - 1]
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
            self._posterior.refresh(self.partition, _changed(entry.moves))
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


def _changed(moves: Iterable[Move]) -> set[int]:
    """Ids of the clusters that moves changed."""
    return {i for move in moves for i in (move.source, move.target)}


def _with_copies(table: FloatArray | None, row: int, n: int) -> FloatArray | None:
    """`table` with `n` copies of one of its rows at its end."""
    return None if table is None else np.concatenate([table, np.repeat(table[row : row + 1], n, 0)])


def with_zero(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Prepend the value of id 0, which is 0."""
    return np.concatenate([np.zeros(1, values.dtype), values])
