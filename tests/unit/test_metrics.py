"""Scores against hand counts and against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from napari_clusternet import metrics
from napari_clusternet.errors import InputError

TRUTH = np.array([[0, 1, 1, 1], [2, 2, 0, 2]])
LABELS = np.array([[3, 1, 1, 2], [2, 0, 1, 2]])
# ignoring truth 0, class 1: TP 2, FN 1, FP 0; class 2: TP 2, FN 1 (unlabelled), FP 1


def test_hand_counted():
    np.testing.assert_allclose(metrics.dice_per_class(LABELS, TRUTH), [4 / 5, 4 / 6])
    np.testing.assert_allclose(metrics.iou(LABELS, TRUTH), [2 / 3, 2 / 4])
    np.testing.assert_allclose(metrics.precision(LABELS, TRUTH), [1, 2 / 3])
    np.testing.assert_allclose(metrics.recall(LABELS, TRUTH), [2 / 3, 2 / 3])
    assert metrics.accuracy(LABELS, TRUTH) == pytest.approx(4 / 6)
    assert metrics.mean_dice(LABELS, TRUTH) == pytest.approx((4 / 5 + 4 / 6) / 2)
    assert metrics.mean_iou(LABELS, TRUTH) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 6, (2, 40, 50))
    known = truth > 0
    sets = {
        "y_true": truth[known],
        "y_pred": labels[known],
        "labels": range(1, 6),
        "average": None,
    }
    np.testing.assert_allclose(metrics.f1(labels, truth), reference.f1_score(**sets))
    np.testing.assert_allclose(metrics.iou(labels, truth), reference.jaccard_score(**sets))
    np.testing.assert_allclose(metrics.recall(labels, truth), reference.recall_score(**sets))
    np.testing.assert_allclose(metrics.precision(labels, truth), reference.precision_score(**sets))
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, truth),
        reference.confusion_matrix(truth[known], labels[known], labels=range(6)),
    )


def test_small_classes_do_not_enter_the_mean():
    truth = np.array([1] * 10 + [2] * 2)
    labels = np.array([1] * 12)
    # class 1: 2 * 10 / (10 + 12); class 2 scores 0 but has 2 pixels only
    assert metrics.mean_dice(labels, truth, min_pixels=3) == pytest.approx(20 / 22)
    assert metrics.mean_dice(labels, truth) == pytest.approx(10 / 22)


def test_a_class_that_is_not_in_the_truth_scores_no_mean():
    scores = metrics.evaluate([1, 1, 3], [1, 1, 1], ["a", "b", "c"])
    assert [(row.name, row.counted) for row in scores.classes] == [("a", True), ("c", False)]
    assert scores.mean_dice == pytest.approx(4 / 5)


def test_table_and_json():
    scores = metrics.evaluate(LABELS, TRUTH, ["sea", "land"])
    assert "sea" in str(scores)
    assert "0.800" in str(scores)
    assert json.loads(json.dumps(scores.to_dict()))["classes"][1]["name"] == "land"


@pytest.mark.parametrize(
    ("labels", "truth", "message"),
    [
        ([1, 2], [1, 2, 3], "shape"),
        ([1, 2], [0, 0], "no pixel has a class"),
        ([1.5, 2], [1, 2], "not classes"),
        ([-1, 2], [1, 2], "not classes"),
        ([1, 5000], [1, 2], "highest value is 5000"),
    ],
)
def test_refused(labels, truth, message):
    with pytest.raises(InputError, match=message):
        metrics.evaluate(np.array(labels), np.array(truth))
