"""The networks of k-textures (Wagner et al. 2022): hard masks of a scalar, textures of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.networks.unet import CONV, NORM
from napari_clusternet.tiles import fine_axes

#: Steepness of the hard sigmoid: a bin's edge is 1 / 5000 wide.
SLOPE = 5000.0
#: Standard deviation of the noise on the scalar while training: it carries pixels over an edge.
SCALAR_NOISE = 0.0005
#: Channels of the mask branch and of a texture generator; convolutions of a generator.
MASK_WIDTH, TEXTURE_WIDTH, TEXTURE_DEPTH = 64, 16, 5
#: Keras' defaults, which the paper's networks have: slope of LeakyReLU, epsilon of BatchNorm.
LEAK, EPSILON = 0.3, 1e-3
_AVERAGE: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def hard_masks(scalar: torch.Tensor, k: int) -> torch.Tensor:
    """Cut a scalar from 0 to 1 into `k` equal bins, differentiably.

    A step at each inner edge e is ``clip(5000 (s - e), 0, 1)``; a mask is the difference of two
    neighbouring steps. Off the edges masks are exactly 0 or 1; on an edge, 1/5000 wide, they share
    the pixel and let the gradient through. The masks of a pixel sum to 1.

    Parameters
    ----------
    scalar : torch.Tensor, shape (B, 1, [Z,] Y, X)
        From 0 to 1.
    k : int
        Number of masks, at least 2.

    Returns
    -------
    torch.Tensor, shape (B, k, [Z,] Y, X)
    """
    edges = torch.arange(1, k, device=scalar.device, dtype=scalar.dtype) / k
    edges = edges.reshape(-1, *(1,) * (scalar.ndim - 2))
    steps = ((scalar - edges) * SLOPE).clamp(0, 1)
    one = torch.ones_like(scalar)
    return torch.cat([one, steps], dim=1) - torch.cat([steps, 0 * one], dim=1)


def kernel_of(size: int, spacing: Sequence[float], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the extent per axis of a kernel `size` wide: 1 along coarse and single-slice axes.

    Parameters
    ----------
    size : int
        Extent along the fine axes, pixels.
    spacing : sequence of float
        Pixel size per axis ([Z,] Y, X).
    shape : sequence of int
        Extent of the image per axis, pixels.
    """
    axes = zip(fine_axes(spacing), shape, strict=True)
    return tuple(size if fine and n > 1 else 1 for fine, n in axes)


class MaskBranch(nn.Module):
    """Bands to one scalar per pixel: two convolutions of 64 channels with BN and ELU, then one.

    No padding: the result is smaller than the input by `margin` on every side.

    Parameters
    ----------
    in_channels : int
        Bands of the image.
    kernel : tuple of int
        Extent of the first two convolutions per axis. The paper's is 1; larger ones let a pixel's
        class depend on its surroundings.
    window : tuple of int
        Extent per axis of the mean that smooths the scalar; the paper's is 1. Without it a branch
        that sees its surroundings still paints single pixels, since that fits the image best.
    """

    def __init__(self, in_channels: int, kernel: tuple[int, ...], window: tuple[int, ...]) -> None:
        super().__init__()
        ndim = len(kernel)
        conv, norm = CONV[ndim], NORM[ndim]
        self.margin = tuple(
            2 * (size // 2) + width // 2 for size, width in zip(kernel, window, strict=True)
        )
        self.layers = nn.Sequential(
            conv(in_channels, MASK_WIDTH, kernel),
            norm(MASK_WIDTH, eps=EPSILON),
            nn.ELU(inplace=True),
            conv(MASK_WIDTH, MASK_WIDTH, kernel),
            norm(MASK_WIDTH, eps=EPSILON),
            nn.ELU(inplace=True),
            conv(MASK_WIDTH, 1, 1),
            # after the convolution to one channel: both are linear, and this is 64 times cheaper
            _AVERAGE[ndim](window, stride=1),
            norm(1, eps=EPSILON),
        )
        _initialise(self, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scalar (B, 1, [Z,] Y, X), from 0 to 1, of bands (B, C, [Z,] Y, X)."""
        return torch.sigmoid(self.layers(x))


class TextureBank(nn.Module):
    """`k` independent generators of textures, side by side.

    Each turns noise into 4 x (convolution to 16, BN, LeakyReLU), a convolution and a sigmoid. They
    are one grouped convolution, which computes the same and is faster than a loop. No padding: the
    result is smaller than the noise by `margin` on every side, as the authors crop it.

    Parameters
    ----------
    k : int
        Number of generators.
    n_bands : int
        Bands of a texture.
    kernel : tuple of int
        Extent of the convolutions per axis; the paper's is 3 x 3.
    """

    def __init__(self, k: int, n_bands: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        ndim = len(kernel)
        conv, norm = CONV[ndim], NORM[ndim]
        self.k, self.n_bands = k, n_bands
        self.margin = tuple(TEXTURE_DEPTH * (size // 2) for size in kernel)
        layers: list[nn.Module] = []
        width = 1
        for _ in range(TEXTURE_DEPTH - 1):
            layers += [
                conv(k * width, k * TEXTURE_WIDTH, kernel, groups=k),
                norm(k * TEXTURE_WIDTH, eps=EPSILON),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
            width = TEXTURE_WIDTH
        self.layers = nn.Sequential(*layers, conv(k * width, k * n_bands, kernel, groups=k))
        _initialise(self, k)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Return textures (k, C, [Z,] Y, X), from 0 to 1, of noise (k, [Z,] Y, X)."""
        values = torch.sigmoid(self.layers(noise[None])[0])
        return values.reshape(self.k, self.n_bands, *values.shape[1:])


def _initialise(network: nn.Module, groups: int) -> None:
    """Glorot's uniform start with biases of 0, Keras' default; every group like a network alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            for part in module.weight.data.chunk(groups if module.groups > 1 else 1):
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(cast("torch.Tensor", module.bias))


def compose(masks: torch.Tensor, textures: torch.Tensor) -> torch.Tensor:
    """Simulate images: the sum of mask times texture.

    Parameters
    ----------
    masks : torch.Tensor, shape (B, k, [Z,] Y, X)
    textures : torch.Tensor, shape (k, C, [Z,] Y, X)
        The same for all images of the batch.

    Returns
    -------
    torch.Tensor, shape (B, C, [Z,] Y, X)
    """
    return torch.einsum("bk...,kc...->bc...", masks, textures)


class RandomEncoder(nn.Module):
    """A fixed stack of random convolutions, ReLU and average pooling: texture energies, untrained.

    Random filters followed by a rectifier and a local mean tell textures apart nearly as well as
    trained ones do (Ustyuzhaninov et al. 2017), need no weights file and see any number of bands.

    Parameters
    ----------
    in_channels : int
        Bands of the image.
    kernel, pool : tuple of int
        Extent of convolutions and of pooling per axis.
    widths : sequence of int
        Channels of each level; every level is pooled once more than the one before.
    """

    def __init__(
        self,
        in_channels: int,
        kernel: tuple[int, ...],
        pool: tuple[int, ...],
        widths: Sequence[int] = (32, 32, 32),
    ) -> None:
        super().__init__()
        conv = CONV[len(kernel)]
        sources = (in_channels, *widths[:-1])
        padding = tuple(size // 2 for size in kernel)
        self.convolutions = nn.ModuleList(
            conv(n_in, n_out, kernel, padding=padding)
            for n_in, n_out in zip(sources, widths, strict=True)
        )
        for layer in self.convolutions:
            nn.init.orthogonal_(cast("torch.Tensor", layer.weight))
            nn.init.zeros_(cast("torch.Tensor", layer.bias))
        self.pool = pool
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a level, finest first, of standardised bands (B, C, [Z,] Y, X)."""
        pooling = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
        maps = []
        for layer in self.convolutions:
            x = pooling(F.relu(layer(x)), self.pool)
            maps.append(x)
        return maps


def measure_statistics(
    network: nn.Module, inputs: Iterable[torch.Tensor], forward: Callable[[torch.Tensor], object]
) -> None:
    """Set every BatchNorm's running statistics to the mean over `inputs`; then evaluation mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all that is seen
    network.train()
    with torch.no_grad():
        for x in inputs:
            forward(x)
    network.eval()
