"""One U-Net for 2D images and 3D volumes: a feature vector for every pixel (section 2.1)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.tiles import fine_axes, round_up

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

#: Levels of a U-Net in a file at most; each halves an axis.
MAX_LEVELS = 16


@dataclass(frozen=True)
class Plan:
    """What the network does along each axis at each level.

    Attributes
    ----------
    strides : tuple of tuple of int
        Downsampling between level i and i + 1, per axis; 1 or 2. One entry fewer than levels.
    kernels : tuple of tuple of int
        Convolution extent at each level, per axis; 1 or 3.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """Return the plan that `to_dict` described.

        Raises
        ------
        ValueError
            If it is none that `plan_levels` could have made.
        """
        strides, kernels = (
            tuple(tuple(map(int, level)) for level in values[name])
            for name in ("strides", "kernels")
        )
        steps = {size for level in strides for size in level}
        extents = {size for level in kernels for size in level}
        axes = {len(level) for level in (*strides, *kernels)}
        fits = len(strides) + 1 == len(kernels) <= MAX_LEVELS and axes in ({2}, {3})
        if not (fits and steps <= {1, 2} and extents <= {1, 3}):
            raise ValueError("the plan is of no U-Net of ours")
        return cls(strides, kernels)


def plan_levels(spacing: Sequence[float], shape: Sequence[int], n_levels: int) -> Plan:
    """Plan strides and kernels per level, as nnU-Net does for anisotropic volumes.

    At each level a coarse axis (`napari_clusternet.tiles.fine_axes`) is neither pooled nor
    convolved; once pooling has made the others as coarse, it takes part. An axis too short to
    halve is not pooled, and one of length 1 not convolved.

    Parameters
    ----------
    spacing : sequence of float
        Pixel size per axis ([Z,] Y, X).
    shape : sequence of int
        Extent per axis of what the network will be trained on, pixels.
    n_levels : int
        Resolution levels, 1 or more.
    """
    sizes, steps = list(spacing), list(shape)
    strides, kernels = [], []
    for _ in range(n_levels):
        near = fine_axes(sizes)
        kernels.append(tuple(3 if ok and n > 1 else 1 for ok, n in zip(near, steps, strict=True)))
        stride = tuple(2 if ok and n >= 4 else 1 for ok, n in zip(near, steps, strict=True))
        strides.append(stride)
        sizes = [size * s for size, s in zip(sizes, stride, strict=True)]
        steps = [-(-n // s) for n, s in zip(steps, stride, strict=True)]
    return Plan(tuple(strides[:-1]), tuple(kernels))


class Block(nn.Sequential):
    """(Convolution, BatchNorm, ReLU) once or several times, at one resolution."""

    def __init__(
        self, n_in: int, n_out: int, kernel: tuple[int, ...], stride: tuple[int, ...], repeats: int
    ) -> None:
        ndim = len(kernel)
        layers: list[nn.Module] = []
        for i in range(repeats):
            # a strided axis needs extent 3, or every other pixel would be thrown away
            step = stride if i == 0 else (1,) * ndim
            size = tuple(3 if s > 1 else k for k, s in zip(kernel, step, strict=True))
            padding = tuple(k // 2 for k in size)
            source = n_in if i == 0 else n_out
            layers += [
                CONV[ndim](source, n_out, size, step, padding, bias=False),
                NORM[ndim](n_out),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net with BatchNorm and nearest upsampling, so that tiles equal the whole image.

    The features end in a two-layer perceptron per pixel: a single 1x1 convolution from fewer
    channels would give features of that rank only.

    Parameters
    ----------
    in_channels : int
        Bands of the image.
    n_features : int
        Features per pixel (f in the paper).
    channels : sequence of int
        Width of each level, finest first.
    plan : Plan
        Strides and kernels per level; its axes say whether the network is 2D or 3D.
    """

    def __init__(
        self, in_channels: int, n_features: int, channels: Sequence[int], plan: Plan
    ) -> None:
        super().__init__()
        self.in_channels, self.n_features = in_channels, n_features
        self.channels, self.plan = tuple(channels), plan
        self.ndim = len(plan.kernels[0])
        ones = (1,) * self.ndim
        widths = (in_channels, *self.channels)
        self.encoder = nn.ModuleList(
            Block(widths[i], widths[i + 1], plan.kernels[i], (ones, *plan.strides)[i], 2)
            for i in range(len(self.channels))
        )
        self.decoder = nn.ModuleList(
            Block(
                self.channels[i] + self.channels[i + 1], self.channels[i], plan.kernels[i], ones, 1
            )
            for i in reversed(range(len(self.channels) - 1))
        )
        conv, norm = CONV[self.ndim], NORM[self.ndim]
        self.head = nn.Sequential(
            conv(self.channels[0], n_features, 1, bias=False),
            norm(n_features),
            nn.ReLU(inplace=True),
            conv(n_features, n_features, 1, bias=False),
            # every feature has mean 0 and variance 1 over the training set: k-means weighs alike
            norm(n_features, affine=False),
        )

    @property
    def multiple(self) -> tuple[int, ...]:
        """Total stride per axis: input extents must be multiples of it."""
        total = [1] * self.ndim
        for stride in self.plan.strides:
            total = [t * s for t, s in zip(total, stride, strict=True)]
        return tuple(total)

    @property
    def halo(self) -> tuple[int, ...]:
        """Half the receptive field per axis, pixels, rounded up to `multiple`."""
        return tuple(
            round_up(self._reach(axis), multiple) for axis, multiple in enumerate(self.multiple)
        )

    def _reach(self, axis: int) -> int:
        """Return how far from a pixel its features look along `axis`, pixels.

        The interval a pixel depends on is followed backwards down the decoder and up the encoder,
        for every position of the pixel relative to the strides.
        """
        kernels = [kernel[axis] // 2 for kernel in self.plan.kernels]
        strides = [stride[axis] for stride in self.plan.strides]
        reach = 0
        for pixel in range(self.multiple[axis]):
            low = high = pixel
            for kernel, stride in zip(kernels, strides, strict=False):
                low, high = (low - kernel) // stride, (high + kernel) // stride
            for level in reversed(range(len(kernels))):
                low, high = low - kernels[level], high + kernels[level]
                stride = strides[level - 1] if level else 1
                edge = 1 if stride > 1 else kernels[level]
                low, high = low * stride - edge, high * stride + edge
            reach = max(reach, pixel - low, high - pixel)
        return reach

    def body(self, x: torch.Tensor) -> torch.Tensor:
        """Return the decoder's last map (B, channels[0], [Z,] Y, X): all but the head."""
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for stage in self.decoder:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = stage(torch.cat([x, skip], dim=1))
        return x

    def pixels(self, rows: torch.Tensor) -> torch.Tensor:
        """Return features (N, F) of pixels (N, channels[0]) of the body's map: the head alone.

        The head looks at one pixel at a time, so only the pixels that a loss or a clustering
        uses need to go through it.
        """
        shape = (1, rows.shape[1], rows.shape[0], *(1,) * (self.ndim - 1))
        features: torch.Tensor = self.head(rows.T.reshape(shape))
        return features.reshape(self.n_features, -1).T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (B, F, [Z,] Y, X) of normalised bands (B, C, [Z,] Y, X).

        Extents must be multiples of `multiple`.
        """
        return cast("torch.Tensor", self.head(self.body(x)))


def pad_to_multiple(x: torch.Tensor, multiple: Sequence[int]) -> torch.Tensor:
    """Pad the spatial axes of `x` at their ends with zeros up to a multiple of the stride."""
    pads = [round_up(n, m) - n for n, m in zip(x.shape[-len(multiple) :], multiple, strict=True)]
    if not any(pads):
        return x
    return F.pad(x, list(itertools.chain(*((0, pad) for pad in reversed(pads)))))


def n_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
