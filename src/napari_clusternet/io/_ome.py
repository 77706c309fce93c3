"""OME-XML: grid, channel and class names of an OME-TIFF."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from napari_clusternet.image import Image
from napari_clusternet.io.base import loses, unit_name

_NAMESPACE = "https://napari-clusternet/class-names"
_SYMBOLS = {
    "nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm",
    "metre": "m", "kilometer": "km", "pixel": "pixel",
}  # fmt: skip


def _elements(root: ET.Element, tag: str) -> list[ET.Element]:
    return [e for e in root.iter() if e.tag.rpartition("}")[2] == tag]


def _parse(xml: str) -> ET.Element:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("OME-XML with entity declarations is refused")
    body = re.sub(r"^\s*<\?xml[^>]*\?>", "", xml)
    return ET.fromstring(body)  # noqa: S314 - entities, the danger, are refused above


def ome_grid(xml: str, spatial: str) -> dict[str, Any]:
    """Return affine, units and band names of the first image.

    Parameters
    ----------
    xml : str
        The OME-XML.
    spatial : str
        The image's spatial axes, ``"YX"`` or ``"ZYX"``.

    Returns
    -------
    dict
        Arguments of `Image.from_array`.
    """
    pixels = _elements(_parse(xml), "Pixels")[0]
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in spatial]
    spacing = [float(size) if size is not None else 1.0 for size in sizes]
    spacing = [s if math.isfinite(s) and s > 0 else 1.0 for s in spacing]
    units = [
        unit_name(pixels.get(f"PhysicalSize{axis}Unit", "µm")) if size is not None else "pixel"
        for axis, size in zip(spatial, sizes, strict=True)
    ]
    matrix = np.diag([*spacing, 1.0])
    planes = _elements(pixels, "Plane")
    if planes:
        matrix[:-1, -1] = _origin(planes[0], spatial, units)
    names = [channel.get("Name") for channel in _elements(pixels, "Channel")]
    named = names if names and all(names) else None
    return {"affine": matrix, "units": units, "band_names": named}


def _origin(plane: ET.Element, spatial: str, units: list[str]) -> list[float]:
    """Return the first plane's position, if it is in the units of the pixel size."""
    values = [plane.get(f"Position{axis}") for axis in spatial]
    same = all(
        unit_name(plane.get(f"Position{axis}Unit", "reference frame")) == unit
        for axis, unit in zip(spatial, units, strict=True)
    )
    if any(value is None for value in values) or not same:
        return [0.0] * len(spatial)
    return [float(value) for value in values if value is not None]


def class_names_of(xml: str) -> dict[int, str]:
    """Return the class names that `write_labels` stored, by label."""
    for annotation in _elements(_parse(xml), "MapAnnotation"):
        if annotation.get("Namespace") == _NAMESPACE:
            pairs = _elements(annotation, "M")
            return {int(pair.get("K", "0")): pair.text or "" for pair in pairs}
    return {}


def ome_labels_metadata(like: Image, class_names: dict[int, str]) -> dict[str, Any]:
    """Return tifffile's metadata for labels on the grid of `like`; warn of what is lost."""
    linear = like.affine[:-1, :-1]
    if not np.allclose(linear, np.diag(np.diag(linear))) or (np.diag(linear) <= 0).any():
        loses(
            "a rotated, sheared or mirrored affine", "TIFF",
            "Only pixel sizes and origin were written; use .nii.gz or, with a CRS, GeoTIFF",
        )  # fmt: skip
    if like.crs is not None:
        loses("a CRS", "OME-TIFF of a volume", "Keep the original beside it")
    spatial = "ZYX"[-like.ndim :]
    metadata: dict[str, Any] = {}
    plane: dict[str, Any] = {}
    rows = zip(spatial, like.spacing, like.units, like.affine[:-1, -1], strict=True)
    for axis, size, unit, origin in rows:
        symbol = _SYMBOLS.get(unit_name(unit))
        if symbol is None:
            loses(f"the unit {unit!r}", "OME-TIFF", "It was written as pixels")
            symbol = "pixel"
        metadata[f"PhysicalSize{axis}"] = float(size)
        metadata[f"PhysicalSize{axis}Unit"] = symbol
        n_planes = like.shape[0] if like.ndim == 3 else 1
        plane[f"Position{axis}"] = [float(origin)] * n_planes
        plane[f"Position{axis}Unit"] = [symbol] * n_planes
    if any(like.affine[:-1, -1]):
        metadata["Plane"] = plane
    if class_names:
        pairs = {str(label): name for label, name in class_names.items()}
        metadata["MapAnnotation"] = {"Namespace": _NAMESPACE, **pairs}
    return metadata
