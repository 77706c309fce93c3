"""ClusterNet without strokes: each pixel's cluster of step 1."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clusternet.extractor import iter_tiles
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import (
    check_number,
    learn_steps,
    number_regions,
    refuse_empty,
)

if TYPE_CHECKING:
    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray, Tools


@dataclass
class ClusterNetArgmax:
    """Step 1 trained on the image with k clusters; a pixel's region is its nearest centroid.

    Step 1's second half (section 2.2 of the paper) needs strokes; this is what the first gives
    alone. Training balances the clusters, so expect regions of similar size.

    Parameters
    ----------
    k : int
        Number of clusters, at least 2.
    n_epochs : int
        Passes over the image's patches.

    Attributes
    ----------
    model_ : ClusterNet
        The trained estimator.
    """

    name: ClassVar[str] = "argmax"
    summary: ClassVar[str] = "ClusterNet's step 1 alone: each pixel's nearest centroid"
    advice: ClassVar[str] = (
        "Learns features of this image as Learn features does, with few clusters, and shows "
        "these. Takes minutes."
    )
    main: ClassVar[tuple[str, ...]] = ("k", "n_epochs")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = "learning"

    k: int = 8
    n_epochs: int = 8
    model_: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_number("k", self.k, 2, whole=True)
        check_number("n_epochs", self.n_epochs, 1, whole=True)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return a region a cluster, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If the image cannot be trained on.
        """
        yield Progress("training", 0, 0)
        self.model_ = model = yield from learn_steps(
            tools, image, random_state, n_clusters=int(self.k), n_epochs=int(self.n_epochs)
        )
        labels = np.zeros(image.shape, np.int64)
        valid = np.zeros(image.shape, bool)
        for progress, region, block in iter_tiles(model.extractor_, image):
            valid[region] = inside = image.read(region)[1]
            if inside.any():
                rows = np.ascontiguousarray(block[:, inside].T)
                labels[region][inside] = model.pseudo_labels_.labels(rows)
            yield Progress("applying", progress.done, progress.total)
        refuse_empty(image, valid)
        return number_regions(labels, valid)
