"""Patches of constant size, drawn lazily from images of any size (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.tiles import round_up

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import BoolArray, FloatArray, Image
    from napari_clusternet.normalization import Normalizer

#: Patches of small images are halved down to this side, pixels.
MIN_SIDE = {2: 64, 3: 32}


def patch_extent(
    side: float, spacing: Sequence[float], largest: Sequence[int], multiple: Sequence[int]
) -> tuple[int, ...]:
    """Return the extent per axis of a patch that is about a cube of side `side` in the world.

    The patch holds about ``side ** ndim`` pixels; an axis with larger spacing gets fewer. No axis
    exceeds the `largest` image's; all are multiples of the network's stride.
    """
    ndim = len(spacing)
    mean = float(np.prod(spacing)) ** (1 / ndim)
    extent = []
    for size, most, step in zip(spacing, largest, multiple, strict=True):
        wanted = max(step, int(side * mean / size + 0.5) // step * step)
        extent.append(min(wanted, max(2, round_up(most, step))))  # BatchNorm needs two pixels
    return tuple(extent)


def choose_extent(
    images: Sequence[Image], patch: int, wanted: int, multiple: Sequence[int]
) -> tuple[int, ...]:
    """Choose the patch extent: the paper's size, halved while the images give too few patches.

    Parameters
    ----------
    images : sequence of Image
        The training set.
    patch : int
        Side in 2D, pixels. A 3D patch holds about as many voxels: 512^2 = 64^3.
    wanted : int
        Patches to have at least (one clustering batch).
    multiple : sequence of int
        The network's total stride per axis.
    """
    ndim = images[0].ndim
    side = patch if ndim == 2 else round(patch ** (2 / 3))
    largest = np.max([image.shape for image in images], axis=0)
    while True:
        extent = patch_extent(side, images[0].spacing, largest, multiple)
        count = sum(len(_grid(image.shape, extent)) for image in images)
        if count >= wanted or side / 2 < MIN_SIDE[ndim]:
            return extent
        side /= 2


def _grid(shape: Sequence[int], extent: Sequence[int]) -> list[tuple[int, ...]]:
    """Return origins of patches that cover `shape`, evenly spread, overlapping if need be."""
    axes = []
    for size, side in zip(shape, extent, strict=True):
        count = -(-size // side)
        axes.append(np.linspace(0, max(0, size - side), count).round().astype(int).tolist())
    return list(product(*axes))


@dataclass(frozen=True)
class PatchSet:
    """A fixed grid of patches over several images; nothing is read before it is asked for.

    Attributes
    ----------
    images : tuple of Image
    normalizer : Normalizer
    extent : tuple of int
        Patch extent ([Z,] Y, X), pixels.
    grid : tuple of (int, tuple of int)
        Image index and origin of each patch.
    """

    images: tuple[Image, ...]
    normalizer: Normalizer
    extent: tuple[int, ...]
    grid: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def over(
        cls, images: Sequence[Image], normalizer: Normalizer, extent: tuple[int, ...]
    ) -> PatchSet:
        """Lay the grid over `images`."""
        grid = tuple(
            (i, origin) for i, image in enumerate(images) for origin in _grid(image.shape, extent)
        )
        return cls(tuple(images), normalizer, extent, grid)

    def __len__(self) -> int:
        return len(self.grid)

    def origins(
        self, indices: Sequence[int], rng: np.random.Generator | None = None
    ) -> list[tuple[int, tuple[int, ...]]]:
        """Return (image, origin) of some patches, moved by up to half a patch if `rng` is given."""
        chosen = [self.grid[i] for i in indices]
        if rng is None:
            return chosen
        half = np.asarray(self.extent) // 2
        moved = []
        for image, origin in chosen:
            last = np.maximum(0, np.asarray(self.images[image].shape) - self.extent)
            shift = rng.integers(-half, half + 1)
            moved.append((image, tuple(np.clip(np.add(origin, shift), 0, last).tolist())))
        return moved

    def read(self, places: Sequence[tuple[int, tuple[int, ...]]]) -> tuple[FloatArray, BoolArray]:
        """Read patches: normalised values (B, C, [Z,] Y, X) and validity (B, [Z,] Y, X).

        Where a patch sticks out of its image it is 0 and invalid. Patches without a valid pixel
        are left out, so B may be less than asked, even 0.
        """
        values: list[npt.NDArray[np.float32]] = []
        masks: list[npt.NDArray[np.bool_]] = []
        for index, origin in places:
            image = self.images[index]
            region = tuple(
                slice(low, min(low + side, size))
                for low, side, size in zip(origin, self.extent, image.shape, strict=True)
            )
            raw, valid = image.read(region)
            if not valid.any():
                continue
            pad = [(0, side - n) for side, n in zip(self.extent, valid.shape, strict=True)]
            values.append(np.pad(self.normalizer(raw, valid), [(0, 0), *pad]))
            masks.append(np.pad(valid, pad))
        if not values:
            bands = self.images[0].n_bands
            return np.zeros((0, bands, *self.extent), np.float32), np.zeros((0, *self.extent), bool)
        return np.stack(values), np.stack(masks)
