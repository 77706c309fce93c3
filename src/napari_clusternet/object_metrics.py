"""How well objects are found: the F1 of the SpaceNet challenges, on instance maps or polygons.

A map of objects has 0 for background and 1..n for objects. `napari_clusternet.objects` makes such
maps from masks, `napari_clusternet.polygons.iou_matrix` compares polygons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

#: Truth of fewer pixels is not asked for, and the overlap above which an object is found.
MIN_PIXELS, THRESHOLD = 80, 0.5


@dataclass(frozen=True)
class ObjectScore:
    """Objects found, invented and missed, summed over images.

    Attributes
    ----------
    true_positives, false_positives, false_negatives : int
        Predictions that match an object of the truth, predictions that match none, and objects
        of the truth that no prediction matches.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where there is nothing to find and nothing was found."""
        return _share(2 * self.true_positives, self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 where nothing was found."""
        return _share(self.true_positives, self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 where there is nothing to find."""
        return _share(self.true_positives, self.false_negatives)

    def __add__(self, other: ObjectScore) -> ObjectScore:
        return ObjectScore(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    def to_dict(self) -> dict[str, float]:
        """Return plain types, ready for JSON."""
        return {
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }

    def __str__(self) -> str:
        return (
            f"objects: F1 {self.f1:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f} "
            f"(found {self.true_positives}, invented {self.false_positives}, "
            f"missed {self.false_negatives})"
        )


def match_objects(overlaps: npt.ArrayLike, threshold: float = THRESHOLD) -> list[int]:
    """Match predictions, in their order, each to the remaining truth that it overlaps most.

    Parameters
    ----------
    overlaps : array-like of float, shape (n_predictions, n_truths)
        Intersection over union. The first prediction chooses first: sort by confidence.
    threshold : float
        A match must overlap more than this.

    Returns
    -------
    list of int, length n_predictions
        Index of the matched truth; -1 where there is none.
    """
    remaining = np.array(overlaps, dtype=np.float64, ndmin=2)
    matches = []
    for row in range(len(remaining)):
        best = int(remaining[row].argmax()) if remaining.shape[1] else -1
        if best < 0 or not remaining[row, best] > threshold:
            matches.append(-1)
            continue
        matches.append(best)
        remaining[:, best] = -1.0  # taken
    return matches


def score_overlaps(overlaps: npt.ArrayLike, threshold: float = THRESHOLD) -> ObjectScore:
    """Return the score of one image from the overlaps of its predictions and truths.

    Parameters
    ----------
    overlaps : array-like of float, shape (n_predictions, n_truths)
        See `match_objects`; truth too small to count is left out already.
    threshold : float
        A match must overlap more than this.
    """
    matrix = np.asarray(overlaps, dtype=np.float64)
    if matrix.ndim != 2:
        invalid("overlaps", matrix, "not one row a prediction and one column a truth",
                "Give an array of shape (n_predictions, n_truths)")  # fmt: skip
    found = sum(match >= 0 for match in match_objects(matrix, threshold)) if matrix.size else 0
    return ObjectScore(found, matrix.shape[0] - found, matrix.shape[1] - found)


def object_overlaps(
    predictions: npt.ArrayLike, truth: npt.ArrayLike, min_pixels: int = MIN_PIXELS
) -> FloatArray:
    """Return the intersection over union of each predicted object with each true one.

    Parameters
    ----------
    predictions, truth : array-like of int, equal shapes
        Maps of objects: 0 for background, other numbers for objects.
    min_pixels : int
        True objects of fewer pixels are left out.

    Returns
    -------
    numpy.ndarray of float64, shape (n_predictions, n_truths)
        In the order of the objects' numbers.

    Raises
    ------
    InputError
        If the shapes differ, or a map does not hold whole numbers from 0.
    """
    found, true = _objects("predictions", predictions), _objects("truths", truth)
    if found.shape != true.shape:
        invalid("predictions", found, f"the truth has shape {true.shape}", "Give maps of one grid")
    rows, row_of = np.unique(found, return_inverse=True)
    columns, column_of = np.unique(true, return_inverse=True)
    pairs = row_of.reshape(-1).astype(np.int64) * len(columns) + column_of.reshape(-1)
    common = np.bincount(pairs, minlength=len(rows) * len(columns))
    common = common.reshape(len(rows), len(columns))
    union = common.sum(axis=1, keepdims=True) + common.sum(axis=0) - common
    kept = (columns > 0) & (common.sum(axis=0) >= min_pixels)
    overlaps: FloatArray = (common / union)[rows > 0][:, kept]
    return overlaps


def spacenet_f1(
    predictions: Sequence[npt.ArrayLike],
    truths: Sequence[npt.ArrayLike],
    *,
    min_pixels: int = MIN_PIXELS,
    threshold: float = THRESHOLD,
) -> ObjectScore:
    """Score objects as SpaceNet 6 does: counts are summed over images, then F1 is taken.

    Per image, true objects of fewer than `min_pixels` are left out; predictions, in the order of
    their numbers, take the remaining true object that they overlap most, if their intersection
    over union is above `threshold`. F1 = 2 TP / (2 TP + FP + FN).

    Parameters
    ----------
    predictions, truths : sequence of array-like of int
        One map of objects an image, 0 for background. Nothing is ignored: what lies outside the
        annotated area must be cleared in both.
    min_pixels : int
        80 in SpaceNet.
    threshold : float
        0.5 in SpaceNet.

    Raises
    ------
    InputError
        If there are no images, their numbers or shapes differ, or a map holds no whole numbers.
    """
    if len(predictions) != len(truths) or not len(truths):
        invalid("predictions", f"{len(predictions)} maps", f"there are {len(truths)} truths",
                "Give one map of objects for each image")  # fmt: skip
    total = ObjectScore(0, 0, 0)
    for found, true in zip(predictions, truths, strict=True):
        total += score_overlaps(object_overlaps(found, true, min_pixels), threshold)
    return total


def _objects(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.ndim < 2 or array.dtype.kind not in "biu" or (array.size and array.min() < 0):
        invalid(argument, array, "not a map of objects",
                "Give a list of maps of whole numbers, 0 for background")  # fmt: skip
    return array


def _share(right: int, wrong: int) -> float:
    return right / (right + wrong) if right + wrong else 0.0
