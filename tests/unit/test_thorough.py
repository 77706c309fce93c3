"""What many pixels of the clusters say, once all classifiers have looked at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_clusternet.partition import Partition
from napari_clusternet.thorough import Thorough, _in_steps, _surest, _with_neighbours


class Values:
    """Evidence of one feature."""

    has_maps = False

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values, np.float32)

    def take(self, pixels: Any, names: Any) -> dict[str, Any]:
        assert set(names) == {"own"}
        return {"own": self._values[pixels][:, None]}


class Undecided:
    """A model that knows the classes, but not very well."""

    groups = frozenset({"own"})

    def predict(self, groups: Any, n_classes: int) -> Any:
        right = (groups["own"][:, 0] > 5).astype(int)
        return np.where(np.arange(n_classes) == right[:, None], 0.6, 0.4).astype(np.float32)


def test_clusters_listen_to_those_with_the_nearest_centroids() -> None:
    # three clusters, so each has the two others as neighbours. Round 1: the first two hear
    # (1 + 0) / 2 = .5 for class 1 and come to (1 + .5) / 2 = .75, the third hears 1 and comes
    # to .5. Round 2: the first hears (.75 + .5) / 2 = .625, (1 + .625) / 2 = .8125;
    # the third hears .75, (0 + .75) / 2 = .375
    centroids = np.array([[0.0], [1.0], [10.0]], np.float32)
    mixed = _with_neighbours(np.array([[1, 0], [1, 0], [0, 1]], np.float32), centroids)
    np.testing.assert_allclose(mixed, [[0.8125, 0.1875], [0.8125, 0.1875], [0.375, 0.625]])


def test_only_the_nearest_have_a_say() -> None:
    # twelve clusters near 0 say class 1, twelve near 100 class 2: nobody hears the other side
    centroids = np.concatenate([np.arange(12.0), 100 + np.arange(12.0)])[:, None]
    own = np.repeat([[1.0, 0.0], [0.0, 1.0]], 12, axis=0).astype(np.float32)
    np.testing.assert_allclose(_with_neighbours(own, centroids.astype(np.float32)), own)
    assert _with_neighbours(own[:1], np.zeros((1, 1), np.float32)).tolist() == [[1, 0]]


def test_the_least_sure_quarter_of_each_class_is_left_out() -> None:
    certainty = np.array([0.9, 0.6, 0.8, 0.7, 0.55, 0.95, 0.85, 0.75])
    first = np.repeat([True, False], 4)
    probabilities = np.where(first, certainty, 1 - certainty)
    labels, sure = _surest(np.stack([probabilities, 1 - probabilities], axis=1).astype(np.float32))
    assert labels.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    # of .9 .8 .7 .6 and of .95 .85 .75 .55 the last
    assert sure.tolist() == [0, 2, 3, 5, 6, 7]


def test_steps_come_to_pixels_as_often_as_they_stand_for_others() -> None:
    # sums 1, 2, 8; steps at 1, 3, 5, 7 come to pixels 0, 2, 2, 2
    assert _in_steps(np.array([1.0, 1.0, 6.0]), 4).tolist() == [0, 2]
    assert _in_steps(np.ones(5), 100).tolist() == [0, 1, 2, 3, 4]


def test_what_is_learned_from_the_pixels_looked_at_counts_half() -> None:
    # clusters 1 and 2 hold the values 0 and 10; the model is right with .6, and trees that learn
    # from its labels are sure: (.6 + 1) / 2 = .8. The clusters are each other's only neighbour:
    # round 1 of the mixture: (.8 + .2) / 2 = .5; round 2: (.8 + .5) / 2 = .65
    cluster_map = np.repeat([1, 2], 20).astype(np.uint16).reshape(2, 20)
    partition = Partition(cluster_map)
    evidence = Values(np.where(cluster_map.reshape(-1) == 2, 10.0, 0.0))
    found = Thorough(evidence, Undecided(), 2)  # type: ignore[arg-type]
    drain_all(found.look_steps({1: np.arange(0, 20, 2), 2: np.arange(20, 40, 2)}))
    strokes = {"own": np.array([[0.0], [10.0]], np.float32)}
    centroids = np.array([[0.0], [10.0]], np.float32)
    drain_all(found.learn_steps(strokes, np.array([1, 2]), partition, centroids, 0))
    np.testing.assert_allclose(
        found.means(partition, centroids), [[0.65, 0.35], [0.35, 0.65]], atol=1e-6
    )
    # what is looked at later is judged by both as well
    drain_all(found.look_steps({1: np.array([1])}))
    np.testing.assert_allclose(
        found._looked[1].probabilities, np.tile([0.8, 0.2], (11, 1)), atol=1e-6
    )


def drain_all(steps: Any) -> None:
    for _ in steps:
        pass
