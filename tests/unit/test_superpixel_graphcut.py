"""Superpixels: their means and borders by hand, and what strokes do to them."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.segmentation import slic

from napari_clusternet.classify import superpixel_graphcut as module
from napari_clusternet.classify.superpixel_graphcut import (
    SuperpixelGraphCut,
    borders,
    majority,
    region_means,
    superpixels,
)
from napari_clusternet.classify.svm import SVM
from napari_clusternet.errors import InputError
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain


def test_borders_means_and_majority_by_hand():
    # 0 0 1
    # 0 2 1    0-1: one pair, 0-2: two pairs (one down, one across), 1-2: one pair; * is invalid
    # 2 2 *
    regions = np.array([[0, 0, 1], [0, 2, 1], [2, 2, -1]])
    ends, lengths = borders(regions, regions >= 0, (1, 1))
    np.testing.assert_array_equal(ends, [[0, 0, 1], [1, 2, 2]])
    np.testing.assert_array_equal(lengths, [1, 3, 1])
    rows = np.array([[1.0, 2, 5, 3, 0, 7, 3, 9]])  # valid pixels in order
    ids = regions[regions >= 0]
    np.testing.assert_allclose(region_means(rows, ids), [[2], [6], [4]])
    seeds = majority(np.array([0, 0, 0, 2]), np.array([1, 1, 0, 0]), (2, 3))
    np.testing.assert_array_equal(seeds, [1, -1, 0])


def test_pairs_across_thick_slices_count_less():
    regions = np.stack([np.zeros((2, 2), int), np.ones((2, 2), int)])
    _, lengths = borders(regions, regions >= 0, (4.0, 1.0, 1.0))
    np.testing.assert_array_equal(lengths, [1])  # four voxel pairs, a quarter each


def test_superpixels_are_scikit_images():
    features = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32).clip(-3, 3)
    ours = superpixels(features, np.ones((30, 40), bool), (1, 1), 20, 0.1)
    theirs = slic(
        np.moveaxis(features, 0, -1), 20, 0.1, convert2lab=False, channel_axis=-1, start_label=0
    )
    pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
    assert pairs.shape[1] == ours.max() + 1 == len(np.unique(theirs))  # the same up to numbering


def test_invalid_pixels_belong_to_no_superpixel():
    valid = np.ones((30, 40), bool)
    valid[5:12, :9] = False
    features = np.zeros((1, 30, 40), np.float32)
    features[:, :, 20:] = 1
    regions = superpixels(features, valid, (1, 1), 12, 0.1)
    np.testing.assert_array_equal(regions < 0, ~valid)
    np.testing.assert_array_equal(np.unique(regions[valid]), np.arange(regions.max() + 1))
    left = set(regions[:, :20][valid[:, :20]])
    assert left.isdisjoint(regions[:, 20:].ravel())  # none crosses the edge


def squares() -> tuple[Image, np.ndarray, np.ndarray]:
    """A checkerboard of dark and bright squares of 10 pixels with noise."""
    rows, columns = np.indices((40, 40)) // 10
    truth = (rows + columns) % 2 + 1
    values = truth * 4.0 + np.random.default_rng(0).normal(0, 1.4, truth.shape)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[5, 3:8], strokes[5, 13:18] = 1, 2
    return Image.from_array(values.astype(np.float32)), strokes, truth


def test_means_over_superpixels_remove_noise():
    image, strokes, truth = squares()
    extractor = BandFeatures.fit(image)
    pixels, regions = (
        drain(method.segment_steps(image, strokes, extractor, 0))
        for method in (SVM(), SuperpixelGraphCut(size=25, compactness=0.5, smoothness=0.3))
    )
    assert (pixels == truth).mean() < 0.95
    assert (regions == truth).mean() > (pixels == truth).mean()
    assert (regions == truth).mean() > 0.95


def test_a_stroked_pixel_keeps_its_class_in_a_superpixel_of_another(monkeypatch):
    image, strokes, _ = squares()
    strokes[7, 3] = 2  # one pixel against five in its square
    squares_of = np.indices((40, 40)) // 10
    whole = squares_of[0] * 4 + squares_of[1]
    monkeypatch.setattr(module, "superpixels", lambda *_: whole)
    labels = drain(SuperpixelGraphCut().segment_steps(image, strokes, BandFeatures.fit(image), 0))
    assert labels[7, 3] == 2
    assert (np.delete(labels[:10, :10].ravel(), 73) == 1).all()


@pytest.mark.parametrize(
    "settings", [{"size": 1}, {"compactness": 0}, {"smoothness": -1}, {"sigma": 0}]
)
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        SuperpixelGraphCut(**settings)
