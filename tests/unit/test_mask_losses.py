"""Losses and pixel weights of methods that learn from masks, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_clusternet.supervised.losses import (
    LOSSES,
    cross_entropy,
    dice_cross_entropy,
    dice_loss,
    focal_loss,
)
from napari_clusternet.supervised.weights import border_weights, class_weights


def random_batch(ndim: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of 3 classes, and masks 0..3, for 2 patches."""
    generator = torch.Generator().manual_seed(0)
    shape = (5, 6, 7)[-ndim:]
    scores = torch.randn(2, 3, *shape, generator=generator)
    return scores, torch.randint(0, 4, (2, *shape), generator=generator)


def scores_of(*probabilities: float) -> torch.Tensor:
    """Scores of one row of pixels whose class 1 has these probabilities, of two."""
    p = torch.tensor(probabilities)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None]


@pytest.mark.parametrize("ndim", [2, 3])
def test_cross_entropy_equals_torch_with_label_0_ignored(ndim: int) -> None:
    scores, masks = random_batch(ndim)
    expected = F.cross_entropy(scores, masks - 1, ignore_index=-1)
    assert float(cross_entropy(scores, masks)) == pytest.approx(float(expected), rel=1e-6)


def test_focal_with_gamma_0_is_the_cross_entropy() -> None:
    scores, masks = random_batch()
    one, other = focal_loss(scores, masks, gamma=0.0), cross_entropy(scores, masks)
    assert float(one) == float(other)


def test_focal_by_hand() -> None:
    # class 1 at p = .9 and .5: -(.1^2 ln .9 + .5^2 ln .5) / 2 = (.00105361 + .1732868) / 2
    loss = focal_loss(scores_of(0.9, 0.5), torch.ones(1, 1, 2, dtype=torch.long), gamma=2.0)
    assert float(loss) == pytest.approx((0.00105361 + 0.1732868) / 2, rel=1e-5)


def test_focal_has_a_gradient_where_a_pixel_is_surely_right() -> None:
    scores = torch.tensor([[[[60.0]], [[-60.0]]]], requires_grad=True)
    focal_loss(scores, torch.ones(1, 1, 1, dtype=torch.long), gamma=0.5).backward()
    assert torch.isfinite(scores.grad).all()


def test_weights_by_hand() -> None:
    weights = torch.tensor([[[3.0, 1.0]]])
    masks = torch.ones(1, 1, 2, dtype=torch.long)
    expected = -(3 * math.log(0.9) + 1 * math.log(0.5)) / 2
    loss = cross_entropy(scores_of(0.9, 0.5), masks, weights)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_dice_by_hand() -> None:
    # three pixels: truth 1, 1, 2; probability of class 1: .8, .6, .3
    # class 1: 2 (.8 + .6) / ((.8 + .6 + .3) + 2) = 2.8 / 3.7
    # class 2: 2 * .7 / ((.2 + .4 + .7) + 1) = 1.4 / 2.3
    masks = torch.tensor([[[1, 1, 2]]])
    expected = 1 - (2.8 / 3.7 + 1.4 / 2.3) / 2
    assert float(dice_loss(scores_of(0.8, 0.6, 0.3), masks)) == pytest.approx(expected, rel=1e-4)


def test_dice_leaves_out_classes_that_are_not_there() -> None:
    # only class 1 is in the batch: 2 (.8 + .6) / ((.8 + .6) + 2)
    masks = torch.tensor([[[1, 1, 0]]])
    expected = 1 - 2.8 / 3.4
    assert float(dice_loss(scores_of(0.8, 0.6, 0.3), masks)) == pytest.approx(expected, rel=1e-4)


def test_the_sum_of_two() -> None:
    scores, masks = random_batch()
    parts = dice_loss(scores, masks) + cross_entropy(scores, masks)
    assert float(dice_cross_entropy(scores, masks)) == pytest.approx(float(parts))


@pytest.mark.parametrize("name", LOSSES)
def test_pixels_without_a_class_change_nothing(name: str) -> None:
    scores, masks = random_batch()
    weights = torch.ones(masks.shape)
    other = torch.where(masks[:, None] == 0, 99.0, scores)
    one = LOSSES[name](scores, masks, weights)
    assert float(LOSSES[name](other, masks, weights)) == pytest.approx(float(one), rel=1e-6)
    other.requires_grad_()
    LOSSES[name](other, masks, weights).backward()
    assert (other.grad.abs().sum(dim=1)[masks == 0] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_answer_costs_nothing_and_a_batch_without_truth_too(name: str) -> None:
    masks = torch.tensor([[[1, 2], [3, 0]]])
    perfect = 50.0 * F.one_hot((masks - 1).clamp_min(0), 3).movedim(-1, 1).float()
    weights = torch.ones(masks.shape)
    assert float(LOSSES[name](perfect, masks, weights)) == pytest.approx(0.0, abs=1e-5)
    assert math.isfinite(float(LOSSES[name](perfect, torch.zeros_like(masks), weights)))


def test_border_weights_of_a_5_by_5_mask_by_hand() -> None:
    """Objects in columns 0 and 4, background 2 between them: d1 + d2 = 4 in every gap pixel."""
    mask = np.full((5, 5), 2, np.uint8)
    mask[:, 0] = mask[:, 4] = 1
    found = border_weights(mask, w0=10, sigma=5, background=2)
    # columns 1, 2, 3: (1, 3), (2, 2), (3, 1); columns 0 and 4: 0 to their own object, 4 to the
    # other. So 10 exp(-16 / 50) everywhere
    np.testing.assert_allclose(found, 10 * math.exp(-16 / 50), rtol=1e-6)


def test_narrow_gaps_weigh_more_than_wide_ones() -> None:
    mask = np.full((9, 40), 2, np.uint8)
    mask[:, 0:10] = mask[:, 12:20] = mask[:, 30:40] = 1
    found = border_weights(mask, w0=10, sigma=5, background=2)
    # gap of 2 pixels: d1 + d2 = 3; gap of 10: 11
    np.testing.assert_allclose(found[4, 10], 10 * math.exp(-9 / 50), rtol=1e-6)
    np.testing.assert_allclose(found[4, 25], 10 * math.exp(-121 / 50), rtol=1e-6)


def test_without_a_background_every_border_weighs() -> None:
    mask = np.ones((6, 20), np.uint8)
    mask[:, 10:] = 2
    found = border_weights(mask, w0=10, sigma=2)
    # 0 to the own region, 1 to the other: 10 exp(-1 / 8); five columns on: 10 exp(-25 / 8)
    np.testing.assert_allclose(found[3, [9, 10]], 10 * math.exp(-1 / 8), rtol=1e-6)
    np.testing.assert_allclose(found[3, 5], 10 * math.exp(-25 / 8), rtol=1e-6)


def test_looking_only_near_objects_changes_nothing_that_counts() -> None:
    """Against distances to every object over the whole image."""
    from scipy.ndimage import distance_transform_edt, label

    rng = np.random.default_rng(0)
    mask = np.full((60, 70), 2, np.uint8)
    for row, column in rng.integers(0, 55, size=(12, 2)):
        mask[row : row + 5, column : column + 5] = 1
    objects, n = label(mask == 1)
    every = np.sort([distance_transform_edt(objects != i + 1) for i in range(n)], axis=0)
    expected = 10 * np.exp(-((every[0] + every[1]) ** 2) / (2 * 3.0**2))
    found = border_weights(mask, w0=10, sigma=3, background=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_one_object_has_no_gap_and_unknown_pixels_are_no_object() -> None:
    mask = np.full((7, 7), 2, np.uint8)
    mask[2:4, 2:4] = 1
    mask[6, 6] = 0
    assert (border_weights(mask, background=2) == 0).all()


def test_distances_respect_the_spacing() -> None:
    mask = np.full((3, 5, 9), 2, np.uint8)
    mask[0], mask[2] = 1, 1  # one slice of 4 units between: d1 + d2 = 8 finest pixels
    found = border_weights(mask, w0=1, sigma=5, background=2, spacing=(4, 1, 1))
    np.testing.assert_allclose(found[1], math.exp(-64 / 50), rtol=1e-6)


def test_class_weights_by_hand() -> None:
    # 6 pixels of class 1, 2 of class 2, none of class 3; 8 / (2 * 6) and 8 / (2 * 2)
    masks = [np.array([[1, 1, 1, 0]]), np.array([[1, 1, 1, 2, 2, 0]])]
    np.testing.assert_allclose(class_weights(masks, 3), [0, 8 / 12, 2, 0])
