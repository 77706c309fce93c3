"""Patches of one image for networks that train on it alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clusternet.normalization import Normalizer
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import Region, plan_tiles
from napari_clusternet.unsupervised.base import refuse_empty

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.networks.wnet import PixelNetwork

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Longest edge of a training patch of a volume, voxels: as many as 181 x 181 pixels.
VOLUME_EDGE = 32
#: Least edge of a tile when a network is applied, by number of spatial axes, pixels.
TILE_EDGE = {2: 512, 3: 64}


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

    def cut(self, region: Region) -> torch.Tensor:
        """Return a region (C, [Z,] Y, X) with its margin."""
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
            values.append(self.cut(tuple(region)))
            valid.append(torch.from_numpy(self.valid[tuple(region)])[None])
        return torch.stack(values), torch.stack(valid)

    def cover(self) -> Iterator[tuple[Region, torch.Tensor]]:
        """Yield (region, values (1, C, [Z,] Y, X) with margin) of tiles that cover the image."""
        zeros, ones = (0,) * self.valid.ndim, (1,) * self.valid.ndim
        for tile in plan_tiles(self.valid.shape, self.extent, zeros, ones):
            yield tile.write, self.cut(tile.write)[None]


def read_standard(image: Image) -> tuple[FloatArray, BoolArray]:
    """Read a whole image with mean 0 and standard deviation 1 a band; 0 where invalid.

    Returns
    -------
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)

    Raises
    ------
    InputError
        If no pixel is valid.
    """
    values, valid = image.read()
    refuse_empty(image, valid)
    return Normalizer.fit([image])(values, valid), valid


def patch_edge(edge: int, ndim: int) -> int:
    """Return the longest edge of a training patch: in volumes at most 32 voxels."""
    return edge if ndim == 2 else min(edge, VOLUME_EDGE)


@torch.no_grad()
def argmax_steps(
    network: PixelNetwork, patches: Patches, device: torch.device
) -> Generator[Progress, None, npt.NDArray[np.int64]]:
    """Return the strongest channel of a network's first head for every pixel, tile by tile.

    Tiles are read with the network's halo, from places that its stride allows: the result is that
    of the whole image at once. The network must be in evaluation mode, `patches` without margin.
    """
    shape, unet = patches.valid.shape, network.unet
    tile = tuple(max(TILE_EDGE[len(shape)], halo) for halo in unet.halo)
    labels = np.zeros(shape, np.int64)
    plan = list(plan_tiles(shape, tile, unet.halo, unet.multiple))
    for i, part in enumerate(plan):
        x = patches.values[(slice(None), *part.read)][None].to(device)
        best = network(x)[0].argmax(dim=1)[0].cpu().numpy()
        labels[part.write] = best[part.crop]
        yield Progress("applying", i + 1, len(plan))
    return labels
