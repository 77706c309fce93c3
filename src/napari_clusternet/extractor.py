"""What every feature extractor is, and how its features are computed tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_clusternet.progress import Progress
from napari_clusternet.tiles import Region, Tile, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from napari_clusternet.image import Bands, Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    Keep = Callable[[Tile, list[FloatArray]], object]

#: An image of at most so many pixels is one tile: about 1 GB of network activations.
WHOLE_PIXELS = 1 << 20
#: Default tile extent by number of spatial axes, pixels; see `default_tile`.
_TILE = {2: (512, 512), 3: (64, 64, 64)}


class Extractor(Protocol):
    """A fitted extractor: a pure function of a block and its validity.

    Its result on a block, away from the block's inner edges by `halo`, equals its result on the
    whole image: that is what makes tiles exact.
    """

    @property
    def bands(self) -> Bands:
        """Bands of the images it takes."""

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the images it takes, 2 or 3."""

    @property
    def n_features(self) -> int:
        """Features a pixel."""

    @property
    def halo(self) -> tuple[int, ...]:
        """Context per spatial axis and side, pixels."""

    @property
    def multiple(self) -> tuple[int, ...]:
        """Total stride per spatial axis: a block must start at a multiple of it."""

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""


def default_tile(extractor: Extractor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Tile extent ([Z,] Y, X) for an image: all of it if small, else much wider than the halo."""
    if np.prod(shape) <= WHOLE_PIXELS:
        return shape
    edges = _TILE[extractor.ndim]
    return tuple(max(edge, 3 * halo) for edge, halo in zip(edges, extractor.halo, strict=True))


def extract_tile(
    extractor: Extractor, image: Image, tile: Tile, keep: Keep | None = None
) -> FloatArray:
    """Read one tile with its halo and return its features (F, [Z,] Y, X), invalid pixels 0.

    `keep` is called with the tile and the maps that the extractor makes on its way; see
    `has_maps`.
    """
    values, valid = image.read(tile.read)
    if keep is None:
        block = extractor(values, valid)
    else:
        block, maps = extractor.with_maps(values, valid)  # type: ignore[attr-defined]
        keep(tile, maps)
    features = block[(slice(None), *tile.crop)]
    features[:, ~valid[tile.crop]] = 0
    return features


def has_maps(extractor: Extractor) -> bool:
    """Whether the extractor, or a part of it, makes maps of a pretrained network."""
    return getattr(extractor, "has_maps", False)


def iter_tiles(
    extractor: Extractor,
    image: Image,
    tile: tuple[int, ...] | None = None,
    keep: Keep | None = None,
) -> Generator[tuple[Progress, Region, FloatArray], None, None]:
    """Yield (progress, region, features) over an image, tile by tile; `keep`: see `extract_tile`.

    Raises
    ------
    InputError
        If the image's bands are not the extractor's.
    """
    extractor.bands.check(image, "the feature extractor")
    plan = list(
        plan_tiles(
            image.shape,
            tile or default_tile(extractor, image.shape),
            extractor.halo,
            extractor.multiple,
        )
    )
    for i, part in enumerate(plan):
        block = extract_tile(extractor, image, part, keep)
        yield Progress("computing features", i + 1, len(plan)), part.write, block


def transform(
    extractor: Extractor,
    image: Image,
    tile: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Any:
    """Return the features (F, [Z,] Y, X) of an image: lazy (dask) if the image is lazy.

    Parameters
    ----------
    extractor : Extractor
        A fitted extractor.
    image : Image
        An image with the extractor's bands.
    tile : tuple of int, optional
        Tile extent ([Z,] Y, X), pixels; rounded up to the extractor's stride.
    dtype : dtype
        float32 or float16.

    Raises
    ------
    InputError
        If the image's bands are not the extractor's.
    """
    if image.is_lazy:
        return _lazy_features(
            extractor, image, tile or default_tile(extractor, image.shape), np.dtype(dtype)
        )
    features = np.empty((extractor.n_features, *image.shape), dtype)
    for _, region, block in iter_tiles(extractor, image, tile):
        features[(slice(None), *region)] = block
    return features


def _lazy_features(
    extractor: Extractor, image: Image, tile: tuple[int, ...], dtype: np.dtype[Any]
) -> Any:
    """One task per output chunk, each reading its own halo (no overlap graph)."""
    import dask.array as da
    from dask.delayed import delayed

    extractor.bands.check(image, "the feature extractor")
    compute = delayed(
        lambda part, picture, extract: extract_tile(extract, picture, part).astype(dtype),
        pure=False,
    )
    plan = plan_tiles(image.shape, tile, extractor.halo, extractor.multiple)
    grid = tuple(-(-size // step) for size, step in zip(image.shape, tile, strict=True))
    blocks = np.empty((1, *grid), dtype=object)
    # Image and extractor travel once, not once a task; untraversed, or dask would find the lazy
    # pixels inside the image and compute them all.
    shared = [delayed(value, pure=False, traverse=False) for value in (image, extractor)]
    for index, part in zip(np.ndindex(*grid), plan, strict=True):
        shape = tuple(s.stop - s.start for s in part.write)
        task = compute(part, *shared)
        block = da.from_delayed(task, (extractor.n_features, *shape), dtype)
        blocks[(0, *index)] = block
    return da.block(blocks.tolist())
