"""The thorough answer to strokes: all classifiers, and what they say of many pixels by cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.classify.evidence import Evidence
from napari_clusternet.classify.posterior import (
    LEARNER_WITH_MAPS,
    LEARNER_WITHOUT_MAPS,
    MAX_PIXELS,
    StrokePosterior,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy.typing as npt

    from napari_clusternet.partition import Partition

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]

#: Pixels whose probabilities are computed at a time.
_CHUNK = 4096
#: Share of each class's pixels, the least sure ones, from which nothing more is learned.
UNSURE = 0.25
#: Clusters with the nearest centroids that have a say in a cluster's class.
NEIGHBOURS = 11
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
        self._evidence, self._n_classes = evidence, n_classes
        self._models = [model]  # each weighs the same
        self._looked: dict[int, Looked] = {}

    def look_steps(self, pixels: dict[int, IntArray]) -> Generator[None, None, None]:
        """Look at pixels of clusters (id -> flat indices), beside those looked at before."""
        if not pixels:
            return
        found = yield from self._predict(np.concatenate(list(pixels.values())), self._models)
        parts = _apart(found, [len(own) for own in pixels.values()])
        for (i, own), rows in zip(pixels.items(), parts, strict=True):
            before = self._looked.get(i)
            self._looked[i] = Looked(
                own if before is None else np.concatenate([before.pixels, own]),
                rows if before is None else np.concatenate([before.probabilities, rows]),
            )

    def _predict(
        self, pixels: IntArray, models: Sequence[StrokePosterior]
    ) -> Generator[None, None, FloatArray]:
        found = np.empty((len(pixels), self._n_classes), np.float32)
        names = set().union(*(model.groups for model in models))
        for start in range(0, len(pixels), _CHUNK):
            part = slice(start, start + _CHUNK)
            groups = self._evidence.take(pixels[part], names)
            each = [model.predict(groups, self._n_classes) for model in models]
            found[part] = np.mean(each, axis=0)
            yield
        return found

    def learn_steps(
        self,
        groups: Mapping[str, FloatArray],
        classes: IntArray,
        partition: Partition,
        centroids: FloatArray,
        random_state: int,
    ) -> Generator[None, None, None]:
        """Learn once more, from the pixels looked at as well as from the strokes (self-training).

        A pixel's label is the class that it and its cluster are most like; the least sure of each
        class are left out. What is learned counts as much as what came from the strokes alone.

        Parameters
        ----------
        groups, classes
            Of stroked pixels, as for `StrokePosterior.fit`.
        partition : Partition
            The clusters.
        centroids : numpy.ndarray of float32, shape (n_ids, n_features)
            Their centroids.
        random_state : int
            Seed of the trees.
        """
        means = self.means(partition, centroids)
        clusters = np.array(list(self._looked))
        counts = np.array([len(looked.pixels) for looked in self._looked.values()])
        pixels = np.concatenate([looked.pixels for looked in self._looked.values()])
        own = np.concatenate([looked.probabilities for looked in self._looked.values()])
        labels, sure = _surest((own + np.repeat(means[clusters - 1], counts, axis=0)) / 2)
        stands_for = np.repeat(partition.sizes[clusters - 1] / counts, counts)  # so many pixels
        chosen = sure[_in_steps(stands_for[sure], MAX_PIXELS)]
        members = LEARNER_WITH_MAPS if self._evidence.has_maps else LEARNER_WITHOUT_MAPS
        model = StrokePosterior(members, random_state=random_state)
        more = self._evidence.take(pixels[chosen], model.groups)
        both = {name: np.concatenate([groups[name], rows]) for name, rows in more.items()}
        yield from model.fit_steps(both, np.concatenate([classes, labels[chosen]]))
        own += yield from self._predict(pixels, [model])
        own /= 2
        self._models.append(model)
        for i, rows in zip(self._looked, _apart(own, counts), strict=True):
            self._looked[i] = replace(self._looked[i], probabilities=rows)

    def means(self, partition: Partition, centroids: FloatArray) -> FloatArray:
        """Return the mean probabilities (n_ids, n_classes) of each cluster's pixels.

        Half of them is what the clusters with the nearest centroids say.
        """
        table = np.zeros((partition.n_ids, self._n_classes), np.float32)
        for i, looked in self._looked.items():
            table[i - 1] = looked.probabilities.mean(axis=0)
        there = np.flatnonzero(partition.sizes)
        table[there] = _with_neighbours(table[there], centroids[there])
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


def _apart(rows: FloatArray, counts: Sequence[int] | IntArray) -> list[FloatArray]:
    """Return the first `counts[0]` rows, the next `counts[1]`, and so on."""
    return np.split(rows, np.cumsum(counts)[:-1])


def _surest(probabilities: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the classes of pixels, and the indices of those that are not among the least sure."""
    labels, certainty = probabilities.argmax(axis=1) + 1, probabilities.max(axis=1)
    sure = np.zeros(len(labels), dtype=bool)
    for value in np.unique(labels):
        there = labels == value
        sure |= there & (certainty >= np.quantile(certainty[there], UNSURE))
    return labels, np.flatnonzero(sure)


def _in_steps(weights: npt.NDArray[np.floating], n: int) -> IntArray:
    """Return the indices, at most `n`, that equal steps through the sum of weights come to."""
    sums = np.cumsum(weights)
    indices: IntArray = np.unique(np.searchsorted(sums, (np.arange(n) + 0.5) / n * sums[-1]))
    return indices


def _with_neighbours(probabilities: FloatArray, centroids: FloatArray) -> FloatArray:
    """Mix each cluster's probabilities with those of its `NEIGHBOURS`, twice, half and half."""
    from sklearn.neighbors import NearestNeighbors

    n = min(NEIGHBOURS, len(centroids) - 1)
    if n < 1:
        return probabilities
    nearest = NearestNeighbors(n_neighbors=n, algorithm="brute").fit(centroids)
    near = nearest.kneighbors(return_distance=False)  # of each but itself
    mixed = probabilities
    for _ in range(2):
        mixed = (probabilities + mixed[near].mean(axis=1)) / 2
    return mixed
