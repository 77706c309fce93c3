"""The network of differentiable feature clustering and the terms of its loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clusternet.tiles import fine_axes

#: A BatchNorm's epsilon, torch's default.
_EPS = 1e-5


def kernel_extent(spacing: Sequence[float] | None, ndim: int) -> tuple[int, ...]:
    """3 along each axis, 1 along coarse ones."""
    return tuple(3 if fine else 1 for fine in fine_axes(spacing or (1.0,) * ndim))


class MaskedBatchNorm(nn.Module):
    """BatchNorm with the statistics of the valid pixels of what it is given, always.

    It has no running statistics: training and inference are the same (Kim et al. 2020, code).

    Parameters
    ----------
    channels : int
        Channels of its input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise x (1, C, [Z,] Y, X); `mask` (1, 1, [Z,] Y, X) is 1.0 where valid, or None."""
        if mask is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=_EPS)
        axes = (0, *range(2, x.ndim))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        count = mask.sum()
        mean = ((x * mask).sum(axes) / count).view(shape)
        variance = (((x - mean) ** 2 * mask).sum(axes) / count).view(shape)
        normal = (x - mean) * torch.rsqrt(variance + _EPS)
        # invalid pixels are 0, like the padding beyond the border
        return (normal * self.weight.view(shape) + self.bias.view(shape)) * mask


class DFCNetwork(nn.Module):
    """M x (3x3 convolution, ReLU, BatchNorm), then a 1x1 convolution and BatchNorm.

    Kim et al. 2020, figure 1. The response has as many channels as the features (p = q).

    Parameters
    ----------
    n_bands : int
        Bands of the images.
    n_channels, n_blocks : int
        q and M of the paper.
    kernel : tuple of int
        Extent of the convolutions along ([z,] y, x), odd.
    seed : int
        Seed of the weights; the same on every device.
    """

    def __init__(
        self, n_bands: int, n_channels: int, n_blocks: int, kernel: tuple[int, ...], seed: int
    ) -> None:
        super().__init__()
        conv: Any = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
        padding = tuple(k // 2 for k in kernel)
        widths = [n_bands] + [n_channels] * n_blocks
        with torch.random.fork_rng(devices=[]):  # construction draws weights, replaced below
            self.convolutions = nn.ModuleList(
                conv(a, n_channels, kernel, padding=padding) for a in widths[:-1]
            )
            self.convolutions.append(conv(widths[-1], n_channels, 1))
        self.norms = nn.ModuleList(MaskedBatchNorm(n_channels) for _ in range(n_blocks + 1))
        _draw_weights(self, torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the response r' (1, q, [Z,] Y, X) of x (1, C, [Z,] Y, X), 0 where invalid."""
        last = len(self.norms) - 1
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            x = norm(x if i == last else F.relu_(x), mask)
        return x


def _draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw as torch does by default, U(-b, b) with b = 1/sqrt(fan in), from our generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
                assert module.bias is not None
                module.bias.uniform_(-bound, bound, generator=generator)


def cross_entropy(response: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of r' against labels, over the pixels `where` is True.

    Parameters
    ----------
    response : Tensor, shape (1, q, [Z,] Y, X)
    target : Tensor of int64, shape (1, [Z,] Y, X)
        Channel numbers; any legal number where `where` is False.
    where : Tensor of bool, shape (1, [Z,] Y, X), optional
        All pixels by default. Without a pixel the loss is 0.
    """
    # gather, not nll_loss: that one is not deterministic on GPUs for images
    chosen = response.gather(1, target[:, None])[:, 0]
    loss = torch.logsumexp(response, 1) - chosen
    if where is None:
        return loss.mean()
    return (loss * where).sum() / where.sum().clamp(min=1)


def continuity(
    response: Tensor, mask: Tensor | None = None, weights: Sequence[float] | None = None
) -> Tensor:
    """L_con: the mean absolute difference of neighbours in r', summed over the spatial axes.

    Parameters
    ----------
    response : Tensor, shape (1, q, [Z,] Y, X)
    mask : Tensor of float, shape (1, 1, [Z,] Y, X), optional
        1.0 where valid; a pair counts if both pixels are valid.
    weights : sequence of float, optional
        One weight a spatial axis; 1 by default.
    """
    total = response.new_zeros(())
    for axis in range(2, response.ndim):
        size = response.shape[axis]
        if size < 2:
            continue
        weight = 1.0 if weights is None else weights[axis - 2]
        gap = (response.narrow(axis, 1, size - 1) - response.narrow(axis, 0, size - 1)).abs()
        if mask is None:
            total = total + weight * gap.mean()
            continue
        pairs = mask.narrow(axis, 1, size - 1) * mask.narrow(axis, 0, size - 1)
        count = (pairs.sum() * response.shape[1]).clamp(min=1)
        total = total + weight * (gap * pairs).sum() / count
    return total


def majority(labels: Tensor, segments: Tensor, n_labels: int) -> Tensor:
    """Replace every label by the most frequent one of its segment (Kanezaki 2018, section 3.2).

    Of equally frequent labels the lowest is taken.

    Parameters
    ----------
    labels : Tensor of int64, any shape
        0..n_labels - 1.
    segments : Tensor of int64, same shape
        0..n - 1; each number is a segment.
    n_labels : int
        Number of labels there can be.
    """
    n_segments = int(segments.max()) + 1
    pairs = (segments * n_labels + labels).flatten()
    counts = torch.bincount(pairs, minlength=n_segments * n_labels)
    # argmax may return any of several maxima: break ties towards the lowest label
    order = torch.arange(n_labels, 0, -1, device=labels.device)
    winners = (counts.view(n_segments, n_labels) * (n_labels + 1) + order).argmax(1)
    return winners[segments]
