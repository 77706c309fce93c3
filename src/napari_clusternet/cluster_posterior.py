"""What the strokes say about clusters: class probabilities of a sample of each cluster's pixels.

The work is that of clusters, not of pixels: some ten thousand pixels are looked at, however large
the image is. `quick` answers while the user waits, `thorough_steps` in the background; the latter
also finds the clusters that hold several classes, of which it looks at more pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.classify.evidence import Evidence
from napari_clusternet.classify.posterior import (
    MAX_PIXELS,
    MIN_PER_CLASS,
    QUICK_STROKED,
    QUICK_TREES,
    QUICK_WITH_MAPS,
    QUICK_WITHOUT_MAPS,
    WITH_MAPS,
    WITHOUT_MAPS,
    StrokePosterior,
)
from napari_clusternet.classify.samples import spread, stroke_numbers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from napari_clusternet.features.matrix import FeatureMatrix
    from napari_clusternet.partition import Partition

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]

#: Pixels of each cluster that are looked at; and in all, while the user waits.
SAMPLE_PER_CLUSTER, QUICK_PIXELS = 12, 4800
#: Order in which they are used, so that the first few are spread over the cluster too.
_ORDER = np.array([0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11])
#: Pixels whose probabilities are computed at a time.
_CHUNK = 4096
#: Of a cluster that may be split: further pixels to look at, and the fewest it must have.
MORE_PIXELS, FEWEST_PIXELS = 24, 24
#: Share of a cluster's sample pixels that speaks for a part of a class of their own.
PART = 0.1
#: Clusters that one round of splits looks at, those first where most pixels may be wrong; fewer
#: pixels than this are not worth a split.
PER_ROUND, FEWEST_WRONG = 300, 8.0


@dataclass(frozen=True)
class Looked:
    """Pixels of one cluster (n,) by flat index and their class probabilities (n, n_classes)."""

    pixels: IntArray
    probabilities: FloatArray

    @property
    def votes(self) -> IntArray:
        """Class 0, 1, ... that each pixel is most like."""
        votes: IntArray = self.probabilities.argmax(axis=1)
        return votes


class ClusterPosterior:
    """Class probabilities of the clusters of one session.

    Parameters
    ----------
    matrix : FeatureMatrix
        The session's features.
    spacing : sequence of float
        Pixel size ([Z,] Y, X).
    random_state : int
        Seed of the classifiers.
    """

    def __init__(self, matrix: FeatureMatrix, spacing: Sequence[float], random_state: int) -> None:
        self._evidence = Evidence(matrix, spacing)
        self._shape = matrix.valid.shape
        self._random_state = random_state
        self._group = "all" if self._evidence.has_maps else "own"
        self._n = 0  # clusters; the tables may have room for more
        self._pixels: npt.NDArray[Any] = np.zeros((0, SAMPLE_PER_CLUSTER), np.int64)
        self._rows: npt.NDArray[Any] = np.zeros((0, SAMPLE_PER_CLUSTER, 0), np.float32)

    def copy(self) -> ClusterPosterior:
        """Return one with samples of its own."""
        other = copy(self)
        other._pixels, other._rows = self._pixels.copy(), self._rows.copy()
        return other

    # ---- samples -------------------------------------------------------------------------------

    def refresh(self, partition: Partition, changed: Collection[int]) -> None:
        """Choose sample pixels for new clusters and those whose pixels changed, by id."""
        n, known = partition.n_ids, self._n
        ids = sorted({i for i in changed if i <= n} | set(range(known + 1, n + 1)))
        ids = [i for i in ids if partition.size(i)]
        self._n = n
        if n > len(self._pixels):  # with room for more, so that not every new one costs a copy
            self._pixels = _resized(self._pixels, n + n // 4)
            self._rows = _resized(self._rows, n + n // 4)
        if not ids:
            return
        where = np.array(ids) - 1
        chosen = np.stack([partition.sample(i, SAMPLE_PER_CLUSTER)[_ORDER] for i in ids])
        rows = self._evidence.take(chosen.reshape(-1))[self._group]
        if self._rows.shape[2] != rows.shape[1]:
            shape = (len(self._pixels), SAMPLE_PER_CLUSTER, rows.shape[1])
            self._rows = np.zeros(shape, np.float32)
        self._pixels[where] = chosen
        self._rows[where] = rows.reshape(len(ids), SAMPLE_PER_CLUSTER, -1)

    # ---- while the user waits ------------------------------------------------------------------

    def quick(self, stroked: IntArray, classes: IntArray, n_classes: int) -> FloatArray:
        """Return class probabilities (n_ids, n_classes) of the clusters, from few trees.

        Parameters
        ----------
        stroked : numpy.ndarray of int, shape (n,)
            Flat indices of all stroked pixels.
        classes : numpy.ndarray of int, shape (n,)
            Their classes, at least two different ones.
        n_classes : int
            Columns wanted.
        """
        chosen = spread(classes, QUICK_STROKED, MIN_PER_CLASS)
        rows = self._evidence.take(stroked[chosen])[self._group]
        members = QUICK_WITH_MAPS if self._evidence.has_maps else QUICK_WITHOUT_MAPS
        model = StrokePosterior(members, QUICK_TREES, self._random_state)
        model.fit({self._group: rows}, classes[chosen])
        n = self._n
        per = min(SAMPLE_PER_CLUSTER, max(1, QUICK_PIXELS // max(1, n)))
        sample = self._rows[:n, :per].reshape(n * per, -1)
        found = model.predict({self._group: sample}, n_classes)
        means: FloatArray = found.reshape(n, per, n_classes).mean(axis=1)
        return means

    # ---- in the background ---------------------------------------------------------------------

    def thorough_steps(
        self, partition: Partition, stroked: IntArray, classes: IntArray, n_classes: int
    ) -> Generator[None, None, Thorough]:
        """Learn from the strokes with all classifiers and look at every cluster's sample.

        Parameters but for the clusters' `partition` are those of `quick`. Comes back often.
        """
        chosen = spread(classes, MAX_PIXELS, MIN_PER_CLASS)
        pixels, wanted = stroked[chosen], classes[chosen]
        groups = self._evidence.take(pixels)
        members = WITH_MAPS if self._evidence.has_maps else WITHOUT_MAPS
        model = StrokePosterior(members, random_state=self._random_state)
        yield
        strokes = stroke_numbers(stroked, classes, self._shape)[chosen]
        yield from model.weigh_steps(groups, wanted, strokes)
        yield from model.fit_steps(groups, wanted)
        result = Thorough(self._evidence, model, n_classes)
        samples = enumerate(self._pixels[: self._n], start=1)
        yield from result.look_steps({i: own for i, own in samples if partition.size(i)})
        return result


class Thorough:
    """The thorough answer: what was looked at of every cluster, and the classifier to look at more.

    Parameters
    ----------
    evidence : Evidence
        Features of pixels.
    model : StrokePosterior
        Fitted to the strokes.
    n_classes : int
        Number of classes.
    """

    def __init__(self, evidence: Evidence, model: StrokePosterior, n_classes: int) -> None:
        self._evidence, self._model, self._n_classes = evidence, model, n_classes
        self._looked: dict[int, Looked] = {}

    def look_steps(self, pixels: dict[int, IntArray]) -> Generator[None, None, None]:
        """Look at pixels of clusters (id -> flat indices), beside those looked at before."""
        if not pixels:
            return
        everything = np.concatenate(list(pixels.values()))
        found = np.empty((len(everything), self._n_classes), np.float32)
        for start in range(0, len(everything), _CHUNK):
            part = slice(start, start + _CHUNK)
            groups = self._evidence.take(everything[part])
            found[part] = self._model.predict(groups, self._n_classes)
            yield
        ends = np.cumsum([len(p) for p in pixels.values()])
        for (i, own), rows in zip(pixels.items(), np.split(found, ends[:-1]), strict=True):
            before = self._looked.get(i)
            self._looked[i] = Looked(
                own if before is None else np.concatenate([before.pixels, own]),
                rows if before is None else np.concatenate([before.probabilities, rows]),
            )

    def means(self, n_ids: int) -> FloatArray:
        """Return the mean probabilities (n_ids, n_classes) of each cluster's pixels."""
        table = np.zeros((n_ids, self._n_classes), np.float32)
        for i, looked in self._looked.items():
            table[i - 1] = looked.probabilities.mean(axis=0)
        return table

    def disputed(self, partition: Partition, leave: Collection[int]) -> list[int]:
        """Ids of the clusters where most pixels may have another class than the rest, worst first.

        Parameters
        ----------
        partition : Partition
            The clusters as they are now.
        leave : collection of int
            Ids not to consider.
        """
        scores = []
        for i, looked in self._looked.items():
            size = partition.size(i)
            if i in leave or size < FEWEST_PIXELS:
                continue
            votes = np.bincount(looked.votes)
            wrong = size * (1 - votes.max() / votes.sum())
            if wrong > FEWEST_WRONG:
                scores.append((-wrong, i))
        return [i for _, i in sorted(scores)[:PER_ROUND]]

    def more_pixels(self, partition: Partition, cluster: int) -> IntArray:
        """Further pixels of a cluster to look at, spread through it."""
        return partition.sample(cluster, min(MORE_PIXELS, partition.size(cluster)))

    def parts(self, cluster: int) -> tuple[IntArray, FloatArray] | None:
        """Return pixels (n,) of a cluster and their weights (n, parts) in the parts it has.

        Each class that a fair share of the pixels is most like makes a part; None if it is one.
        """
        looked = self._looked[cluster]
        shares = np.bincount(looked.votes, minlength=self._n_classes) / len(looked.pixels)
        present = np.flatnonzero(shares >= PART)
        if len(present) < 2:
            return None
        return looked.pixels, looked.probabilities[:, present] ** 2

    def sort_out(self, ids: Iterable[int], cluster: int, now: IntArray) -> list[int]:
        """After a split: give what was looked at of `cluster` to its parts `ids`.

        Parameters
        ----------
        ids : iterable of int
            The parts.
        cluster : int
            The cluster that was split.
        now : numpy.ndarray of int
            Cluster id of every pixel that was looked at.

        Returns
        -------
        list of int
            Parts of which nothing was looked at yet.
        """
        looked = self._looked.pop(cluster)
        unknown = []
        for i in ids:
            here = now == i
            if here.any():
                self._looked[i] = Looked(looked.pixels[here], looked.probabilities[here])
            else:
                unknown.append(i)
        return unknown

    def looked_at(self, cluster: int) -> IntArray:
        """Flat indices of the pixels of a cluster that were looked at."""
        return self._looked[cluster].pixels


def _resized(table: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Return the first `n` rows, with rows of zeros appended if there are fewer."""
    fresh = np.zeros((n, *table.shape[1:]), table.dtype)
    fresh[: min(n, len(table))] = table[:n]
    return fresh
