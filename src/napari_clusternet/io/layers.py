"""napari layers as images, by their public attributes; napari itself is never imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, level_affine, unit_name

if TYPE_CHECKING:
    import numpy.typing as npt


#: What layers call their axes, beside the letters.
_AXIS_NAMES = {"BAND": "C", "BANDS": "C", "CHANNEL": "C", "CHANNELS": "C", "PLANE": "Z",
               "DEPTH": "Z", "ROW": "Y", "COLUMN": "X"}  # fmt: skip


def is_layer(source: Any) -> bool:
    """Return whether `source` looks like a napari layer: data that is placed in a world."""
    # `data` last: arrays of dates refuse to be asked for theirs
    return all(hasattr(source, name) for name in ("affine", "scale", "translate", "data"))


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
            extra=_of_type(metadata.get("file"), dict),
        )
        for array in arrays
    ]  # fmt: skip
    images = [_as_in_file(image, metadata) for image in images]
    finest = images[0]
    if len(images) == 1:
        return finest
    coarser = [
        replace(image, affine=level_affine(finest.affine, finest.shape, image.shape))
        for image in images[1:]
    ]
    return replace(finest, levels=(finest, *coarser))


def _as_in_file(image: Image, metadata: dict[str, Any]) -> Image:
    """Take over what the reader noted, as far as it fits: the layer may have other data by now."""
    names, mask = metadata.get("band_names"), metadata.get("mask")
    if isinstance(names, tuple | list) and len(names) == image.n_bands:
        image = replace(image, band_names=tuple(str(name) for name in names))
    if mask is not None and tuple(np.shape(mask)) == image.shape:
        image = replace(image, mask=mask)
    return image


def image_from_layers(
    layers: Sequence[Any], *, axes: str | None = None, bands: Sequence[int] | None = None
) -> Image:
    """Return one image of one or several layers, whose bands are put one after the other.

    Parameters
    ----------
    layers : sequence of napari Image layers
        All of one shape and at one place.
    axes : str, optional
        As in `image_from_layer`, for each layer.
    bands : sequence of int, optional
        Keep these bands, in this order; 0 is the first.

    Raises
    ------
    InputError
        If there is no layer, their grids differ, or there is no such band.
    """
    if not layers:
        invalid("layers", layers, "there is none", "Give an image layer")
    images = [image_from_layer(layer, OpenOptions(axes)) for layer in layers]
    first = images[0]
    for image in images[1:]:
        if image.shape != first.shape or not np.allclose(image.affine, first.affine):
            problem = f"{image.name!r} {image.shape} does not lie on {first.name!r} {first.shape}"
            invalid("layers", [i.name for i in images], problem, "Choose layers of one grid")
    whole = first if len(images) == 1 else _stacked(images)
    if bands is None or tuple(bands) == tuple(range(whole.n_bands)):
        return whole
    if not bands or not all(0 <= band < whole.n_bands for band in bands):
        invalid("bands", list(bands), f"there are bands 0 to {whole.n_bands - 1}", "Choose of them")
    return _chosen(whole, list(bands))


def _stacked(images: Sequence[Image]) -> Image:
    """Put bands together; levels only go along if all images have the same."""
    first = images[0]
    arrays = [image.data for image in images]
    if any(image.is_lazy for image in images):
        import dask.array as da

        data = da.concatenate([da.asarray(array) for array in arrays])
    else:
        data = np.concatenate([np.asarray(array) for array in arrays])
    names = [
        image.name if image.n_bands == 1 else f"{image.name} {band}"
        for image in images
        for band in image.band_names
    ]
    return replace(first, data=data, band_names=tuple(names), levels=())


def _chosen(image: Image, bands: list[int]) -> Image:
    names = tuple(image.band_names[band] for band in bands)
    kept = replace(image, data=image.data[bands], band_names=names, levels=())
    levels = [replace(kept, data=level.data[bands], affine=level.affine, mask=level.mask)
              for level in image.levels[1:]]  # fmt: skip
    return replace(kept, levels=(kept, *levels)) if levels else kept


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
    labels = [_AXIS_NAMES.get(label, label) for label in labels]
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
