"""K-textures (Wagner et al. 2022): hard masks and the textures that together simulate the image."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import (
    check_choice,
    check_number,
    learn_steps,
    number_regions,
    read_unit,
)

if TYPE_CHECKING:
    import torch

    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import BoolArray, FloatArray, RegionArray, Tools
    from napari_clusternet.unsupervised.ktextures_features import Encoder

#: Most masks; the paper's range is 2 to 128.
_MAX_K = 128


@dataclass
class KTextures:
    """K-textures: a scalar per pixel cut into k hard masks, and k textures that fill them.

    A branch of 1 x 1 convolutions gives every pixel a scalar from 0 to 1; its k equal bins are the
    masks. k generators make textures of noise. Masks and textures are trained together so that the
    simulated image, the sum of mask times texture, has the original's features.

    Features are compared by an encoder that does not train. The paper uses VGG-16 (block5_conv3)
    and the encoder of an autoencoder of its own. Here, ``"random"`` is a fixed stack of random
    filters, rectifiers and local means, which sees any number of bands and needs no training;
    ``"learn"`` trains a ClusterNet on the image first and uses the encoder half of its U-Net, the
    nearest to the paper's own; a fitted ClusterNet is used as it is; and `vgg16` adds VGG-16.

    With the paper's 1 x 1 branch a class is a range of *values*: pixels with the same bands always
    share it, whatever surrounds them. ``kernel=3, window=13`` lets it look at its surroundings, and
    then it can tell apart textures that have the same values.

    Parameters
    ----------
    k : int
        Number of masks and textures, 2 to 128.
    features : {"random", "learn"} or ClusterNet
        What images are compared by: ``"random"``, ``"learn"`` or a fitted ClusterNet of images
        with these bands.
    vgg16 : path, optional
        State dict of torchvision's VGG-16 (``.pth``, ``.safetensors``); its loss is added. 2D only.
    rgb : tuple of int
        Bands, counted from 0, that VGG-16 takes for red, green and blue. An image with one band is
        taken thrice.
    n_steps : int
        Training steps; the paper takes about ten thousand, on a GPU.
    tile, batch : int
        Edge of a training patch, pixels (at most 32 in volumes), and patches a step. Together they
        should show most of the classes, or the noise of one is stretched into several.
    kernel : int
        Extent of the mask branch's two convolutions, odd; 1 is the paper's.
    window : int
        Extent of the mean that smooths the scalar before it is cut, odd; 1 is the paper's.
    learning_rate : float
        Of Adam.

    Attributes
    ----------
    masks_ : numpy.ndarray of bool, shape (n, [Z,] Y, X)
        One a region, in the order of the regions' numbers; masks without a pixel are left out.
    textures_ : numpy.ndarray of float32, shape (n, C, [z,] y, x)
        A sample of each region's texture, values from 0 to 1 as `read_unit` scales the image.
    simulated_ : numpy.ndarray of float32, shape (C, [Z,] Y, X)
        The simulated image, scaled likewise; 0 where invalid.
    losses_ : list of float
        The loss of every step; 1 is about what a constant image would score.
    """

    name: ClassVar[str] = "ktextures"
    summary: ClassVar[str] = "k hard masks and k textures that simulate the image (Wagner 2022)"
    advice: ClassVar[str] = (
        "Finds ranges of values, and learns a texture for each; with a wider kernel and "
        "window also regions that differ in texture alone. Takes minutes."
    )
    main: ClassVar[tuple[str, ...]] = ("k", "n_steps")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = "learning"

    k: int = 6
    features: Any = "random"
    vgg16: str | os.PathLike[str] | None = None
    rgb: tuple[int, ...] = (0, 1, 2)
    n_steps: int = 400
    tile: int = 128
    batch: int = 4
    kernel: int = 1
    window: int = 1
    learning_rate: float = 1e-3
    masks_: BoolArray = field(init=False, repr=False, compare=False)
    textures_: FloatArray = field(init=False, repr=False, compare=False)
    simulated_: FloatArray = field(init=False, repr=False, compare=False)
    losses_: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_number("k", self.k, 2, whole=True)
        if self.k > _MAX_K:
            invalid("k", self.k, "too many masks", f"Give a whole number from 2 to {_MAX_K}")
        for name, lowest in (("n_steps", 1), ("tile", 16), ("batch", 1)):
            check_number(name, getattr(self, name), lowest, whole=True)
        for name in ("kernel", "window"):
            value = getattr(self, name)
            check_number(name, value, 1, whole=True)
            if value % 2 == 0:
                invalid(name, value, "an even extent has no centre", f"Give {value + 1}")
        check_number("learning_rate", self.learning_rate, 1e-12)
        if isinstance(self.features, str):
            check_choice("features", self.features, ("random", "learn"))

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return a region a mask, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If no pixel is valid, or a parameter does not fit the image.
        FileFormatError
            If the file of VGG-16's weights does not fit.
        """
        import torch

        from napari_clusternet.device import select_device
        from napari_clusternet.unsupervised import ktextures_features as features
        from napari_clusternet.unsupervised import ktextures_training as training
        from napari_clusternet.unsupervised.ktextures_vgg import VGG16
        from napari_clusternet.unsupervised.patches import Patches, patch_edge

        rgb = self._colours(image)
        yield Progress("preparing the encoder", 0, 1)
        device = select_device(tools.device).torch
        values, valid = read_unit(image)
        encoders: list[Encoder] = []
        if self.vgg16 is not None:
            encoders.append(VGG16.from_file(self.vgg16, rgb).to(device))
        own = yield from self._own_encoder_steps(image, tools, random_state)
        pixels = torch.from_numpy(values[:, valid]).to(device)
        encoders.append(features.Standardised(pixels, own.to(device)))
        model = training.Model.build(
            self.k, image.n_bands, image.spacing, image.shape, self.kernel, self.window,
            random_state, device,
        )  # fmt: skip
        edge = patch_edge(self.tile, image.ndim)
        patches = Patches.over(values, valid, edge, model.branch.margin)
        rng = np.random.default_rng(random_state)
        losses = yield from training.train_steps(
            model, patches, encoders, rng, n_steps=self.n_steps, batch=self.batch,
            learning_rate=self.learning_rate,
        )  # fmt: skip
        training.settle(model, patches, rng, self.batch)
        labels, simulated, textures = yield from training.apply_steps(model, patches)
        simulated[:, ~valid] = 0
        used = np.unique(labels[valid])
        self.losses_, self.simulated_, self.textures_ = losses, simulated, textures[used]
        self.masks_ = np.stack([(labels == mask) & valid for mask in used])
        return number_regions(labels, valid)

    def _colours(self, image: Image) -> tuple[int, ...]:
        """Return the bands for VGG-16, or refuse what cannot be."""
        if self.vgg16 is None:
            return ()
        if image.ndim != 2:
            invalid("vgg16", str(self.vgg16), "VGG-16 sees images, not volumes", "Leave it out")
        rgb = (0, 0, 0) if image.n_bands == 1 else tuple(self.rgb)
        if len(rgb) != 3 or not all(0 <= band < image.n_bands for band in rgb):
            remedy = f"Give three of 0 to {image.n_bands - 1}"
            invalid("rgb", self.rgb, f"the image has {image.n_bands} bands", remedy)
        return rgb

    def _own_encoder_steps(
        self, image: Image, tools: Tools, random_state: int
    ) -> Generator[Progress, None, torch.nn.Module]:
        """Return the encoder that `features` names, trained if it has to be."""
        from napari_clusternet.unsupervised import ktextures_features as parts

        if not isinstance(self.features, str):
            return parts.learned_encoder(tools.extractor(image, self.features, random_state))
        if self.features == "learn":
            model = yield from learn_steps(tools, image, random_state)
            return parts.learned_encoder(model.extractor_)
        return parts.random_encoder(image.n_bands, image.spacing, image.shape, random_state)
