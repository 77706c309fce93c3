"""OME-Zarr metadata: axes, transformations, channel and class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, loses, refuse, unit_name, usable_affine

_IMPLIED_AXES = "TCZYX"  # versions before 0.3 do not name them


def multiscales_of(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the first multiscale image's metadata and what to keep in `Image.extra`.

    Parameters
    ----------
    attributes : mapping
        The group's attributes; v0.5 nests everything under ``"ome"``.

    Returns
    -------
    tuple of dict, or None
        None if the group holds no multiscale image.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not ome.get("multiscales"):
        return None
    scales = dict(ome["multiscales"][0])
    version = ome.get("version") or scales.get("version") or "0.4"
    channels = [str(c.get("label", "")) for c in (ome.get("omero") or {}).get("channels", [])]
    properties = (ome.get("image-label") or {}).get("properties", [])
    names = {int(p["label-value"]): str(p["class"]) for p in properties if "class" in p}
    extra = {
        "ome-zarr": str(version),
        "channels": tuple(channels) if all(channels) else (),
        "class_names": names,
    }
    return scales, extra


def axis_letters(scales: Mapping[str, Any], ndim: int) -> str:
    """Return one letter an axis: C, Z, Y, X, T, or Q for what has no meaning here."""
    axes = scales.get("axes") or [letter.lower() for letter in _IMPLIED_AXES[-ndim:]]
    letters = ""
    for axis in axes:
        name, kind = (axis, "") if isinstance(axis, str) else (axis["name"], axis.get("type", ""))
        letter = {"channel": "C", "time": "T"}.get(kind, str(name).upper())
        letters += letter if letter in tuple("CZYXT") else "Q"
    if len(letters) != ndim:
        raise ValueError(f"{len(letters)} axes are named, the array has {ndim}")
    return letters


def grid_of(
    path: Path,
    scales: Mapping[str, Any],
    dataset: Mapping[str, Any],
    image: Image,
    letters: str,
    options: OpenOptions,
) -> dict[str, Any]:
    """Return affine and units of one dataset.

    The dataset's own transformations come first, then those of the whole image.

    Parameters
    ----------
    path : pathlib.Path
        The store, for messages.
    scales, dataset : mapping
        Metadata of the image and of one resolution.
    image : Image
        The opened dataset.
    letters : str
        The array's axes as `axis_letters` gives them.
    options : OpenOptions
        Whether a singular affine is accepted.
    """
    scale, shift = np.ones(len(letters)), np.zeros(len(letters))
    steps = [*dataset.get("coordinateTransformations", [])]
    steps += scales.get("coordinateTransformations") or []
    for step in steps:
        factor, offset = _transformation(path, step, len(letters))
        scale, shift = scale * factor, shift * factor + offset
    spatial = "ZYX"[-image.ndim :]
    if not set(spatial) <= set(letters):  # the user's axes= renamed them
        return {}
    order = [letters.index(axis) for axis in spatial]
    affine = np.diag([*scale[order], 1.0])
    affine[:-1, -1] = shift[order]
    affine = usable_affine(path, affine, options)
    axes = scales.get("axes") or list(letters)
    named = [axes[i].get("unit") if isinstance(axes[i], Mapping) else None for i in order]
    return {"affine": affine, "units": tuple(unit_name(unit) for unit in named)}


def _transformation(
    path: Path, step: Mapping[str, Any], ndim: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    kind = step.get("type")
    if kind == "identity":
        return np.ones(ndim), np.zeros(ndim)
    if kind not in ("scale", "translation") or kind not in step:
        refuse(path, f"its coordinate transformation {kind!r} is not supported",
               "Pass the image's path inside the store and affine=")  # fmt: skip
    values = np.asarray(step[kind], dtype=float)
    if values.shape != (ndim,):
        raise ValueError(f"a {kind} of {values.shape} values for {ndim} axes")
    return (values, np.zeros(ndim)) if kind == "scale" else (np.ones(ndim), values)


def image_metadata(
    like: Image, class_names: dict[int, str], levels: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """Return metadata of a label image on `like`'s grid; warn of what is lost.

    Parameters
    ----------
    like : Image
        Gives the grid.
    class_names : dict of int to str
        Names by label.
    levels : sequence of tuple of int
        Pixels of `like`, per axis, that are one pixel of each level.
    """
    linear = like.affine[:-1, :-1]
    scale = np.diag(linear)
    if not np.allclose(linear, np.diag(scale)):
        loses(
            "a rotated or sheared affine", "OME-Zarr",
            "Only pixel sizes and origin were written; use .nii.gz or, with a CRS, GeoTIFF",
        )  # fmt: skip
        scale = np.asarray(like.spacing)
    axes = []
    for name, unit in zip("zyx"[-like.ndim :], like.units, strict=True):
        named = {} if unit_name(unit) == "pixel" else {"unit": _ngff_unit(unit)}
        axes.append({"name": name, "type": "space", **named})
    datasets = []
    for level, factor in enumerate(map(np.asarray, levels)):
        # index 0 is a pixel's centre: that of a coarse one lies between those that it stands for
        origin = like.affine[:-1, -1] + scale * (factor - 1) / 2
        steps = [
            {"type": "scale", "scale": [float(s) for s in scale * factor]},
            {"type": "translation", "translation": [float(t) for t in origin]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    label: dict[str, Any] = {}
    if class_names:
        label["properties"] = [{"label-value": k, "class": v} for k, v in class_names.items()]
    scales = {"name": "labels", "axes": axes, "datasets": datasets}
    return {"multiscales": [scales], "image-label": label}


def crs_attributes(crs: str | None) -> dict[str, str]:
    """Return the attributes of a group that name a CRS, as GeoZarr's ``proj`` convention has it."""
    if crs is None:
        return {}
    return {"proj:code" if crs.upper().startswith("EPSG:") else "proj:wkt2": crs}


def crs_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the CRS that a group's attributes name."""
    named = attributes.get("proj:code") or attributes.get("proj:wkt2")
    return named if isinstance(named, str) else None


def _ngff_unit(unit: str) -> str:
    name = unit_name(unit)
    return "meter" if name == "metre" else name
