"""The random walker: chances by hand, scikit-image's own output, coarse grids, islands."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.segmentation import random_walker

from napari_clusternet.classify.random_walker import (
    RandomWalker,
    coarsen,
    interpolated_argmax,
    nearest_class,
    walk,
)
from napari_clusternet.errors import InputError
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain


def noisy_halves(shape=(30, 34)):
    truth = np.broadcast_to(np.where(np.arange(shape[-1]) < shape[-1] // 2, 1, 2), shape)
    values = truth + np.random.default_rng(0).normal(0, 0.3, shape)
    strokes = np.zeros(shape, np.uint8)
    strokes[..., 3:5, 3:12], strokes[..., 3:5, -12:-3] = 1, 2
    return values.astype(np.float32), strokes, truth


def test_chances_by_hand():
    # a column of three rows, ends are seeds; the walk from the middle goes up with weight w1
    # (step 1) and down with w2 (step 3): chance of the upper = w1 / (w1 + w2), where
    # w = exp(-beta d^2 / (10 std)) + 1e-10 in scikit-image
    features = np.array([0.0, 1.0, 4.0], np.float32).reshape(1, 3, 1)
    seeds = np.array([[1], [0], [2]])
    beta, deviation = 0.5, features.std()
    chances = walk(features, np.ones((3, 1), bool), seeds, (1.0, 1.0), beta)
    w1, w2 = np.exp(-beta * np.array([1.0, 9.0]) / (10 * deviation))
    assert chances[0, 1, 0] == pytest.approx(w1 / (w1 + w2), abs=2e-3)
    assert 0.55 < chances[0, 1, 0] < 0.9
    np.testing.assert_allclose(chances.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 3.0)])
def test_labels_are_scikit_images(spacing):
    values, strokes, _ = noisy_halves()
    image = Image.from_array(values, spacing=spacing)
    extractor = BandFeatures.fit(image)
    ours = drain(RandomWalker().segment_steps(image, strokes, extractor, 0))
    normal = extractor(values[None], np.ones(values.shape, bool))[0]
    theirs = random_walker(
        normal.astype(float), strokes.astype(int), beta=130, mode="bf", spacing=np.array(spacing)
    )
    assert (ours == theirs).mean() > 0.995  # conjugate gradients against the exact solution


def test_volumes_with_thick_slices():
    values, strokes, truth = noisy_halves((5, 12, 30))
    strokes[[0, 1, 3, 4]] = 0
    image = Image.from_array(values, axes="ZYX", spacing=(4, 1, 1))
    labels = drain(RandomWalker().segment_steps(image, strokes, BandFeatures.fit(image), 0))
    assert (labels == truth).mean() > 0.9


def test_large_images_are_solved_on_a_coarser_grid():
    values, strokes, truth = noisy_halves((60, 68))
    image = Image.from_array(values)
    method = RandomWalker(max_pixels=300)  # cells of 4 x 4
    labels = drain(method.segment_steps(image, strokes, BandFeatures.fit(image), 0))
    assert labels.shape == truth.shape
    assert (labels == truth).mean() > 0.97
    np.testing.assert_array_equal(labels[strokes > 0], strokes[strokes > 0])


def test_cells_by_hand():
    # rows 0-1 and row 2 alone, columns in twos; one pixel is invalid
    features = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    valid = np.ones((3, 4), bool)
    valid[0, 0] = False
    features[0, 0, 0] = 0
    seeds = np.array([[0, 1, 2, 2], [0, 0, 3, 0], [0, 0, 0, 0]])
    means, cells, coarse = coarsen(features, valid, seeds, 2)
    np.testing.assert_allclose(means[0], [[(1 + 4 + 5) / 3, 4.5], [8.5, 10.5]])
    assert cells.all()
    # the upper right cell has two pixels of class 2, but class 3 is nowhere else
    np.testing.assert_array_equal(coarse, [[1, 3], [0, 0]])


def test_interpolation_puts_the_boundary_between_cell_centres():
    chances = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
    # cells of 4 pixels: centres at 1.5 and 5.5, so the chances cross at 3.5
    found = interpolated_argmax(chances, 4, (4, 8))
    np.testing.assert_array_equal(found[0], [1, 1, 1, 1, 2, 2, 2, 2])


def test_islands_take_the_nearest_class():
    # column 1 is invalid; column 2 is nearer to the left end, columns 3 and 4 to the right one
    found = np.array([[1, 0, 0, 0, 0, 2]])
    valid = np.array([[True, False, True, True, True, True]])
    np.testing.assert_array_equal(nearest_class(found, valid, (1, 1)), [[1, 0, 1, 2, 2, 2]])


@pytest.mark.parametrize("settings", [{"beta": 0}, {"max_pixels": 3}])
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        RandomWalker(**settings)
