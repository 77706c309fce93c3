"""A random forest on the features of stroked pixels: what ilastik, Labkit and Weka offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.base import feature_tiles
from napari_clusternet.classify.samples import stroke_samples
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger]

#: Trees and their depth, as ilastik's users know them.
N_TREES, MAX_DEPTH = 100, 12
#: Stroked pixels the forest learns from at most; strokes seldom hold more.
MAX_PIXELS = 200_000


class Forest:
    """Random forest (Breiman 2001) trained on stroked pixels, applied to every pixel."""

    name: ClassVar[str] = "forest"
    summary: ClassVar[str] = "a random forest learns from stroked pixels (ilastik, Labkit, Weka)"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "features"

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        Parameters
        ----------
        image : Image
            The image to segment.
        strokes : numpy.ndarray of uint8 or uint16, shape ([Z,] Y, X)
            Strokes that have passed `napari_clusternet.classify.base.check_strokes`.
        extractor : Extractor
            A fitted extractor.
        random_state : int
            Seed of the trees and of the sample if there are very many stroked pixels.
        """
        from sklearn.ensemble import RandomForestClassifier

        table, targets, _ = yield from stroke_samples(extractor, image, strokes)
        if len(table) > MAX_PIXELS:
            chosen = np.random.default_rng(random_state).permutation(len(table))[:MAX_PIXELS]
            table, targets = table[chosen], targets[chosen]
        forest = RandomForestClassifier(
            N_TREES, max_depth=MAX_DEPTH, n_jobs=-1, random_state=random_state
        ).fit(table, targets)
        yield Progress("growing trees", 1, 1)
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        for i, n, region, features, valid in feature_tiles(extractor, image):
            if valid.any():
                labels[region][valid] = forest.predict(features[:, valid].T)
            yield Progress("classifying pixels", i, n)
        return labels
