"""TernausNet: a U-Net whose encoder is VGG11 (Iglovikov & Shvets 2018, arXiv 1801.05746).

The encoder is VGG11's eight convolutions without its fully connected layers, a map kept before
each of its five poolings; the decoder mirrors it with transposed convolutions. Everything is
aligned to a stride of 32, so tiles equal the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.errors import invalid

#: Width of every convolution of VGG11, by stage, as multiples of the first one's.
_STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))
#: VGG11's first width.
VGG11_WIDTH = 64
#: Indices of VGG11's convolutions in ``torchvision.models.vgg11().features``.
_VGG11_LAYERS = (0, 3, 6, 8, 11, 13, 16, 18)


class DecoderBlock(nn.Sequential):
    """Convolution, then a transposed convolution to twice the extent, each with ReLU."""

    def __init__(self, n_in: int, n_middle: int, n_out: int) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_middle, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(n_middle, n_out, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(inplace=True),
        )


class TernausNet(nn.Module):
    """VGG11 encoder, mirrored decoder, scores of classes for every pixel; 2D.

    Parameters
    ----------
    in_channels : int
        Bands of the image.
    n_classes : int
        Scores a pixel.
    width : int
        Width of the first convolution: 64 in the paper (22.9 M parameters), a multiple of 2.
    """

    ndim = 2
    multiple = (32, 32)
    #: Tiles equal the whole image: see `halo`.
    exact = True

    def __init__(self, in_channels: int, n_classes: int, width: int = VGG11_WIDTH) -> None:
        super().__init__()
        self.in_channels, self.n_classes, self.width = in_channels, n_classes, width
        self.encoder = nn.ModuleList()
        before = in_channels
        for stage in _STAGES:
            convolutions = nn.ModuleList()
            for factor in stage:
                convolutions.append(nn.Conv2d(before, factor * width, 3, padding=1))
                before = factor * width
            self.encoder.append(convolutions)
        w = width
        self.center = DecoderBlock(8 * w, 8 * w, 4 * w)
        self.decoder = nn.ModuleList(
            [
                DecoderBlock(4 * w + 8 * w, 8 * w, 4 * w),
                DecoderBlock(4 * w + 8 * w, 8 * w, 2 * w),
                DecoderBlock(2 * w + 4 * w, 4 * w, w),
                DecoderBlock(w + 2 * w, 2 * w, w // 2),
            ]
        )
        self.last = nn.Conv2d(w // 2 + w, w // 2, 3, padding=1)
        self.head = nn.Conv2d(w // 2, n_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def halo(self) -> tuple[int, ...]:
        """Half the receptive field per axis, pixels, rounded up to `multiple`."""
        return (_REACH, _REACH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (B, K, Y, X) of normalised bands (B, C, Y, X).

        Extents must be multiples of 32.
        """
        skips = []
        for stage in self.encoder:
            for convolution in cast("nn.ModuleList", stage):
                x = F.relu(convolution(x), inplace=True)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.center(x)
        for block in self.decoder:
            x = block(torch.cat([x, skips.pop()], dim=1))
        x = F.relu(self.last(torch.cat([x, skips.pop()], dim=1)), inplace=True)
        return cast("torch.Tensor", self.head(x))

    @torch.no_grad()
    def load_vgg11(self, weights: Mapping[str, torch.Tensor], argument: str = "weights") -> None:
        """Take the encoder's weights from VGG11, as torchvision names them.

        Bands beyond the file's three get the mean of the file's filters; with any number of bands
        but three, all are scaled so that the first layer's responses keep their size.

        Parameters
        ----------
        weights : mapping of str to Tensor
            ``features.0.weight``, ``features.0.bias`` ... ``features.18.bias``; other entries are
            not used.
        argument : str
            The argument's name in the caller, for the error message.

        Raises
        ------
        InputError
            If a tensor is missing, of another shape, or not finite, or `width` is not 64.
        """
        remedy = "Give the state dict of torchvision's vgg11 (not vgg11_bn), or leave weights= out"
        if self.width != VGG11_WIDTH:
            invalid("width", self.width, f"VGG11's weights are {VGG11_WIDTH} wide",
                    f"Use width={VGG11_WIDTH}, or leave weights= out")  # fmt: skip
        convolutions = [c for stage in self.encoder for c in cast("nn.ModuleList", stage)]
        for i, (layer, module) in enumerate(zip(_VGG11_LAYERS, convolutions, strict=True)):
            convolution = cast("nn.Conv2d", module)
            for kind, target in (("weight", convolution.weight), ("bias", convolution.bias)):
                assert target is not None
                name = f"features.{layer}.{kind}"
                value = weights.get(name)
                if value is None:
                    invalid(argument, sorted(weights)[:4], f"there is no {name!r}", remedy)
                value = value.float()
                if i == 0 and kind == "weight":
                    value = _for_bands(value, self.in_channels)
                if value.shape != target.shape or not bool(torch.isfinite(value).all()):
                    problem = f"{name!r} is {tuple(value.shape)}, expected {tuple(target.shape)}"
                    if value.shape == target.shape:
                        problem = f"{name!r} holds values that are not finite"
                    invalid(argument, name, problem, remedy)
                target.copy_(value)


def _for_bands(filters: torch.Tensor, n_bands: int) -> torch.Tensor:
    """Return first-layer filters (F, C, 3, 3) for `n_bands`, their responses as large as before."""
    n_source = filters.shape[1]
    if n_bands == n_source or n_source == 0:
        return filters
    mean = filters.mean(dim=1, keepdim=True)
    more = mean.repeat(1, max(0, n_bands - n_source), 1, 1)
    return torch.cat([filters[:, :n_bands], more], dim=1) * (n_source / n_bands)


def _reach() -> int:
    """Return how far from a pixel its scores look, pixels, rounded up to the stride.

    The interval that a pixel depends on is followed backwards: the head, the last convolution,
    down the decoder and up the encoder, for every position of the pixel relative to the stride.
    """
    reach = 0
    for pixel in range(32):
        low = high = pixel
        low, high = low - 1, high + 1  # the last convolution
        spans = [(low, high)]  # of the skip at each level, finest first
        for _ in range(5):  # a transposed convolution of extent 3 and stride 2, a convolution
            low, high = low // 2, (high + 1) // 2
            low, high = low - 1, high + 1
            spans.append((low, high))
        # spans[5] is of the pooled map at stride 32, spans[i] of the skip at stride 2^i
        low, high = spans[5]
        for level in reversed(range(5)):
            low, high = 2 * low, 2 * high + 1  # pooling
            low, high = min(low, spans[level][0]), max(high, spans[level][1])
            n = len(_STAGES[level])
            low, high = low - n, high + n
        reach = max(reach, pixel - low, high - pixel)
    return -(-reach // 32) * 32


_REACH = _reach()
