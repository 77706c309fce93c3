"""Patches of one image for networks that train on it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clusternet.tiles import Region, plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]


def fill_invalid(values: FloatArray, valid: BoolArray) -> FloatArray:
    """Return `values` with every invalid pixel holding its nearest valid pixel's bands.

    Batch statistics and convolutions see all pixels of a patch; so they see only values that the
    image has, and nothing depends on what nodata is written as.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
        At least one pixel is valid.
    """
    if valid.all():
        return values
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: FloatArray = values[(slice(None), *nearest)]
    return filled


@dataclass(frozen=True, eq=False)
class Patches:
    """Random patches to train on and tiles that cover the image, with a margin of context.

    Beyond the image's borders the image is mirrored.

    Attributes
    ----------
    values : torch.Tensor of float32, shape (C, [Z,] Y, X)
        The image with `margin` on every side.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
        Without margin.
    extent, margin : tuple of int
        Of a patch without its margin, and of the margin on each side; per axis, pixels.
    """

    values: torch.Tensor
    valid: BoolArray
    extent: tuple[int, ...]
    margin: tuple[int, ...]

    @classmethod
    def over(
        cls, values: FloatArray, valid: BoolArray, edge: int, margin: tuple[int, ...]
    ) -> Patches:
        """Prepare an image (C, [Z,] Y, X) for patches of at most `edge` pixels along each axis."""
        pads = [(0, 0), *((m, m) for m in margin)]
        padded = np.pad(fill_invalid(values, valid), pads, mode="symmetric")
        extent = tuple(min(edge, n) for n in valid.shape)
        return cls(torch.from_numpy(np.ascontiguousarray(padded)), valid, extent, margin)

    @cached_property
    def _places(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.valid)

    def _cut(self, region: Region) -> torch.Tensor:
        with_margin = tuple(
            slice(part.start, part.stop + 2 * m)
            for part, m in zip(region, self.margin, strict=True)
        )
        return self.values[(slice(None), *with_margin)]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw `count` patches at random places, each around a random valid pixel.

        Returns
        -------
        values : torch.Tensor, shape (count, C, [Z,] Y, X)
            With margin.
        valid : torch.Tensor of bool, shape (count, 1, [Z,] Y, X)
            Without margin.
        """
        values, valid = [], []
        for pixel in rng.choice(self._places, count):
            region = []
            for at, n, size in zip(
                np.unravel_index(pixel, self.valid.shape),
                self.valid.shape, self.extent, strict=True,
            ):  # fmt: skip
                start = int(np.clip(at - rng.integers(size), 0, n - size))
                region.append(slice(start, start + size))
            values.append(self._cut(tuple(region)))
            valid.append(torch.from_numpy(self.valid[tuple(region)])[None])
        return torch.stack(values), torch.stack(valid)

    def cover(self) -> Iterator[tuple[Region, torch.Tensor]]:
        """Yield (region, values (1, C, [Z,] Y, X) with margin) of tiles that cover the image."""
        zeros, ones = (0,) * self.valid.ndim, (1,) * self.valid.ndim
        for tile in plan_tiles(self.valid.shape, self.extent, zeros, ones):
            yield tile.write, self._cut(tile.write)[None]
