"""The first blocks of EfficientNet-Lite0 (Tan and Le 2019; the Lite variant), as feature maps.

Only the architecture is here; weights come from a package the user installs, or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.networks.map_network import MapNetwork

#: (repeats, kernel, stride of the first, expansion, channels) of the stages used.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
)
_STEM = 32
#: Blocks whose outputs are maps: the last of each stage.
MAP_BLOCKS = (0, 2, 4, 7, 10)
#: Channels and stride of each map.
MAP_CHANNELS, MAP_STRIDES = (16, 24, 40, 80, 112), (2, 4, 8, 16, 16)


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.stride, self.residual = stride, stride == 1 and channels == out
        if expansion != 1:
            self._expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)
        self.pads = _same_padding(kernel, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if hasattr(self, "_expand_conv"):
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(F.pad(y, self.pads))))
        y = self._bn2(self._project_conv(y))
        result: torch.Tensor = x + y if self.residual else y
        return result


def _same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) of TensorFlow's "same" where the stride divides."""
    total = kernel - stride
    before = total // 2
    return before, total - before, before, total - before


class EfficientNetLite0(MapNetwork):
    """Maps of an RGB image whose sides are multiples of 16.

    Parameter names are those of the public PyTorch conversion, so that its files can be loaded.
    """

    map_channels, map_strides = MAP_CHANNELS, MAP_STRIDES

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, _STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=1e-3)
        blocks, channels = [], _STEM
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return maps (N, c, Y / s, X / s) of `x` (N, 3, Y, X), values about -1 .. 1."""
        x = F.relu6(self._bn0(self._conv_stem(F.pad(x, _same_padding(3, 2)))))
        maps = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in MAP_BLOCKS:
                maps.append(x)
        return maps

    @property
    def halo(self) -> int:
        """Pixels on each side that the widest map looks at, from where it is placed."""
        reach, jump = 3, 2  # of the stem
        for repeats, kernel, stride, _, _ in _STAGES:
            for i in range(repeats):
                reach += (kernel - 1) * jump
                jump *= stride if i == 0 else 1
        return reach // 2 + 2 * max(MAP_STRIDES)  # and what placing and interpolating shifts

    def load(self, weights: Mapping[str, Any]) -> None:
        """Take the weights of these blocks from a state dictionary of the whole network.

        Raises
        ------
        KeyError, RuntimeError
            If one is missing or has another shape.
        """
        self.load_state_dict({name: weights[name] for name in self.state_dict()})


def place(maps: torch.Tensor, stride: int) -> torch.Tensor:
    """Interpolate maps (N, c, Y / s, X / s) to the pixels (N, c, Y, X) that they describe.

    TensorFlow's padding puts the centre of cell j of a map of stride s on pixel s j + s - 1, not
    into the middle of its s pixels; a map that is laid out as if it did is half a stride off.
    """
    half = stride // 2
    wide = F.interpolate(maps, scale_factor=stride, mode="bilinear", align_corners=False)
    moved = F.pad(wide, (half, 0, half, 0), mode="replicate")
    return moved[..., : wide.shape[-2], : wide.shape[-1]]
