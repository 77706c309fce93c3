"""A random forest on pixel features: what ilastik, Labkit and Weka segmentation give people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.progress import Progress
from napari_clusternet.tiles import plan_tiles

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger[Any]]

N_TREES = 100
MAX_DEPTH = 12
#: Tile edge by number of spatial axes, pixels.
_TILE = {2: 512, 3: 64}


class RandomForest:
    """Random forest (Breiman 2001) trained on the stroked pixels, applied to every pixel."""

    summary = "random forest on pixel features (ilastik, Labkit, Weka)"
    ndims = (2, 3)

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Any, random_state: int
    ) -> Generator[Progress, None, LabelArray]:
        """Label every valid pixel; see `napari_clusternet.classify.base.StrokeMethod`."""
        from sklearn.ensemble import RandomForestClassifier

        edge = (_TILE[image.ndim],) * image.ndim
        plan = list(plan_tiles(image.shape, edge, extractor.halo, extractor.multiple))
        rows, classes = [], []
        for i, tile in enumerate(plan):
            if strokes[tile.write].any():
                features, valid = _tile_features(image, extractor, tile)
                stroked = (strokes[tile.write] > 0) & valid
                rows.append(features[:, stroked].T)
                classes.append(strokes[tile.write][stroked])
            yield Progress("reading strokes", i + 1, len(plan))
        forest = RandomForestClassifier(
            N_TREES, max_depth=MAX_DEPTH, random_state=random_state, n_jobs=-1
        ).fit(np.concatenate(rows), np.concatenate(classes))
        labels = np.zeros(image.shape, strokes.dtype)
        for i, tile in enumerate(plan):
            features, valid = _tile_features(image, extractor, tile)
            if valid.any():
                labels[tile.write][valid] = forest.predict(features[:, valid].T)
            yield Progress("classifying pixels", i + 1, len(plan))
        return labels


def _tile_features(image: Image, extractor: Any, tile: Any) -> tuple[Any, Any]:
    values, valid = image.read(tile.read)
    return extractor(values, valid)[(slice(None), *tile.crop)], valid[tile.crop]
