"""Clusters for the eye: a flat map of their centroids, profiles of classes, sizes in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.image import Image

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    FloatArray = npt.NDArray[np.float64]

#: Length unit -> metres.
_METRES = {
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "metre": 1.0,
    "meter": 1.0,
    "kilometer": 1e3,
}
#: From which size (square or cubic metres), in which unit (the same), called what.
_AREAS = (
    (1e6, 1e6, "km²"), (1e4, 1e4, "ha"), (1e-2, 1.0, "m²"), (1e-4, 1e-4, "cm²"),
    (1e-8, 1e-6, "mm²"), (0.0, 1e-12, "µm²"),
)  # fmt: skip
_VOLUMES = (
    (1e9, 1e9, "km³"), (1.0, 1.0, "m³"), (1e-3, 1e-3, "l"), (1e-6, 1e-6, "ml"),
    (1e-11, 1e-9, "mm³"), (0.0, 1e-18, "µm³"),
)  # fmt: skip
#: Mean radius of the Earth (IUGG), metres.
_EARTH = 6371008.8
#: An image that spans more degrees of latitude has no single pixel area.
_MAX_LATITUDES = 5.0


def centroid_map(centroids: npt.ArrayLike) -> FloatArray:
    """Lay centroids out in the plane: their first two principal components.

    Parameters
    ----------
    centroids : array-like, shape (n, n_features)
        Mean feature vectors.

    Returns
    -------
    numpy.ndarray of float64, shape (n, 2)
        In the features' units; a component that does not exist is 0. The sign of each component
        is such that the feature that weighs most in it weighs positively.
    """
    points = np.asarray(centroids, dtype=np.float64)
    result = np.zeros((len(points), 2))
    if len(points) < 2:
        return result
    points = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    axes = axes[:, ::-1][:, :2]
    strongest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    result[:, : axes.shape[1]] = points @ (axes * np.sign(strongest))
    return result


def class_profiles(table: pd.DataFrame) -> dict[int, FloatArray]:
    """Return the mean of every band over all pixels of each class.

    Parameters
    ----------
    table : pandas.DataFrame
        `napari_clusternet.Session.clusters`.

    Returns
    -------
    dict of int to numpy.ndarray of float64, shape (n_bands,)
        By class, without class 0. Clusters whose means are not known yet are left out.
    """
    means = profiles(table)
    known = ~np.isnan(means).any(axis=1)
    classes, pixels = table["class"].to_numpy()[known], table["pixels"].to_numpy()[known]
    return {
        int(class_): np.average(
            means[known][classes == class_], axis=0, weights=pixels[classes == class_]
        )
        for class_ in np.unique(classes[classes > 0])
    }


def profiles(table: pd.DataFrame) -> FloatArray:
    """Return the band means of a cluster table, shape (n_clusters, n_bands)."""
    names = [name for name in table.columns if str(name).startswith("mean_")]
    return table[names].to_numpy(dtype=np.float64)


def inside(points: npt.ArrayLike, polygon: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which points lie inside a polygon (even-odd rule).

    Parameters
    ----------
    points : array-like, shape (n, 2)
        Points (x, y).
    polygon : array-like, shape (m, 2)
        Its corners in order; the last is joined to the first. Fewer than three enclose nothing.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    result = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        if crosses.any():
            result ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return result


def size_text(size: float, image: Image) -> str:
    """Write the area or volume of some pixels for people.

    Parameters
    ----------
    size : float
        In the image's units, squared or cubed, as in the column ``size`` of the cluster table.
    image : Image
        Whose units they are.

    Returns
    -------
    str
        Such as ``"1.25 km²"``, ``"3.4 ha"``, ``"12 ml"``. Degrees become square metres of the
        sphere at the latitude of the image's middle, marked with ``"≈"``, unless the image spans
        more than 5 degrees of latitude. Without a unit: ``"12 px²"`` or ``"12 px³"``.
    """
    power = image.ndim
    units = set(image.units)
    if units <= set(_METRES):
        factor = np.prod([_METRES[unit] for unit in image.units])
        return _scaled(size * float(factor), power)
    if units == {"degree"} and power == 2:
        per_degree = _square_metres_per_square_degree(image)
        return f"{size:.3g} deg²" if per_degree is None else f"≈ {_scaled(size * per_degree, 2)}"
    if units == {"pixel"}:
        return f"{_figure(size)} px{'²³'[power - 2]}"
    return f"{_figure(size)} {' x '.join(image.units)}"


def _square_metres_per_square_degree(image: Image) -> float | None:
    ends = np.array([(*corner, 1.0) for corner in np.ndindex(2, 2)])
    ends[:, :2] *= np.array(image.shape) - 1
    latitudes = (image.affine @ ends.T)[0]
    span, middle = float(np.ptp(latitudes)), float(latitudes.mean())
    if span > _MAX_LATITUDES or abs(middle) + span / 2 > 90:
        return None
    return float((_EARTH * np.radians(1.0)) ** 2 * np.cos(np.radians(middle)))


def _scaled(value: float, power: int) -> str:
    """Write square or cubic metres with the unit that leaves the shortest figure."""
    table = _AREAS if power == 2 else _VOLUMES
    unit, name = next(entry[1:] for entry in table if value >= entry[0])
    return f"{_figure(value / unit)} {name}"


def _figure(value: float) -> str:
    """Three figures, all of the whole ones."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
