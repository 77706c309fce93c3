"""Looking at clusters: the table, band means, and where to stroke next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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


def band_means(image: Image, partition: Partition) -> npt.NDArray[np.float64]:
    """Mean of every band over every cluster, shape (n_ids, n_bands); NaN for empty ids."""
    n = partition.n_ids + 1
    sums, counts = np.zeros((n, image.n_bands)), np.zeros(n)
    for region in image.blocks():
        values, _ = image.read(region)
        ids = partition.cluster_map[region].reshape(-1)
        counts += np.bincount(ids, minlength=n)
        for band, plane in enumerate(values):
            sums[:, band] += np.bincount(ids, plane.reshape(-1), minlength=n)
    with np.errstate(invalid="ignore"):
        return (sums / counts[:, None])[1:]


def cluster_table(image: Image, partition: Partition, state: ClusterState) -> pd.DataFrame:
    """Build the table of `Session.clusters`."""
    import pandas as pd

    sizes = partition.sizes
    totals = state.counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        purity = state.counts.max(axis=1, initial=0) / totals
    columns: dict[str, object] = {
        "class": state.classes,
        "state": pd.Categorical.from_codes(state.states, categories=pd.Index(STATES)),
        "pixels": sizes,
        "size": sizes * float(np.prod(image.spacing)),
    }
    for c in range(state.counts.shape[1]):
        columns[f"strokes_{c + 1}"] = state.counts[:, c]
    columns |= {"purity": purity, "certainty": state.certainty}
    means = band_means(image, partition)
    for name, column in zip(image.band_names, means.T, strict=True):
        columns[f"mean_{name}"] = column
    columns["centroid"] = list(state.centroids)
    index = pd.RangeIndex(1, len(sizes) + 1, name="cluster")
    return pd.DataFrame(columns, index=index)[sizes > 0]


def suggest(partition: Partition, state: ClusterState, n: int) -> list[Suggestion]:
    """Choose the clusters with most pixels expected to be wrong, and a place in each."""
    scores = partition.sizes * (1.0 - state.certainty)
    best = np.argsort(-scores, kind="stable")[: max(0, n)]
    return [
        Suggestion(int(i) + 1, _inner_pixel(partition, int(i) + 1), float(scores[i]))
        for i in best
        if scores[i] > 0
    ]


def _inner_pixel(partition: Partition, cluster: int) -> tuple[int, ...]:
    """Find the sampled pixel whose neighbourhood belongs most to the cluster."""
    ids = partition.cluster_map
    pixels = partition.sample(cluster, _CANDIDATES)
    positions = np.stack(np.unravel_index(pixels, ids.shape), axis=1)
    reach = _NEIGHBOURHOOD

    def belonging(position: npt.NDArray[np.integer]) -> int:
        window = tuple(slice(max(0, p - reach), p + reach + 1) for p in position.tolist())
        return int((ids[window] == cluster).sum())

    best = max(positions, key=belonging)
    return tuple(int(p) for p in best)
