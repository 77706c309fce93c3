"""The U-Net's size, its plan of levels, and how far a pixel looks."""

from __future__ import annotations

import pytest
import torch

from napari_clusternet.config import UNET_CHANNELS
from napari_clusternet.networks.unet import Plan, UNet, n_parameters, pad_to_multiple, plan_levels


def make(plan: Plan, channels: tuple[int, ...], bands: int = 1, n_features: int = 8) -> UNet:
    torch.manual_seed(0)
    return UNet(bands, n_features, channels, plan).eval()


def test_isotropic_plan() -> None:
    plan = plan_levels((1, 1), (64, 64), 3)
    assert plan == Plan(((2, 2), (2, 2)), ((3, 3), (3, 3), (3, 3)))


def test_coarse_axis_joins_once_the_others_are_as_coarse() -> None:
    # spacing 10 x 2 x 2: 10 > 3 x 2, so z is left alone; after one halving 10 <= 3 x 4
    plan = plan_levels((10, 2, 2), (16, 64, 64), 3)
    assert plan.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert plan.strides == ((1, 2, 2), (2, 2, 2))


def test_spacing_of_exactly_three_times_is_not_coarse() -> None:
    assert plan_levels((3.0, 1, 1), (16, 16, 16), 1).kernels == ((3, 3, 3),)


def test_short_axes_are_not_pooled() -> None:
    # z has 3 slices: too few to halve; a single slice is not convolved either
    assert plan_levels((1, 1, 1), (3, 64, 64), 2).strides == ((1, 2, 2),)
    assert plan_levels((1, 1, 1), (1, 64, 64), 2).kernels == ((1, 3, 3), (1, 3, 3))


def test_plan_survives_json() -> None:
    plan = plan_levels((5, 1, 1), (20, 64, 64), 3)
    assert Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("bands", [1, 3, 200])
def test_fewer_than_a_million_parameters(ndim: int, bands: int) -> None:
    channels = UNET_CHANNELS[ndim]
    plan = plan_levels((1,) * ndim, (64,) * ndim, len(channels))
    assert n_parameters(UNet(bands, 64, channels, plan)) < 1_000_000


@pytest.mark.parametrize(
    ("spacing", "shape", "channels"),
    [((1, 1), (96, 96), (4, 6, 8)), ((4, 1, 1), (12, 48, 48), (4, 6, 8)), ((1, 1), (48, 48), (4,))],
)
def test_a_pixel_looks_no_further_than_the_halo_and_nearly_as_far(
    spacing: tuple[float, ...], shape: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    network = make(plan_levels(spacing, shape, len(channels)), channels)
    middle = tuple(n // 2 for n in shape)
    x = torch.randn(1, 1, *shape)
    other = x.clone()
    other[(0, 0, *middle)] += 1e4
    with torch.no_grad():
        changed = (network(x) - network(other)).abs().amax(dim=(0, 1)) > 0
    for axis, centre in enumerate(middle):
        reach = int((changed.nonzero()[:, axis] - centre).abs().max())
        assert reach <= network.halo[axis]
        # rounding up to the stride, and the pixel's place in it, cost at most two strides
        assert reach >= network.halo[axis] - 2 * network.multiple[axis]


def test_multiple_is_the_product_of_the_strides() -> None:
    network = make(Plan(((1, 2, 2), (2, 2, 2)), ((1, 3, 3), (3, 3, 3), (3, 3, 3))), (4, 4, 4))
    assert network.multiple == (2, 4, 4)
    assert all(halo % step == 0 for halo, step in zip(network.halo, (2, 4, 4), strict=True))


@pytest.mark.parametrize("ndim", [2, 3])
def test_head_of_single_pixels_equals_the_whole_map(ndim: int) -> None:
    network = make(plan_levels((1,) * ndim, (16,) * ndim, 2), (4, 6), bands=2)
    x = torch.randn(1, 2, *(16,) * ndim)
    with torch.no_grad():
        whole = network(x)[0].reshape(8, -1).T
        maps = network.body(x)[0].reshape(4, -1).T
        torch.testing.assert_close(network.pixels(maps), whole, rtol=1e-5, atol=1e-5)


def test_features_have_full_rank() -> None:
    # a linear map of the 4 channels of the last level could have rank 4 only
    network = make(plan_levels((1, 1), (32, 32), 2), (4, 6), n_features=8)
    with torch.no_grad():
        rows = network(torch.randn(1, 1, 32, 32))[0].reshape(8, -1).T
    assert torch.linalg.matrix_rank(rows - rows.mean(0)) > 4


def test_padding_is_at_the_ends_only() -> None:
    padded = pad_to_multiple(torch.ones(1, 1, 5, 8), (4, 4))
    assert padded.shape == (1, 1, 8, 8)
    assert padded[..., :5, :].min() == 1
    assert padded[..., 5:, :].max() == 0
