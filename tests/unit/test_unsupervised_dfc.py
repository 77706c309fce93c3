"""Differentiable feature clustering against its equations, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clusternet.errors import InputError
from napari_clusternet.networks import dfc
from napari_clusternet.networks._dfc_image import ImagePart
from napari_clusternet.networks._dfc_parts import (
    DFCNetwork,
    MaskedBatchNorm,
    continuity,
    cross_entropy,
    kernel_extent,
    majority,
)
from napari_clusternet.networks.dfc import DFCSettings, dfc_steps, fit_dfc_steps, loss_terms
from napari_clusternet.progress import drain

CPU = torch.device("cpu")
# Two channels, one row of three pixels: the labels are 0, 1, 1.
RESPONSE = torch.tensor([[[[2.0, 0.0, 0.0]], [[0.0, 1.0, 3.0]]]])
# CE of each pixel with its own label: ln(1 + e^-gap) for gaps of 2, 1 and 3.
OWN = np.log1p(np.exp([-2.0, -1.0, -3.0]))
# |differences| along x: channel 0: 2, 0; channel 1: 1, 2; mean 5/4. There is no pair along y.
L_CON = 5 / 4


def part(mask=None, scribbles=None, segments=None):
    made = ImagePart.load(np.zeros((3, 1, 3), np.float32), mask, CPU)
    if scribbles is not None:
        made.add_scribbles(np.array([scribbles]), 2)
    if segments is not None:
        made.segments = torch.tensor([[segments]])
    return made


def test_terms_by_hand():
    target = RESPONSE.max(1).indices
    assert target.flatten().tolist() == [0, 1, 1]
    assert cross_entropy(RESPONSE, target).item() == pytest.approx(OWN.mean())
    assert continuity(RESPONSE).item() == pytest.approx(L_CON)
    # along y as well: a second row, higher by 1 in channel 0 only, so that axis gives mean(1, 0)
    two_rows = torch.cat([RESPONSE, RESPONSE + torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)], dim=2)
    assert continuity(two_rows).item() == pytest.approx(L_CON + 0.5)
    assert continuity(two_rows, weights=(0.1, 1.0)).item() == pytest.approx(L_CON + 0.05)


def test_masked_terms_leave_invalid_pixels_out():
    mask = np.array([[True, True, False]])
    made = part(mask)
    # pixels 0 and 1 only; the one pair is (0, 1): |2|, |1| -> mean 3/2
    assert cross_entropy(RESPONSE, RESPONSE.max(1).indices, made.where).item() == pytest.approx(
        OWN[:2].mean()
    )
    assert continuity(RESPONSE, made.weights).item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("weighting", "mu", "weight"),
    [("fixed", 5.0, 5.0), ("fsf", 15.0, 2 / 15), ("scf", 50.0, 50 / 2), ("fixed", 0.0, 0.0)],
)
def test_losses_of_kim_fsf_and_scf(weighting, mu, weight):
    # q' = 2 labels: L = CE + 5 L_con, CE + (2/15) L_con, CE + (50/2) L_con
    settings = DFCSettings(weighting=weighting, mu=mu)
    loss, n_labels = loss_terms(RESPONSE, part(), settings)
    assert n_labels == 2
    assert loss.item() == pytest.approx(OWN.mean() + weight * L_CON)


def test_labels_on_invalid_pixels_are_not_counted():
    # without pixel 0 there is one label left: the weight of SCF is 50 / 1
    loss, n_labels = loss_terms(
        RESPONSE, part(np.array([[False, True, True]])), DFCSettings(weighting="scf", mu=50.0)
    )
    assert n_labels == 1
    # the pair (1, 2): |0|, |2| -> mean 1
    assert loss.item() == pytest.approx(OWN[1:].mean() + 50 * 1.0)


def test_scribble_loss():
    # pixel 1 is scribbled as class 1, channel 0: CE there is ln(1 + e^1), weight 0.5;
    # pixels 0 and 2 learn their own labels
    loss, _ = loss_terms(RESPONSE, part(scribbles=[0, 1, 0]), DFCSettings(mu=0.0))
    assert loss.item() == pytest.approx((OWN[0] + OWN[2]) / 2 + 0.5 * np.log1p(np.e))


def test_majority_in_superpixels():
    labels = torch.tensor([0, 0, 1, 2, 1, 2, 5])
    segments = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    # segment 0: 0, 0, 1 -> 0; segment 1: 2, 1, 2 -> 2; segment 2: 5
    assert majority(labels, segments, 6).tolist() == [0, 0, 0, 2, 2, 2, 5]
    # a draw goes to the lowest
    assert majority(torch.tensor([4, 1, 4, 1]), torch.zeros(4, dtype=int), 6).tolist() == [1] * 4


def test_targets_of_kanezaki_are_the_majority():
    # all three pixels in one segment: labels 0, 1, 1 -> target 1: gap of pixel 0 is -2
    loss, _ = loss_terms(RESPONSE, part(segments=[0, 0, 0]), DFCSettings(mu=0.0))
    assert loss.item() == pytest.approx((np.log1p(np.exp(2.0)) + OWN[1] + OWN[2]) / 3)
    # an invalid pixel has no vote: pixels 0 and 1 draw, and 0 wins
    mask = np.array([[True, True, False]])
    target = part(mask, segments=[0, 0, 0]).target(RESPONSE.max(1).indices, 2)
    assert target.flatten().tolist()[:2] == [0, 0]


def test_masked_batchnorm_is_batchnorm_of_the_valid_pixels():
    x = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    norm = MaskedBatchNorm(4)
    expected = torch.nn.BatchNorm2d(4)(x[:, :, :3])  # statistics of the upper half
    mask = torch.zeros(1, 1, 6, 5)
    mask[:, :, :3] = 1
    found = norm(x, mask)
    torch.testing.assert_close(found[:, :, :3], expected)
    assert not found[:, :, 3:].any()
    torch.testing.assert_close(norm(x, None), torch.nn.BatchNorm2d(4)(x))


def test_network_has_the_parameters_of_the_paper():
    network = DFCNetwork(3, 100, 3, (3, 3), seed=0)
    # 3x3 convolutions 3 -> 100, 100 -> 100 twice, 1x1 100 -> 100, and 4 x (weight, bias) of 100
    expected = (27 * 100 + 100) + 2 * (900 * 100 + 100) + (100 * 100 + 100) + 4 * 200
    assert sum(p.numel() for p in network.parameters()) == expected


def test_invalid_pixels_do_not_change_the_response():
    network = DFCNetwork(2, 8, 2, (3, 3), seed=0)
    values = np.random.default_rng(0).random((2, 9, 8)).astype(np.float32)
    mask = np.ones((9, 8), bool)
    mask[2:5, 3:6] = False
    other = values.copy()
    other[:, ~mask] = 1e30
    one, two = (
        dfc.DFCModel(network, CPU).respond(ImagePart.load(x, mask, CPU)) for x in (values, other)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert torch.isfinite(one).all()


def test_thick_slices_have_no_kernel_extent():
    assert kernel_extent((5.0, 1.0, 1.0), 3) == (1, 3, 3)
    assert kernel_extent((3.0, 1.0, 1.0), 3) == (3, 3, 3)
    assert kernel_extent(None, 2) == (3, 3)
    volume = np.random.default_rng(0).random((1, 3, 6, 7)).astype(np.float32)
    settings = DFCSettings(n_channels=6, n_blocks=1, n_iterations=2)
    labels = drain(dfc_steps(volume, settings=settings, spacing=(5.0, 1.0, 1.0)))
    assert labels.shape == (3, 6, 7)


QUICK = DFCSettings(n_channels=8, n_blocks=1, n_iterations=6)


def halves() -> np.ndarray:
    x = np.random.default_rng(0).normal(0, 0.05, (3, 12, 12)).astype(np.float32)
    x[:, :, 6:] += 1
    return x


def test_seed_repeats_and_global_randomness_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = drain(dfc_steps(halves(), settings=QUICK, seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(one, drain(dfc_steps(halves(), settings=QUICK, seed=3)))


def test_scribbles_decide_the_channels():
    scribbles = np.zeros((12, 12), np.uint8)
    scribbles[4:8, 1:4], scribbles[4:8, 8:11] = 2, 1
    settings = DFCSettings(n_channels=8, n_blocks=1, n_iterations=60, mu=1.0)
    labels = drain(dfc_steps(halves(), settings=settings, scribbles=scribbles, n_classes=2))
    assert (labels[:, :5] == 1).mean() > 0.95
    assert (labels[:, 7:] == 0).mean() > 0.95
    with pytest.raises(InputError, match=r"class 9 has no channel.*up to 8"):
        drain(dfc_steps(halves(), settings=QUICK, scribbles=scribbles * 9 // 2))
    with pytest.raises(InputError, match="nothing is scribbled"):
        drain(dfc_steps(halves(), settings=QUICK, scribbles=scribbles * 0))


class Collapsing(torch.nn.Module):
    """A network with one weight; its labels are `counts[i]` different ones after i steps."""

    counts = (4, 3, 1)

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.steps = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, mask=None):
        step = min(int(self.steps.round()), len(self.counts) - 1)
        labels = torch.arange(x.shape[-1]) % self.counts[step]
        response = torch.nn.functional.one_hot(labels, 4).T[None, :, None].float()
        # each step of SGD with rate 1 adds 1: the gradient of the loss below is -1 / similarity
        return response - self.steps * torch.ones_like(response) + self.steps.detach()


class Counting(torch.optim.Optimizer):
    def __init__(self, parameters, **_: object) -> None:
        super().__init__(parameters, {})

    def step(self):
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1)


@pytest.mark.parametrize(("few", "kept", "iterations"), [(3, 3, 2), (2, 3, 3), (4, 4, 1)])
def test_collapse_is_undone(monkeypatch, few, kept, iterations):
    # Labels after 0, 1, 2 steps: 4, 3, 1.
    # few = 3: stops at the second iteration, whose step leaves 1 label: back to 3.
    # few = 2: the third iteration sees 1 label and stops: back to the last with at least 2, 3.
    # few = 4: stops at once; its step leaves 3 labels: back to 4.
    monkeypatch.setattr(dfc, "DFCNetwork", Collapsing)
    monkeypatch.setattr(torch.optim, "SGD", Counting)
    settings = DFCSettings(n_channels=4, min_labels=few, n_iterations=9, mu=1.0, weighting="scf")
    seen = []
    labels = drain(dfc_steps(np.zeros((1, 1, 12), np.float32), settings=settings), seen.append)
    assert len(np.unique(labels)) == kept
    assert seen[-1].done == iterations


def test_several_images_take_turns():
    images = [halves(), halves()[:, :9], halves()[:, :, ::-1].copy()]
    model = drain(fit_dfc_steps(images, [None] * 3, QUICK))
    labels = [model.labels(x) for x in images]
    assert [one.shape for one in labels] == [(12, 12), (9, 12), (12, 12)]


def test_no_valid_pixel_is_refused():
    with pytest.raises(InputError, match="no valid pixel"):
        drain(dfc_steps(halves(), np.zeros((12, 12), bool), QUICK))


def test_previews_are_the_labels_of_each_step():
    rng = np.random.default_rng(0)
    x = rng.random((2, 10, 12)).astype(np.float32)
    mask = np.ones((10, 12), bool)
    mask[:2, :3] = False
    settings = DFCSettings(n_channels=6, n_blocks=1, n_iterations=3, min_labels=1)
    seen = list(dfc_steps(x, mask, settings, device="cpu"))
    assert seen[0].preview is None  # nothing is known before the first step
    for step in seen[1:]:
        assert step.preview.dtype == np.uint16
        np.testing.assert_array_equal(step.preview == 0, ~mask)
        # as many labels as the step says there are
        assert len(np.unique(step.preview[mask])) == step.metrics["labels"]
