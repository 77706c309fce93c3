"""File > Save Selected Layers: labels with their scale, affine, units, CRS and class names."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels

from napari_clusternet.io.base import OpenOptions
from napari_clusternet.io.labels import write_labels as write
from napari_clusternet.io.layers import image_from_layer

#: What places a layer; the rest of its attributes is looks.
_PLACE = ("name", "affine", "scale", "translate", "rotate", "shear", "units", "axis_labels",
          "metadata")  # fmt: skip
#: With more labels than this they are objects, not classes, and get no names.
_MOST_CLASSES = 255


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one Labels layer: GeoTIFF, OME-TIFF, NIfTI or OME-Zarr by the suffix.

    Parameters
    ----------
    path : str
        Where to; what is there is replaced, as the dialog asked for that.
    data : array, or list of arrays
        The layer's data; of a multiscale layer the finest is written.
    attributes : dict
        The layer's attributes.

    Returns
    -------
    list of str
        The written file.

    Raises
    ------
    ClusterNetError
        If the format cannot hold it; what was there before is unchanged.
    """
    values = data if hasattr(data, "dtype") else data[0]
    place = {name: attributes[name] for name in _PLACE if attributes.get(name) is not None}
    layer = Labels(np.asarray(values), **place)
    axes = "ZYX"[-layer.ndim :] if layer.ndim <= 3 else None
    image = image_from_layer(layer, OpenOptions(axes))
    return [str(write(path, layer.data, image, class_names=class_names(layer.data, attributes)))]


def class_names(values: Any, attributes: dict[str, Any]) -> dict[int, str]:
    """Return label -> name: from the layer's features, from its metadata, or "class n"."""
    named = (attributes.get("metadata") or {}).get("class_names")
    features = attributes.get("features")
    if features is not None and "class" in features:  # row 0 is the background's
        named = [str(name) for name in features["class"]][1:]
    if named:
        return dict(enumerate((str(name) for name in named), start=1))
    found = np.unique(values)
    return {int(k): f"class {k}" for k in found if k} if len(found) <= _MOST_CLASSES else {}
