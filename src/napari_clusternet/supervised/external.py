"""LinkNet, PSPNet and DeepLabV3+ through segmentation-models-pytorch (extra ``compare``); 2D."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn

from napari_clusternet.errors import MissingExtraError, invalid, missing_extra
from napari_clusternet.supervised.training import NetworkMethod

if TYPE_CHECKING:
    from napari_clusternet.image import Image


class WholeImageNetwork(nn.Module):
    """A network of another package as a `ScoreNetwork`.

    Its tiles do not equal the whole image: PSPNet and DeepLabV3+ average over all they see, and
    the reach of LinkNet's encoder depends on which one it is. Tiles overlap by `halo`.
    """

    ndim = 2
    exact = False
    multiple = (32, 32)
    halo = (128, 128)

    def __init__(self, network: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.network, self.n_classes = network, n_classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (B, K, Y, X) of normalised bands (B, C, Y, X)."""
        return cast("torch.Tensor", self.network(x))


@dataclass(frozen=True, kw_only=True)
class _External(NetworkMethod):
    """A network of segmentation-models-pytorch; first weights are random, nothing is downloaded.

    Parameters
    ----------
    encoder : str
        Any encoder that package knows by name.
    **parameters
        See `NetworkMethod`; `batch` must be at least 2, as BatchNorm needs two values a channel.
    """

    encoder: str = "resnet18"

    ndims: ClassVar[tuple[int, ...]] = (2,)
    architecture: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        super().__post_init__()
        if self.batch < 2:
            invalid("batch", self.batch, "BatchNorm needs two patches", "Give 2 or more")

    def build(self, image: Image, n_classes: int, extent: tuple[int, ...]) -> Any:
        """Return an untrained network; see `NetworkMethod.build`.

        Raises
        ------
        MissingExtraError
            If the package is not installed, or does not fit the torch that is.
        InputError
            If there is no such encoder.
        """
        package = _package(self.architecture)
        try:
            network = getattr(package, self.architecture)(
                encoder_name=self.encoder, encoder_weights=None, in_channels=image.n_bands,
                classes=n_classes,
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            reason = str(error).strip("'\"").partition("\n")[0][:120]
            invalid("encoder", self.encoder, reason, "Name an encoder of that package: 'resnet18'")
        return WholeImageNetwork(network, n_classes)


def _package(architecture: str) -> Any:
    if find_spec("segmentation_models_pytorch") is None:
        missing_extra("segmentation-models-pytorch", "compare", architecture)
    try:
        import segmentation_models_pytorch
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another torch
        raise MissingExtraError(
            f"{architecture} needs segmentation-models-pytorch, which is installed but cannot be "
            f"imported ({error}). Install what it names, and the torchvision made for your torch"
        ) from error
    return segmentation_models_pytorch


@dataclass(frozen=True, kw_only=True)
class LinkNet(_External):
    """LinkNet (Chaurasia & Culurciello 2017): encoder maps are added, not concatenated."""

    name: ClassVar[str] = "linknet"
    summary: ClassVar[str] = "LinkNet (extra compare)"
    architecture: ClassVar[str] = "Linknet"


@dataclass(frozen=True, kw_only=True)
class PSPNet(_External):
    """PSPNet (Zhao et al. 2017): averages over the whole image at four scales."""

    name: ClassVar[str] = "pspnet"
    summary: ClassVar[str] = "PSPNet (extra compare)"
    architecture: ClassVar[str] = "PSPNet"


@dataclass(frozen=True, kw_only=True)
class DeepLabV3Plus(_External):
    """DeepLabV3+ (Chen et al. 2018): dilated convolutions at several rates, and a decoder."""

    name: ClassVar[str] = "deeplabv3plus"
    summary: ClassVar[str] = "DeepLabV3+ (extra compare)"
    architecture: ClassVar[str] = "DeepLabV3Plus"
