"""Methods that turn strokes into labels.

An entry is a class built without arguments that satisfies
`napari_clusternet.classify.base.StrokeMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

STROKE_METHODS = Registry("classify", {"forest": "napari_clusternet.classify.forest:RandomForest"})
