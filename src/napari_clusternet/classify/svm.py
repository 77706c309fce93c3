"""A support vector machine on the features of single pixels (table 1 of the ClusterNet paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clusternet.classify.base import feature_tiles
from napari_clusternet.classify.samples import spread, stroke_folds, stroke_samples
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Kernel values held at a time: 32 MB, and small enough to stay near the cache.
KERNEL_VALUES = 1 << 23
#: No probability is below this: a graph cut must be able to overrule any single pixel.
MIN_PROBABILITY = 1e-4


class PixelSVM:
    """scikit-learn's `SVC` with an RBF kernel, made quick on very many pixels.

    Training is scikit-learn's; the decisions of many pixels at once are a matrix product with the
    support vectors, in float32, instead of libsvm's loop over pixels. The machine is exact, not
    one of the approximations by random features: strokes have few pixels, so support vectors are
    few as well, and it is the pixels of the image that are many.

    Parameters
    ----------
    penalty : float
        C of the machine.
    gamma : float or "scale"
        Kernel exp(-gamma |x - y|^2); ``"scale"`` is 1 / (n_features x variance).
    """

    def __init__(self, penalty: float = 1.0, gamma: float | str = "scale") -> None:
        self.penalty, self.gamma = penalty, gamma

    def fit(self, rows: FloatArray, classes: IntArray) -> PixelSVM:
        """Train on rows (n, n_features) and their classes (n,), at least two different ones."""
        from sklearn.svm import SVC

        machine = SVC(C=self.penalty, gamma=self.gamma, kernel="rbf").fit(rows, classes)
        self.classes_ = machine.classes_
        self._vectors = machine.support_vectors_.astype(np.float32)
        self._gamma = float(machine._gamma)
        self._weights = _pair_weights(machine).astype(np.float32)
        self._intercepts = machine.intercept_.astype(np.float32)
        self._calibration: Any = None
        return self

    def decisions(self, rows: FloatArray) -> FloatArray:
        """Decision value of each pair of classes, (n, n_pairs), in scikit-learn's order."""
        rows = np.asarray(rows, np.float32)
        values = np.empty((len(rows), self._weights.shape[1]), np.float32)
        norms = (self._vectors**2).sum(axis=1)
        step = max(1, KERNEL_VALUES // len(self._vectors))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            kernel = part @ self._vectors.T
            kernel *= 2
            kernel -= norms
            kernel -= (part**2).sum(axis=1, keepdims=True)
            kernel *= self._gamma
            np.exp(np.minimum(kernel, 0, out=kernel), out=kernel)
            values[start : start + step] = kernel @ self._weights + self._intercepts
        return values

    def predict(self, rows: FloatArray) -> IntArray:
        """Class of every row: the most votes of the pairs, ties to the lowest class."""
        values = self.decisions(rows)
        if len(self.classes_) == 2:
            return np.asarray(self.classes_[(values[:, 0] > 0).astype(np.intp)])
        votes = np.zeros((len(values), len(self.classes_)), np.int32)
        for column, (first, second) in enumerate(_pairs(len(self.classes_))):
            votes[:, first] += values[:, column] > 0
            votes[:, second] += values[:, column] <= 0
        return np.asarray(self.classes_[votes.argmax(axis=1)])

    def calibrate(self, rows: FloatArray, classes: IntArray, folds: IntArray | None) -> PixelSVM:
        """Learn probabilities: Platt's sigmoid, its multinomial form for several classes.

        A logistic regression maps the decisions of the pairs to classes. It is fitted to
        decisions on pixels that the machine in question has not seen.

        Parameters
        ----------
        rows, classes
            The training pixels.
        folds : numpy.ndarray of int, shape (n,), or None
            Folds such as those of `stroke_folds`; without, the machine's own decisions on its
            training pixels are used, which are too sure of themselves.
        """
        from sklearn.linear_model import LogisticRegression

        values = self.decisions(rows)
        for fold in () if folds is None else np.unique(folds):
            seen = folds != fold
            machine = PixelSVM(self.penalty, self.gamma).fit(rows[seen], classes[seen])
            values[~seen] = machine.decisions(rows[~seen])
        self._calibration = LogisticRegression(max_iter=1000).fit(values, classes)
        return self

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Class probabilities (n, n_classes) in the order of ``classes_``; after `calibrate`."""
        given = self._calibration.predict_proba(self.decisions(rows))
        return np.asarray(np.maximum(given, MIN_PROBABILITY), np.float32)


def _pairs(n_classes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]


def _pair_weights(machine: Any) -> FloatArray:
    """Weight of each support vector in each pair's decision, (n_vectors, n_pairs).

    libsvm keeps, for a support vector of class i, one row of weights per *other* class.
    """
    dual = machine.dual_coef_
    if len(machine.classes_) == 2:
        return np.asarray(dual.T)
    ends = np.cumsum(machine.n_support_)
    spans = [slice(end - n, end) for end, n in zip(ends, machine.n_support_, strict=True)]
    weights = np.zeros((dual.shape[1], len(_pairs(len(spans)))))
    for column, (i, j) in enumerate(_pairs(len(spans))):
        weights[spans[i], column] = dual[j - 1, spans[i]]
        weights[spans[j], column] = dual[i, spans[j]]
    return weights


@dataclass
class SVM:
    """Support vector machine (RBF kernel) trained on stroked pixels, applied to every pixel.

    Parameters
    ----------
    penalty : float
        C of the machine.
    gamma : float or "scale"
        Kernel exp(-gamma |x - y|^2); ``"scale"`` is 1 / (n_features x variance).
    max_pixels : int
        Stroked pixels that it learns from at most, spread evenly: training time grows with their
        square, prediction with the support vectors among them.
    """

    penalty: float = 1.0
    gamma: float | str = "scale"
    max_pixels: int = 3000

    name: ClassVar[str] = "svm"
    summary: ClassVar[str] = "a support vector machine on single pixels, from stroked pixels"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        check_svm(self.penalty, self.gamma, self.max_pixels)

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`. Nothing is random here.
        """
        rows, classes, _ = yield from stroke_samples(extractor, image, strokes)
        chosen = spread(classes, self.max_pixels)
        machine = PixelSVM(self.penalty, self.gamma).fit(rows[chosen], classes[chosen])
        yield Progress("training", 1, 1)
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        for i, n, region, features, valid in feature_tiles(extractor, image):
            if valid.any():
                labels[region][valid] = machine.predict(features[:, valid].T)
            yield Progress("classifying pixels", i, n)
        return labels


def check_svm(penalty: float, gamma: float | str, max_pixels: int) -> None:
    """Refuse settings that no machine can be trained with.

    Raises
    ------
    InputError
        If one is not positive.
    """
    if not penalty > 0:
        invalid("penalty", penalty, "not positive", "Give a number above 0; 1 is usual")
    if gamma != "scale" and (isinstance(gamma, str) or not gamma > 0):
        invalid("gamma", gamma, "neither positive nor 'scale'", "Give a number above 0, or 'scale'")
    if max_pixels < 2:
        invalid("max_pixels", max_pixels, "too few to learn from", "Give 2 or more; 3000 is usual")


def fit_calibrated(
    rows: FloatArray,
    classes: LabelArray,
    pixels: IntArray,
    strokes: LabelArray,
    machine: PixelSVM,
    max_pixels: int,
) -> PixelSVM:
    """Train and calibrate `machine` on stroked pixels as `stroke_samples` returns them."""
    chosen = spread(classes, max_pixels)
    rows, classes = rows[chosen], classes[chosen]
    folds = stroke_folds(strokes, pixels[chosen])
    return machine.fit(rows, classes).calibrate(rows, classes, folds)
