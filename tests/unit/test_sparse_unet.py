"""FESTA's terms by hand, patches by class frequency, and short runs of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_clusternet as cn
from napari_clusternet.classify.festa import festa_terms, pick_pixels
from napari_clusternet.classify.sparse_unet import SparseUNet
from napari_clusternet.classify.stroke_patches import PatchSampler
from napari_clusternet.classify.stroke_training import StrokeNetwork, Trainer, stroke_loss
from napari_clusternet.errors import InputError
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain

CPU = torch.device("cpu")


def test_festa_terms_on_five_points_by_hand():
    # a row of five pixels with two features; pixel 4 is invalid
    #   p      0       1       2       3       4
    #   x    (3,0)   (3,4)   (0,4)   (-3,0)  (9,9)
    features = torch.tensor([[[[3.0, 3, 0, -3, 9]], [[0.0, 4, 4, 0, 9]]]], requires_grad=True)
    valid = torch.tensor([[[True, True, True, True, False]]])
    terms = festa_terms(features, valid, torch.arange(4))
    # squared distances: 01 16, 02 25, 03 36, 12 9, 13 52, 23 25
    #   nearest: 16, 9, 9, 25 -> mean 14.75
    #   around:  0 has 1: 16; 1 has 0, 2: 9; 2 has 1, 3: 9; 3 has 2 (4 is invalid): 25 -> 14.75
    # cosines: 01 0.6, 02 0, 03 -1, 12 0.8, 13 -0.6, 23 0 -> least -1, -0.6, 0, -1 -> -0.65
    torch.testing.assert_close(terms, torch.tensor([14.75, 14.75, -0.65]))
    terms.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert (features.grad[..., 4] == 0).all()
    assert (features.grad[..., :4] != 0).any()


def test_around_differs_from_nearest_and_stays_in_the_patch():
    # two patches of 1 x 3; the pixels alike lie in the other patch or two steps away
    values = torch.tensor([[0.0, 5, 1], [0, 7, 1]]).reshape(2, 1, 1, 3)
    valid = torch.ones(2, 1, 3, dtype=torch.bool)
    near, around, _ = festa_terms(values, valid, torch.arange(6))
    # nearest: 0-0: 0, 5-7: 4, 1-1: 0, and the same again -> 8 / 6
    assert near == pytest.approx(8 / 6)
    # around: 25, min(25, 16), 16, 49, min(49, 36), 36 -> 178 / 6
    assert around == pytest.approx(178 / 6)


def test_a_lonely_pixel_counts_in_no_mean():
    features = torch.tensor([[[[2.0, 5.0]]]])
    valid = torch.tensor([[[True, False]]])
    np.testing.assert_array_equal(festa_terms(features, valid, torch.tensor([0])), [0, 0, 0])


def test_around_in_volumes_looks_at_26():
    features = torch.zeros(1, 1, 3, 3, 3)
    features[0, 0, 1, 1, 1], features[0, 0, 0, 0, 0] = 10, 8  # a corner is the most alike
    valid = torch.ones(1, 3, 3, 3, dtype=torch.bool)
    assert festa_terms(features, valid, torch.tensor([13]))[1] == 4


def test_picked_pixels_are_valid_and_different():
    valid = torch.tensor([[[True, False, True, True]]])
    generator = torch.Generator().manual_seed(0)
    assert sorted(pick_pixels(valid, 9, generator).tolist()) == [0, 2, 3]
    assert len(pick_pixels(valid, 2, generator)) == 2


def test_patches_show_rare_classes_as_often_as_common_ones():
    targets = np.full((100, 100), -1)
    targets[:50, :50], targets[90, 90] = 0, 1  # 2500 pixels against one
    features = np.arange(10_000, dtype=np.float32).reshape(1, 100, 100)
    sampler = PatchSampler(features, np.ones((100, 100), bool), targets, (8, 8), 0)
    patches = sampler.draw(80, CPU)
    holds = [(patches.targets[i] == 1).any() for i in range(0, 80, 2)]
    assert 10 <= sum(map(int, holds)) <= 30  # about half of 40
    for i, region in enumerate(patches.regions):
        np.testing.assert_array_equal(patches.values[i, 0], features[0][region])


def test_patches_beyond_a_small_image_are_empty():
    targets = np.zeros((5, 6), np.int64)
    sampler = PatchSampler(np.ones((2, 5, 6), np.float32), targets == 0, targets, (8, 8), 0)
    patches = sampler.draw(1, CPU)
    assert patches.values.shape == (1, 2, 8, 8)
    assert patches.valid.sum() == 30 == (patches.targets == 0).sum()
    assert patches.values.sum() == 60
    assert patches.regions == ((slice(0, 5), slice(0, 6)),)


def test_only_strokes_count_in_their_loss():
    logits = torch.tensor([[[[0.0, 50.0]], [[0.0, -50.0]]]])
    assert stroke_loss(logits, torch.tensor([[[0, -1]]])) == pytest.approx(np.log(2))
    assert stroke_loss(logits, torch.tensor([[[-1, -1]]])) == 0


def test_tiles_equal_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 70, 90)).astype(np.float32)
    targets = np.full((70, 90), -1)
    targets[3, :], targets[60, :] = 0, 1
    trainer = Trainer.start(
        features, np.ones((70, 90), bool), targets, (1, 1), n_features=4, learning_rate=1e-3,
        seed=0, device="cpu",
    )  # fmt: skip
    trainer._settle_statistics(2)
    whole = drain(trainer.predict_steps())
    monkeypatch.setattr("napari_clusternet.classify.stroke_training.TILE", {2: 24})
    np.testing.assert_array_equal(drain(trainer.predict_steps()), whole)
    assert len(np.unique(whole)) == 2


def halves(ndim: int = 2) -> tuple[Image, np.ndarray, np.ndarray]:
    shape = (32, 32) if ndim == 2 else (6, 16, 16)
    truth = np.broadcast_to(np.where(np.arange(shape[-1]) < shape[-1] // 2, 1, 2), shape)
    values = truth * 3 + np.random.default_rng(0).normal(0, 0.5, (2, *shape))
    values[0, ..., :3, :3] = np.nan
    strokes = np.zeros(shape, np.uint8)
    strokes[..., 5:12, 2:6], strokes[..., 5:12, -6:-2] = 150, 151
    axes = "CYX" if ndim == 2 else "CZYX"
    image = Image.from_array(values.astype(np.float32), axes=axes)
    return image, strokes, truth + 149


def run(ndim: int = 2, seed: int = 0, **settings):
    image, strokes, truth = halves(ndim)
    method = SparseUNet(batch=2, n_sampled=32, device="cpu", **settings)
    seen = []
    steps = method.segment_steps(image, strokes, BandFeatures.fit(image), seed)
    labels = drain(steps, seen.append)
    return labels, truth, [p.metrics for p in seen if p.stage == "training" and p.metrics]


def test_it_learns_and_stops_when_the_strokes_are_learned():
    labels, truth, losses = run(n_iterations=60, enough=0.1, learning_rate=1e-2)
    valid = labels > 0
    assert valid.sum() == 32 * 32 - 9
    assert (labels == truth)[valid].mean() > 0.75  # guessing gives a half
    assert len(losses) < 60
    assert losses[-1]["strokes"] < 0.3 * losses[0]["strokes"]


def test_volumes_and_seeds():
    state = torch.get_rng_state()
    first, second, other = (run(3, seed, n_iterations=2)[2] for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert torch.equal(torch.get_rng_state(), state)


def test_without_weight_the_loss_is_that_on_strokes():
    bare, full = (run(n_iterations=2, weight=w)[2] for w in (0, 0.1))
    assert all(step["loss"] == step["strokes"] for step in bare)
    assert full[0]["strokes"] == pytest.approx(bare[0]["strokes"], rel=1e-5)
    assert full[0]["loss"] > bare[0]["loss"]


def test_the_loss_is_the_weighted_sum_of_its_terms():
    # the first iteration of a seed sees the same network, patches and samples whatever the weights:
    # L - CE = weight x (near A + around B + far C), so each term alone, times its weight, adds up
    def beyond(**weights):
        settings = {"weight": 1.0, "near": 0.0, "around": 0.0, "far": 0.0} | weights
        (step,) = run(n_iterations=1, **settings)[2]
        return step["loss"] - step["strokes"]

    near, around, far = beyond(near=1.0), beyond(around=1.0), beyond(far=1.0)
    assert min(near, around) > 0
    whole = 0.1 * (0.5 * near + 1.5 * around + 1.0 * far)
    (published,) = run(n_iterations=1)[2]
    assert published["loss"] - published["strokes"] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    "settings", [{"n_iterations": 0}, {"batch": 1.5}, {"learning_rate": 0}, {"near": -1}]
)
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        SparseUNet(**settings)


def test_an_unknown_device_is_named():
    image, strokes, _ = halves()
    with pytest.raises(InputError, match="device='tpu'"):
        cn.segment(image, strokes, method="sparse_unet", device="tpu")


def test_network_is_planned_for_thick_slices():
    network = StrokeNetwork(1, 3, 4, (10.0, 1.0, 1.0), (8, 16, 16))
    assert network.unet.multiple == (1, 4, 4)
    features, logits = network(torch.zeros(1, 1, 8, 16, 16))
    assert features.shape == (1, 4, 8, 16, 16)
    assert logits.shape == (1, 3, 8, 16, 16)
