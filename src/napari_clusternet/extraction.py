"""From what a user names as features to rows of features; and clusters applied to other images."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering import make_clusterer
from napari_clusternet.config import Mode
from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.features.combined import CombinedFeatures
from napari_clusternet.features.matrix import FeatureMatrix, Outside, collect, from_array
from napari_clusternet.image import Image
from napari_clusternet.partition import MAX_CLUSTER_ID
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import fine_axes

if TYPE_CHECKING:
    import numpy.typing as npt


def resolve_steps(
    image: Image, features: Any, mode: Mode, random_state: int, *, maps: bool = False
) -> Generator[Progress, None, Any]:
    """Turn ``"auto"`` and ``"learn"`` into what they stand for; leave the rest as it is.

    ``"auto"`` is ``"learn"`` in paper mode. In enhanced mode it is the filter bank, which answers
    in seconds; with `maps`, and but for volumes without thick slices, the generic network beside
    it (``"generic"``). ``"learn"`` trains a `ClusterNet` on the image now; in enhanced mode the
    filter bank stands beside what it learns.
    """
    if isinstance(features, str) and features == "auto":
        enhanced = "generic" if maps and _helps(image) else "filters"
        features = "learn" if mode == "paper" else enhanced
    if not isinstance(features, str) or features != "learn":
        return features
    from napari_clusternet.clusternet import ClusterNet

    preset = "paper" if mode == "paper" else "quick"
    model = ClusterNet.from_preset(preset, random_state=random_state)
    yield from model.fit_steps([image])
    return model if mode == "paper" else (model, "filters")


def _helps(image: Image) -> bool:
    """Return whether the generic network is worth its time on such an image.

    Volumes whose slices lie close together are better told by the filters alone: what networks
    see slice by slice cost them Dice where it was measured.
    """
    return image.ndim == 2 or not all(fine_axes(image.spacing))


def is_model(features: Any) -> bool:
    """Whether `features` is an estimator of step 1 rather than an array or a name."""
    return hasattr(features, "fit_steps") and hasattr(features, "transform")


def is_array(features: Any) -> bool:
    """Whether `features` are features themselves: no name, no model, no tuple of those."""
    return not isinstance(features, str | tuple) and not is_model(features)


def fit_extractor(image: Image, features: Any, random_state: int) -> Extractor:
    """Return the extractor of a fitted model, or fit the named one, or several, to the image.

    Raises
    ------
    InputError
        If the name is unknown or the model does not take this image.
    NotFittedError
        If the model has not been fitted.
    """
    if isinstance(features, tuple):
        parts = tuple(fit_extractor(image, part, random_state) for part in features)
        return CombinedFeatures(parts)
    if is_model(features):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(features)
        extractor: Extractor = features.extractor_
    else:
        extractor = EXTRACTORS.load(features, "features").fit(image, random_state=random_state)
    extractor.bands.check(image, "the feature extractor")
    if extractor.ndim != image.ndim:
        invalid(
            "image",
            image.name,
            f"it has {image.ndim} spatial axes, the model was trained with {extractor.ndim}",
            "Train a model on such images",
        )
    return extractor


def matrix_steps(
    image: Image,
    features: Any,
    random_state: int,
    fitted_on: Image | None = None,
    outside: Outside | None = None,
) -> Generator[Progress, None, tuple[Extractor | None, FeatureMatrix]]:
    """Return the extractor (None for an array) and one row of features a valid pixel.

    Named features are fitted to the image, or to another one. Pixels `outside` go along.

    Raises
    ------
    InputError
        If `features`, already resolved, does not fit the image.
    """
    if is_array(features):
        return None, from_array(features, image)
    extractor = fit_extractor(fitted_on or image, features, random_state)
    matrix = yield from collect(extractor, image, outside)
    return extractor, matrix


def cluster_steps(
    matrix: FeatureMatrix,
    clusterer: str,
    n_clusters: int,
    mode: Mode,
    random_state: int,
    learn_from: npt.NDArray[np.integer] | None = None,
) -> Generator[Progress, None, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Cluster the features; return ids from 1 for every row, and the centroids.

    Clusters are learned from some rows only, if they are named.
    """
    # quick clusters have a percent or two more inertia, which no stroke will notice
    effort = {"max_iter": 8, "polish": 0} if mode == "enhanced" else {}
    model = make_clusterer(clusterer, n_clusters, random_state=random_state, **effort)
    rows = matrix.rows if learn_from is None else matrix.rows[learn_from]
    yield from model.fit_steps(rows)
    known = learn_from is None and hasattr(model, "labels_")
    labels = model.labels_ if known else model.predict(matrix.rows)
    return labels.astype(np.int64) + 1, np.asarray(model.cluster_centers_, dtype=np.float32)


def take_regions(
    regions: Any, matrix: FeatureMatrix
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Use given regions as clusters: return ids from 1 without gaps for every row, and means.

    Raises
    ------
    InputError
        If the regions do not fit the image, or are more than cluster ids.
    """
    array = np.asarray(regions)
    if array.shape != matrix.valid.shape or array.dtype.kind not in "biu":
        remedy = f"Give whole numbers of shape {matrix.valid.shape}"
        invalid("regions", regions, "they do not fit the image", remedy)
    found, ids = np.unique(array[matrix.valid], return_inverse=True)
    if len(found) > MAX_CLUSTER_ID:
        problem = f"they hold {len(found)} regions; at most {MAX_CLUSTER_ID} can be clusters"
        invalid("regions", regions, problem, "Merge small regions first")
    sums = np.stack([np.bincount(ids, column) for column in matrix.rows.T], axis=1)
    return ids + 1, (sums / np.bincount(ids)[:, None]).astype(np.float32)
