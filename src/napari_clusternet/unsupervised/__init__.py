"""Methods that cut an image into regions without strokes.

An entry is a class as described by `napari_clusternet.unsupervised.base.RegionMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

UNSUPERVISED = Registry(
    "unsupervised",
    {
        "kmeans": "napari_clusternet.unsupervised.clusters:KMeansRegions",
        "gmm": "napari_clusternet.unsupervised.clusters:MixtureRegions",
        "felzenszwalb": "napari_clusternet.unsupervised.superpixels:Felzenszwalb",
        "hierarchy": "napari_clusternet.unsupervised.hierarchy:Hierarchy",
        "slic": "napari_clusternet.unsupervised.superpixels:SlicMerge",
        "kanezaki": "napari_clusternet.unsupervised.dfc:Kanezaki",
        "dfc": "napari_clusternet.unsupervised.dfc:DFC",
        "fsf": "napari_clusternet.unsupervised.dfc:FSF",
        "scf": "napari_clusternet.unsupervised.dfc:SCF",
        "ktextures": "napari_clusternet.unsupervised.ktextures:KTextures",
        "iic": "napari_clusternet.unsupervised.iic:IIC",
        "wnet": "napari_clusternet.unsupervised.wnet:WNet",
        "moriya": "napari_clusternet.unsupervised.moriya:Moriya",
        "argmax": "napari_clusternet.unsupervised.argmax:ClusterNetArgmax",
    },
)
