"""U-Nets that give every pixel k probabilities, or k bands: for IIC and for W-Net's two halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from napari_clusternet.config import UNET_CHANNELS
from napari_clusternet.networks.unet import CONV, UNet, pad_to_multiple, plan_levels


class PixelNetwork(nn.Module):
    """The package's U-Net with linear heads of given widths; any extent, padded to its stride.

    Parameters
    ----------
    in_channels : int
        Bands of the input.
    widths : sequence of int
        Channels of each head.
    spacing : sequence of float
        Pixel size per axis ([Z,] Y, X): coarse axes are not mixed.
    shape : sequence of int
        Extent of a training patch per axis.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        spacing: Sequence[float],
        shape: Sequence[int],
    ) -> None:
        super().__init__()
        ndim = len(shape)
        channels = UNET_CHANNELS[ndim]
        unet = UNet(in_channels, 1, channels, plan_levels(spacing, shape, len(channels)))
        unet.head = nn.Sequential()  # the heads below take the body's map
        self.unet = unet
        self.heads = nn.ModuleList(CONV[ndim](channels[0], width, 1) for width in widths)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map (B, width, [Z,] Y, X) a head, of standardised bands (B, C, [Z,] Y, X)."""
        body = self.unet.body(pad_to_multiple(x, self.unet.multiple))
        inner = (slice(None), slice(None), *(slice(0, n) for n in x.shape[2:]))
        return [cast("torch.Tensor", head(body[inner])) for head in self.heads]
