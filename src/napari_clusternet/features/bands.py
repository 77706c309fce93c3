"""The bands themselves as features, and the principal components of images with many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.normalization import Normalizer
from napari_clusternet.tiles import plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Bands, Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    Block = tuple[FloatArray, BoolArray]

#: Bands kept as they are; images with more are projected to this many principal components.
MAX_BANDS = 64
#: Edge of a sampled block by number of spatial axes, pixels.
SAMPLE_EDGE = {2: 256, 3: 64}
#: A sample ends at this many valid pixels, or at this many blocks read.
SAMPLE_PIXELS, SAMPLE_BLOCKS = 200_000, 256
#: Pixels projected at a time; bounds the float64 working memory.
_PROJECT_CHUNK = 1 << 16


def sample_blocks(image: Image, normalizer: Normalizer, random_state: int = 0) -> list[Block]:
    """Return seeded blocks of an image, normalised; the whole image if it is small.

    Returns
    -------
    list of (values, valid)
        Values (C, [Z,] Y, X) float32 and validity ([Z,] Y, X) of each block that holds a valid
        pixel.
    """
    edge, zeros, ones = SAMPLE_EDGE[image.ndim], (0,) * image.ndim, (1,) * image.ndim
    if np.prod(image.shape) <= SAMPLE_PIXELS:
        regions = [(slice(None),) * image.ndim]
    else:
        tiles = plan_tiles(image.shape, (edge,) * image.ndim, zeros, ones)
        regions = [tile.write for tile in tiles]
    order = np.random.default_rng(random_state).permutation(len(regions))
    blocks: list[Block] = []
    pixels = 0
    for i in order[:SAMPLE_BLOCKS]:
        values, valid = image.read(regions[i])
        if valid.any():
            blocks.append((normalizer(values, valid), valid))
            pixels += int(valid.sum())
        if pixels >= SAMPLE_PIXELS:
            break
    return blocks


@dataclass(frozen=True, eq=False)
class Projection:
    """Principal components of normalised bands, without whitening.

    Attributes
    ----------
    components : numpy.ndarray of float64, shape (K, C)
        Orthonormal rows, largest variance first; the largest entry of each is positive.
    variance : numpy.ndarray of float64, shape (K,)
        Variance along each component.
    """

    components: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, blocks: list[Block], n_bands: int, n_components: int) -> Projection:
        """Measure at most `n_components` principal components on sampled blocks."""
        moment, count = np.zeros((n_bands, n_bands)), 0
        for values, valid in blocks:
            pixels = values[:, valid].astype(np.float64)
            moment += pixels @ pixels.T  # bands are centred already, by the normalisation
            count += pixels.shape[1]
        variance, vectors = np.linalg.eigh(moment / max(count, 1))
        keep = np.argsort(variance, kind="stable")[::-1][:n_components]
        components = vectors[:, keep].T
        largest = np.abs(components).argmax(axis=1)
        signs = np.sign(components[np.arange(len(components)), largest])
        return cls(components * signs[:, None], np.maximum(variance[keep], 0.0))

    def first(self, n_components: int) -> Projection:
        """Return the projection on the first `n_components` components alone."""
        return Projection(self.components[:n_components], self.variance[:n_components])

    def __call__(self, values: FloatArray) -> FloatArray:
        """Project `values` (C, ...) to (K, ...).

        Computed in float64, so that the result of a pixel does not depend on its block.
        """
        flat = values.reshape(values.shape[0], -1)
        out = np.empty((len(self.components), flat.shape[1]), dtype=np.float32)
        for start in range(0, flat.shape[1], _PROJECT_CHUNK):
            part = slice(start, start + _PROJECT_CHUNK)
            out[:, part] = self.components @ flat[:, part].astype(np.float64)
        return out.reshape(len(out), *values.shape[1:])


@dataclass(frozen=True, eq=False)
class BandFeatures:
    """The normalised bands; above `MAX_BANDS` bands, their first principal components.

    Every band has mean 0 and standard deviation 1 over the image, so that all weigh the same in a
    distance; components keep their variance. Make one with `fit`.

    Attributes
    ----------
    bands : Bands
        Bands of the images it takes.
    ndim : int
        Number of spatial axes of the images it takes.
    normalizer : Normalizer
        Mean and standard deviation of each band.
    projection : Projection or None
        The components, if there are more than `MAX_BANDS` bands.
    """

    bands: Bands
    ndim: int
    normalizer: Normalizer = field(repr=False)
    projection: Projection | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, image: Image, random_state: int = 0) -> BandFeatures:
        """Measure normalisation, and components if there are many bands, on `image`.

        Raises
        ------
        InputError
            If the image has no valid pixel.
        """
        normalizer = Normalizer.fit([image])
        projection = None
        if image.n_bands > MAX_BANDS:
            blocks = sample_blocks(image, normalizer, random_state)
            projection = Projection.fit(blocks, image.n_bands, MAX_BANDS)
        return cls(image.bands, image.ndim, normalizer, projection)

    @property
    def n_features(self) -> int:
        """Features a pixel."""
        return min(len(self.bands.names), MAX_BANDS)

    @property
    def halo(self) -> tuple[int, ...]:
        """Zero: a pixel's features are its own."""
        return (0,) * self.ndim

    @property
    def multiple(self) -> tuple[int, ...]:
        """One: a block may start anywhere."""
        return (1,) * self.ndim

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""
        normal = self.normalizer(values, valid)
        return normal if self.projection is None else self.projection(normal)
