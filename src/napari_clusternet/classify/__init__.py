"""Methods that segment an image from strokes, other than ClusterNet's own clusters.

An entry is a class as described by `napari_clusternet.classify.base.StrokeMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

STROKE_METHODS = Registry("classify", {"forest": "napari_clusternet.classify.forest:Forest"})
