"""Features as colours: their first principal components as red, green and blue."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import default_tile, extract_tile, iter_tiles
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor, FloatArray
    from napari_clusternet.image import Image
    from napari_clusternet.tiles import Tile

    ByteArray = npt.NDArray[np.uint8]

#: A preview of so many pixels or fewer is computed at once (3 bytes a pixel); of a larger lazy
#: image only what is looked at.
MAX_PIXELS = 1 << 26
#: Places per axis, by number of spatial axes, and their extent, that the colours are fitted to.
_PLACES, _EXTENT = {2: 4, 3: 2}, {2: 128, 3: 32}
#: Pixels that the colours are fitted to at most.
_SAMPLE = 1 << 16
#: Each component is stretched between these percentiles.
_STRETCH = (2.0, 98.0)


@dataclass(frozen=True)
class Colouring:
    """From features to colours.

    Attributes
    ----------
    mean : numpy.ndarray of float32, shape (n_features,)
        Mean of the features.
    axes : numpy.ndarray of float32, shape (n_features, 3)
        The first three principal axes; the largest weight of each is positive, so that the same
        features always get the same colours.
    low, high : numpy.ndarray of float32, shape (3,)
        What becomes 0 and 255.
    """

    mean: FloatArray
    axes: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def fit(cls, rows: FloatArray) -> Colouring:
        """Fit to feature vectors of shape (n, n_features), n > 0.

        With fewer than three features, the last component fills the other colours.
        """
        mean = rows.mean(axis=0, dtype=np.float64)
        centred = rows.astype(np.float64) - mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        axes = vectors[:, ::-1][:, :3]
        axes = axes[:, np.minimum(np.arange(3), axes.shape[1] - 1)]
        axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], 0))
        low, high = np.percentile(centred @ axes, _STRETCH, axis=0)
        high = np.where(high > low, high, low + 1)
        return cls(*(value.astype(np.float32) for value in (mean, axes, low, high)))

    def __call__(self, features: FloatArray) -> ByteArray:
        """Return colours ([Z,] Y, X, 3) of features (n_features, [Z,] Y, X)."""
        axes = self.axes * (255 / (self.high - self.low))
        shift = -(self.mean @ self.axes + self.low) * (255 / (self.high - self.low))
        colours = np.tensordot(features, axes, axes=(0, 0)) + shift
        painted: ByteArray = np.clip(colours, 0, 255).astype(np.uint8)
        return painted


def preview_steps(extractor: Extractor, image: Image) -> Generator[Progress, None, Any]:
    """Paint an image's features, tile by tile.

    Parameters
    ----------
    extractor : Extractor
        A fitted extractor, such as `ClusterNet.extractor_`.
    image : Image
        With the extractor's bands.

    Yields
    ------
    Progress
        After every tile.

    Returns
    -------
    numpy.ndarray or dask.array.Array of uint8, shape ([Z,] Y, X, 3)
        Red, green and blue; black where invalid. Lazy if the image is lazy and larger than
        `MAX_PIXELS` pixels.

    Raises
    ------
    InputError
        If the image's bands or number of axes are not the extractor's, or no pixel is valid.
    """
    extractor.bands.check(image, "the features")
    if extractor.ndim != image.ndim:
        problem = f"it has {image.ndim} spatial axes, the features were learned with"
        invalid("image", image.name, f"{problem} {extractor.ndim}", "Choose another image")
    tile = default_tile(extractor, image.shape)
    if tile == image.shape:  # computed once, for both the fit and the picture
        features = extract_tile(extractor, image, next(_tiles(extractor, image, tile)))
        colouring = Colouring.fit(_sampled([(features, image.read()[1])], image))
        yield Progress("painting features", 1, 1)
        return _painted(colouring, features, image.read()[1])
    colouring = yield from _fit_steps(extractor, image)
    if image.is_lazy and np.prod(image.shape) > MAX_PIXELS:
        return _lazy(extractor, image, colouring, tile)
    picture = np.zeros((*image.shape, 3), np.uint8)
    for step, region, features in iter_tiles(extractor, image, tile):
        picture[region] = _painted(colouring, features, image.read(region)[1])
        yield Progress("painting features", step.done, step.total)
    return picture


def _tiles(extractor: Extractor, image: Image, tile: tuple[int, ...]) -> Iterator[Tile]:
    yield from plan_tiles(image.shape, tile, extractor.halo, extractor.multiple)


def _fit_steps(extractor: Extractor, image: Image) -> Generator[Progress, None, Colouring]:
    """Fit the colours to a few places spread over the image."""
    extent = _EXTENT[image.ndim]
    spans = [
        [slice(low, min(low + extent, size)) for low in _spread(size, extent, _PLACES[image.ndim])]
        for size in image.shape
    ]
    places = list(product(*spans))
    found: list[tuple[FloatArray, npt.NDArray[np.bool_]]] = []
    for i, region in enumerate(places):
        whole = tuple(part.stop - part.start for part in region)
        plan = plan_tiles(image.shape, whole, extractor.halo, extractor.multiple, region)
        found += [(extract_tile(extractor, image, part), image.read(part.write)[1])
                  for part in plan]  # fmt: skip
        yield Progress("choosing colours", i + 1, len(places))
    if not any(valid.any() for _, valid in found):  # most of the image is invalid
        for _, region, features in iter_tiles(extractor, image):
            found = [(features, image.read(region)[1])]
            if found[0][1].any():
                break
    return Colouring.fit(_sampled(found, image))


def _spread(size: int, extent: int, count: int) -> list[int]:
    """Return where `count` windows of `extent` begin that are spread over `size`, without twins."""
    last = max(0, size - extent)
    return sorted({int(low) for low in np.linspace(0, last, count + 2)[1:-1]}) if last else [0]


def _sampled(found: list[tuple[FloatArray, npt.NDArray[np.bool_]]], image: Image) -> FloatArray:
    """Return at most `_SAMPLE` feature vectors (n, n_features) of valid pixels, evenly spread."""
    count = sum(int(valid.sum()) for _, valid in found)
    if count == 0:
        invalid("image", image.name, "no valid pixel was found", "Check nodata and the mask")
    step = -(-count // _SAMPLE)
    return np.concatenate([features[:, valid][:, ::step].T for features, valid in found])


def _painted(colouring: Colouring, features: FloatArray, valid: npt.NDArray[np.bool_]) -> ByteArray:
    colours = colouring(features)
    colours[~valid] = 0
    return colours


def _lazy(extractor: Extractor, image: Image, colouring: Colouring, tile: tuple[int, ...]) -> Any:
    """Return the colours as a dask array whose chunks are computed when looked at."""
    import dask.array as da

    steps = [
        tuple(min(edge, size - low) for low in range(0, size, edge))
        for edge, size in zip(tile, image.shape, strict=True)
    ]

    def paint(block_info: Any = None) -> ByteArray:
        region = tuple(slice(*span) for span in block_info[None]["array-location"][:-1])
        whole = tuple(part.stop - part.start for part in region)
        plan = plan_tiles(image.shape, whole, extractor.halo, extractor.multiple, region)
        features = extract_tile(extractor, image, next(plan))
        return _painted(colouring, features, image.read(region)[1])

    return da.map_blocks(paint, chunks=(*steps, (3,)), dtype=np.uint8, meta=np.empty(0, np.uint8))
