"""`FeatureMatrix`: one row of features for every valid pixel, in memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor, has_maps, iter_tiles
from napari_clusternet.image import Image
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.features.maps import PretrainedMaps

    FloatArray = npt.NDArray[np.floating]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.integer]

#: Above this size the rows are kept in float16; arithmetic on them is float32 all the same.
HALF_PRECISION_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Outside:
    """Single pixels of the scene that an image is a field of, elsewhere in that scene.

    Attributes
    ----------
    places : numpy.ndarray of int64, shape (n, ndim)
        Pixel indices ([z,] y, x).
    rows : numpy.ndarray of float32 or float16, shape (n, n_features)
        Their features.
    maps : numpy.ndarray of float16, shape (n, channels), or None
        Their channels of a pretrained network's maps.
    """

    places: IntArray
    rows: FloatArray
    maps: npt.NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __add__(self, other: Outside) -> Outside:
        maps = None
        if self.maps is not None and other.maps is not None:
            maps = np.concatenate([self.maps, other.maps])
        return Outside(
            np.concatenate([self.places, other.places]),
            np.concatenate([self.rows, other.rows]),
            maps,
        )


class FeatureMatrix:
    """Features as rows, with the way from a pixel to its row.

    Pixels are named by flat index; those outside the image follow the image's own.

    Parameters
    ----------
    rows : numpy.ndarray of float32 or float16, shape (n_valid + n_outside, n_features)
        Feature vectors of the valid pixels, in C order of the pixels, then of those outside.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
        Which pixels have a row.
    maps : PretrainedMaps, optional
        All maps of a pretrained network, of which the rows hold some components.
    of_maps : numpy.ndarray of bool, shape (n_features,), optional
        Which features those are.
    outside : Outside, optional
        Pixels outside the image; places count from the image's first pixel.
    """

    def __init__(
        self,
        rows: FloatArray,
        valid: BoolArray,
        maps: PretrainedMaps | None = None,
        of_maps: BoolArray | None = None,
        outside: Outside | None = None,
    ) -> None:
        self.rows, self.valid, self.maps, self.outside = rows, valid, maps, outside
        self.of_maps = np.zeros(rows.shape[1], dtype=bool) if of_maps is None else of_maps
        self._row_of: IntArray | None = None
        if not valid.all():  # else row and flat index are the same, outside as well
            ranks = _ranks(valid)
            n_inside = len(rows) - self.n_outside
            self._row_of = np.concatenate([ranks, np.arange(n_inside, len(rows))])

    @property
    def n_outside(self) -> int:
        """Pixels outside the image."""
        return 0 if self.outside is None else len(self.outside)

    @property
    def n_features(self) -> int:
        """Features a pixel."""
        return int(self.rows.shape[1])

    def take(self, pixels: IntArray) -> FloatArray:
        """Feature vectors (n, n_features) in float32 of valid pixels, given by flat index."""
        rows = pixels if self._row_of is None else self._row_of[pixels]
        return self.rows[rows].astype(np.float32, copy=False)

    def take_maps(self, pixels: IntArray) -> npt.NDArray[np.float32]:
        """Channels (n, channels) of the maps, of pixels given by flat index."""
        assert self.maps is not None
        size = self.valid.size
        inside = pixels < size
        if inside.all():
            return self.maps.take(pixels)
        assert self.outside is not None
        assert self.outside.maps is not None
        found = np.empty((len(pixels), self.maps.n_channels), np.float32)
        found[inside] = self.maps.take(pixels[inside])
        found[~inside] = self.outside.maps[pixels[~inside] - size]
        return found

    def places(self, pixels: IntArray) -> npt.NDArray[np.int64]:
        """Pixel indices (n, ndim) from the image's first pixel on, of pixels by flat index."""
        size = self.valid.size
        found = np.stack(np.unravel_index(pixels % size, self.valid.shape), axis=1)
        beyond = pixels >= size
        if beyond.any():
            assert self.outside is not None
            found[beyond] = self.outside.places[pixels[beyond] - size]
        return found

    def scatter(self, ids: IntArray) -> npt.NDArray[np.uint16]:
        """Lay one id per row out over the image: uint16 ([Z,] Y, X), 0 where invalid."""
        ids = ids[: len(ids) - self.n_outside]
        if self._row_of is None:
            return ids.astype(np.uint16).reshape(self.valid.shape)
        canvas = np.zeros(self.valid.shape, np.uint16)
        canvas[self.valid] = ids
        return canvas


def _ranks(valid: BoolArray) -> IntArray:
    return np.cumsum(valid.reshape(-1), dtype=np.int64) - 1


def collect(
    extractor: Extractor, image: Image, outside: Outside | None = None
) -> Generator[Progress, None, FeatureMatrix]:
    """Compute an image's features tile by tile into a `FeatureMatrix`.

    Pixels `outside` the image go along, as they are.

    Raises
    ------
    InputError
        If the image has no valid pixel, or not the extractor's bands.
    """
    valid = valid_pixels(image)
    ranks = _ranks(valid).reshape(valid.shape)
    n_inside = int(valid.sum())
    shape = (n_inside + (0 if outside is None else len(outside)), extractor.n_features)
    dtype = np.float16 if 4 * shape[0] * shape[1] > HALF_PRECISION_BYTES else np.float32
    rows = np.empty(shape, dtype)
    if outside is not None:
        rows[n_inside:] = outside.rows
    maps = keep = of_maps = None
    if has_maps(extractor):
        maps = extractor.new_maps(image.shape)  # type: ignore[attr-defined]
        keep, of_maps = maps.put, extractor.of_maps  # type: ignore[attr-defined]
    for progress, region, block in iter_tiles(extractor, image, keep=keep):
        _fill(rows, ranks[region], valid[region], block)
        yield progress
    return FeatureMatrix(rows, valid, maps, of_maps, outside)


def _fill(rows: FloatArray, ranks: IntArray, valid: BoolArray, block: FloatArray) -> None:
    """Write a block's features (F, [Z,] Y, X) into their rows, one image line at a time.

    A line and its features fit the cache; turning the whole block at once takes four times longer.
    """
    width = valid.shape[-1]
    lines = zip(ranks.reshape(-1, width), valid.reshape(-1, width), strict=True)
    planes = block.reshape(len(block), -1, width)
    for i, (rank, inside) in enumerate(lines):
        if inside.all():  # ranks count up along a line without gaps
            rows[rank[0] : rank[0] + width] = planes[:, i].T
        elif inside.any():
            rows[rank[inside]] = planes[:, i, inside].T


def from_array(array: Any, image: Image) -> FeatureMatrix:
    """Build a `FeatureMatrix` from a user's own features.

    Parameters
    ----------
    array : array-like, shape (n_features, [Z,] Y, X)
        Features of every pixel of `image`. Rows with NaN or infinity count as invalid pixels.

    Raises
    ------
    InputError
        If the shape does not fit the image or no pixel is valid.
    """
    features = np.asarray(array)
    if features.ndim != image.ndim + 1 or features.shape[1:] != image.shape:
        invalid("features", features, f"the image is {image.shape}", "Give (n_features, [Z,] Y, X)")
    if features.dtype.kind not in "biuf":
        invalid("features", features, "not real numbers", "Give floats")
    valid = valid_pixels(image) & np.isfinite(features).all(axis=0)
    if not valid.any():
        invalid("features", features, "no pixel is valid", "Check NaN values and nodata")
    return FeatureMatrix(np.ascontiguousarray(features[:, valid].T.astype(np.float32)), valid)


def valid_pixels(image: Image) -> BoolArray:
    """Return which pixels of an image are valid, bool ([Z,] Y, X).

    Raises
    ------
    InputError
        If none is.
    """
    valid = np.empty(image.shape, dtype=bool)
    for region in image.blocks():
        valid[region] = image.read(region)[1]
    if not valid.any():
        invalid("image", image.name, "no pixel is valid", "Check nodata, the mask and NaN values")
    return valid
