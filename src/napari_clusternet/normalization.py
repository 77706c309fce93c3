"""One global normalisation: per-band mean and standard deviation (sections 2.2 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image, warn_constant

if TYPE_CHECKING:
    import numpy.typing as npt

#: Blocks read at most to estimate the statistics of a huge set; smaller sets are read whole.
MAX_BLOCKS = 64


@dataclass(frozen=True)
class Normalizer:
    """Per-band mean and standard deviation.

    Attributes
    ----------
    mean, std : tuple of float
        One value a band, in the image's own units. A constant band has ``std`` 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, images: Sequence[Image]) -> Normalizer:
        """Measure mean and standard deviation over the valid pixels of `images`.

        Sets of more than `MAX_BLOCKS` blocks are sampled evenly.

        Raises
        ------
        InputError
            If the images differ in their number of bands or no pixel is valid.
        """
        bands = {image.n_bands for image in images}
        if len(bands) != 1:
            invalid("images", sorted(bands), "the numbers of bands differ", "Give equal bands")
        parts = [(image, region) for image in images for region in image.blocks()]
        chosen = np.linspace(0, len(parts) - 1, min(len(parts), MAX_BLOCKS)).round().astype(int)
        count, mean, squares = 0, np.zeros(bands.pop()), 0.0
        for i in chosen:
            image, region = parts[i]
            values, valid = image.read(region)
            pixels = values[:, valid].astype(np.float64)
            if not pixels.size:
                continue
            # merge the block's moments (Chan, Golub & LeVeque 1979)
            n, block_mean = pixels.shape[1], pixels.mean(axis=1)
            delta = block_mean - mean
            squares = squares + ((pixels - block_mean[:, None]) ** 2).sum(axis=1)
            squares = squares + delta**2 * (count * n / (count + n))
            mean = mean + delta * (n / (count + n))
            count += n
        if count == 0:
            names = [image.name for image in images]
            invalid("images", names, "no valid pixel", "Check nodata, the mask and NaN values")
        std = np.sqrt(squares / count)
        flat = std <= 1e-7 * np.maximum(1e-30, np.abs(mean))
        warn_constant(images[0], list(flat))
        return cls(tuple(mean.tolist()), tuple(np.where(flat, 0.0, std).tolist()))

    @classmethod
    def identity(cls, n_bands: int) -> Normalizer:
        """Return the normalisation that changes nothing but invalid pixels."""
        return cls((0.0,) * n_bands, (1.0,) * n_bands)

    def __call__(
        self, values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Normalise `values` (C, [Z,] Y, X); constant bands and invalid pixels become 0."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        std = np.asarray(self.std)
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(shape)
        normal: npt.NDArray[np.float32] = (values - mean) * scale.astype(np.float32).reshape(shape)
        normal[:, ~valid] = 0
        return normal
