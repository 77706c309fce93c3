from __future__ import annotations

import numpy as np

from napari_clusternet.classify.posterior import MIN_PER_CLASS, StrokePosterior


def test_far_from_the_boundary_the_posterior_is_sure_and_unseen_classes_get_nothing() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (300, 3)), rng.normal(9, 1, (300, 3))])
    classes = np.repeat([1, 4], 300)
    model = StrokePosterior(0).fit(features, classes)
    posterior = model.predict(np.array([[0.0, 0, 0], [9, 9, 9]]), n_classes=5)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-6)
    assert posterior[0, 0] > 0.95
    assert posterior[1, 3] > 0.95
    assert not posterior[:, [1, 2, 4]].any()


def test_where_features_say_nothing_the_shares_of_the_strokes_decide() -> None:
    # all features equal: trees are single leaves holding the class shares of their sample,
    # 3000 of 4000 pixels, class 1 four times as often as class 2
    features = np.zeros((4000, 2))
    classes = np.repeat([1, 2], [3200, 800])
    posterior = StrokePosterior(0).fit(features, classes).predict(np.zeros((1, 2)), 2)
    np.testing.assert_allclose(posterior[0], [0.8, 0.2], atol=1e-6)


def test_a_rare_class_keeps_its_pixels() -> None:
    # 30 pixels of class 2 among 5000: all of them are kept (fewer than MIN_PER_CLASS), beside
    # round(5000 x 3000 / 5030) = 2982 of class 1
    assert MIN_PER_CLASS > 30
    classes = np.repeat([1, 2], [5000, 30])
    posterior = StrokePosterior(0).fit(np.zeros((5030, 1)), classes).predict(np.zeros((1, 1)), 2)
    np.testing.assert_allclose(posterior[0, 1], 30 / (2982 + 30), atol=1e-6)
