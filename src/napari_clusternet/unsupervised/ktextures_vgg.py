"""VGG-16 up to block5_conv3, with weights from a file of the user's (Simonyan & Zisserman 2014)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn, cast

import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.networks.weight_files import read_state_dict

#: Output channels of every convolution; 0 halves the extent.
_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
#: Mean and standard deviation of ImageNet's red, green and blue, from 0 to 1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Fewest pixels along an axis: four poolings leave one.
_MIN_EXTENT = 16


class VGG16(nn.Module):
    """The thirteen convolutions of VGG-16; frozen.

    Named as torchvision names them, ``features.0`` to ``features.28``, so that its weight files
    load as they are.

    Parameters
    ----------
    rgb : sequence of int
        Bands of the image that stand for red, green and blue.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, rgb: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        source = 3
        for width in _LAYERS:
            if width:
                layers += [nn.Conv2d(source, width, 3, padding=1), nn.ReLU(inplace=True)]
                source = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.rgb = list(rgb)
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).reshape(3, 1, 1), persistent=False)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], rgb: Sequence[int] = (0, 1, 2)) -> VGG16:
        """Load weights; see `napari_clusternet.networks.weight_files.read_state_dict`.

        Raises
        ------
        FileFormatError
            If the file is missing or damaged, holds more than tensors, or is not plain VGG-16; the
            message names the file and the first tensor that does not fit.
        """
        stored = read_state_dict(path, "vgg16")
        with torch.random.fork_rng(devices=[]):  # construction draws weights, replaced below
            network = cls(rgb)
        wanted = network.state_dict()
        for name, tensor in wanted.items():
            found = stored.get(name)
            if found is None:
                _refuse(path, f"no tensor {name!r}; it has {sorted(stored)[:4]}")
            if found.shape != tensor.shape:
                shapes = f"shape {tuple(found.shape)}, VGG-16's is {tuple(tensor.shape)}"
                _refuse(path, f"{name!r} has {shapes}")
            if not bool(torch.isfinite(found).all()):
                _refuse(path, f"{name!r} holds values that are not finite")
        network.load_state_dict({name: stored[name] for name in wanted})
        return network.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return [block5_conv3 (B, 512, Y/16, X/16)] of bands (B, C, Y, X) from 0 to 1.

        Less than 16 pixels are continued by their last ones until the poolings fit.
        """
        colours = (x[:, self.rgb] - self.mean) / self.std
        lack = [max(0, _MIN_EXTENT - n) for n in x.shape[2:]]
        if any(lack):
            colours = F.pad(colours, (0, lack[1], 0, lack[0]), mode="replicate")
        return [cast("torch.Tensor", self.features(colours))]


def _refuse(path: str | os.PathLike[str], problem: str) -> NoReturn:
    remedy = "Give the state dict of torchvision's plain vgg16 with ImageNet weights"
    invalid("vgg16", str(path), problem, remedy, error=FileFormatError)
