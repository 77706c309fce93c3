"""Ways to group feature vectors: scikit-learn style estimators, interchangeable by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_clusternet.registry import Registry

if TYPE_CHECKING:
    from napari_clusternet.clustering.kmeans import KMeans as KMeans
    from napari_clusternet.clustering.kmeans import k_means as k_means
    from napari_clusternet.clustering.lloyd import Assigner as Assigner
    from napari_clusternet.clustering.lloyd import assign as assign
    from napari_clusternet.clustering.lloyd import lloyd_step as lloyd_step
    from napari_clusternet.clustering.mixture import GaussianMixture as GaussianMixture

CLUSTERERS = Registry(
    "clustering",
    {
        "kmeans": "napari_clusternet.clustering.kmeans:KMeans",
        "gmm": "napari_clusternet.clustering.mixture:GaussianMixture",
    },
)

_PUBLIC = {
    "Assigner": "lloyd",
    "GaussianMixture": "mixture",
    "KMeans": "kmeans",
    "assign": "lloyd",
    "k_means": "kmeans",
    "lloyd_step": "lloyd",
}

__all__ = [
    "CLUSTERERS",
    "Assigner",
    "GaussianMixture",
    "KMeans",
    "assign",
    "k_means",
    "lloyd_step",
    "make_clusterer",
]


def make_clusterer(name: str, n_clusters: int, **options: Any) -> Any:
    """Return an unfitted clusterer of the family, whatever it calls its number of clusters.

    Parameters
    ----------
    name : str
        An entry of `CLUSTERERS`, such as ``"kmeans"`` or ``"gmm"``.
    n_clusters : int
        Number of clusters, or of mixture components.
    **options
        Other keyword arguments of the estimator, such as ``random_state``.

    Raises
    ------
    InputError
        If `name` is no clusterer.
    """
    estimator = CLUSTERERS.load(name, "clusterer")
    size = getattr(estimator, "size_parameter", "n_clusters")
    return estimator(**{size: n_clusters}, **options)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
