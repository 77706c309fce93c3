"""The three cases of section 2.2, and the split of case 3, on tables worked out by hand."""

from __future__ import annotations

import numpy as np

from napari_clusternet.classify.clusters import (
    nearest,
    present_classes,
    principal_starts,
    split_pixels,
    stroke_classes,
)


def test_the_three_cases_at_the_papers_threshold() -> None:
    # columns: positive (class 1) and negative (class 2) stroked pixels; t = 0.3
    counts = np.array(
        [
            [5, 0],  # case 1: only positive strokes -> class 1
            [0, 4],  # case 2: only negative strokes -> class 2
            [6, 4],  # case 3: r+ = .6, r- = .4, both above t -> mixed
            [7, 3],  # r- = .3 is not above t: the minority does not split -> class 1
            [0, 0],  # no strokes -> unclassified
        ]
    )
    classes, mixed = stroke_classes(counts, 0.3)
    assert classes.tolist() == [1, 2, 0, 1, 0]
    assert mixed.tolist() == [False, False, True, False, False]


def test_several_classes_use_each_share() -> None:
    # shares: (.5 .4 .1) -> two above t; (.8 .1 .1) -> one; (.25 x 4) -> none above t,
    # then the two commonest classes, the first two at a tie, stand for the cluster
    counts = np.array([[5, 4, 1, 0], [8, 1, 1, 0], [1, 1, 1, 1]])
    assert present_classes(counts, 0.3).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [True, True, False, False],
    ]
    assert stroke_classes(counts, 0.3)[0].tolist() == [0, 1, 0]


def test_split_starts_at_the_class_means_and_runs_kmeans() -> None:
    # values 0 0 1 4 5 5; starts 0.5 and 3.0 (means of stroked pixels).
    # boundary 1.75: parts 0 0 0 | 1 1 1, means 1/3 and 14/3; boundary 2.5: unchanged -> done
    pixels = np.array([[0], [0], [1], [4], [5], [5]], dtype=np.float32)
    result = split_pixels(pixels, np.array([[0.5], [3.0]], dtype=np.float32))
    assert result is not None
    parts, centroids = result
    assert parts.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(centroids[:, 0], [1 / 3, 14 / 3], rtol=1e-6)


def test_more_iterations_move_the_boundary() -> None:
    # values 0 1 2 3 10; starts 0 and 1: boundary .5 -> {0} {1 2 3 10}, means 0 and 4
    # boundary 2 (ties to the first) -> {0 1 2} {3 10}, means 1 and 6.5; boundary 3.75
    # -> {0 1 2 3} {10}, means 1.5 and 10: unchanged -> done
    pixels = np.array([[0], [1], [2], [3], [10]], dtype=np.float32)
    result = split_pixels(pixels, np.array([[0.0], [1.0]], dtype=np.float32))
    assert result is not None
    assert result[0].tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(result[1][:, 0], [1.5, 10.0])


def test_pixels_that_are_all_alike_are_not_split() -> None:
    pixels = np.ones((8, 3), dtype=np.float32)
    assert split_pixels(pixels, np.ones((2, 3), dtype=np.float32)) is None


def test_nearest_agrees_with_distances_across_blocks() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(100, 4)).astype(np.float16)
    centroids = rng.normal(size=(3, 4)).astype(np.float32)
    distances = ((pixels[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2)
    assert np.array_equal(nearest(pixels, centroids, block=7), distances.argmin(axis=1))


def test_starts_lie_a_deviation_either_way_along_the_first_component() -> None:
    # x in {-3, 3} (deviation 3), y in {-1, 1} (deviation 1), around (10, 20): along x
    pixels = np.array([[7, 19], [7, 21], [13, 19], [13, 21]], dtype=np.float32)
    starts = principal_starts(pixels)
    np.testing.assert_allclose(np.sort(starts[:, 0]), [7, 13], rtol=1e-6)
    np.testing.assert_allclose(starts[:, 1], [20, 20], rtol=1e-6)
