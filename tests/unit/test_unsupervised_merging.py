"""Merging neighbours: costs and order by hand."""

from __future__ import annotations

import numpy as np

from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.hierarchy import gradient_magnitude
from napari_clusternet.unsupervised.merging import (
    border_strength,
    merge_steps,
    neighbour_pairs,
    region_means,
)


def test_pairs_and_means():
    segments = np.array([[0, 0, 1], [2, 2, 1]])
    # along y: (0, 2), (0, 2); along x: (0, 1), (1, 2)
    assert sorted(neighbour_pairs(segments).tolist()) == [[0, 1], [0, 2], [0, 2], [1, 2]]
    valid = np.array([[True, True, True], [False, True, True]])
    assert sorted(neighbour_pairs(segments, valid).tolist()) == [[0, 1], [0, 2], [1, 2]]
    values = np.array([[[1.0, 3.0, 7.0], [100.0, 4.0, 9.0]]])
    means, sizes = region_means(values, segments, valid)
    assert means.tolist() == [[2.0], [8.0], [4.0]]  # the invalid 100 is left out
    assert sizes.tolist() == [2, 2, 1]


def chain(means, sizes, n_regions, strength=None):
    """Merge regions that lie in a row, each touching the next by one pair."""
    pairs = np.stack([np.arange(len(means) - 1), np.arange(1, len(means))], axis=1)
    values = np.array(means, float)[:, None]
    return drain(merge_steps(pairs, values, np.array(sizes), n_regions, strength)).tolist()


def test_the_cheapest_go_first():
    # Ward's costs with sizes 1: 1/2 * gap^2 = 2, 0.5, 32: 1 and 2 merge to 2.5 (size 2); then
    # 0 and 12: 2/3 * 2.5^2 = 4.2 against 2/3 * 7.5^2: 0 joins
    assert chain([0, 2, 3, 11], [1, 1, 1, 1], 3) == [0, 1, 1, 2]
    assert chain([0, 2, 3, 11], [1, 1, 1, 1], 2) == [0, 0, 0, 1]
    assert chain([0, 2, 3, 11], [1, 1, 1, 1], 4) == [0, 1, 2, 3]


def test_size_counts():
    # costs 100*100/200 * 1 = 50 against 100*1/101 * 16 = 15.8: the small region joins first,
    # though its colour is further off
    assert chain([0, 1, 5], [100, 100, 1], 2) == [0, 1, 1]


def test_strong_borders_hold():
    # costs 1/2 and 1/2 * 4 = 2, times strengths 10 and 1: 5 and 2
    assert chain([0, 1, 3], [1, 1, 1], 2) == [0, 0, 1]
    assert chain([0, 1, 3], [1, 1, 1], 2, np.array([10.0, 1.0])) == [0, 1, 1]


def test_regions_that_do_not_touch_stay_apart():
    pairs = np.array([[0, 1]])
    groups = drain(merge_steps(pairs, np.zeros((3, 1)), np.ones(3, int), 1))
    assert groups.tolist() == [0, 0, 1]
    alone = drain(merge_steps(np.empty((0, 2), int), np.zeros((2, 1)), np.ones(2, int), 1))
    assert alone.tolist() == [0, 1]


def test_size_counts_less_with_a_lower_power():
    # costs without size: 1 and 16: colour alone decides, the other way round than in Ward's
    pairs, means = np.array([[0, 1], [1, 2]]), np.array([[0.0], [1.0], [5.0]])
    sizes = np.array([100, 100, 1])
    groups = drain(merge_steps(pairs, means, sizes, 2, size_power=0.0))
    assert groups.tolist() == [0, 0, 1]


def test_border_strength_is_that_of_the_stronger_side():
    segments = np.array([[0, 0, 1], [2, 2, 1]])
    edges = np.array([[1.0, 2.0, 3.0], [9.0, 1.0, 4.0]])
    # y: (0, 2) max(1, 9), (0, 2) max(2, 1); x: (0, 1) max(2, 3), (2, 1) max(1, 4)
    assert neighbour_pairs(segments).tolist() == [[0, 2], [0, 2], [0, 1], [1, 2]]
    assert border_strength(edges, segments).tolist() == [9, 2, 3, 4]


def test_gradient_by_hand():
    # bands 3x and 4x: length 5 everywhere; along y with twice the pixel size half as steep
    x = np.arange(4, dtype=np.float32)
    values = np.stack([np.tile(3 * x, (3, 1)), np.tile(4 * x, (3, 1))])
    np.testing.assert_allclose(gradient_magnitude(values, (1.0, 1.0)), 5)
    np.testing.assert_allclose(gradient_magnitude(values.transpose(0, 2, 1), (2.0, 1.0)), 2.5)
