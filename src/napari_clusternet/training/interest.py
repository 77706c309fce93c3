"""How often to draw each patch of a grid, so that varied places are seen more than flat ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from napari_clusternet.training.randomness import Purpose, generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.tiles import Region
    from napari_clusternet.training.patches import PatchSet

#: Places of each image that are looked at; any other counts as the nearest of them.
CANDIDATES = 256
#: Edge of a window that is read, pixels, by number of spatial axes; 2 windows an axis and place.
WINDOW = {2: 32, 3: 16}
#: Share of the draws that do not ask for variety, so that every place has its turn.
UNIFORM_SHARE = 0.25


def draw_chances(patches: PatchSet, seed: int) -> npt.NDArray[np.float64]:
    """Return how likely each patch of the grid is drawn: in proportion to its variety, mostly.

    The variety of a place is the standard deviation of its valid pixels, averaged over the
    normalised bands. It is measured at `CANDIDATES` random places an image, in small windows; where
    the image has coarser levels, in the coarsest on which a patch is not smaller than a window.

    Parameters
    ----------
    patches : PatchSet
        The grid.
    seed : int
        Of the run; the same seed and images give the same chances.

    Returns
    -------
    numpy.ndarray of float64, shape (len(patches),)
        They sum to 1; 0 where a place was looked at and has no valid pixel.
    """
    variety, allowed = np.zeros(len(patches)), np.ones(len(patches), dtype=bool)
    image_of = np.array([image for image, _ in patches.grid])
    for index, image in enumerate(patches.images):
        own = np.flatnonzero(image_of == index)
        places = np.array([patches.grid[i][1] for i in own]) / patches.extent
        rng = generator(seed, Purpose.INTEREST, index)
        looked = np.sort(rng.permutation(len(own))[:CANDIDATES])
        view = _coarse_view(image, patches.extent)
        found = np.array([_variety(patches, i, view, rng) for i in own[looked].tolist()])
        allowed[own[looked]] = ~np.isnan(found)
        variety[own] = np.nan_to_num(found)[KDTree(places[looked]).query(places)[1]]
    if not allowed.any():
        allowed[:] = True
    variety[~allowed] = 0
    chances: npt.NDArray[np.float64] = allowed / allowed.sum()
    if variety.any():
        chances *= UNIFORM_SHARE
        chances += (1 - UNIFORM_SHARE) * variety / variety.sum()
    return chances


def _coarse_view(image: Image, extent: Sequence[int]) -> Image:
    """Return the coarsest level on which a patch is not smaller than a window."""
    least = np.minimum(WINDOW[image.ndim], extent)
    for level in reversed(image.levels):
        if (np.multiply(extent, level.shape) / image.shape >= least).all():
            return level
    return image


def _variety(patches: PatchSet, number: int, view: Image, rng: np.random.Generator) -> float:
    """Return the variety of a patch of the grid; NaN if none of its pixels is valid."""
    image, origin = patches.grid[number]
    shape = np.array(view.shape)
    scale = shape / patches.images[image].shape
    low = np.minimum(np.floor(origin * scale).astype(int), shape - 1)
    sides = np.maximum(1, np.round(np.array(patches.extent) * scale).astype(int))
    sides = np.minimum(sides, shape - low)
    pixels = []
    for region in _windows(low, sides, rng):
        values, valid = view.read(region)
        pixels.append(patches.normalizer(values, valid)[:, valid])
    seen = np.concatenate(pixels, axis=1)
    if not seen.size:  # there may be some between the windows
        values, masks = patches.read([(image, origin)])
        seen = values.swapaxes(0, 1)[:, masks]
    return float(seen.std(axis=1).mean()) if seen.size else np.nan


def _windows(
    low: npt.NDArray[np.int_], sides: npt.NDArray[np.int_], rng: np.random.Generator
) -> Iterator[Region]:
    """Yield the windows of a patch at random places inside it, or all of a small one."""
    ndim = len(sides)
    edges = np.minimum(WINDOW[ndim], sides)
    count = 2**ndim
    if sides.prod() <= count * edges.prod():
        edges, count = sides, 1
    for _ in range(count):
        start = low + rng.integers(0, sides - edges + 1)
        yield tuple(slice(a, a + n) for a, n in zip(start.tolist(), edges.tolist(), strict=True))
