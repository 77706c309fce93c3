"""`write_polygons`: labels as polygons in a GeoPackage or GeoJSON file (extra ``geo``)."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import FileFormatError, invalid, missing_extra
from napari_clusternet.image import Image
from napari_clusternet.io.atomic import atomic_path
from napari_clusternet.io.base import refuse
from napari_clusternet.io.labels import check_labels
from napari_clusternet.io.opening import open_image
from napari_clusternet.polygons import WGS84, Polygons, parsed_crs, polygonize, reproject

if TYPE_CHECKING:
    import numpy.typing as npt

SUFFIXES = (".gpkg", ".geojson")
#: Name of the table in a GeoPackage.
LAYER = "labels"


def write_polygons(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    like: Image | Any,
    class_names: Mapping[int, str] | None = None,
    min_pixels: int = 0,
    simplify: float = 0.0,
    crs: str | None = None,
) -> Path:
    """Write every region of equal label as a polygon with its class, pixels and area.

    Each polygon has the attributes ``label``, ``class`` (its name), ``pixels`` (before any
    simplification), ``area`` and ``area_unit``. The file appears under its name only after it was
    read back.

    Parameters
    ----------
    path : path-like
        ``*.gpkg`` for a GeoPackage, ``*.geojson`` for GeoJSON.
    labels : array-like of int, shape (Y, X)
        0 is background.
    like : Image, or whatever `open_image` takes
        The image the labels belong to: gives affine, units and CRS.
    class_names : mapping of int to str, optional
        Names by label; ``class n`` where there is none.
    min_pixels : int
        Regions of fewer pixels are left out.
    simplify : float
        Tolerance in pixels; see `napari_clusternet.polygons.polygonize`.
    crs : str, optional
        Coordinate reference system to write in. By default a GeoPackage keeps that of the image,
        and GeoJSON is in longitude and latitude on WGS84, as RFC 7946 asks.

    Returns
    -------
    pathlib.Path
        The written file.

    Warns
    -----
    UserWarning
        If GeoJSON is written of an image without a CRS: its coordinates are then the image's own.

    Raises
    ------
    InputError
        If an argument does not fit.
    FileFormatError
        If the suffix is another, or what was written does not read back (a full disk).
    MissingExtraError
        If a package of the extra ``geo`` is not installed.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in SUFFIXES:
        refuse(target, "polygons are not written under this suffix", f"Use {' or '.join(SUFFIXES)}")
    if target.suffix.lower() == ".gpkg" and find_spec("pyogrio") is None:
        missing_extra("pyogrio", "geo", "Writing a GeoPackage")
    image = open_image(like)
    values = check_labels(labels)
    if values.shape != image.shape:
        invalid("labels", values, f"the image {image.name!r} has the shape {image.shape}",
                "Give labels of that shape")  # fmt: skip
    if crs is not None and image.crs is None:
        invalid("crs", crs, f"the image {image.name!r} has none to start from", "Leave crs= out")
    polygons = polygonize(
        values, affine=image.affine, crs=image.crs, unit=image.units[-1], min_pixels=min_pixels,
        simplify=simplify,
    )  # fmt: skip
    names = class_names or {}
    classes = [str(names.get(int(k), f"class {k}")) for k in polygons.labels]
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".gpkg":
            _write_geopackage(temporary, target, _moved(polygons, crs), classes)
        else:
            _write_geojson(temporary, target, polygons, classes, crs)
    return target


def _moved(polygons: Polygons, crs: str | None) -> Polygons:
    return polygons if crs is None or crs == polygons.crs else reproject(polygons, crs)


def _columns(polygons: Polygons, classes: list[str]) -> dict[str, npt.NDArray[Any]]:
    return {
        "label": polygons.labels,
        "class": np.array(classes, dtype=object),
        "pixels": polygons.pixels,
        "area": polygons.areas,
        "area_unit": np.array([polygons.area_unit] * len(polygons), dtype=object),
    }


def _write_geopackage(
    temporary: Path, target: Path, polygons: Polygons, classes: list[str]
) -> None:
    import pyogrio
    import shapely

    columns = _columns(polygons, classes)
    multi = bool(
        (shapely.get_type_id(polygons.geometry) == shapely.GeometryType.MULTIPOLYGON).any()
    )
    try:
        with warnings.catch_warnings():
            # that there is no CRS is the image's own fact, not the writer's news
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.raw.write(
                temporary, shapely.to_wkb(polygons.geometry), list(columns.values()),
                list(columns), layer=LAYER, driver="GPKG", crs=polygons.crs,
                geometry_type="MultiPolygon" if multi else "Polygon", promote_to_multi=multi,
            )  # fmt: skip
        found = pyogrio.read_info(temporary, layer=LAYER, force_feature_count=True)["features"]
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise FileFormatError(
            f"path={str(target)!r}: could not be written ({type(error).__name__}: {error}). "
            "Nothing was changed; free space or choose another folder"
        ) from error
    _check_count(target, found, len(polygons))


def _write_geojson(
    temporary: Path, target: Path, polygons: Polygons, classes: list[str], crs: str | None
) -> None:
    """Write GeoJSON; its old ``crs`` member only where it is not WGS84, as readers then need it."""
    from shapely.geometry import mapping

    wanted = crs or (WGS84 if polygons.crs else None)
    if wanted is None:
        warnings.warn(
            f"the image has no CRS: the coordinates in {target.name!r} are x, y of the image "
            f"({polygons.area_unit.removeprefix('square ')}), not longitude and latitude",
            UserWarning,
            stacklevel=3,
        )
    moved = _moved(polygons, wanted)
    columns = _columns(moved, classes)
    features = [
        {
            "type": "Feature",
            "properties": {name: _plain(values[i]) for name, values in columns.items()},
            "geometry": mapping(moved.geometry[i]),
        }
        for i in range(len(moved))
    ]
    document: dict[str, Any] = {"type": "FeatureCollection", "name": LAYER, "features": features}
    if wanted is not None and parsed_crs(wanted) != parsed_crs(WGS84):
        document["crs"] = {"type": "name", "properties": {"name": _urn(wanted)}}
    temporary.write_text(json.dumps(document), encoding="utf-8")
    written = json.loads(temporary.read_text(encoding="utf-8"))
    _check_count(target, len(written["features"]), len(moved))


def _urn(crs: str) -> str:
    code = parsed_crs(crs).to_epsg()
    return f"urn:ogc:def:crs:EPSG::{code}" if code else crs


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_count(target: Path, found: int, expected: int) -> None:
    if found != expected:
        refuse(
            target, f"{found} of {expected} polygons read back; the disk may be full",
            "Nothing was changed; free space and write again",
        )  # fmt: skip
