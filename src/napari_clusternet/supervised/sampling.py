"""Patches of training images with their masks: at random in space, or by class frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.tiles import round_up

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.normalization import Normalizer

    FloatArray = npt.NDArray[np.float32]
    MaskArray = npt.NDArray[np.int64]

#: What ``sampling=`` takes.
SAMPLINGS = ("random", "frequency", "both")
#: Draws of a random place before one without any mask is taken as it is.
_TRIES = 20

Place = tuple[int, tuple[int, ...]]


def patch_extent(
    side: int, spacing: Sequence[float], largest: Sequence[int], multiple: Sequence[int]
) -> tuple[int, ...]:
    """Return the patch extent per axis: `side` pixels along the finest, the same world length else.

    Every extent is a multiple of the network's stride, and none exceeds the largest image's by
    more than what the stride asks for.
    """
    finest = min(spacing)
    return tuple(
        min(max(step, round(side * finest / size) // step * step), round_up(most, step))
        for size, most, step in zip(spacing, largest, multiple, strict=True)
    )


@dataclass(frozen=True)
class MaskedPatches:
    """Patches over images with masks; nothing but the masks and weights is held in memory.

    Attributes
    ----------
    images : tuple of Image
    masks : tuple of numpy.ndarray of uint8 or uint16, shape ([Z,] Y, X)
        0 where a pixel has no class or is invalid.
    weights : tuple of numpy.ndarray of float32, shape ([Z,] Y, X)
        Weight of each pixel in the loss.
    normalizer : Normalizer
    extent : tuple of int
        Patch extent ([Z,] Y, X), pixels.
    counts : numpy.ndarray of int64, shape (n_images, K + 1)
        Pixels of each label in each image.
    """

    images: tuple[Image, ...]
    masks: tuple[npt.NDArray[Any], ...]
    weights: tuple[FloatArray, ...]
    normalizer: Normalizer
    extent: tuple[int, ...]
    counts: npt.NDArray[np.int64]

    def draw(self, count: int, sampling: str, rng: np.random.Generator) -> list[Place]:
        """Return image and origin of `count` patches.

        ``"random"`` places are uniform in space over all images; ``"frequency"`` first chooses a
        class, all alike, then one of its pixels, then a patch that holds it, so that rare classes
        are seen as often as common ones; ``"both"`` takes turns.
        """
        by_class = {"random": [False], "frequency": [True], "both": [False, True]}[sampling]
        return [
            self._around_class(rng) if by_class[i % len(by_class)] else self._anywhere(rng)
            for i in range(count)
        ]

    def read(self, places: Sequence[Place]) -> tuple[FloatArray, MaskArray, FloatArray]:
        """Read patches: bands (B, C, ...), masks (B, ...) and weights (B, ...).

        Where a patch sticks out of its image, and where the image is invalid, bands and mask are 0.
        """
        values, masks, weights = [], [], []
        for index, origin in places:
            image = self.images[index]
            region = tuple(
                slice(low, min(low + side, size))
                for low, side, size in zip(origin, self.extent, image.shape, strict=True)
            )
            raw, valid = image.read(region)
            pad = [(0, side - n) for side, n in zip(self.extent, valid.shape, strict=True)]
            values.append(np.pad(self.normalizer(raw, valid), [(0, 0), *pad]))
            masks.append(np.pad(self.masks[index][region], pad))
            weights.append(np.pad(self.weights[index][region], pad))
        return np.stack(values), np.stack(masks).astype(np.int64), np.stack(weights)

    def _anywhere(self, rng: np.random.Generator) -> Place:
        """Draw a place uniform in space; again, within reason, if no pixel of it has a class."""
        areas = np.array([np.prod(image.shape) for image in self.images], dtype=float)
        for _ in range(_TRIES):
            index = int(rng.choice(len(areas), p=areas / areas.sum()))
            room = np.maximum(0, np.asarray(self.images[index].shape) - self.extent)
            origin = tuple(rng.integers(0, room + 1).tolist())
            if self._window(index, origin).any():
                return index, origin
        return self._around_class(rng)

    def _around_class(self, rng: np.random.Generator) -> Place:
        present = np.flatnonzero(self.counts[:, 1:].sum(axis=0)) + 1
        class_ = int(rng.choice(present))
        per_image = self.counts[:, class_] / self.counts[:, class_].sum()
        index = int(rng.choice(len(self.images), p=per_image))
        mask = self.masks[index]
        pixels = np.flatnonzero(mask.reshape(-1) == class_)
        pixel = np.array(np.unravel_index(int(rng.choice(pixels)), mask.shape))
        room = np.maximum(0, np.asarray(mask.shape) - self.extent)
        lowest = np.clip(pixel - np.asarray(self.extent) + 1, 0, room)
        highest = np.clip(pixel, 0, room)
        return index, tuple(rng.integers(lowest, highest + 1).tolist())

    def _window(self, index: int, origin: tuple[int, ...]) -> npt.NDArray[Any]:
        region = tuple(
            slice(low, low + side) for low, side in zip(origin, self.extent, strict=True)
        )
        return self.masks[index][region]


def augment(
    arrays: Sequence[npt.NDArray[Any]], square: bool, rng: np.random.Generator
) -> list[npt.NDArray[Any]]:
    """Turn every patch of a batch the same way in all `arrays`: flips, and quarter turns.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray, shapes (B, ..., [Z,] Y, X)
        Bands, masks and weights of the same patches.
    square : bool
        Whether pixels and patches are square in Y and X, so that quarter turns make sense.
    rng : numpy.random.Generator

    Returns
    -------
    list of numpy.ndarray
        Copies; each patch is flipped along each spatial axis with probability 1/2, and turned by
        a random multiple of 90 degrees in the plane (Y, X) if `square`.
    """
    ndim = arrays[-1].ndim - 1
    turned = [np.empty_like(array) for array in arrays]
    for i in range(len(arrays[0])):
        axes = tuple(-1 - axis for axis in range(ndim) if rng.integers(2))
        quarters = int(rng.integers(4)) if square else 0
        for source, target in zip(arrays, turned, strict=True):
            target[i] = np.rot90(np.flip(source[i], axes), quarters, (-2, -1))
    return turned
