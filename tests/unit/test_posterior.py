"""Class probabilities learned from strokes, and what they are learned from."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.classify.evidence import Evidence
from napari_clusternet.classify.posterior import (
    MAX_PIXELS,
    MIN_PER_CLASS,
    WITHOUT_MAPS,
    Member,
    StrokePosterior,
)
from napari_clusternet.classify.samples import spread, stroke_numbers
from napari_clusternet.features.matrix import FeatureMatrix

KINDS = ("trees", "many trees", "forest", "linear", "kernel")


def two_clouds(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 1, (n, 3)), rng.normal(9, 1, (n, 3))])
    return rows.astype(np.float32), np.repeat([1, 4], n)


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_boundary_the_posterior_is_sure_and_unseen_classes_get_nothing(
    kind: str,
) -> None:
    rows, classes = two_clouds()
    model = StrokePosterior([Member(kind, "own")]).fit({"own": rows}, classes)
    posterior = model.predict({"own": np.array([[0, 0, 0], [9, 9, 9]], np.float32)}, n_classes=5)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-5)
    assert posterior[0, 0] > 0.85  # the linear one shrinks strongly
    assert posterior[1, 3] > 0.85
    assert not posterior[:, [1, 2, 4]].any()


def test_where_features_say_nothing_the_shares_of_the_strokes_decide() -> None:
    # all features equal: trees are single leaves holding the class shares
    classes = np.repeat([1, 2], [320, 80])
    model = StrokePosterior([Member("trees", "own")]).fit(
        {"own": np.zeros((400, 2), np.float32)}, classes
    )
    posterior = model.predict({"own": np.zeros((1, 2), np.float32)}, 2)
    np.testing.assert_allclose(posterior[0], [0.8, 0.2], atol=1e-6)


def test_many_strokes_are_thinned_evenly_and_rare_classes_keep_their_pixels() -> None:
    # 30 pixels of class 2 among 5030: all of them are kept, as they are fewer than MIN_PER_CLASS,
    # beside round(5000 x 3000 / 5030) = 2982 of class 1
    assert (MIN_PER_CLASS, MAX_PIXELS) == (50, 3000)
    classes = np.repeat([1, 2], [5000, 30])
    chosen = spread(classes, MAX_PIXELS, MIN_PER_CLASS)
    assert np.bincount(classes[chosen]).tolist() == [0, 2982, 30]
    assert np.diff(chosen[:2982]).max() <= 2


def test_weights_are_those_of_left_out_strokes() -> None:
    # Four strokes a class. "own" tells the classes; "place" tells the strokes apart, so that within
    # a stroke it looks just as good; on strokes left out it knows nothing.
    rng = np.random.default_rng(0)
    strokes = np.repeat(np.arange(8), 50)
    classes = strokes % 2 + 1
    own = (classes[:, None] + rng.normal(0, 0.1, (400, 2))).astype(np.float32)
    place = (rng.permutation(8)[strokes][:, None] * 100 + rng.normal(0, 1, (400, 2))).astype(
        np.float32
    )
    members = [Member("trees", "own"), Member("trees", "own+place")]
    groups = {"own": own, "own+place": place}
    model = StrokePosterior(members)
    for _ in model.weigh_steps(groups, classes, strokes):
        pass
    assert model.weights.sum() == pytest.approx(1)
    assert model.weights[0] > 2 * model.weights[1]
    # a third class of a single stroke is never left out; it takes part in the learning alone
    more = {name: np.concatenate([rows, rows[:50] - 500]) for name, rows in groups.items()}
    model = StrokePosterior(members)
    third = np.concatenate([classes, np.full(50, 3)]), np.concatenate([strokes, np.full(50, 8)])
    for _ in model.weigh_steps(more, *third):
        pass
    assert model.weights[0] > 2 * model.weights[1]
    # one stroke a class says nothing of strokes left out: the weights stay equal
    model = StrokePosterior(members)
    assert not list(model.weigh_steps(groups, classes, classes))
    assert model.weights.tolist() == [0.5, 0.5]


def test_the_place_has_a_say_only_if_left_out_strokes_speak_for_it() -> None:
    # class 1 lies left, class 2 right, six strokes each; nothing else tells them apart
    rng = np.random.default_rng(0)
    strokes = np.repeat(np.arange(12), 20)
    classes = strokes % 2 + 1
    place = np.stack([classes + rng.uniform(0, 0.5, 240), rng.uniform(0, 1, 240)], axis=1)
    own = rng.normal(0, 1, (240, 3))
    groups = {"own": own.astype(np.float32), "place": place.astype(np.float32)}
    members = [Member("trees", "own"), Member("near", "place", on_trial=True)]
    right = {"own": groups["own"][:2], "place": np.array([[1.2, 0.5], [2.2, 0.5]], np.float32)}

    model = StrokePosterior(members).fit(groups, classes)
    alone = StrokePosterior(members[:1]).fit(groups, classes)
    assert model.weights.tolist() == [1, 0]
    np.testing.assert_array_equal(model.predict(right, 2), alone.predict(right, 2))

    model = StrokePosterior(members)
    for _ in model.weigh_steps(groups, classes, strokes):
        pass
    assert model.weights[1] > 0.8
    posterior = model.fit(groups, classes).predict(right, 2)
    assert posterior.argmax(axis=1).tolist() == [0, 1]


def test_the_same_seed_gives_the_same_posterior() -> None:
    rows, classes = two_clouds()
    rows += np.random.default_rng(1).normal(0, 6, rows.shape).astype(np.float32)
    groups = {"own": rows, "own+place": rows, "place": rows[:, :2]}
    one, two, other = (
        StrokePosterior(WITHOUT_MAPS, 8, seed).fit(groups, classes).predict(groups, 4)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_strokes_are_pixels_of_one_class_that_touch() -> None:
    strokes = np.array([
        [1, 0, 0, 2, 2],
        [0, 1, 0, 0, 0],
        [0, 0, 2, 0, 1],
        [1, 0, 0, 0, 1],
    ])  # fmt: skip
    pixels = np.flatnonzero(strokes)
    numbers = stroke_numbers(pixels, strokes.reshape(-1)[pixels], strokes.shape)
    # (0,0)-(1,1) touch by a corner; (2,2) touches (1,1), which is of another class; the last
    # column of a row does not touch the first of the next
    groups: dict[int, set[int]] = {}
    for pixel, number in zip(pixels.tolist(), numbers.tolist(), strict=True):
        groups.setdefault(number, set()).add(pixel)
    assert sorted(map(sorted, groups.values())) == [[0, 6], [3, 4], [12], [14, 19], [15]]


def test_strokes_are_those_of_a_reference_in_3d() -> None:
    from scipy import ndimage

    strokes = (np.random.default_rng(0).random((6, 9, 11)) < 0.08).astype(int)
    expected = ndimage.label(strokes, np.ones((3, 3, 3)))[0].reshape(-1)
    pixels = np.flatnonzero(strokes)
    found = stroke_numbers(pixels, np.ones(len(pixels), int), strokes.shape)
    pairs = set(zip(expected[pixels].tolist(), found.tolist(), strict=True))
    assert len(pairs) == len(set(found.tolist())) == expected.max()


def test_places_are_parts_of_the_longest_side() -> None:
    # 4 slices of 5 mm, 10 x 40 pixels of 1 mm: 20 x 10 x 40 mm, so one slice is 5/40
    matrix = FeatureMatrix(np.zeros((1600, 2), np.float32), np.ones((4, 10, 40), bool))
    evidence = Evidence(matrix, (5.0, 1.0, 1.0))
    assert not evidence.has_maps
    place = evidence.take(np.array([0, 400 + 40 + 1]), ["own+place"])["own+place"][:, 2:]
    np.testing.assert_allclose(place, [[0, 0, 0], [0.125, 0.025, 0.025]])
