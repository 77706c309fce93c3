"""File > Open Sample > ClusterNet: an image, its strokes and its truth as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet._napari.classes import ClassList
from napari_clusternet.data.samples import load_sample
from napari_clusternet.io.layer_data import labels_layer_data, layer_data

if TYPE_CHECKING:
    from napari.types import LayerDataTuple


def _layers(name: str) -> list[LayerDataTuple]:
    sample = load_sample(name)
    image = sample.open()
    colours = image.data.dtype == np.uint8 and sample.rgb == (0, 1, 2) and image.n_bands == 3
    names = dict(enumerate(sample.class_names, start=1))
    layers = [layer_data(image, rgb=colours)]
    # in the colours that Classify will give them, from the beginning
    classes = ClassList(())
    classes.ensure(len(names), sample.class_names, sample.class_colours)
    looks = {"colormap": classes.colormap()}
    if sample.truth is not None:
        truth, keywords, kind = labels_layer_data(sample.truth, image, f"{name} truth", names)
        layers.append((truth, keywords | looks | {"visible": False}, kind))
    # uint8: wider Labels layers are many times slower to paint on and to refresh
    strokes = sample.strokes.astype(np.uint8)
    data, keywords, kind = labels_layer_data(strokes, image, f"{name} strokes", names)
    keywords["metadata"]["class_colours"] = list(sample.class_colours)
    layers.append((data, keywords | looks, kind))
    return layers


def indian_pines() -> list[LayerDataTuple]:
    """Return the hyperspectral scene, its truth and strokes."""
    return _layers("indian-pines")


def sentinel2() -> list[LayerDataTuple]:
    """Return the multi-band scene and strokes."""
    return _layers("sentinel2")


def mni152() -> list[LayerDataTuple]:
    """Return the head, its tissues and strokes."""
    return _layers("mni152")


def rmnp() -> list[LayerDataTuple]:
    """Return the georeferenced picture and strokes."""
    return _layers("rmnp")
