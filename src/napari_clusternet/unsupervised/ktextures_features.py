"""What k-textures compares images by: features of an encoder that does not train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import nn

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor
from napari_clusternet.networks.ktextures import RandomEncoder, kernel_of
from napari_clusternet.networks.unet import UNet

#: Maps an image (B, C, [Z,] Y, X), from 0 to 1, to feature maps (B, F, ...), finest first.
Encoder = Callable[[torch.Tensor], list[torch.Tensor]]


class Standardised:
    """An encoder behind the image's own normalisation to mean 0 and deviation 1 a band.

    Parameters
    ----------
    pixels : torch.Tensor, shape (C, n)
        Valid pixels of the image, from 0 to 1.
    encoder : callable
        Takes standardised bands (B, C, [Z,] Y, X).
    """

    def __init__(self, pixels: torch.Tensor, encoder: Encoder) -> None:
        self.mean, self.std = pixels.mean(1), pixels.std(1, correction=0).clamp(min=1e-6)
        self.encoder = encoder

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's maps of `x` (B, C, [Z,] Y, X)."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        return self.encoder((x - self.mean.reshape(shape)) / self.std.reshape(shape))


class UNetLevels(nn.Module):
    """The encoder half of a fitted ClusterNet, frozen: the maps of all its levels.

    Parameters
    ----------
    network : UNet
        Copied, not changed.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.stages = deepcopy(network.encoder).eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the map of every level, finest first."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def random_encoder(
    n_bands: int, spacing: Sequence[float], shape: Sequence[int], seed: int
) -> RandomEncoder:
    """Return the random encoder of a seed; it leaves coarse and short axes alone."""
    long = [n if n >= 16 else 1 for n in shape]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RandomEncoder(n_bands, kernel_of(3, spacing, shape), kernel_of(2, spacing, long))


def learned_encoder(extractor: Extractor) -> UNetLevels:
    """Return the encoder of the ClusterNet in `extractor`, alone or beside other features.

    Raises
    ------
    InputError
        If there is no network of this package in it.
    """
    for part in getattr(extractor, "parts", (extractor,)):
        network = getattr(part, "network", None)
        if isinstance(network, UNet):
            return UNetLevels(network)
    remedy = "Give 'random', 'learn' or a fitted ClusterNet"
    return invalid("features", type(extractor).__name__, "no learned network in it", remedy)


class FeatureLoss:
    """Mean squared error between the features of two images; the mean over levels, then the sum.

    Each level is divided by the variance it has in the original, so that levels and encoders
    count alike whatever their units: 1 is what a constant image would score.

    Parameters
    ----------
    encoders : sequence of callable
        See `Encoder`.
    original : torch.Tensor, shape (B, C, [Z,] Y, X)
        Patches that the variances are measured on.
    """

    def __init__(self, encoders: Sequence[Encoder], original: torch.Tensor) -> None:
        self.encoders = tuple(encoders)
        with torch.no_grad():
            self.scales = [
                [level.var(correction=0).clamp(min=1e-8) for level in encoder(original)]
                for encoder in self.encoders
            ]

    def __call__(self, simulated: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Return the loss of `simulated` against `original`, both (B, C, [Z,] Y, X)."""
        total = simulated.new_zeros(())
        for encoder, scales in zip(self.encoders, self.scales, strict=True):
            with torch.no_grad():
                targets = encoder(original)
            terms = [
                torch.mean((found - target) ** 2) / scale
                for found, target, scale in zip(encoder(simulated), targets, scales, strict=True)
            ]
            total = total + torch.stack(terms).mean()
        return total
