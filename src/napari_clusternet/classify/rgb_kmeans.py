"""k-means of the raw bands, then step 2 of ClusterNet (table 1, method 6, "RGB k-means")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clusternet.classify.samples import whole_image
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger]
    OpenSession = Callable[..., Generator[Progress, None, Any]]


@dataclass
class RGBKMeans:
    """Clusters of the bands alone, and the three cases of section 2.2 of the ClusterNet paper.

    This is ClusterNet without step 1: what learned features add is the difference to it.

    Parameters
    ----------
    n_clusters, threshold
        See `napari_clusternet.Session`.
    mode : {"enhanced", "paper"}
        Clusters without strokes stay unclassified (0) in ``"paper"`` mode, as in the paper; in
        ``"enhanced"`` mode they take the class of the nearest classified centroid. All else is
        the paper's in both.
    open_session : callable
        `napari_clusternet.Session.open_steps`, brought by the caller: step 2 lives there.
    """

    n_clusters: int = SESSION.n_clusters
    threshold: float = SESSION.threshold
    mode: Mode = SESSION.mode
    open_session: OpenSession | None = field(default=None, repr=False)

    name: ClassVar[str] = "rgb_kmeans"
    summary: ClassVar[str] = "k-means of the bands; strokes give classes to its clusters"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X); see the class for where they are 0.

        See `napari_clusternet.classify.base.StrokeMethod`; `random_state` seeds the k-means.

        Raises
        ------
        InputError
            If `open_session` is missing.
        """
        if self.open_session is None:
            invalid(
                "open_session", None, "step 2 is not at hand",
                "Use napari_clusternet.segment, or pass Session.open_steps",
            )  # fmt: skip
        features, valid = yield from whole_image(extractor, image)
        session = yield from self.open_session(
            image, features, threshold=self.threshold, mode="paper", n_clusters=self.n_clusters,
            random_state=random_state,
        )  # fmt: skip
        labels = np.array(session.update(strokes))
        if self.mode == "enhanced":
            missing = valid & (labels == 0)
            classes = session.clusters["class"]  # of the clusters that have pixels, by id
            table = np.zeros(len(session.centroids) + 1, np.int64)
            centroids = np.asarray(session.centroids)[classes.index - 1]
            table[classes.index] = class_of_nearest(centroids, classes.to_numpy())
            labels[missing] = table[session.cluster_map[missing]]
            # strokes so mixed that they gave no cluster a class: the commonest one
            labels[valid & (labels == 0)] = np.bincount(strokes[strokes > 0]).argmax()
        yield Progress("classifying clusters", 1, 1)
        return labels.astype(strokes.dtype, copy=False)


def class_of_nearest(
    centroids: npt.NDArray[np.floating], classes: npt.NDArray[np.integer]
) -> npt.NDArray[np.integer]:
    """Class of every cluster: its own, or that of the nearest centroid that has one.

    Parameters
    ----------
    centroids : numpy.ndarray, shape (n, n_features)
    classes : numpy.ndarray of int, shape (n,)
        0 for none; if all are 0, they stay so.
    """
    from scipy.spatial import KDTree

    known = np.flatnonzero(classes)
    if not known.size:
        return classes
    places = KDTree(centroids[known]).query(centroids)[1]
    return np.where(classes > 0, classes, classes[known[places]])
