"""`Predictor`: clusters and classes of a session, applied to other images tile by tile."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.extractor import Extractor, default_tile
from napari_clusternet.history import ClusterState
from napari_clusternet.progress import Progress
from napari_clusternet.replay import ClusterIds
from napari_clusternet.tiles import Tile, plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image


@dataclass(frozen=True, eq=False)
class Predictor:
    """What classifies images, as a session was when this was made; it can be pickled.

    Attributes
    ----------
    extractor : Extractor
        From pixels to features.
    base : numpy.ndarray of float32, shape (k, n_features)
        Centroids of the first clustering.
    state : ClusterState
        Splits and merges since, and the class of every cluster.
    spacing : tuple of float or None
        Pixel size of a field's scene: of an image with several levels, that of this size is
        classified; see `at_resolution`.
    """

    extractor: Extractor
    base: npt.NDArray[np.float32]
    state: ClusterState
    spacing: tuple[float, ...] | None = None

    def at_resolution(self, image: Image) -> Image:
        """Return the level of an image whose pixels are as large as those learned from."""
        if self.spacing is None or not image.levels:
            return image
        wanted = np.log(self.spacing)
        off = [float(np.abs(np.log(level.spacing) - wanted).max()) for level in image.levels]
        return image.levels[int(np.argmin(off))]

    @property
    def table(self) -> npt.NDArray[np.unsignedinteger]:
        """Class of every cluster id, id 0 first: uint8, or uint16 past 255 classes."""
        table = np.concatenate([[0], self.state.classes])
        return table.astype(np.uint8 if table.max() <= 255 else np.uint16)

    @cached_property
    def cluster_ids(self) -> ClusterIds:
        """What gives feature vectors their cluster ids."""
        return ClusterIds(self.base, self.state.divides)

    def tile(self, image: Image, tile: Tile) -> npt.NDArray[Any]:
        """Read one tile with its halo and return its labels, shape of ``tile.write``."""
        values, valid = image.read(tile.read)
        inside, table = valid[tile.crop], self.table
        labels = np.zeros(inside.shape, table.dtype)
        if inside.any():
            features = self.extractor(values, valid)[(slice(None), *tile.crop)]
            del values
            # rows as a view of the columns: turning the whole block costs its memory once more
            columns = features.reshape(len(features), -1)
            if not inside.all():
                columns = columns[:, inside.reshape(-1)]
            labels[inside] = table[self.cluster_ids(columns.T)]
        return labels

    def __call__(self, image: Image) -> Generator[Progress, None, npt.NDArray[Any]]:
        """Label an image; yields `Progress`, returns labels ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If the image's bands are not the extractor's.
        """
        extractor = self.extractor
        extractor.bands.check(image, "the feature extractor")
        extent = default_tile(extractor, image.shape)
        plan = list(plan_tiles(image.shape, extent, extractor.halo, extractor.multiple))
        labels = np.zeros(image.shape, self.table.dtype)
        for i, part in enumerate(plan):
            labels[part.write] = self.tile(image, part)
            yield Progress("computing features", i + 1, len(plan))
        return labels
