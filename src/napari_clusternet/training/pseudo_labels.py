"""Pseudo-labels from a clusterer that is carried from batch to batch (Algorithm 1)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering import make_clusterer

if TYPE_CHECKING:
    import numpy.typing as npt


class PseudoLabels:
    """Clusters of feature vectors, warm-started from those of the last batch.

    Cluster ids keep their meaning from batch to batch, and there are never fewer of them: only
    the first batch may find fewer than asked.

    Parameters
    ----------
    clusterer : str
        Name in `napari_clusternet.clustering.CLUSTERERS`.
    n_clusters : int
        Clusters to ask for.
    iterations : int
        Iterations on each batch after the first.
    device : str
        Torch device string.
    """

    def __init__(self, clusterer: str, n_clusters: int, iterations: int, device: str) -> None:
        self.iterations = iterations
        self._model = make_clusterer(clusterer, n_clusters, device=device)
        self._attributes: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a first batch has been clustered."""
        return bool(self._attributes)

    @property
    def centers(self) -> npt.NDArray[np.float32]:
        """Centroids (k, f)."""
        return np.asarray(self._model.cluster_centers_, dtype=np.float32)

    def update(self, rows: npt.NDArray[Any], seed: int) -> None:
        """Fit the clusters to `rows` (n, f): from scratch at first, then from where they are."""
        self._model.random_state = seed
        with warnings.catch_warnings():  # fewer clusters than asked is reported once, by the run
            warnings.simplefilter("ignore", UserWarning)
            if not self.ready:
                self._model.fit(rows)
                self._attributes = tuple(
                    name
                    for name, value in vars(self._model).items()
                    if isinstance(value, np.ndarray) and name != "labels_" and name.endswith("_")
                )
                return
            for _ in range(self.iterations):
                self._model.partial_fit(rows)

    def labels(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Return the cluster of each of `rows` (n, f)."""
        found: npt.NDArray[np.int32] = self._model.predict(rows)
        return found

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return what `restore` needs, as arrays."""
        return {name: np.array(getattr(self._model, name)) for name in self._attributes}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take over clusters that `state` returned.

        Raises
        ------
        ValueError
            If an array is none of a fitted clusterer's.
        """
        for name, value in state.items():
            fitted = name.isidentifier() and name.endswith("_") and not name.startswith("_")
            if not fitted or hasattr(type(self._model), name):
                raise ValueError(f"{name!r} is nothing of a clusterer")
            setattr(self._model, name, value)
        self._attributes = tuple(state)
        self._model.n_iter_ = 0
        self._model.n_features_in_ = self.centers.shape[1]
