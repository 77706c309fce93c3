"""Tiles that give exactly the whole-image result.

The rules: a tile is read with a halo of at least half the receptive field, its read origin is a
multiple of the network's total stride, and nothing is padded except at the image's true borders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Region = tuple[slice, ...]

#: An axis whose spacing is more than this times the finest is coarse.
COARSE = 3.0


@dataclass(frozen=True)
class Tile:
    """One tile of a plan; all slices are over the spatial axes ([Z,] Y, X).

    Attributes
    ----------
    write : tuple of slice
        The part of the output that this tile fills, in image coordinates.
    read : tuple of slice
        What must be read to fill it, in image coordinates, inside the image.
    crop : tuple of slice
        Where `write` lies inside the block that was read.
    """

    write: Region
    read: Region
    crop: Region


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple


def fine_axes(spacing: Sequence[float]) -> tuple[bool, ...]:
    """Whether each axis is sampled finely enough for pixels along it to be mixed.

    Across thick slices neighbours show different places.
    """
    limit = COARSE * min(spacing) * (1 + 1e-6)  # spacings are often products of rounded numbers
    return tuple(step <= limit for step in spacing)


def _axis_spans(
    start: int, stop: int, size: int, tile: int, halo: int, multiple: int
) -> list[tuple[slice, slice, slice]]:
    spans = []
    for low in range(start, stop, tile):
        high = min(low + tile, stop)
        first = max(0, low - halo) // multiple * multiple
        last = min(size, round_up(high + halo, multiple))
        spans.append((slice(low, high), slice(first, last), slice(low - first, high - first)))
    return spans


def plan_tiles(
    shape: Sequence[int],
    tile: Sequence[int],
    halo: Sequence[int],
    multiple: Sequence[int],
    region: Region | None = None,
) -> Iterator[Tile]:
    """Yield the tiles that cover an image, or a region of it, in C order.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape ([Z,] Y, X) of the image.
    tile : sequence of int
        Tile extent per axis, pixels.
    halo : sequence of int
        Context per axis and side, pixels: half the receptive field, rounded up.
    multiple : sequence of int
        Total stride per axis: every read starts at a multiple of it.
    region : tuple of slice, optional
        Part of the image to cover; the whole image by default.
    """
    region = region or tuple(slice(0, size) for size in shape)
    axes = [
        _axis_spans(part.start, part.stop, size, *steps)
        for part, size, *steps in zip(region, shape, tile, halo, multiple, strict=True)
    ]
    for spans in product(*axes):
        write, read, crop = zip(*spans, strict=True)
        yield Tile(write, read, crop)
