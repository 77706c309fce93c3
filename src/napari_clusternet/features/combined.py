"""Several extractors side by side, such as learned features and the filter bank."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import has_maps

if TYPE_CHECKING:
    from napari_clusternet.extractor import BoolArray, Extractor, FloatArray
    from napari_clusternet.features.maps import PretrainedMaps
    from napari_clusternet.image import Bands


@dataclass(frozen=True, eq=False)
class CombinedFeatures:
    """The features of several extractors, one after the other.

    Every part is divided by the square root of its number of features, and all are scaled back
    together, so that each part weighs the same in a distance however many features it has.

    Attributes
    ----------
    parts : tuple of Extractor
        Fitted extractors for the same bands and the same number of spatial axes.
    """

    parts: tuple[Extractor, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            invalid("features", self.parts, "no extractor", "Name at least one")
        if len({part.ndim for part in self.parts}) > 1:
            axes = [part.ndim for part in self.parts]
            invalid("features", axes, "for different numbers of spatial axes", "Give equal ones")

    @property
    def bands(self) -> Bands:
        """Bands of the images it takes."""
        return self.parts[0].bands

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the images it takes."""
        return self.parts[0].ndim

    @property
    def n_features(self) -> int:
        """Features a pixel, of all parts together."""
        return sum(part.n_features for part in self.parts)

    @property
    def halo(self) -> tuple[int, ...]:
        """The largest halo of the parts, per axis."""
        return tuple(map(max, zip(*(part.halo for part in self.parts), strict=True)))

    @property
    def multiple(self) -> tuple[int, ...]:
        """The least common multiple of the parts' strides, per axis."""
        return tuple(lcm(*axis) for axis in zip(*(p.multiple for p in self.parts), strict=True))

    @property
    def has_maps(self) -> bool:
        """Whether a part makes maps of a pretrained network."""
        return any(has_maps(part) for part in self.parts)

    @property
    def of_maps(self) -> BoolArray:
        """Which features are made of such maps, shape (n_features,)."""
        return np.repeat(
            [has_maps(part) for part in self.parts],
            [part.n_features for part in self.parts],
        )

    def new_maps(self, shape: tuple[int, ...]) -> PretrainedMaps:
        """Return room for the maps of an image of so many pixels ([Z,] Y, X)."""
        part = next(part for part in self.parts if has_maps(part))
        maps: PretrainedMaps = part.new_maps(shape)  # type: ignore[attr-defined]
        return maps

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""
        return self.with_maps(values, valid)[0]

    def with_maps(
        self, values: FloatArray, valid: BoolArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return what `__call__` does, and the maps it made on its way, of the first that does."""
        joined = np.empty((self.n_features, *valid.shape), np.float32)
        maps: list[FloatArray] = []
        fair, end = self.n_features / len(self.parts), 0
        for part in self.parts:
            start, end = end, end + part.n_features
            own = block = joined[start:end]
            if has_maps(part) and not maps:
                _, maps = part.with_maps(values, valid, out=own)  # type: ignore[attr-defined]
            else:
                block = part(values, valid)
            np.multiply(block, np.float32((fair / len(own)) ** 0.5), out=own)
        return joined, maps
