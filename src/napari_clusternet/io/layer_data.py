"""Images as what napari adds as a layer: (data, keywords, kind). napari is never imported.

`napari_clusternet.io.layers` is the way back; what a layer has no place for travels in its
``metadata``: ``crs``, ``nodata``, ``band_names``, ``mask``, ``class_names`` and ``file``, the
fields that a writer of the same format puts back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.image import Image
from napari_clusternet.io.labels import check_labels

if TYPE_CHECKING:
    import numpy.typing as npt

    LayerData = tuple[Any, dict[str, Any], str]

#: Percentiles of the valid values that become black and white.
CONTRAST = (1.0, 99.0)
#: Values that are looked at for the contrast, about.
SAMPLE_VALUES = 1 << 20
#: Fewest bytes of a file that stay on disk until they are looked at.
LAZY_BYTES = 64 << 20

_RGB_NAMES = (("red", "green", "blue"), ("r", "g", "b"))


def layer_data(image: Image, *, rgb: bool | None = None) -> LayerData:
    """Return an image as data, keywords and kind of one napari layer.

    Parameters
    ----------
    image : Image
        Lazy images stay lazy past `LAZY_BYTES`; levels become a multiscale layer.
    rgb : bool, optional
        Show the three bands as colours. By default if they are 8-bit and the file says so, by
        their names or by its colour model.

    Returns
    -------
    data : array, or list of arrays for a multiscale layer
        ([Z,] Y, X) for one band, (Y, X, 3) for colours, else bands first ([C,] [Z,] Y, X).
    keywords : dict
        Name, affine, units, axis labels, contrast limits and metadata.
    kind : {"image", "labels"}
        Labels if the file says that it holds some.

    Raises
    ------
    FileFormatError
        If pixels are read and the file is damaged.
    """
    keywords: dict[str, Any] = {"name": image.name, **image.layer_metadata}
    keywords["metadata"] = _metadata(image)
    if _is_labels(image):
        return check_labels(np.asarray(image.data)[0]), keywords, "labels"
    as_colours = _is_rgb(image) if rgb is None else rgb
    levels = _shrinking(image)
    arrays = [_in_layer_order(level, as_colours) for level in levels]
    if as_colours:
        keywords["rgb"] = True
    else:
        keywords |= {"colormap": "gray", "contrast_limits": contrast_limits(levels[-1])}
    if image.n_bands > 1 and not as_colours:
        keywords |= _with_band_axis(image)
    if len(arrays) > 1:
        return arrays, keywords | {"multiscale": True}, "image"
    return arrays[0], keywords, "image"


def labels_layer_data(labels: Any, image: Image, name: str, names: dict[int, str]) -> LayerData:
    """Return labels ([Z,] Y, X) on the grid of an image, with their class names, as a layer."""
    place = image.layer_metadata
    known = [names.get(number, "") for number in range(1, max(names, default=0) + 1)]
    metadata = {**place["metadata"], "class_names": known}
    return labels, {**place, "name": name, "metadata": metadata}, "labels"


def contrast_limits(image: Image) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the valid values of a sample of the image.

    Parameters
    ----------
    image : Image
        The coarsest level there is. A lazy one that is large is read at its middle only.
    """
    reach = max(64, round((SAMPLE_VALUES / image.n_bands) ** (1 / image.ndim)))
    middle = tuple(
        slice(max(0, (n - reach) // 2), (n + reach) // 2 + 1) if image.is_lazy else slice(None)
        for n in image.shape
    )
    values, valid = image.read(middle)
    sample = values[:, valid]
    if sample.size == 0 and image.is_lazy:  # nothing valid in the middle
        values, valid = image.read(tuple(slice(0, 2 * reach) for _ in image.shape))
        sample = values[:, valid]
    step = max(1, sample.size // SAMPLE_VALUES)
    low, high = np.percentile(sample.reshape(-1)[::step], CONTRAST) if sample.size else (0.0, 1.0)
    if not low < high:
        low, high = float(sample.min(initial=0)), float(sample.max(initial=1))
    return float(low), float(high if low < high else low + 1)


def class_names_of(image: Image) -> dict[int, str]:
    """Return the names of classes that a file of labels holds."""
    return dict(image.extra.get("class_names") or {})


def _metadata(image: Image) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "crs": image.crs,
        "nodata": image.nodata,
        "band_names": image.band_names,
        "file": dict(image.extra),
    }
    if image.mask is not None:
        metadata["mask"] = image.mask
    names = class_names_of(image)
    if names:
        metadata["class_names"] = [names.get(k, f"class {k}") for k in range(1, max(names) + 1)]
    return metadata


def _is_labels(image: Image) -> bool:
    whole = np.dtype(image.data.dtype).kind in "bu"
    return whole and image.n_bands == 1 and bool(class_names_of(image))


def _is_rgb(image: Image) -> bool:
    if image.n_bands != 3 or image.ndim != 2 or np.dtype(image.data.dtype) != np.uint8:
        return False
    names = tuple(name.lower() for name in image.band_names)
    return names in _RGB_NAMES or bool(image.extra.get("rgb"))


def _shrinking(image: Image) -> Sequence[Image]:
    """Return the levels from finest to coarsest; napari takes only ones that shrink."""
    levels = [image]
    for level in image.levels[1:]:
        if math.prod(level.shape) < math.prod(levels[-1].shape):
            levels.append(level)
    return levels


def _in_layer_order(image: Image, as_colours: bool) -> Any:
    data = image.data
    if image.is_lazy and data.nbytes <= LAZY_BYTES:
        data = np.asarray(data)
    if as_colours:
        return data.transpose((*range(1, data.ndim), 0))
    return data[0] if image.n_bands == 1 else data


def _with_band_axis(image: Image) -> dict[str, Any]:
    affine: npt.NDArray[np.float64] = np.eye(len(image.affine) + 1)
    affine[1:, 1:] = image.affine
    place = image.layer_metadata
    return {
        "affine": affine,
        "units": ("pixel", *place["units"]),
        "axis_labels": ("band", *place["axis_labels"]),
    }
