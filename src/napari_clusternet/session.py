"""STEP 2 of ClusterNet (section 2.2): strokes give classes to clusters, not to pixels.

The way of a stroke: `update` compares the strokes with the last ones, counts the changed pixels
into the clusters they lie in, splits the clusters that became mixed, gives every cluster a class,
and looks the classes up through the cluster map.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet import inspection
from napari_clusternet.classify.base import check_strokes
from napari_clusternet.classify.clusters import present_classes, split_pixels, stroke_classes
from napari_clusternet.classify.posterior import StrokePosterior
from napari_clusternet.clustering import make_clusterer
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import InputError, invalid
from napari_clusternet.extraction import feature_steps
from napari_clusternet.history import (
    ASSIGNED,
    CLASSIFIED,
    INFERRED,
    MIXED,
    UNCLASSIFIED,
    ClusterState,
    Divide,
    Entry,
    History,
)
from napari_clusternet.image import Image
from napari_clusternet.partition import MAX_CLUSTER_ID, Move, Partition, look_up
from napari_clusternet.progress import Callback, Progress, drain

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    LabelArray = npt.NDArray[np.unsignedinteger]
    IntArray = npt.NDArray[np.integer]

#: Pixels of each cluster that the stroke classifier looks at (enhanced mode).
SAMPLE_PER_CLUSTER = 16
#: How many stroked pixels the classifier's opinion of a cluster weighs (enhanced mode).
POSTERIOR_WEIGHT = 8.0


class Session:
    """Clusters of one image, and the classes that strokes give them.

    Parameters
    ----------
    image : Image
        The image to segment.
    features : ClusterNet, array-like or str
        A fitted `ClusterNet`, features (n_features, [Z,] Y, X) of your own, or a name:
        ``"auto"``, ``"bands"``, ``"filters"``, ``"learn"`` (trains on this image now).
    threshold : float
        t of section 3.4, in (0, 1): share of a cluster's stroked pixels above which a class counts.
    mode : {"enhanced", "paper"}
        ``"paper"`` leaves clusters without strokes unclassified, as section 2.2 does;
        ``"enhanced"`` classifies every cluster, by its strokes and by a classifier that learned
        from all strokes and looks at a sample of the cluster's pixels.
    n_clusters : int
        Clusters to start with (800 in section 3.4); fewer if the image has fewer distinct pixels.
    clusterer : {"kmeans", "gmm"}
        How the features are clustered.
    random_state : int
        Seed; the same seed, data and device give the same session.
    callback : callable, optional
        Called with a `Progress` while features and clusters are computed.

    Raises
    ------
    InputError
        If an argument does not fit, or the image has no valid pixel.

    Notes
    -----
    After a split the larger part keeps the cluster's id and the other parts get the next ids.
    """

    def __init__(
        self,
        image: Image,
        features: Any = SESSION.features,
        *,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        clusterer: str = "kmeans",
        random_state: int = 0,
        callback: Callback | None = None,
    ) -> None:
        drain(
            self.open_steps(
                image, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
                clusterer=clusterer, random_state=random_state, session=self,
            ),  # fmt: skip
            callback,
        )

    @classmethod
    def open_steps(
        cls,
        image: Image,
        features: Any = SESSION.features,
        *,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        clusterer: str = "kmeans",
        random_state: int = 0,
        session: Session | None = None,
    ) -> Generator[Progress, None, Session]:
        """Open a session as a generator of `Progress` that returns it; see `Session`."""
        _check_options(image, threshold, mode, n_clusters)
        self = cls.__new__(cls) if session is None else session
        self.image, self.mode, self.random_state = image, mode, random_state
        self.features = features
        self._extractor, self._matrix = yield from feature_steps(
            image, features, mode, random_state
        )
        model = make_clusterer(clusterer, n_clusters, random_state=random_state)
        yield from model.fit_steps(self._matrix.rows)
        ids = model.predict(self._matrix.rows).astype(np.int64) + 1
        yield Progress("clustering", 1, 1)
        self._base = np.asarray(model.cluster_centers_, dtype=np.float32)
        self._partition = Partition(self._matrix.scatter(ids))
        self._start(ClusterState.initial(self._base, threshold))
        return self

    def _start(self, state: ClusterState) -> None:
        self._state = state
        self._history = History(SESSION.history_limit)
        self._strokes = np.zeros(self._partition.cluster_map.size, np.uint8)
        self._stroked = np.zeros(0, np.int64)
        self._labels = np.zeros(self._partition.cluster_map.shape, np.uint8)
        self._samples = np.zeros((0, SAMPLE_PER_CLUSTER, self._matrix.n_features), np.float32)

    # ---- results -------------------------------------------------------------------------------

    @property
    def labels(self) -> LabelArray:
        """Class of every pixel ([Z,] Y, X), 0 where unclassified or invalid; read-only."""
        return _read_only(self._labels)

    @property
    def strokes(self) -> LabelArray:
        """The strokes in force, shape of the image; read-only."""
        return _read_only(self._strokes.reshape(self._labels.shape))

    @property
    def cluster_map(self) -> npt.NDArray[np.uint16]:
        """Cluster id of every pixel ([Z,] Y, X), 0 where invalid; read-only."""
        return _read_only(self._partition.cluster_map)

    @property
    def certainty(self) -> npt.NDArray[np.float32]:
        """How sure the class of every pixel is, 0..1, float32 ([Z,] Y, X)."""
        return look_up(_with_zero(self._state.certainty), self._partition.cluster_map)

    @property
    def centroids(self) -> npt.NDArray[np.float32]:
        """Mean feature vector of every cluster id, shape (n_ids, n_features); read-only."""
        return _read_only(self._state.centroids)

    @property
    def n_classes(self) -> int:
        """Highest class among the strokes so far."""
        return int(self._state.counts.shape[1])

    @property
    def threshold(self) -> float:
        """t of section 3.4; set it to re-examine all stroked clusters."""
        return self._state.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        _check_threshold(value)
        with_strokes = np.flatnonzero(self._state.counts.sum(axis=1)) + 1
        before = self._state
        self._state = replace(before, threshold=float(value))
        self._finish(before, self._split_mixed(with_strokes))

    @property
    def clusters(self) -> pd.DataFrame:
        """Table of the clusters, index ``cluster`` (id), one row each.

        Columns ``class`` (0 none), ``state`` (unclassified, classified, mixed, inferred,
        assigned), ``pixels``, ``size`` (area or volume in the image's units), ``strokes_<class>``,
        ``purity`` (share of the commonest class among the stroked pixels, NaN without strokes),
        ``certainty``, ``mean_<band>`` and ``centroid`` (feature vector).
        """
        return inspection.cluster_table(self.image, self._partition, self._state)

    def suggest(self, n: int = 5) -> list[inspection.Suggestion]:
        """Where the next strokes help most, best first.

        Parameters
        ----------
        n : int
            Suggestions wanted, one a cluster.

        Returns
        -------
        list of Suggestion
            Cluster id, pixel index ([z,] y, x) to stroke, and score: the number of pixels that
            are expected to be wrong.
        """
        return inspection.suggest(self._partition, self._state, n)

    # ---- strokes -------------------------------------------------------------------------------

    def update(self, strokes: Any = None) -> LabelArray:
        """Take the strokes as they are now and return the labels.

        Parameters
        ----------
        strokes : array-like of int, shape ([Z,] Y, X), optional
            0 for none, 1..n for classes. All strokes, not only the new ones.

        Returns
        -------
        numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
            Class of every pixel; 0 where unclassified or invalid. A new array at each change.

        Raises
        ------
        StrokeError
            If shape or values do not fit the image.

        Warns
        -----
        UserWarning
            In enhanced mode, if the strokes hold fewer than two classes: then only the clusters
            they touch are classified.
        """
        if strokes is None:
            return self.labels
        new = check_strokes(strokes, self.image, min_classes=0).reshape(-1)
        pixels = np.flatnonzero(new != self._strokes)
        pixels = pixels[self._partition.cluster_map.reshape(-1)[pixels] > 0]  # never on nodata
        if pixels.size == 0:
            return self.labels
        before, old = self._state, self._strokes[pixels]
        touched = self._count(pixels, old, new[pixels])
        self._set_strokes(pixels, new[pixels])
        moves = self._split_mixed(touched)
        self._finish(before, moves, pixels, old, new[pixels])
        return self.labels

    def _set_strokes(self, pixels: IntArray, new: LabelArray) -> None:
        self._strokes = self._strokes.astype(
            np.promote_types(new.dtype, self._strokes.dtype), copy=False
        )
        self._strokes[pixels] = new
        rest = np.setdiff1d(self._stroked, pixels, assume_unique=True)
        self._stroked = np.union1d(rest, pixels[new > 0])

    def _count(self, pixels: IntArray, old: LabelArray, new: LabelArray) -> IntArray:
        """Count changed strokes into their clusters; return the ids of the clusters concerned."""
        ids = self._partition.cluster_map.reshape(-1)[pixels].astype(np.int64)
        counts = self._state.counts
        wider = max(0, int(new.max(initial=0)) - counts.shape[1])
        counts = np.pad(counts, ((0, 0), (0, wider)))
        for classes, sign in ((old, -1), (new, 1)):
            there = classes > 0
            np.add.at(counts, (ids[there] - 1, classes[there].astype(np.int64) - 1), sign)
        self._state = replace(self._state, counts=counts)
        return np.unique(ids)

    def _split_mixed(self, touched: Sequence[int] | IntArray) -> list[Move]:
        """Case 3 of section 2.2: split until no cluster among `touched` is mixed."""
        moves: list[Move] = []
        queue = [int(cluster) for cluster in touched]
        while queue:
            cluster = queue.pop()
            counts = self._state.counts[cluster - 1 : cluster]
            present = np.flatnonzero(present_classes(counts, self.threshold)[0]) + 1
            if len(present) < 2:
                continue
            room = MAX_CLUSTER_ID - self._partition.n_ids
            if room < len(present) - 1:
                warnings.warn("all 65535 cluster ids are in use; merge clusters", stacklevel=3)
                break
            pixels = self._stroked_in(cluster)
            classes = self._strokes[pixels]
            rows = self._matrix.take(pixels)
            starts = np.stack([rows[classes == c].mean(axis=0) for c in present])
            children = self._divide(cluster, starts, moves)
            queue.extend(children)
        return moves

    def _stroked_in(self, cluster: int) -> IntArray:
        """Flat indices of a cluster's stroked pixels."""
        ids = self._partition.cluster_map.reshape(-1)[self._stroked]
        return self._stroked[ids == cluster]

    def _divide(self, cluster: int, starts: npt.NDArray[np.float32], moves: list[Move]) -> list[int]:
        """Split one cluster by k-means from `starts`; return the parts' ids (none if it can't)."""
        members = self._partition.members(cluster)
        result = split_pixels(self._matrix.take(members), starts)
        if result is None:
            return []
        parts, centroids = result
        sizes = np.bincount(parts, minlength=len(centroids))
        kept = [int(part) for part in np.argsort(-sizes, kind="stable") if sizes[part]]
        ids = [cluster, *range(self._partition.n_ids + 1, self._partition.n_ids + len(kept))]
        for part, target in zip(kept[1:], ids[1:], strict=True):
            moves.append(self._partition.move(cluster, target, parts == part))
            parts = parts[parts != part]
        state = self._state
        grow = len(ids) - 1
        means = np.concatenate([state.centroids, centroids[kept[1:]]])
        means[cluster - 1] = centroids[kept[0]]
        counts = np.pad(state.counts, ((0, grow), (0, 0)))
        for i in ids:
            strokes = self._strokes[self._stroked_in(i)]
            counts[i - 1] = np.bincount(strokes, minlength=counts.shape[1] + 1)[1:]
        self._state = replace(
            state,
            centroids=means,
            counts=counts,
            assigned=np.append(state.assigned, np.repeat(state.assigned[cluster - 1], grow)),
            divides=(*state.divides, Divide(cluster, tuple(ids), centroids[kept])),
        )
        return ids

    # ---- classes -------------------------------------------------------------------------------

    def _finish(
        self, before: ClusterState, moves: list[Move], pixels: IntArray | None = None,
        old: LabelArray | None = None, new: LabelArray | None = None,
    ) -> None:  # fmt: skip
        """Classify, relabel and record one step."""
        self._refresh_samples({i for move in moves for i in (move.source, move.target)})
        self._classify()
        none = np.zeros(0, np.uint8)
        entry = Entry(
            before, self._state, tuple(moves),
            np.zeros(0, np.int64) if pixels is None else pixels,
            none if old is None else old, none if new is None else new,
        )  # fmt: skip
        self._history.push(entry)
        self._relabel(before, moves)

    def _classify(self) -> None:
        """Give every cluster its class, state and certainty."""
        state = self._state
        totals = state.counts.sum(axis=1)
        classes, mixed = stroke_classes(state.counts, state.threshold)
        shares = state.counts / np.maximum(totals, 1)[:, None]
        states = np.where(classes > 0, CLASSIFIED, np.where(mixed, MIXED, UNCLASSIFIED))
        certainty = shares.max(axis=1, initial=0.0)
        seen = int((state.counts.sum(axis=0) > 0).sum())
        if self.mode == "enhanced" and seen >= 2:
            posterior = self._cluster_posterior()
            weight = POSTERIOR_WEIGHT
            posterior = (state.counts + weight * posterior) / (totals + weight)[:, None]
            certainty = posterior.max(axis=1)
            inferred = posterior.argmax(axis=1) + 1
            states = np.where(states == UNCLASSIFIED, INFERRED, states)
            classes = np.where(classes > 0, classes, inferred)
            certainty = np.take_along_axis(posterior, classes[:, None] - 1, axis=1)[:, 0]
        elif self.mode == "enhanced" and seen == 1:
            warnings.warn("the strokes hold one class; need at least two", stacklevel=4)
        by_hand = state.assigned > 0
        self._state = replace(
            state,
            classes=np.where(by_hand, state.assigned, classes),
            states=np.where(by_hand, ASSIGNED, states),
            certainty=np.where(by_hand, 1.0, certainty).astype(np.float32),
        )

    def _refresh_samples(self, changed: set[int]) -> None:
        """Keep the features of each cluster's sample pixels at hand (enhanced mode)."""
        if self.mode == "paper":
            return
        n = self._partition.n_ids
        known = len(self._samples)
        changed = {i for i in changed if i <= n} | set(range(known + 1, n + 1))
        samples = np.zeros((n, *self._samples.shape[1:]), np.float32)
        samples[: min(n, known)] = self._samples[:n]
        for i in changed:
            if self._partition.size(i):
                samples[i - 1] = self._matrix.take(self._partition.sample(i, SAMPLE_PER_CLUSTER))
        self._samples = samples

    def _cluster_posterior(self) -> npt.NDArray[np.float32]:
        """Mean class posterior of each cluster's sample, shape (n_ids, n_classes)."""
        model = StrokePosterior(self.random_state)
        model.fit(self._matrix.take(self._stroked), self._strokes[self._stroked])
        n, m, n_features = self._samples.shape
        pixels = model.predict(self._samples.reshape(-1, n_features), self.n_classes)
        return pixels.reshape(n, m, self.n_classes).mean(axis=1)

    def _relabel(self, before: ClusterState, moves: Sequence[Move]) -> None:
        """Bring the labels up to date: only the clusters concerned, unless they are many."""
        now = _with_zero(self._state.classes)
        was = _with_zero(before.classes)
        common = min(len(now), len(was))
        changed = set(np.flatnonzero(now[:common] != was[:common]).tolist())
        changed |= {i for move in moves for i in (move.source, move.target)}
        changed = {i for i in changed if 0 < i <= self._partition.n_ids}
        dtype = np.uint8 if self.n_classes <= 255 and now.max() <= 255 else np.uint16
        size = sum(self._partition.size(i) for i in changed)
        if dtype != self._labels.dtype or size > self._labels.size // 8:
            self._labels = look_up(now.astype(dtype), self._partition.cluster_map)
            return
        labels = self._labels.copy()
        for i in changed:
            labels.reshape(-1)[self._partition.members(i)] = now[i]
        self._labels = labels

    # ---- clusters by hand ----------------------------------------------------------------------

    def assign(self, cluster: int, class_: int) -> LabelArray:
        """Give a cluster a class by hand; it wins over strokes. Class 0 takes it back.

        Raises
        ------
        InputError
            If there is no such cluster, or the class is negative or above 65535.
        """
        cluster = self._check_cluster(cluster)
        if not 0 <= class_ <= MAX_CLUSTER_ID:
            invalid("class_", class_, "not a class", "Give 1, 2, ... or 0 to take it back")
        assigned = self._state.assigned.copy()
        assigned[cluster - 1] = class_
        before = self._state
        self._state = replace(before, assigned=assigned)
        self._finish(before, [])
        return self.labels

    def split(self, cluster: int) -> LabelArray:
        """Split a cluster in two along its direction of largest variance (k-means).

        Raises
        ------
        InputError
            If there is no such cluster, or all its pixels have the same features.
        """
        cluster = self._check_cluster(cluster)
        rows = self._matrix.take(self._partition.sample(cluster, 2000))
        mean, (_, lengths, axes) = rows.mean(axis=0), np.linalg.svd(rows - rows.mean(axis=0), False)
        offset = axes[0] * lengths[0] / np.sqrt(len(rows))
        before, moves = self._state, list[Move]()
        if not self._divide(cluster, np.stack([mean + offset, mean - offset]), moves):
            invalid("cluster", cluster, "its pixels all have the same features", "Choose another")
        self._finish(before, moves)
        return self.labels

    def merge(self, clusters: Sequence[int]) -> LabelArray:
        """Merge clusters into the one with the lowest id; the other ids stay empty.

        Raises
        ------
        InputError
            If fewer than two different clusters are given, or one does not exist.
        """
        ids = sorted({self._check_cluster(cluster) for cluster in clusters})
        if len(ids) < 2:
            invalid("clusters", list(clusters), "fewer than two clusters", "Name at least two")
        state, moves, target = self._state, list[Move](), ids[0]
        sizes = np.array([self._partition.size(i) for i in ids], dtype=np.float64)
        rows = np.array(ids) - 1
        counts, centroids, assigned = (
            table.copy() for table in (state.counts, state.centroids, state.assigned)
        )
        counts[rows[0]], counts[rows[1:]] = counts[rows].sum(axis=0), 0
        centroids[rows[0]] = np.average(centroids[rows], axis=0, weights=sizes)
        same = len(set(assigned[rows].tolist())) == 1
        assigned[rows[0]], assigned[rows[1:]] = assigned[rows[0]] if same else 0, 0
        divides = list(state.divides)
        for i in ids[1:]:
            moves.append(self._partition.move(i, target, np.ones(self._partition.size(i), bool)))
            divides.append(Divide(i, (target,), centroids[rows[:1]]))
        self._state = replace(
            state, counts=counts, centroids=centroids, assigned=assigned, divides=tuple(divides)
        )
        self._finish(state, moves)
        return self.labels

    def _check_cluster(self, cluster: int) -> int:
        known = isinstance(cluster, int | np.integer) and 1 <= cluster <= self._partition.n_ids
        if not known or self._partition.size(int(cluster)) == 0:
            invalid("cluster", cluster, "no such cluster", "Take an id from session.clusters")
        return int(cluster)

    # ---- undo and redo -------------------------------------------------------------------------

    def undo(self) -> LabelArray:
        """Take the last step back - strokes, clusters and labels exactly - and return the labels."""
        entry = self._history.back()
        if entry is not None:
            for move in reversed(entry.moves):
                self._partition.undo(move)
            self._restore(entry.before, entry, entry.old)
        return self.labels

    def redo(self) -> LabelArray:
        """Apply the last undone step again and return the labels."""
        entry = self._history.forward()
        if entry is not None:
            for move in entry.moves:
                self._partition.redo(move)
            self._restore(entry.after, entry, entry.new)
        return self.labels

    def _restore(self, state: ClusterState, entry: Entry, strokes: LabelArray) -> None:
        self._set_strokes(entry.pixels, strokes)
        now, self._state = self._state, state
        self._refresh_samples({i for move in entry.moves for i in (move.source, move.target)})
        self._relabel(now, entry.moves)

    # ---- files and other images ----------------------------------------------------------------

    def predict(self, image: Image, callback: Callback | None = None) -> LabelArray:
        """Classify another image of the same bands with the clusters and classes of this session.

        Raises
        ------
        InputError
            If the session was made from an array of features, or the bands differ.
        """
        from napari_clusternet.extraction import predict_steps

        if self._extractor is None:
            invalid(
                "features", self.features, "an array says nothing of other images",
                "Open the session with a ClusterNet or a feature name",
            )  # fmt: skip
        steps = predict_steps(self._extractor, image, self._base, self._state)
        return drain(steps, callback)

    def save(self, path: str | Path) -> Path:
        """Save the session, history included, to one file (safetensors + JSON), atomically."""
        from napari_clusternet.io.session_file import save_session

        return save_session(self, path)

    @classmethod
    def load(cls, path: str | Path, image: Image | None = None) -> Session:
        """Load a session saved by `save`.

        Parameters
        ----------
        path : str or pathlib.Path
            The session file.
        image : Image, optional
            The image, if it is not where it was when the session was saved.

        Raises
        ------
        FileFormatError
            If the file is damaged, of a future version, or not a session.
        InputError
            If the image is missing or not the one the session was made for.
        """
        from napari_clusternet.io.session_file import load_session

        return load_session(cls, path, image)


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise InputError(f"threshold={threshold!r}: not between 0 and 1. The paper uses 0.3")


def _check_options(image: Image, threshold: float, mode: str, n_clusters: int) -> None:
    if not isinstance(image, Image):
        invalid("image", image, "not an Image", "Open it with napari_clusternet.open_image")
    _check_threshold(threshold)
    if mode not in ("enhanced", "paper"):
        invalid("mode", mode, "unknown", "Use 'enhanced' or 'paper'")
    if not isinstance(n_clusters, int | np.integer) or not 1 <= n_clusters <= MAX_CLUSTER_ID:
        invalid("n_clusters", n_clusters, "not a number of clusters", "Give 1 to 65535")


def _with_zero(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Prepend the value of id 0, which is 0."""
    return np.concatenate([np.zeros(1, values.dtype), values])


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
