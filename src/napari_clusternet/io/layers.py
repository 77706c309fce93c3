"""napari layers as images, by their public attributes; napari itself is never imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, level_affine, unit_name

if TYPE_CHECKING:
    import numpy.typing as npt


def is_layer(source: Any) -> bool:
    """Return whether `source` looks like a napari layer: data that is placed in a world."""
    return all(hasattr(source, name) for name in ("data", "scale", "translate", "affine"))


def image_from_layer(layer: Any, options: OpenOptions) -> Image:
    """Return an image with a layer's pixels and its place in the world.

    Parameters
    ----------
    layer : napari Image or Labels layer
        Multiscale data become `levels`; rgb data have their channels last.
    options : OpenOptions
        `axes` names the axes of ``layer.data``; where missing, ``layer.axis_labels`` do, and two
        axes are Y and X.

    Raises
    ------
    InputError
        If the axes are ambiguous.
    """
    multiscale = bool(getattr(layer, "multiscale", False))
    arrays = list(layer.data) if multiscale else [layer.data]
    if not hasattr(arrays[0], "dtype") or getattr(layer, "ndim", 2) < 2:
        invalid("source", str(layer), "not an image or labels layer", "Give one of these")
    axes = _axes(layer, arrays[0], options.axes)
    placed = "".join(axes).removesuffix("C") if _is_rgb(layer) else axes
    spatial = [placed.index(axis) for axis in "ZYX" if axis in placed]
    metadata = getattr(layer, "metadata", None) or {}
    source = getattr(getattr(layer, "source", None), "path", None)
    images = [
        Image.from_array(
            array, axes=axes, complex_values=options.complex_values, name=str(layer.name),
            affine=_world(layer, len(placed))[np.ix_([*spatial, -1], [*spatial, -1])],
            units=_units(layer, spatial, len(placed)), source=Path(source) if source else None,
            crs=_of_type(metadata.get("crs"), str),
            nodata=_of_type(metadata.get("nodata"), (int, float)),
        )
        for array in arrays
    ]  # fmt: skip
    finest = images[0]
    if len(images) == 1:
        return finest
    coarser = [
        replace(image, affine=level_affine(finest.affine, finest.shape, image.shape))
        for image in images[1:]
    ]
    return replace(finest, levels=(finest, *coarser))


def _of_type(value: Any, kind: Any) -> Any:
    return value if isinstance(value, kind) else None


def _is_rgb(layer: Any) -> bool:
    return bool(getattr(layer, "rgb", False))


def _axes(layer: Any, array: Any, axes: str | None) -> str:
    if axes is not None:
        if len(axes) != len(array.shape):
            invalid("axes", axes, f"the layer has shape {tuple(array.shape)}", "One letter an axis")
        order = axes.upper().replace("S", "C")
        if _is_rgb(layer) and not order.endswith("C"):
            invalid("axes", axes, "the layer is rgb, its channels are last", "End it with C")
        return order
    n_placed = len(array.shape) - _is_rgb(layer)
    labels = [str(label).upper() for label in getattr(layer, "axis_labels", ())]
    named = len(labels) == n_placed and set("YX") <= set(labels) <= set("CZYXT")
    if named:
        order = "".join(labels)
    elif n_placed == 2:
        order = "YX"
    else:
        invalid(
            "axes", None, f"the layer {layer.name!r} of shape {tuple(array.shape)} does not say "
            f"which axis is which", "Pass axes=, e.g. 'CYX' for bands, 'ZYX' for a volume",
        )  # fmt: skip
    return order + "C" * _is_rgb(layer)


def _world(layer: Any, ndim: int) -> npt.NDArray[np.float64]:
    """Return data index to world: the layer's scale, rotation, shear, translation and affine.

    The map is affine, so its values at the origin and at the unit vectors say all of it.
    """
    matrix = np.eye(ndim + 1)
    if hasattr(layer, "data_to_world"):
        origin = np.asarray(layer.data_to_world(np.zeros(ndim)), dtype=float)
        matrix[:-1, -1] = origin
        for axis in range(ndim):
            matrix[:-1, axis] = np.asarray(layer.data_to_world(np.eye(ndim)[axis])) - origin
        return matrix
    matrix[:-1, :-1] = np.diag(np.asarray(layer.scale, dtype=float))
    matrix[:-1, -1] = np.asarray(layer.translate, dtype=float)
    outer = getattr(layer.affine, "affine_matrix", layer.affine)
    return np.asarray(outer, dtype=float) @ matrix


def _units(layer: Any, spatial: list[int], ndim: int) -> list[str] | None:
    units = getattr(layer, "units", None)
    if units is None or len(units) != ndim:
        return None
    return [unit_name(units[axis]) for axis in spatial]
