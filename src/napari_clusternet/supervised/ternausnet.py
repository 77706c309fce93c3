"""TernausNet from masks (Iglovikov & Shvets 2018), the baseline of SpaceNet 6; 2D."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from napari_clusternet.errors import invalid
from napari_clusternet.networks.ternausnet import VGG11_WIDTH, TernausNet
from napari_clusternet.networks.weight_files import read_state_dict
from napari_clusternet.supervised.training import NetworkMethod

if TYPE_CHECKING:
    from napari_clusternet.image import Image


@dataclass(frozen=True, kw_only=True)
class TernausNetMasks(NetworkMethod):
    """TernausNet, with VGG11's ImageNet weights in its encoder if the user has the file.

    Bands are normalised to mean 0 and standard deviation 1 over the training images, which is
    what the ImageNet weights expect, but for the mean and standard deviation being ImageNet's.

    Parameters
    ----------
    weights : path-like, optional
        State dict of torchvision's ``vgg11`` (``*.pth``, ``*.pt`` or ``*.safetensors``); without
        it, and in the decoder, first weights are random. Nothing is downloaded.
    width : int
        Width of the first convolution; 64 is the paper's and the weights'.
    learning_rate : float
        The paper's 1e-4: there is no normalisation inside.
    **parameters
        See `NetworkMethod`.
    """

    weights: str | os.PathLike[str] | None = None
    width: int = VGG11_WIDTH
    learning_rate: float = 1e-4

    name: ClassVar[str] = "ternausnet"
    summary: ClassVar[str] = "U-Net with a VGG11 encoder, ImageNet weights if given (SpaceNet 6)"
    ndims: ClassVar[tuple[int, ...]] = (2,)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        super().__post_init__()
        if not isinstance(self.width, int) or self.width < 2 or self.width % 2:
            invalid("width", self.width, "not an even number of channels", "Give 64, 32, 16 ...")

    def build(self, image: Image, n_classes: int, extent: tuple[int, ...]) -> Any:
        """Return an untrained network; see `NetworkMethod.build`."""
        network = TernausNet(image.n_bands, n_classes, self.width)
        if self.weights is not None:
            network.load_vgg11(read_state_dict(self.weights))
        return network
