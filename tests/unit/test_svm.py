"""The support vector machine: scikit-learn's answers, probabilities, what it is trained on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import SVC

import napari_clusternet as cn
from napari_clusternet.classify import svm
from napari_clusternet.classify.samples import spread, stroke_folds
from napari_clusternet.classify.svm import SVM, PixelSVM
from napari_clusternet.errors import InputError


def blobs(n_classes: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, n_classes, 300) * 3 + 2  # ids 2, 5, 8 ...
    rows = np.eye(4)[classes % 4] * 2 + rng.normal(size=(300, 4)) * scale
    return rows.astype(np.float32), classes


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_decisions_and_classes_are_scikit_learns(n_classes, monkeypatch):
    rows, classes = blobs(n_classes)
    others = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32) * 2
    theirs = SVC(C=2, decision_function_shape="ovo").fit(rows, classes)
    monkeypatch.setattr(svm, "KERNEL_VALUES", 5000)  # several blocks
    ours = PixelSVM(2.0).fit(rows, classes)
    expected = theirs.decision_function(others).reshape(500, -1)
    np.testing.assert_allclose(ours.decisions(others), expected, atol=2e-5)
    np.testing.assert_array_equal(ours.predict(others), theirs.predict(others))


def test_probabilities_are_calibrated_on_pixels_not_seen():
    rows, classes = blobs(3)
    folds = np.arange(300) % 3
    machine = PixelSVM().fit(rows, classes).calibrate(rows, classes, folds)
    chances = machine.probabilities(rows)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-3)
    # of the pixels it is about p sure of, about p are right
    sure = chances.max(axis=1)
    right = machine.classes_[chances.argmax(axis=1)] == classes
    assert abs(sure.mean() - right.mean()) < 0.05


def test_unseen_strokes_make_it_humbler():
    # labels are noise: a machine can only remember, and unseen pixels show that
    rng = np.random.default_rng(0)
    rows, classes = rng.normal(size=(120, 2)), rng.integers(1, 3, 120)
    bold = PixelSVM(100.0, 10.0).fit(rows, classes)
    confidence = [
        bold.calibrate(rows, classes, folds).probabilities(rows).max(axis=1).mean()
        for folds in (None, np.arange(120) % 3)
    ]
    assert confidence[0] > 0.85
    assert confidence[1] < 0.65


def test_folds_hold_out_whole_strokes():
    strokes = np.zeros((9, 20), int)
    strokes[0, :5], strokes[2, :5], strokes[4, :5] = 1, 1, 1
    strokes[0, 10:], strokes[3, 10:] = 7, 7
    pixels = np.flatnonzero(strokes)
    folds = np.zeros(strokes.shape, int) - 1
    folds.flat[pixels] = stroke_folds(strokes, pixels)
    # class 7 has two strokes, so there are two folds
    assert [folds[0, 0], folds[2, 0], folds[4, 0]] == [0, 1, 0]
    assert [folds[0, 10], folds[3, 10]] == [0, 1]
    for row, column in ((0, 0), (2, 0), (4, 0)):
        assert len(set(folds[row, column : column + 5])) == 1


def test_single_strokes_are_cut_and_single_pixels_left():
    strokes = np.zeros((4, 12), int)
    strokes[0, :6], strokes[2, :6] = 1, 2
    folds = stroke_folds(strokes, np.flatnonzero(strokes))
    np.testing.assert_array_equal(folds, [0, 0, 1, 1, 2, 2] * 2)
    strokes[3, 11] = 3
    assert stroke_folds(strokes, np.flatnonzero(strokes)) is None


def test_many_pixels_are_spread_by_share():
    classes = np.repeat([1, 2, 3], [100, 50, 1])
    chosen = spread(classes, 15)
    np.testing.assert_array_equal(np.bincount(classes[chosen])[1:], [10, 5, 1])
    np.testing.assert_array_equal(np.diff(chosen[:10]), 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": 0}, "penalty=0: not positive"),
        ({"gamma": "big"}, "gamma='big'.*'scale'"),
        ({"max_pixels": 1}, "max_pixels=1"),
        ({"c": 1}, r"c=1: method 'svm' has no such parameter.*penalty, gamma, max_pixels"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        cn.segment(np.zeros((4, 4)), np.zeros((4, 4), int), method="svm", **settings)


def test_auto_is_the_bands():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 30, 30)).astype(np.float32)
    strokes = np.zeros((30, 30), np.uint8)
    strokes[3, :], strokes[20, :] = 1, 2
    auto, bands, filters = (
        cn.segment(image, strokes, axes="CYX", method="svm", features=name)
        for name in ("auto", "bands", "filters")
    )
    np.testing.assert_array_equal(auto, bands)
    assert (auto != filters).any()
    assert SVM.uses == "bands"
