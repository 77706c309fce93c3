"""Training a network from masks: what U-Net, TernausNet and the others have in common."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from napari_clusternet.device import Device, select_device
from napari_clusternet.errors import ClusterNetError, invalid
from napari_clusternet.normalization import Normalizer
from napari_clusternet.progress import Progress
from napari_clusternet.supervised.base import TrainingSet
from napari_clusternet.supervised.losses import LOSSES
from napari_clusternet.supervised.sampling import (
    SAMPLINGS,
    MaskedPatches,
    augment,
    patch_extent,
)
from napari_clusternet.supervised.trained import TrainedNetwork
from napari_clusternet.supervised.weights import border_weights, class_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger]

logger = logging.getLogger(__name__)

#: Steps over which the learning rate rises, at most.
_RISE = 20


class TrainingFailedError(ClusterNetError, ArithmeticError):
    """The loss is not finite: the numbers of the network have overflowed."""


@dataclass(frozen=True, kw_only=True)
class NetworkMethod:
    """A network trained on patches with masks; a subclass builds the network.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    batch : int
        Patches a step.
    patch : int
        Side of a patch along the finest axis, pixels; 0 chooses 128 in 2D and 32 in 3D.
    learning_rate : float
        Highest learning rate of AdamW; it rises for 20 steps and falls along half a cosine.
    loss : str
        ``"cross_entropy"``, ``"dice"``, ``"dice+cross_entropy"`` or ``"focal"``.
    sampling : str
        ``"random"`` in space, by class ``"frequency"``, or ``"both"`` in turns.
    border_weight : float
        w0 of `border_weights`; 0 for none, 10 in the U-Net paper.
    border_sigma : float
        sigma of `border_weights`, pixels of the finest axis.
    background : int
        The class that is no object to `border_weights`; 0 if every class has objects.
    balance : bool
        Whether pixels of rare classes weigh more (w_c of the U-Net paper): n / (K n_c).
    augment : bool
        Whether patches are flipped and turned by quarters at random.
    device, precision : str
        See `napari_clusternet.device.select_device`.
    """

    steps: int = 400
    batch: int = 4
    patch: int = 0
    learning_rate: float = 1e-3
    loss: str = "cross_entropy"
    sampling: str = "both"
    border_weight: float = 0.0
    border_sigma: float = 5.0
    background: int = 0
    balance: bool = False
    augment: bool = True
    device: str = "auto"
    precision: str = "auto"

    ndims: ClassVar[tuple[int, ...]] = (2,)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for name, lowest in (("steps", 1), ("batch", 1), ("patch", 0), ("background", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                invalid(name, value, "not a count", f"Give a whole number of at least {lowest}")
        for name in ("learning_rate", "border_sigma"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                invalid(name, getattr(self, name), "not positive", "Give a number above 0")
        if not (math.isfinite(self.border_weight) and self.border_weight >= 0):
            invalid("border_weight", self.border_weight, "negative", "Give 0 or more")
        for name, known in (("loss", LOSSES), ("sampling", SAMPLINGS)):
            if getattr(self, name) not in known:
                invalid(name, getattr(self, name), "unknown", f"Use one of {list(known)}")

    def build(self, image: Image, n_classes: int, extent: tuple[int, ...]) -> Any:
        """Return an untrained `ScoreNetwork` for images like `image`.

        Parameters
        ----------
        image : Image
            One of the training images.
        n_classes : int
            Scores a pixel.
        extent : tuple of int
            Largest extent of the training images per axis, pixels.
        """
        raise NotImplementedError

    def fit_steps(
        self, images: Sequence[Image], masks: Sequence[LabelArray], random_state: int = 0
    ) -> Generator[Progress, None, TrainedNetwork]:
        """Yield progress; return the trained network.

        Parameters
        ----------
        images, masks
            A training set that has passed `napari_clusternet.supervised.base.check_training`.
        random_state : int
            Seed of the first weights, the patches and their turns.

        Raises
        ------
        InputError
            If no pixel with a class is valid, or the device is not there.
        TrainingFailedError
            If the loss is not finite.
        """
        device = select_device(self.device, self.precision)
        largest = tuple(np.max([image.shape for image in images], axis=0).tolist())
        known = TrainingSet(tuple(images), tuple(masks))
        classes = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
        classes = classes[classes > 0].astype(np.int64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            network = self.build(images[0], len(classes), largest)
        network.to(device.torch)
        patches = yield from self._patches(known, classes, network)
        yield from self._train(network, patches, device, random_state)
        return TrainedNetwork(network, patches.normalizer, images[0].bands, device, classes)

    def _patches(
        self, known: TrainingSet, classes: npt.NDArray[np.int64], network: Any
    ) -> Generator[Progress, None, MaskedPatches]:
        """Measure the images and weigh the pixels; masks are numbered 1..K without gaps."""
        total = len(known.images) + 1
        yield Progress("reading training images", 0, total)
        normalizer = Normalizer.fit(known.images)
        numbers = np.zeros(int(classes.max()) + 1, np.uint16)
        numbers[classes] = np.arange(1, len(classes) + 1)
        masks = _valid_masks(known, numbers)
        counts = np.stack([np.bincount(m.ravel(), minlength=len(classes) + 1) for m in masks])
        if not counts[:, 1:].any():
            names = [image.name for image in known.images]
            invalid("train_masks", names, "no pixel with a class is valid", "Check nodata")
        background = int(numbers[self.background]) if self.background in classes else None
        per_class = class_weights(masks, len(classes)) if self.balance else None
        weights = []
        for i, (image, mask) in enumerate(zip(known.images, masks, strict=True)):
            yield Progress("weighing pixels", i + 1, total)
            weights.append(self._weights(mask, image, per_class, background))
        first = known.images[0]
        largest = np.max([image.shape for image in known.images], axis=0).tolist()
        side = self.patch or (128 if first.ndim == 2 else 32)
        extent = patch_extent(side, first.spacing, largest, network.multiple)
        return MaskedPatches(known.images, masks, tuple(weights), normalizer, extent, counts)

    def _weights(
        self,
        mask: LabelArray,
        image: Image,
        per_class: npt.NDArray[np.float32] | None,
        background: int | None,
    ) -> npt.NDArray[np.float32]:
        weights = np.ones(mask.shape, np.float32) if per_class is None else per_class[mask]
        if self.border_weight:
            weights += border_weights(
                mask, w0=self.border_weight, sigma=self.border_sigma, background=background,
                spacing=image.spacing,
            )  # fmt: skip
        return weights

    def _train(
        self, network: Any, patches: MaskedPatches, device: Device, seed: int
    ) -> Generator[Progress, None, None]:
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate)
        spacing, extent = patches.images[0].spacing, patches.extent
        square = extent[-1] == extent[-2] and math.isclose(spacing[-1], spacing[-2], rel_tol=1e-3)
        layout = torch.channels_last if network.ndim == 2 else torch.channels_last_3d
        network.train()
        logger.info("%d steps of %d patches of %s pixels", self.steps, self.batch, extent)
        for step in range(self.steps):
            rng = np.random.default_rng([seed, step])
            arrays: Sequence[npt.NDArray[Any]] = patches.read(
                patches.draw(self.batch, self.sampling, rng)
            )
            if self.augment:
                arrays = augment(arrays, square, rng)
            values, masks, weights = (torch.from_numpy(a).to(device.torch) for a in arrays)
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate(step)
            loss = self._step(
                network, optimizer, values.contiguous(memory_format=layout), masks, weights, device
            )
            yield Progress("training", step + 1, self.steps, {"loss": loss})

    def _step(
        self, network: Any, optimizer: torch.optim.Optimizer, values: torch.Tensor,
        masks: torch.Tensor, weights: torch.Tensor, device: Device,
    ) -> float:  # fmt: skip
        low_precision = device.training_dtype != "float32"
        optimizer.zero_grad(set_to_none=True)
        with _repeatable():
            with torch.autocast(device.type, device.dtype, enabled=low_precision):
                scores = network(values)
            loss = LOSSES[self.loss](scores.float(), masks, weights)
            loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingFailedError(
                f"learning_rate={self.learning_rate}: the loss is {value}. Use a lower learning "
                f"rate, or precision='float32'"
            )
        optimizer.step()
        return value

    def _learning_rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / min(_RISE, max(1, self.steps // 10)))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def _valid_masks(known: TrainingSet, numbers: LabelArray) -> tuple[LabelArray, ...]:
    """Return the masks with classes renumbered, and 0 where their image is invalid."""
    masks = []
    for image, mask in zip(known.images, known.masks, strict=True):
        numbered = numbers[mask]
        for region in image.blocks():
            numbered[region] *= image.read(region)[1]
        masks.append(numbered)
    return tuple(masks)


def _repeatable() -> AbstractContextManager[None]:
    """Let cuDNN use only what gives the same gradients twice."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True
    )
    return flags
