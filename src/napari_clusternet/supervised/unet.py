"""U-Net from masks (Ronneberger, Fischer & Brox 2015), 2D and 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn

from napari_clusternet.errors import invalid
from napari_clusternet.networks.unet import CONV, UNet, plan_levels
from napari_clusternet.supervised.training import NetworkMethod

if TYPE_CHECKING:
    from napari_clusternet.image import Image

#: Widths, finest level first, by number of spatial axes.
_CHANNELS = {2: (16, 32, 64, 128), 3: (16, 32, 64)}


class MaskUNet(nn.Module):
    """The package's U-Net with a 1x1 convolution to scores of classes in place of features."""

    #: BatchNorm is frozen and upsampling nearest: tiles equal the whole image.
    exact = True

    def __init__(self, unet: UNet, n_classes: int) -> None:
        super().__init__()
        self.unet, self.n_classes = unet, n_classes
        unet.head = nn.Sequential()  # features are not asked for
        self.head = CONV[unet.ndim](unet.channels[0], n_classes, 1)
        self.ndim, self.multiple, self.halo = unet.ndim, unet.multiple, unet.halo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (B, K, [Z,] Y, X) of normalised bands (B, C, [Z,] Y, X)."""
        return cast("torch.Tensor", self.head(self.unet.body(x)))


@dataclass(frozen=True, kw_only=True)
class UNetMasks(NetworkMethod):
    """U-Net trained with the border-weight map of its paper.

    Unlike the paper's: BatchNorm, borders padded with zeros, strided convolutions in place of
    pooling and nearest upsampling in place of transposed convolutions (so tiles equal the whole
    image), AdamW in place of SGD, and an axis much coarser than the others is not mixed until
    the others are as coarse.

    Parameters
    ----------
    channels : tuple of int
        Width of each level, finest first; by default 16, 32, 64, 128 in 2D and 16, 32, 64 in
        3D, which trains in minutes on a CPU; the paper's is 64 to 1024.
    border_weight : float
        The paper's 10.
    **parameters
        See `NetworkMethod`.
    """

    channels: tuple[int, ...] = ()
    border_weight: float = 10.0

    name: ClassVar[str] = "unet"
    summary: ClassVar[str] = "U-Net with more weight on borders (Ronneberger 2015)"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        super().__post_init__()
        if not all(isinstance(width, int) and width > 0 for width in self.channels):
            invalid("channels", self.channels, "not widths", "Give positive whole numbers")

    def build(self, image: Image, n_classes: int, extent: tuple[int, ...]) -> Any:
        """Return an untrained network; see `NetworkMethod.build`."""
        channels = self.channels or _CHANNELS[image.ndim]
        plan = plan_levels(image.spacing, extent, len(channels))
        return MaskUNet(UNet(image.n_bands, 1, channels, plan), n_classes)
