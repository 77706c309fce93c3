"""The network of ``features="generic"``: it was learned before, without labels, on many images."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from napari_clusternet.networks.efficientnet_lite import (
    MAP_CHANNELS,
    MAP_STRIDES,
    EfficientNetLite0,
    place,
)
from napari_clusternet.networks.map_network import MapNetwork

#: Features that the decoder gives, and the width of its levels, finest first.
N_FEATURES, WIDTHS = 64, (24, 32, 48, 64, 64)
#: The encoder's finest map is scaled by it, to stand beside the decoder's last level.
_FINEST = 0.1


class _Mix(nn.Module):
    """Residual: filter each channel, then mix the channels of every cell."""

    def __init__(self, channels: int, kernel: int, inner: int) -> None:
        super().__init__()
        self.radius = kernel // 2
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=self.radius, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.layers(x)
        return result


class Decoder(nn.Module):
    """From the encoder's maps, coarsest first, to one map of `N_FEATURES` channels and stride 2.

    Levels are placed on each other as `place` does, so that cells lie where they look.
    """

    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1, bias=False), nn.BatchNorm2d(width))
            for n, width in zip(MAP_CHANNELS, WIDTHS, strict=True)
        )
        fine, middle, coarse, _, widest = WIDTHS
        self.top = _Mix(widest, 5, 2 * widest)
        self.levels = nn.ModuleList(
            [_Mix(fine, 3, fine), _Mix(middle, 3, middle), _Mix(coarse, 5, 2 * coarse)]
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(wider, width, 1, bias=False) for width, wider in pairwise(WIDTHS[:4])
        )
        self.head = nn.Sequential(
            nn.Conv2d(fine + MAP_CHANNELS[0], N_FEATURES, 1, bias=False),
            nn.BatchNorm2d(N_FEATURES),
            nn.ReLU6(),
            nn.Conv2d(N_FEATURES, N_FEATURES, 1, bias=False),
            # every feature has mean 0 and variance 1 over the training set: k-means weighs alike
            nn.BatchNorm2d(N_FEATURES, affine=False),
        )

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Return features (N, 64, Y / 2, X / 2) of the encoder's maps."""
        x = self.top(self.lateral[4](maps[4]) + self.lateral[3](maps[3]))
        for i in (2, 1, 0):
            x = self.levels[i](place(self.narrow[i](x), 2) + self.lateral[i](maps[i]))
        features: torch.Tensor = self.head(torch.cat([x, maps[0] * _FINEST], dim=1))
        return features

    @property
    def reach(self) -> int:
        """Pixels on each side that it looks at beyond what the encoder's maps do."""
        mixes = (*self.levels, self.top)
        own: int = sum(mix.radius * s for mix, s in zip(mixes, MAP_STRIDES, strict=False))
        return own + 2 * sum(MAP_STRIDES[1:4])  # and what placing and interpolating shifts


class GenericNetwork(MapNetwork):
    """A U-Net on EfficientNet-Lite0: the encoder's five maps, and one that the decoder makes.

    Section 2.1 of the ClusterNet paper asks for a better initialisation of step 1: this one starts
    from a network trained on photographs, and its decoder learned from pseudo-labels of k-means.
    """

    map_channels, map_strides = (*MAP_CHANNELS, N_FEATURES), (*MAP_STRIDES, Decoder.stride)

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = EfficientNetLite0(), Decoder()

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return maps (N, c, Y / s, X / s) of `x` (N, 3, Y, X), values about -1 .. 1."""
        maps = self.encoder(x)
        return [*maps, self.decoder(maps)]

    @property
    def halo(self) -> int:
        """Pixels on each side that the widest map looks at, from where it is placed."""
        return self.encoder.halo + self.decoder.reach
