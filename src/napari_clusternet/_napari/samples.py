"""File > Open Sample > ClusterNet: an image, its strokes and its truth as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.data.samples import Sample, load_sample

if TYPE_CHECKING:
    from napari.types import LayerDataTuple

    from napari_clusternet.image import Image


def _image_layer(sample: Sample, image: Image) -> LayerDataTuple:
    """Return the image: one band (Y, X) or (Z, Y, X), colours (Y, X, 3), or bands first."""
    values = np.asarray(image.data)
    keywords: dict[str, Any] = {"name": sample.name, **image.layer_metadata}
    if values.dtype == np.uint8 and sample.rgb == (0, 1, 2) and image.n_bands == 3:
        return np.moveaxis(values, 0, -1), keywords | {"rgb": True}, "image"
    low, high = np.percentile(values, (1, 99))
    keywords |= {"colormap": "gray", "contrast_limits": (float(low), float(high))}
    if image.n_bands == 1:
        return values[0], keywords, "image"
    affine = np.eye(len(image.affine) + 1)
    affine[1:, 1:] = image.affine
    keywords |= {
        "affine": affine,
        "units": ("pixel", *image.units),
        "axis_labels": ("band", *keywords["axis_labels"]),
    }
    return values, keywords, "image"


def _layers(name: str) -> list[LayerDataTuple]:
    sample = load_sample(name)
    image = sample.open()
    place = {**image.layer_metadata, "metadata": {"class_names": sample.class_names}}
    layers = [_image_layer(sample, image)]
    if sample.truth is not None:
        truth = {"name": f"{name} truth", "visible": False, **place}
        layers.append((sample.truth, truth, "labels"))
    # uint8: wider Labels layers are many times slower to paint on and to refresh
    strokes = sample.strokes.astype(np.uint8)
    layers.append((strokes, {"name": f"{name} strokes", **place}, "labels"))
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
