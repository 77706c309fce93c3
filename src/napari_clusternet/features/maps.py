"""The maps of a trained network over a whole image, each at its own resolution.

A map of stride 16 has one value where its interpolation to the pixels has 256: kept like this, all
272 channels of EfficientNet-Lite0 take 14 MB a megapixel, and any pixel's can be had at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.tiles import round_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_clusternet.tiles import Tile

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]


class PretrainedMaps:
    """Maps of `napari_clusternet.features.pretrained.PretrainedFeatures` of one image.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape ([Z,] Y, X) of the image.
    channels, strides : sequence of int
        Channels and stride of each map.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        self.shape, self._strides = shape, tuple(strides)
        wide = [round_up(size, max(strides)) for size in shape[-2:]]
        self._levels = [
            np.zeros((c, *shape[:-2], *(size // s for size in wide)), np.float16)
            for c, s in zip(channels, strides, strict=True)
        ]

    @property
    def n_channels(self) -> int:
        """Channels of all maps together."""
        return sum(map(len, self._levels))

    def put(self, tile: Tile, maps: Sequence[FloatArray]) -> None:
        """Write a tile's maps (c, [Z,] Y / s, X / s), which begin where its reading begins."""
        for level, block, stride in zip(self._levels, maps, self._strides, strict=True):
            there: list[slice] = [slice(None)]
            here: list[slice] = [slice(None)]
            for axis, (write, crop) in enumerate(zip(tile.write, tile.crop, strict=True)):
                step = stride if axis >= len(tile.write) - 2 else 1
                cells = -(-(write.stop - write.start) // step)
                there.append(slice(write.start // step, write.start // step + cells))
                here.append(slice(crop.start // step, crop.start // step + cells))
            level[tuple(there)] = block[tuple(here)]

    def take(self, pixels: IntArray) -> FloatArray:
        """Return the channels (n, c) in float32 of pixels, given by flat index.

        They are interpolated as `napari_clusternet.networks.efficientnet_lite.place` does.
        """
        return at_pixels(self._levels, self._strides, self.shape, pixels)


def at_pixels(
    maps: Sequence[npt.NDArray[Any]],
    strides: Sequence[int],
    shape: tuple[int, ...],
    pixels: IntArray,
) -> FloatArray:
    """Interpolate maps (c, [Z,] Y / s, X / s) of an image of `shape` to pixels by flat index.

    Returns
    -------
    numpy.ndarray of float32, shape (n, channels of all maps)
    """
    *planes, rows, columns = np.unravel_index(pixels, shape)
    found = np.empty((len(pixels), sum(map(len, maps))), np.float32)
    done = 0
    for level, stride in zip(maps, strides, strict=True):
        top, bottom, down = _neighbours(rows, stride, level.shape[-2])
        left, right, along = _neighbours(columns, stride, level.shape[-1])
        upper = _between(level, planes, top, left, right, along)
        lower = _between(level, planes, bottom, left, right, along)
        found[:, done : done + len(level)] = (upper + (lower - upper) * down).T
        done += len(level)
    return found


def _neighbours(places: IntArray, stride: int, size: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Cells before and after pixels along an axis, and how far between them the pixels are."""
    place = np.maximum((np.maximum(places - stride // 2, 0) + 0.5) / stride - 0.5, 0)
    before = np.minimum(place.astype(np.intp), size - 1)
    return before, np.minimum(before + 1, size - 1), (place - before).astype(np.float32)


def _between(
    level: npt.NDArray[Any], planes: Sequence[IntArray], row: IntArray, left: IntArray,
    right: IntArray, along: FloatArray,
) -> FloatArray:  # fmt: skip
    """Interpolate (c, n) along the rows of a map."""
    everything: tuple[Any, ...] = (slice(None), *planes, row)
    first = level[(*everything, left)].astype(np.float32)
    second = level[(*everything, right)].astype(np.float32)
    result: FloatArray = first + (second - first) * along
    return result
