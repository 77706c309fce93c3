"""GeoTIFF and cloud-optimised GeoTIFF, through rasterio (extra ``geo``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.errors import invalid, missing_extra
from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, check_claim, reading, unit_name, usable_affine
from napari_clusternet.io.lazy import FileArray, stamp_of, to_dask
from napari_clusternet.io.tiff import FORMAT as TIFF
from napari_clusternet.io.tiff import check_complete, has_geo_tags, with_levels

_RGB = ("red", "green", "blue")
_HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


def _rasterio() -> Any:
    if find_spec("rasterio") is None:
        missing_extra("rasterio", "geo", "A georeferenced TIFF")
    import rasterio

    return rasterio


@contextmanager
def _dataset(path: Path, level: int | None = None, driver: str = "GTiff") -> Iterator[Any]:
    """Open a GeoTIFF, or one of its overviews; GDAL guesses no other format from the content."""
    import warnings

    rasterio = _rasterio()
    options = {} if level is None else {"OVERVIEW_LEVEL": level}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, driver=driver, sharing=False, **options) as dataset:
            yield dataset


@dataclass(frozen=True)
class _Bands(FileArray):
    """Some bands of a GeoTIFF, (C, Y, X); datasets are not thread-safe, so each read opens one."""

    indexes: tuple[int, ...] = ()
    level: int | None = None
    driver: str = "GTiff"

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        from rasterio.windows import Window

        bands, rows, columns = region
        with _dataset(self.path, self.level, self.driver) as dataset:
            window = Window.from_slices(rows, columns)
            values: npt.NDArray[Any] = dataset.read(list(self.indexes[bands]), window=window)
            return values


@dataclass(frozen=True)
class _Mask(FileArray):
    """A GeoTIFF's own validity, (Y, X): mask band or alpha, or per-band nodata values."""

    indexes: tuple[int, ...] = ()
    level: int | None = None
    driver: str = "GTiff"

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        from rasterio.windows import Window

        with _dataset(self.path, self.level, self.driver) as dataset:
            masks = dataset.read_masks(list(self.indexes), window=Window.from_slices(*region))
            valid: npt.NDArray[Any] = (masks > 0).all(axis=0)
            return valid


class GeoTiffFormat:
    """Georeferenced TIFF; see `napari_clusternet.io.base.Format`."""

    name = "geotiff"
    suffixes: tuple[str, ...] = (".tif", ".tiff")
    writes = True
    driver = "GTiff"

    def sniff(self, path: Path) -> bool:
        """Return whether the file is a TIFF with geo tags."""
        return TIFF.sniff(path) and has_geo_tags(path)

    def check(self, path: Path) -> None:
        """Refuse a file that is cut short."""
        check_complete(path)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open by windows, with overviews as levels and the mask band or alpha as mask."""
        _rasterio()
        from rasterio.enums import Interleaving

        stamp = stamp_of(path)
        if options.axes is not None and options.axes.upper() not in ("CYX", "YX"):
            invalid("axes", options.axes, "a GeoTIFF is read as 'CYX'", "Leave axes= out")
        self.check(path)
        with reading(path), _dataset(path, None, self.driver) as dataset:
            shape = (dataset.count, dataset.height, dataset.width)
            native = dataset.block_shapes[0]
            dtype = _numpy_dtype(dataset.dtypes)
            pixelwise = dataset.interleaving == Interleaving.pixel
            depth = shape[0] if pixelwise else 1
            check_claim(path, shape, dtype, n_bands=shape[0], chunk=(depth, *native))
            fields, indexes, own_mask = _fields(dataset, alpha_is_band=options.axes is not None)
            fields["affine"] = usable_affine(path, fields["affine"], options)
            n_levels = len(dataset.overviews(1))
        images = []
        for level in [None, *range(n_levels)]:
            with reading(path), _dataset(path, level, self.driver) as dataset:
                size = (dataset.height, dataset.width)
            shape = (len(indexes), *size)
            pixels = _Bands(path, shape, dtype, stamp, indexes, level, self.driver)
            mask = None
            if own_mask:
                mask = _Mask(path, size, np.dtype(bool), stamp, own_mask, level, self.driver)
            images.append(
                Image.from_array(
                    to_dask(pixels, (depth, *native)), axes="CYX", name=path.name,
                    mask=None if mask is None else to_dask(mask, native), source=path,
                    complex_values=options.complex_values, **fields,
                )
            )  # fmt: skip
        return with_levels(images)

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Write one band, tiled and deflated, nodata 0: label 0 is a pixel without a class."""
        with create_labels_tiff(path, labels.dtype, like, class_names) as write:
            write(labels, (slice(0, labels.shape[0]), slice(0, labels.shape[1])))


@contextmanager
def create_labels_tiff(
    path: Path, dtype: npt.DTypeLike, like: Image, class_names: dict[int, str]
) -> Iterator[Callable[[npt.NDArray[Any], tuple[slice, ...]], None]]:
    """Create a GeoTIFF of labels and yield what writes a region of it.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced if it exists.
    dtype : dtype
        Of the labels.
    like : Image
        Gives shape, transform and CRS.
    class_names : dict of int to str
        Names by label.
    """
    rasterio = _rasterio()
    from rasterio.windows import Window

    profile = {
        "driver": "GTiff", "count": 1, "dtype": np.dtype(dtype).name, "nodata": 0,
        "height": like.shape[0], "width": like.shape[1], "crs": _parsed_crs(like.crs),
        "transform": _geotransform(like), "compress": "deflate",
        "tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with _little_cache(), rasterio.open(path, "w", **profile) as dataset:
        dataset.set_band_description(1, "labels")
        dataset.update_tags(1, **{f"CLASS_{k}": name for k, name in class_names.items()})
        yield lambda labels, region: dataset.write(labels, 1, window=Window.from_slices(*region))


def copy_as_cog(path: Path, result: Path) -> None:
    """Copy a GeoTIFF of labels as a cloud-optimised one, with overviews that mix no labels.

    Raises
    ------
    FileFormatError
        If it cannot be written.
    """
    _rasterio()
    import rasterio.shutil

    options = {"COMPRESS": "DEFLATE", "BLOCKSIZE": 512, "BIGTIFF": "IF_SAFER",
               "OVERVIEW_RESAMPLING": "NEAREST", "OVERVIEWS": "IGNORE_EXISTING"}  # fmt: skip
    result.unlink(missing_ok=True)
    with reading(path), _little_cache():
        rasterio.shutil.copy(path, result, driver="COG", **options)


@contextmanager
def _little_cache() -> Iterator[None]:
    """Keep GDAL from caching a share of the machine's memory: what is written is not read again."""
    with _rasterio().Env(GDAL_CACHEMAX=64 << 20):
        yield


def _fields(
    dataset: Any, *, alpha_is_band: bool
) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """Return arguments of `Image.from_array`, the bands to read, the bands that give the mask."""
    from rasterio.enums import ColorInterp, MaskFlags

    # GDAL declares the fourth of four 8-bit bands alpha unless told otherwise, so a near-infrared
    # band may be called so; axes= is the user's word that all bands are bands.
    colours = zip(dataset.indexes, dataset.colorinterp, strict=True)
    alpha = [i for i, c in colours if c == ColorInterp.alpha and not alpha_is_band]
    indexes = tuple(i for i in dataset.indexes if i not in alpha) or tuple(dataset.indexes)
    flags = dataset.mask_flag_enums[indexes[0] - 1]
    nodata = [dataset.nodatavals[i - 1] for i in indexes]
    same = len({str(value) for value in nodata}) == 1
    own: tuple[int, ...] = ()
    if MaskFlags.alpha in flags:
        own = () if alpha_is_band else indexes[:1]
    elif MaskFlags.per_dataset in flags:
        own = indexes[:1]
    elif not same:
        own = indexes
    described = [dataset.descriptions[i - 1] for i in indexes]
    names = [text or f"band_{i + 1}" for i, text in enumerate(described)]
    tags = dataset.tags(indexes[0])
    classes = {int(k[6:]): v for k, v in tags.items() if k.startswith("CLASS_") and k[6:].isdigit()}
    transform = tuple(dataset.transform)[:6]
    colours_of = tuple(dataset.colorinterp[i - 1].name for i in indexes)
    fields = {
        "affine": _affine(transform),
        "crs": _crs(dataset.crs),
        "units": _unit(dataset.crs),
        "band_names": names,
        "nodata": nodata[0] if same and nodata[0] is not None else None,
        "extra": {"geotransform": transform, "class_names": classes, "rgb": colours_of == _RGB},
    }
    return fields, indexes, own


def _numpy_dtype(names: tuple[str, ...]) -> np.dtype[Any]:
    """Return the type that holds every band; GDAL's complex integers are read as complex64."""
    known = ["complex64" if name == "complex_int16" else name for name in names]
    return np.result_type(*[np.dtype(name) for name in known])


def _affine(transform: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return index (row, column) of a pixel's centre -> world (y, x).

    A GeoTIFF's transform maps (column, row) of pixel *corners* to (x, y).
    """
    a, b, c, d, e, f = transform
    corners = np.array([[e, d, f], [b, a, c], [0, 0, 1.0]])
    return np.asarray(corners @ _HALF)


def _geotransform(like: Image) -> Any:
    """Return the transform of pixel corners; the source's own, to the last bit, if unchanged.

    A layer's affine is known to rounding only: less than a millionth of a pixel is no change.
    """
    from affine import Affine

    own = like.extra.get("geotransform")
    if own is not None and np.abs(_affine(own) - like.affine).max() < 1e-6 * min(like.spacing):
        return Affine(*own)
    (e, d, f), (b, a, c), _ = (like.affine @ np.linalg.inv(_HALF)).tolist()
    return Affine(a, b, c, d, e, f)


def _crs(crs: Any) -> str | None:
    if not crs:
        return None
    code = crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _parsed_crs(text: str | None) -> Any:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return None if text is None else CRS.from_user_input(text)
    except CRSError:
        invalid("crs", text, "not a coordinate reference system", "Give 'EPSG:n' or WKT")


def _unit(crs: Any) -> str:
    if not crs:
        return "pixel"
    return "degree" if crs.is_geographic else unit_name(crs.linear_units)


FORMAT = GeoTiffFormat()
