"""Labels to polygons: outlines of equal labels, repaired, sifted and simplified.

Everything happens on the pixel grid, where coordinates are whole numbers and neighbours share
their borders exactly; places in the world, areas and reprojections come last. Needs the extra
``geo`` (rasterio, shapely). `napari_clusternet.io.polygons` writes them to files.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid, missing_extra

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.float64]

#: Coordinate reference system of GeoJSON: longitude, latitude on WGS84 (RFC 7946, section 4).
WGS84 = "EPSG:4326"
#: In the WKT of projections whose plane misstates areas so much that areas are taken on the
#: ellipsoid instead.
_STRETCHED = 'PROJECTION["Mercator'
#: Longest straight edge when a polygon goes onto the ellipsoid, degrees.
_EDGE_DEGREES = 0.1
#: Largest label: what GDAL can trace without loss.
_MAX_LABEL = 65535


@dataclass(frozen=True)
class Polygons:
    """Polygons of labels, one row each, by label and the larger first.

    Attributes
    ----------
    geometry : numpy.ndarray of shapely.Polygon, shape (n,)
        Valid polygons with holes, coordinates (x, y); exterior rings run counter-clockwise.
    labels : numpy.ndarray of int64, shape (n,)
        Label of each.
    pixels : numpy.ndarray of int64, shape (n,)
        Pixels each was traced from, before any simplification.
    areas : numpy.ndarray of float64, shape (n,)
        Area of each, after simplification, in `area_unit`.
    area_unit : str
        ``"square metre"`` where there is a CRS on the Earth, else ``"square "`` and the image's
        unit.
    crs : str or None
        Coordinate reference system of `geometry`.
    """

    geometry: npt.NDArray[Any]
    labels: IntArray
    pixels: IntArray
    areas: FloatArray
    area_unit: str
    crs: str | None

    def __len__(self) -> int:
        return len(self.labels)


def polygonize(
    labels: npt.ArrayLike,
    *,
    affine: npt.ArrayLike | None = None,
    crs: str | None = None,
    unit: str = "pixel",
    min_pixels: int = 0,
    simplify: float = 0.0,
) -> Polygons:
    """Trace the outline of every 4-connected region of equal label; label 0 is background.

    Parameters
    ----------
    labels : array-like of int, shape (Y, X)
        0 to 65535.
    affine : array-like, shape (3, 3), optional
        Index (y, x) of a pixel's centre to world (y, x), as in `Image`; the identity by default.
    crs : str, optional
        Coordinate reference system of the world.
    unit : str
        Unit of the world's axes, for the areas of an image without a CRS.
    min_pixels : int
        Regions of fewer pixels are dropped. What they leave open stays open.
    simplify : float
        Tolerance in pixels: corners that span a triangle smaller than about its square are
        removed (Visvalingam & Whyatt 1993), the least first. Borders between neighbours stay
        shared, so no gaps and no overlaps appear. 0 keeps every pixel corner.

    Raises
    ------
    InputError
        If an argument does not fit.
    MissingExtraError
        If rasterio or shapely is not installed.
    """
    values = _checked(labels, min_pixels, simplify)
    shapely = _shapely()
    parts, found = _trace(values)
    parts, found = _repaired(parts, found)
    pixels = np.rint(shapely.area(parts)).astype(np.int64)
    order = np.lexsort((-pixels, found))
    kept = order[pixels[order] >= max(1, min_pixels)]
    parts, found, pixels = parts[kept], found[kept], pixels[kept]
    if simplify > 0 and len(parts):
        # neighbours share an edge exactly only if both have its every pixel corner
        dense = shapely.transform(shapely.segmentize(parts, 1.0), np.round)
        parts = shapely.coverage_simplify(dense, simplify)
    matrix = np.eye(3) if affine is None else np.asarray(affine, dtype=float)
    # a corner (x, y) of the pixel grid is half a pixel before the pixel's centre
    world = shapely.transform(parts, lambda xy: _to_world(xy, matrix))
    world = shapely.orient_polygons(world)
    areas, area_unit = _areas(world, crs, unit)
    return Polygons(world, found, pixels, areas, area_unit, crs)


def reproject(polygons: Polygons, crs: str) -> Polygons:
    """Return the polygons in another coordinate reference system; areas stay as they are.

    What crosses the antimeridian becomes a multipolygon where `crs` is geographic.

    Raises
    ------
    InputError
        If the polygons have no CRS, `crs` is none, or there is no way from one to the other.
    """
    if polygons.crs is None:
        invalid("crs", crs, "the polygons have no coordinate reference system to start from",
                "Give the image a CRS, or leave crs= out")  # fmt: skip
    source, target = parsed_crs(polygons.crs), parsed_crs(crs)
    try:
        moved = _transformed(polygons.geometry, source, target)
    except Exception as error:  # GDAL's own errors have no public class in rasterio
        reason = type(error).__name__
        invalid("crs", crs, f"there is no way to it from {polygons.crs[:60]} ({reason})",
                "Write in the image's own: pass crs=image.crs")  # fmt: skip
    return Polygons(
        _shapely().orient_polygons(moved), polygons.labels, polygons.pixels, polygons.areas,
        polygons.area_unit, crs,
    )  # fmt: skip


def iou_matrix(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> FloatArray:
    """Return the intersection over union of every polygon of `one` with every one of `other`.

    Parameters
    ----------
    one, other : numpy.ndarray of shapely.Polygon, shapes (n,) and (m,)
        In the same coordinates.

    Returns
    -------
    numpy.ndarray of float64, shape (n, m)
        As `napari_clusternet.metrics.match_objects` takes it.
    """
    shapely = _shapely()
    overlaps = np.zeros((len(one), len(other)))
    rows, columns = shapely.STRtree(other).query(one, predicate="intersects")
    common = shapely.area(shapely.intersection(one[rows], other[columns]))
    total = shapely.area(one)[rows] + shapely.area(other)[columns] - common
    overlaps[rows, columns] = np.divide(common, total, out=np.zeros_like(total), where=total > 0)
    return overlaps


def parsed_crs(text: str) -> Any:
    """Return the rasterio CRS that `text` names, or say that it names none.

    Raises
    ------
    InputError
        If `text` is neither an authority code, WKT nor a PROJ string.
    """
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError):  # ValueError: 'EPSG:' before what is no number
        invalid("crs", text, "not a coordinate reference system", "Give 'EPSG:n' or WKT")


def _shapely() -> Any:
    for package in ("rasterio", "shapely"):
        if find_spec(package) is None:
            missing_extra(package, "geo", "Turning labels into polygons")
    import shapely

    return shapely


def _checked(labels: npt.ArrayLike, min_pixels: int, simplify: float) -> npt.NDArray[Any]:
    values = np.asarray(labels)
    if values.ndim != 2:
        invalid("labels", values, "polygons are of images, (Y, X)", "Give one slice of a volume")
    if values.dtype.kind not in "biu":
        invalid("labels", values, f"{values.dtype} values are not labels", "Give integers")
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high > _MAX_LABEL:
        invalid("labels", values, f"values from {low} to {high}", f"Labels are 0 to {_MAX_LABEL}")
    if min_pixels < 0:
        invalid("min_pixels", min_pixels, "negative", "Give 0 or more pixels")
    if not (np.isfinite(simplify) and simplify >= 0):
        invalid("simplify", simplify, "not a tolerance", "Give 0 or more pixels")
    return values.astype(np.uint16 if high > np.iinfo(np.uint8).max else np.uint8)


def _trace(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], IntArray]:
    """Return polygons in pixel corners (x, y), and their labels."""
    from rasterio.features import shapes
    from shapely.geometry import shape

    found = [(shape(geometry), int(label)) for geometry, label in shapes(values, mask=values > 0)]
    parts = np.empty(len(found), dtype=object)
    parts[:] = [geometry for geometry, _ in found]
    return parts, np.array([label for _, label in found], dtype=np.int64)


def _repaired(parts: npt.NDArray[Any], labels: IntArray) -> tuple[npt.NDArray[Any], IntArray]:
    """Make every polygon valid; what falls apart in the repair becomes several."""
    shapely = _shapely()
    broken = ~shapely.is_valid(parts)
    if not broken.any():
        return parts, labels
    parts[broken] = shapely.make_valid(parts[broken], method="structure", keep_collapsed=False)
    pieces, index = shapely.get_parts(parts, return_index=True)
    return pieces, labels[index]


def _to_world(xy: FloatArray, matrix: FloatArray) -> FloatArray:
    index = np.stack([xy[:, 1] - 0.5, xy[:, 0] - 0.5])
    world = matrix[:2, :2] @ index + matrix[:2, 2:]
    return np.stack([world[1], world[0]], axis=1)


def _areas(geometry: npt.NDArray[Any], crs: str | None, unit: str) -> tuple[FloatArray, str]:
    """Return areas: in the plane of a projected CRS, on the ellipsoid of a geographic one."""
    shapely = _shapely()
    system = None if crs is None else parsed_crs(crs)
    # a local CRS, of a building site or a drawing, has no place on the ellipsoid
    if system is None or not (system.is_projected or system.is_geographic):
        return shapely.area(geometry), f"square {unit}"
    if not system.is_geographic and _STRETCHED not in system.to_wkt():
        return shapely.area(geometry) * system.linear_units_factor[1] ** 2, "square metre"
    if not len(geometry):
        return np.zeros(0), "square metre"
    degrees = _transformed(geometry, system, parsed_crs(WGS84))
    west, south, east, north = shapely.total_bounds(degrees)
    equal_area = parsed_crs(
        f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +ellps=WGS84 +units=m"
    )
    dense = shapely.segmentize(degrees, _EDGE_DEGREES)
    return shapely.area(_transformed(dense, parsed_crs(WGS84), equal_area)), "square metre"


def _transformed(geometry: npt.NDArray[Any], source: Any, target: Any) -> npt.NDArray[Any]:
    from rasterio.warp import transform_geom
    from shapely.geometry import mapping, shape

    if source == target or not len(geometry):
        return geometry
    moved = transform_geom(source, target, [mapping(part) for part in geometry])
    result = np.empty(len(geometry), dtype=object)
    result[:] = [shape(part) for part in moved]
    return result
