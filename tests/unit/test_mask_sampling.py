"""Where patches come from, and how they are turned."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.image import Image
from napari_clusternet.normalization import Normalizer
from napari_clusternet.supervised.sampling import MaskedPatches, augment, patch_extent


def patches(*masks: np.ndarray, extent: tuple[int, ...]) -> MaskedPatches:
    """Patches over images whose only band is the flat index of the pixel."""
    images = tuple(
        Image.from_array(np.arange(mask.size, dtype=np.float32).reshape(mask.shape),
                         axes="ZYX"[-mask.ndim:])
        for mask in masks
    )  # fmt: skip
    counts = np.stack([np.bincount(mask.ravel(), minlength=4) for mask in masks])
    weights = tuple(np.ones(mask.shape, np.float32) for mask in masks)
    return MaskedPatches(images, masks, weights, Normalizer((0.0,), (1.0,)), extent, counts)


def rare(shape: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Class 1 everywhere, but one pixel of class 2 and two of class 3."""
    mask = np.ones(shape, np.uint8)
    mask[70, 90] = 2
    mask[0, 0] = mask[99, 119] = 3
    return mask


def share_with(patch: MaskedPatches, places: list, class_: int) -> float:
    return float(np.mean([(m == class_).any() for m in patch.read(places)[1]]))


def test_random_places_are_uniform_over_images_and_inside_them() -> None:
    one, two = np.ones((40, 60), np.uint8), np.ones((40, 20), np.uint8)
    set_ = patches(one, two, extent=(16, 16))
    places = set_.draw(2000, "random", np.random.default_rng(0))
    # image one has 3/4 of the area
    assert np.mean([index == 0 for index, _ in places]) == pytest.approx(0.75, abs=0.03)
    origins = np.array([origin for index, origin in places if index == 0])
    assert origins.min(axis=0).tolist() == [0, 0]
    assert origins.max(axis=0).tolist() == [24, 44]


def test_rare_classes_are_seen_as_often_as_common_ones() -> None:
    set_ = patches(rare(), extent=(16, 16))
    rng = np.random.default_rng(0)
    by_class = set_.draw(600, "frequency", rng)
    # a third of the patches is drawn for each class
    assert share_with(set_, by_class, 2) == pytest.approx(1 / 3, abs=0.06)
    assert share_with(set_, by_class, 3) == pytest.approx(1 / 3, abs=0.06)
    # at random, a patch of 16 x 16 holds the pixel in 256 of 85 x 105 places: 2.9 %
    at_random = set_.draw(600, "random", rng)
    assert share_with(set_, at_random, 2) == pytest.approx(256 / (85 * 105), abs=0.025)
    both = set_.draw(600, "both", rng)
    assert share_with(set_, both, 2) == pytest.approx((1 / 3 + 256 / (85 * 105)) / 2, abs=0.06)


def test_the_pixel_lies_anywhere_in_its_patch() -> None:
    set_ = patches(rare(), extent=(16, 16))
    places = set_.draw(600, "frequency", np.random.default_rng(1))
    rows = [70 - origin[0] for _, origin in places if 0 <= 70 - origin[0] < 16
            and 0 <= 90 - origin[1] < 16]  # fmt: skip
    assert min(rows) == 0
    assert max(rows) == 15


def test_classes_come_from_the_images_that_have_them() -> None:
    one, two = np.ones((30, 30), np.uint8), np.full((30, 30), 2, np.uint8)
    two[:3] = 3
    set_ = patches(one, two, extent=(8, 8))
    places = set_.draw(300, "frequency", np.random.default_rng(0))
    assert np.mean([index == 1 for index, _ in places]) == pytest.approx(2 / 3, abs=0.08)


def test_patches_without_any_class_are_drawn_again() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[:4, :4] = 1
    set_ = patches(mask, extent=(16, 16))
    places = set_.draw(50, "random", np.random.default_rng(0))
    assert share_with(set_, places, 1) == 1.0


def test_reading_gives_the_pixels_of_the_place_and_pads_with_nothing() -> None:
    mask = np.full((10, 12), 3, np.uint8)
    set_ = patches(mask, extent=(16, 16))
    values, masks, weights = set_.read([(0, (0, 0))])
    assert values.shape == (1, 1, 16, 16)
    assert values[0, 0, 9, 11] == 9 * 12 + 11
    assert (masks[0, :10, :12] == 3).all()
    assert masks[0].sum() == 3 * 120
    assert weights[0].sum() == 120
    assert masks.dtype == np.int64


def test_same_seed_same_places() -> None:
    set_ = patches(rare(), extent=(16, 16))
    one, two, other = (set_.draw(20, "both", np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == two
    assert one != other


def test_extent_is_a_multiple_and_shorter_along_coarse_axes() -> None:
    assert patch_extent(128, (1, 1), (1000, 1000), (8, 8)) == (128, 128)
    # 32 pixels of 1 mm = 8 slices of 4 mm
    assert patch_extent(32, (4, 1, 1), (50, 200, 200), (1, 4, 4)) == (8, 32, 32)
    # no larger than the image, rounded up to the stride
    assert patch_extent(128, (1, 1), (50, 61), (8, 8)) == (56, 64)
    assert patch_extent(4, (1, 1), (50, 61), (8, 8)) == (8, 8)


@pytest.mark.parametrize("square", [True, False])
def test_bands_masks_and_weights_turn_together(square: bool) -> None:
    shape = (6, 6) if square else (4, 6)
    index = np.arange(np.prod(shape)).reshape(shape)
    values = np.stack([np.stack([index, 2 * index])] * 64).astype(np.float32)
    masks = np.stack([index] * 64)
    turned = augment([values, masks, masks], square, np.random.default_rng(0))
    np.testing.assert_array_equal(turned[0][:, 0], turned[1])
    np.testing.assert_array_equal(turned[0][:, 1], 2 * turned[1])
    np.testing.assert_array_equal(turned[1], turned[2])
    # a square has 8 views, a rectangle that is only flipped 4
    assert len({view.tobytes() for view in turned[1]}) == (8 if square else 4)
    assert (np.sort(turned[1].reshape(64, -1)) == np.arange(index.size)).all()
    np.testing.assert_array_equal(masks[0], index)  # the patches themselves stay


def test_volumes_are_flipped_along_each_axis_and_turned_in_the_plane() -> None:
    block = np.arange(2 * 4 * 4).reshape(1, 2, 4, 4)
    views = {
        augment([block[None], block], True, np.random.default_rng(seed))[1].tobytes()
        for seed in range(200)
    }
    assert len(views) == 16  # 8 in the plane, times 2 along z
