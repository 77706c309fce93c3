"""Looking at clusters: the table, example places, and where to stroke next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_clusternet.band_means import BandMeans
from napari_clusternet.history import STATES, ClusterState
from napari_clusternet.image import Image
from napari_clusternet.partition import Partition

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

#: Pixels of a cluster that are looked at to place a suggestion.
_CANDIDATES = 64
#: Half width of the neighbourhood that should belong to the cluster, pixels.
_NEIGHBOURHOOD = 3
#: Pixels of a cluster among which connected parts are looked for; consecutive in its index.
_CONNECTED = 1 << 19


@dataclass(frozen=True)
class Suggestion:
    """A place where a stroke would help.

    Attributes
    ----------
    cluster : int
        Cluster id.
    position : tuple of int
        Pixel index ([z,] y, x), well inside the cluster.
    score : float
        Pixels expected to be wrong: the cluster's size times its uncertainty.
    """

    cluster: int
    position: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Place:
    """An example of a cluster: one connected part of it.

    Attributes
    ----------
    cluster : int
        Cluster id.
    position : tuple of int
        Pixel index ([z,] y, x), well inside the part.
    pixels : int
        Pixels of the part.
    """

    cluster: int
    position: tuple[int, ...]
    pixels: int


class Clusters(Protocol):
    """Where the clusters of a session are kept: `napari_clusternet.engine.ClusterEngine`."""

    partition: Partition
    state: ClusterState


class Inspector:
    """Everything there is to see of a session's clusters; changes nothing.

    Parameters
    ----------
    image : Image
        The image.
    clusters : Clusters
        Its clusters; changed by the session.

    Attributes
    ----------
    band_means : BandMeans
        Mean of every band over every cluster, at the cost of what changed.
    """

    def __init__(self, image: Image, clusters: Clusters) -> None:
        self._image, self._clusters = image, clusters
        self.band_means = BandMeans(image, clusters.partition)

    @property
    def version(self) -> int:
        """Grows whenever pixels went from one cluster to another, undo included."""
        return self._clusters.partition.version

    def existing(self, clusters: Iterable[int]) -> tuple[int, ...]:
        """Return those of some ids that have pixels on the map, each once, in order."""
        partition = self._clusters.partition
        sizes = partition.sizes_inside
        return tuple(
            dict.fromkeys(
                int(i) for i in clusters if 1 <= i <= partition.n_ids and sizes[int(i) - 1]
            )
        )

    def table(self, *, wait: bool = True) -> pd.DataFrame:
        """Return the table of `napari_clusternet.Session.clusters`.

        Parameters
        ----------
        wait : bool
            Whether to read what has to be read for the band means. If not, clusters that changed
            have NaN there.
        """
        means = self.band_means.means(wait=wait)
        return cluster_table(self._image, self._clusters.partition, self._clusters.state, means)

    def places(self, clusters: Sequence[int], n: int = 20) -> list[Place]:
        """Find example places of some clusters, the largest connected part first."""
        found = [
            place
            for cluster in self.existing(clusters)
            for place in places(self._clusters.partition, cluster, n)
        ]
        return sorted(found, key=lambda place: -place.pixels)[:n]


def cluster_table(
    image: Image,
    partition: Partition,
    state: ClusterState,
    means: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Build the table of `Session.clusters`.

    Parameters
    ----------
    image, partition, state
        The image, its clusters, and what is known of them.
    means : numpy.ndarray of float64, shape (n_ids, n_bands)
        Mean of every band; see `napari_clusternet.band_means.BandMeans`.
    """
    import pandas as pd

    sizes = partition.sizes_inside
    there = np.flatnonzero(sizes > 0)
    sizes, counts = sizes[there], state.counts[there]
    totals = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        purity = counts.max(axis=1, initial=0) / totals
    columns: dict[str, object] = {
        "class": state.classes[there],
        "state": pd.Categorical.from_codes(state.states[there], categories=pd.Index(STATES)),
        "pixels": sizes,
        "size": sizes * float(np.prod(image.spacing)),
    }
    for c in range(counts.shape[1]):
        columns[f"strokes_{c + 1}"] = counts[:, c]
    columns |= {"purity": purity, "certainty": state.certainty[there]}
    for name, column in zip(image.band_names, means[there].T, strict=True):
        columns[f"mean_{name}"] = column
    columns["centroid"] = list(state.centroids[there])
    return pd.DataFrame(columns, index=pd.Index(there + 1, name="cluster"))


def suggest(partition: Partition, state: ClusterState, n: int) -> list[Suggestion]:
    """Choose the clusters with most pixels expected to be wrong, and a place in each."""
    scores = partition.sizes_inside * (1.0 - state.certainty)
    best = np.argsort(-scores, kind="stable")[: max(0, n)]
    return [
        Suggestion(
            int(i) + 1,
            _inner_pixel(partition, int(i) + 1, partition.inside(int(i) + 1)),
            float(scores[i]),
        )
        for i in best
        if scores[i] > 0
    ]


def places(partition: Partition, cluster: int, n: int = 20) -> list[Place]:
    """Find the largest connected parts of a cluster, and an inner pixel of each.

    Parameters
    ----------
    partition : Partition
        The clusters.
    cluster : int
        One that has pixels.
    n : int
        Places wanted.

    Returns
    -------
    list of Place
        Largest part first. Pixels are connected along the axes. Of a cluster of more than
        524288 pixels only so many, consecutive in its index, are looked at.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pixels = np.sort(partition.inside(cluster)[:_CONNECTED]).astype(np.int64)
    pairs = _neighbours(pixels, partition.cluster_map.shape)
    ones = np.ones(pairs.shape[1], dtype=bool)
    graph = coo_array((ones, (pairs[0], pairs[1])), shape=(pixels.size, pixels.size))
    _, parts = connected_components(graph, directed=False)
    sizes = np.bincount(parts)
    largest = np.argsort(-sizes, kind="stable")[: max(0, n)]
    by_part = np.argsort(parts, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return [
        Place(
            cluster,
            _inner_pixel(partition, cluster, pixels[by_part[starts[i] : starts[i] + sizes[i]]]),
            int(sizes[i]),
        )
        for i in largest
    ]


def _neighbours(pixels: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Pairs of places in `pixels` (sorted flat indices) that touch, shape (2, n_pairs)."""
    found = []
    stride = 1
    for size in reversed(shape):
        inside = pixels // stride % size < size - 1
        here = np.flatnonzero(inside)
        there = np.searchsorted(pixels, pixels[here] + stride)
        hit = pixels[np.minimum(there, pixels.size - 1)] == pixels[here] + stride
        found.append(np.stack([here[hit], there[hit]]))
        stride *= size
    return np.concatenate(found, axis=1)


def _inner_pixel(
    partition: Partition, cluster: int, pixels: npt.NDArray[np.integer]
) -> tuple[int, ...]:
    """Find the pixel, of a sample, whose neighbourhood belongs most to the cluster.

    Of several, the one nearest to the sample's middle.
    """
    ids = partition.cluster_map
    sample = pixels[np.arange(_CANDIDATES) * pixels.size // _CANDIDATES]
    positions = np.stack(np.unravel_index(sample, ids.shape), axis=1)
    off_middle = np.abs(positions - positions.mean(axis=0)).sum(axis=1)
    reach = _NEIGHBOURHOOD

    def belonging(position: npt.NDArray[np.integer]) -> int:
        window = tuple(slice(max(0, p - reach), p + reach + 1) for p in position.tolist())
        return int((ids[window] == cluster).sum())

    best = max(range(len(sample)), key=lambda i: (belonging(positions[i]), -off_middle[i]))
    return tuple(int(p) for p in positions[best])
