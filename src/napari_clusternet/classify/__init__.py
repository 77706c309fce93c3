"""Methods that segment an image from strokes, other than ClusterNet's own clusters.

An entry is a class as described by `napari_clusternet.classify.base.StrokeMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

STROKE_METHODS = Registry(
    "classify",
    {
        "forest": "napari_clusternet.classify.forest:Forest",
        "svm": "napari_clusternet.classify.svm:SVM",
        "svm_graphcut": "napari_clusternet.classify.svm_graphcut:SVMGraphCut",
        "superpixel_graphcut": "napari_clusternet.classify.superpixel_graphcut:SuperpixelGraphCut",
        "rgb_kmeans": "napari_clusternet.classify.rgb_kmeans:RGBKMeans",
        "random_walker": "napari_clusternet.classify.random_walker:RandomWalker",
        "sparse_unet": "napari_clusternet.classify.sparse_unet:SparseUNet",
        "two_view": "napari_clusternet.classify.two_view:TwoView",
        "dfc_scribbles": "napari_clusternet.classify.dfc:DFCScribbles",
    },
)
