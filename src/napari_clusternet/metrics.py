"""How good labels are: Dice, accuracy, precision, recall, F1 and IoU, ignoring truth label 0.

Everything is counted once, into a confusion matrix over pixels whose truth is not 0. A pixel that
was left unlabelled (label 0) counts as wrong there: it is a miss of its true class.

F1 of objects, as in the SpaceNet challenges, is `spacenet_f1`, from
`napari_clusternet.object_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.object_metrics import spacenet_f1 as spacenet_f1

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    CountArray = npt.NDArray[np.int64]

#: Largest class that can be scored; the confusion matrix grows with its square.
MAX_CLASS = 1023


def confusion_matrix(labels: npt.ArrayLike, truth: npt.ArrayLike) -> CountArray:
    """Count pixels by true class and label.

    Parameters
    ----------
    labels, truth : array-like of int, equal shapes
        Classes 1..K; 0 is "unlabelled" in `labels` and "ignore" in `truth`.

    Returns
    -------
    numpy.ndarray of int64, shape (K + 1, K + 1)
        Row: true class, column: label. Row 0 is all zeros, as such pixels are ignored.

    Raises
    ------
    InputError
        If the shapes differ, a value is not a class, or every truth pixel is to be ignored.
    """
    found, true = _as_classes("labels", labels), _as_classes("truth", truth)
    if found.shape != true.shape:
        invalid("labels", found, f"the truth has shape {true.shape}", "Give maps of one grid")
    known = true > 0
    if not known.any():
        invalid("truth", true, "no pixel has a class", "Give a truth with classes 1, 2, ...")
    found, true = found[known].astype(np.int64), true[known].astype(np.int64)
    size = int(max(found.max(), true.max())) + 1
    return np.bincount(true * size + found, minlength=size * size).reshape(size, size)


def accuracy(labels: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the share of pixels with a truth whose label is right."""
    matrix = confusion_matrix(labels, truth)
    return float(np.trace(matrix) / matrix.sum())


def precision(labels: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """Return TP / (TP + FP) of each class 1..K; NaN where a class is in neither map."""
    return _ratios(confusion_matrix(labels, truth))["precision"]


def recall(labels: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """Return TP / (TP + FN) of each class 1..K; NaN where a class is in neither map."""
    return _ratios(confusion_matrix(labels, truth))["recall"]


def dice_per_class(labels: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """Return 2 TP / (2 TP + FP + FN) of each class 1..K; NaN where a class is in neither map."""
    return _ratios(confusion_matrix(labels, truth))["dice"]


def f1(labels: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """Return the F1 score of each class 1..K: the same number as Dice."""
    return dice_per_class(labels, truth)


def iou(labels: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """Return TP / (TP + FP + FN) of each class 1..K; NaN where a class is in neither map."""
    return _ratios(confusion_matrix(labels, truth))["iou"]


def mean_dice(labels: npt.ArrayLike, truth: npt.ArrayLike, min_pixels: int = 0) -> float:
    """Return the mean Dice over classes of more than 0 and at least `min_pixels` true pixels."""
    return evaluate(labels, truth, min_pixels=min_pixels).mean_dice


def mean_iou(labels: npt.ArrayLike, truth: npt.ArrayLike, min_pixels: int = 0) -> float:
    """Return the mean IoU over classes of more than 0 and at least `min_pixels` true pixels."""
    return evaluate(labels, truth, min_pixels=min_pixels).mean_iou


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes
    ----------
    class_ : int
        Class id, 1..K.
    name : str
        Its name.
    pixels : int
        True pixels.
    dice, iou, precision, recall : float
        In [0, 1]; NaN if the class is in neither map.
    counted : bool
        Whether it enters the means.
    """

    class_: int
    name: str
    pixels: int
    dice: float
    iou: float
    precision: float
    recall: float
    counted: bool


@dataclass(frozen=True)
class Scores:
    """Scores of a label map; printed, a table.

    Attributes
    ----------
    accuracy : float
        Share of pixels with a truth whose label is right.
    mean_dice, mean_iou : float
        Means over the classes counted; NaN if none is.
    pixels : int
        Pixels with a truth.
    classes : tuple of ClassScore
        One a class of either map.
    """

    accuracy: float
    mean_dice: float
    mean_iou: float
    pixels: int
    classes: tuple[ClassScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON; NaN becomes None."""
        return _plain(asdict(self))  # type: ignore[no-any-return]

    def __str__(self) -> str:
        width = max(10, *(len(row.name) for row in self.classes))
        head = (
            f"{'class':<{width}} {'pixels':>11} {'dice':>6} {'iou':>6} {'prec.':>6} {'recall':>6}"
        )
        rows = [
            f"{row.name:<{width}} {row.pixels:>11} {row.dice:6.3f} {row.iou:6.3f} "
            f"{row.precision:6.3f} {row.recall:6.3f}" + ("" if row.counted else "  (not counted)")
            for row in self.classes
        ]
        mean = f"{'mean':<{width}} {self.pixels:>11} {self.mean_dice:6.3f} {self.mean_iou:6.3f}"
        return "\n".join([head, *rows, mean, f"accuracy {self.accuracy:.3f}"])


def evaluate(
    labels: npt.ArrayLike,
    truth: npt.ArrayLike,
    class_names: Sequence[str] | None = None,
    min_pixels: int = 0,
) -> Scores:
    """Score a label map against a truth; pixels of truth 0 are ignored.

    Parameters
    ----------
    labels, truth : array-like of int, equal shapes
        Classes 1..K; 0 is "unlabelled" (wrong) in `labels` and "ignore" in `truth`.
    class_names : sequence of str, optional
        Names of classes 1..K.
    min_pixels : int
        Classes of fewer true pixels do not enter the means.

    Raises
    ------
    InputError
        If the shapes differ, a value is not a class, or every truth pixel is to be ignored.
    """
    matrix = confusion_matrix(labels, truth)
    ratios, pixels = _ratios(matrix), matrix.sum(axis=1)[1:]
    counted = pixels >= max(1, min_pixels)
    rows = tuple(
        ClassScore(
            class_=i + 1,
            name=class_names[i] if class_names and i < len(class_names) else f"class {i + 1}",
            pixels=int(pixels[i]),
            counted=bool(counted[i]),
            **{key: float(values[i]) for key, values in ratios.items()},
        )
        for i in range(len(pixels))
        if not np.isnan(ratios["dice"][i])
    )
    means = [float(ratios[key][counted].mean()) if counted.any() else np.nan
             for key in ("dice", "iou")]  # fmt: skip
    right = float(np.trace(matrix) / matrix.sum())
    return Scores(right, means[0], means[1], int(matrix.sum()), rows)


def _as_classes(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biu" or (array.size and array.min() < 0):
        invalid(argument, array, "not classes", "Give whole numbers of 0 and more")
    if array.size and array.max() > MAX_CLASS:
        remedy = f"Give classes up to {MAX_CLASS}, not cluster ids"
        invalid(argument, array, f"the highest value is {array.max()}", remedy)
    return array


def _ratios(matrix: CountArray) -> dict[str, FloatArray]:
    """Return the scores of classes 1..K of a confusion matrix.

    A class in neither map is NaN; one in only one of the two scores 0.
    """
    hits = np.diag(matrix)[1:].astype(np.float64)
    true, found = matrix.sum(axis=1)[1:], matrix.sum(axis=0)[1:]
    present = (true + found) > 0

    def ratio(top: FloatArray, bottom: npt.NDArray[Any]) -> FloatArray:
        out = np.where(present, 0.0, np.nan)
        np.divide(top, bottom, out=out, where=bottom > 0)
        return out

    return {
        "dice": ratio(2 * hits, true + found),
        "iou": ratio(hits, true + found - hits),
        "precision": ratio(hits, found),
        "recall": ratio(hits, true),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
