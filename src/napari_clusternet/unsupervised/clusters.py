"""Pixels grouped by their features alone: k-means and a Gaussian mixture."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clusternet.extractor import iter_tiles
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import (
    Tools,
    check_number,
    number_regions,
    refuse_empty,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray

#: Pixels the clusters are learned from at most; spread evenly over the image.
_FIT_PIXELS = 500_000


@dataclass
class KMeansRegions:
    """k-means of each pixel's features.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, k.
    features : {"bands", "filters", "pretrained"}, ClusterNet or tuple
        What a pixel is known by: named features, a fitted model, or several.
    """

    name: ClassVar[str] = "kmeans"
    summary: ClassVar[str] = "k-means of bands or other features"
    advice: ClassVar[str] = (
        "Finds pixels that look alike, wherever they are. Takes seconds; a good first try."
    )
    main: ClassVar[tuple[str, ...]] = ("n_clusters", "features")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = "features"
    clusterer: ClassVar[str] = "kmeans"

    n_clusters: int = 8
    features: Any = "bands"

    def __post_init__(self) -> None:
        check_number("n_clusters", self.n_clusters, 1, whole=True)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return a region a cluster, uint16 ([Z,] Y, X), 0 where invalid.

        The clusters are learned from at most half a million pixels, and each pixel then joins one.

        Raises
        ------
        InputError
            If the features do not fit the image or no pixel is valid.
        """
        yield Progress("preparing features", 0, 1)
        extractor = tools.extractor(image, self.features, random_state)
        rows = yield from _sample_steps(extractor, image)
        estimator = tools.make_clusterer(self.clusterer, int(self.n_clusters), random_state)
        yield from estimator.fit_steps(rows)
        labels = np.zeros(image.shape, np.int64)
        valid = np.zeros(image.shape, bool)
        for progress, region, block in iter_tiles(extractor, image):
            valid[region] = inside = image.read(region)[1]
            if inside.any():
                labels[region][inside] = estimator.predict(block[:, inside].T.copy())
            yield Progress("clustering pixels", progress.done, progress.total)
        return number_regions(labels, valid)


@dataclass
class MixtureRegions(KMeansRegions):
    """A Gaussian mixture of each pixel's features: clusters of any extent and direction.

    Parameters
    ----------
    n_clusters : int
        Number of components.
    features : str, ClusterNet or tuple
        See `KMeansRegions`.
    """

    name: ClassVar[str] = "gmm"
    summary: ClassVar[str] = "a Gaussian mixture of bands or other features"
    advice: ClassVar[str] = (
        "Like k-means, but groups may be of any extent and direction. Takes seconds."
    )
    main: ClassVar[tuple[str, ...]] = ("n_clusters", "features")
    clusterer: ClassVar[str] = "gmm"


def _sample_steps(
    extractor: Extractor, image: Image
) -> Generator[Progress, None, npt.NDArray[np.float32]]:
    """Yield progress; return the features (n, F) of evenly spread valid pixels."""
    step = -(-int(np.prod(image.shape)) // _FIT_PIXELS)
    parts = []
    for progress, region, block in iter_tiles(extractor, image):
        inside = image.read(region)[1]
        parts.append(block[:, inside].T[::step])
        yield progress
    rows = np.concatenate(parts)
    refuse_empty(image, np.array(len(rows) > 0))
    return np.ascontiguousarray(rows)
