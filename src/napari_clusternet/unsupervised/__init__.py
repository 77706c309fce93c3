"""Methods that cut an image into regions without strokes.

An entry is a class as described by `napari_clusternet.unsupervised.base.RegionMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

UNSUPERVISED = Registry(
    "unsupervised",
    {},
)
