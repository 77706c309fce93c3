"""What the strokes say about clusters: class probabilities of a sample of each cluster's pixels.

The work is that of clusters, not of pixels: some ten thousand pixels are looked at, however large
the image is. `quick` answers while the user waits, `thorough_steps` in the background; the latter
also finds the clusters that hold several classes, of which it looks at more pixels.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from copy import copy
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
from napari_clusternet.thorough import Thorough

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
        self._matrix = matrix
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
        rows = self._take(chosen.reshape(-1))
        if self._rows.shape[2] != rows.shape[1]:
            shape = (len(self._pixels), SAMPLE_PER_CLUSTER, rows.shape[1])
            self._rows = np.zeros(shape, np.float32)
        self._pixels[where] = chosen
        self._rows[where] = rows.reshape(len(ids), SAMPLE_PER_CLUSTER, -1)

    def _take(self, pixels: IntArray) -> FloatArray:
        """Return what the quick classifier looks at."""
        return self._evidence.take(pixels, [self._group])[self._group]

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
        rows = self._take(stroked[chosen])
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
        self,
        partition: Partition,
        centroids: FloatArray,
        stroked: IntArray,
        classes: IntArray,
        n_classes: int,
    ) -> Generator[None, None, Thorough]:
        """Learn from the strokes with all classifiers and look at every cluster's sample.

        Parameters but for the clusters' `partition` and `centroids` are those of `quick`. Comes
        back often.
        """
        chosen = spread(classes, MAX_PIXELS, MIN_PER_CLASS)
        pixels, wanted = stroked[chosen], classes[chosen]
        members = WITH_MAPS if self._evidence.has_maps else WITHOUT_MAPS
        model = StrokePosterior(members, random_state=self._random_state)
        groups = self._evidence.take(pixels, model.groups)
        yield
        strokes = self._stroke_numbers(stroked, classes)[chosen]
        yield from model.weigh_steps(groups, wanted, strokes)
        yield from model.fit_steps(groups, wanted)
        result = Thorough(self._evidence, model, n_classes)
        samples = enumerate(self._pixels[: self._n], start=1)
        yield from result.look_steps({i: own for i, own in samples if partition.size(i)})
        yield from result.learn_steps(groups, wanted, partition, centroids, self._random_state)
        return result

    def _stroke_numbers(self, stroked: IntArray, classes: IntArray) -> IntArray:
        """Give every stroke a number, wherever in the scene it is."""
        shape = self._matrix.valid.shape
        if not stroked.size or stroked[-1] < math.prod(shape):
            return stroke_numbers(stroked, classes, shape)
        places = self._matrix.places(stroked)
        places -= places.min(axis=0)
        whole = tuple((places.max(axis=0) + 1).tolist())
        flat = np.ravel_multi_index(tuple(places.T), whole)
        order = np.argsort(flat)
        numbers = np.empty_like(order)
        numbers[order] = stroke_numbers(flat[order], classes[order], whole)
        return numbers


def _resized(table: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Return the first `n` rows, with rows of zeros appended if there are fewer."""
    fresh = np.zeros((n, *table.shape[1:]), table.dtype)
    fresh[: min(n, len(table))] = table[:n]
    return fresh
