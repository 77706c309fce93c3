"""TIFF, OME-TIFF and ImageJ TIFF, through tifffile."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.image import Image
from napari_clusternet.io._ome import class_names_of, ome_grid, ome_labels_metadata
from napari_clusternet.io.base import (
    OpenOptions,
    check_claim,
    keep_axes,
    level_affine,
    reading,
    refuse,
    unit_name,
)
from napari_clusternet.io.lazy import OPENED, FileArray, in_image_order, stamp_of

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, geo keys
_GDAL_NODATA = 42113
#: Tile of label files, pixels.
TILE = 256
#: Labels of more bytes, before compression, go into a BigTIFF.
_CLASSIC_BYTES = 1 << 31


@dataclass(frozen=True)
class _TiffArray(FileArray):
    """One level of a TIFF's first series."""

    level: int = 0

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        level = OPENED.get(self, lambda: _open_level(self.path, self.level))
        return np.asarray(level[region])


def _open_level(path: Path, level: int) -> Any:
    """Return a sliceable over one level; kept open, as parsing the pages again is slow."""
    import tifffile
    import zarr

    with tifffile.TiffFile(path, _multifile=False) as tif:
        offset = _all_series(tif)[0].levels[level].dataoffset
    if offset is not None:  # plain pixels in one run: any row is read without the rest
        return tifffile.memmap(path, series=0, level=level, mode="r")
    # The first series only, and never another file that the metadata may name.
    tif = tifffile.TiffFile(path, _multifile=False)
    opened = zarr.open(_all_series(tif)[0].aszarr(level=level), mode="r")
    return opened["0"] if isinstance(opened, zarr.Group) else opened


def _all_series(tif: Any) -> Any:
    """Return what images the file has, once its pages were counted: a circle is only seen then."""
    len(tif.pages)
    return tif.series


class _Complaints(logging.Handler):
    """What tifffile logs in this thread: it drops damaged tags and goes on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = threading.get_ident()
        self._messages: list[str] = []

    def __enter__(self) -> None:
        logging.getLogger("tifffile").addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("tifffile").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message of this thread."""
        if record.thread == self._thread:
            self._messages.append(record.getMessage())

    def report(self, path: Path, *, strict: bool) -> None:
        """Refuse the file if `strict`, else warn that some of what it says is lost."""
        if self._messages and strict:
            refuse(path, f"damaged: {self._messages[0]}", "Write it again")
        if self._messages:
            warnings.warn(
                f"{str(path)!r} is damaged, some of its metadata are left out: {self._messages[0]}",
                UserWarning,
                stacklevel=4,
            )


class TiffFormat:
    """Plain, OME- and ImageJ TIFF; see `napari_clusternet.io.base.Format`."""

    name = "tiff"
    suffixes = (".tif", ".tiff")
    writes = True

    def sniff(self, path: Path) -> bool:
        """Return whether the file starts like a TIFF or BigTIFF."""
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(4) in _MAGIC

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open the first series, lazily, with its pyramid levels."""
        import tifffile

        stamp = stamp_of(path)
        complaints = _Complaints()
        with reading(path), complaints, tifffile.TiffFile(path, _multifile=False) as tif:
            if not _all_series(tif):
                refuse(path, "there is no image in it", "Export it again")
            series = tif.series[0]
            axes, kept = _axes_of(path, series, options)
            for level in series.levels:
                _check_level(path, level, axes, kept)
                _check_pieces(path, [page for page in level.pages if page is not None])
            fields = _fields(tif, axes)
            shapes = [level.shape for level in series.levels]
            natives = [_native_chunk(level) for level in series.levels]
            dtype = series.dtype
        complaints.report(path, strict=options.strict)
        arrays = [
            in_image_order(_TiffArray(path, shape, dtype, stamp, i), native, axes, kept)
            for i, (shape, native) in enumerate(zip(shapes, natives, strict=True))
        ]
        images = [
            Image.from_array(
                array, axes=order, complex_values=options.complex_values, name=path.name,
                source=path, **fields,
            )
            for (array, order), shape in zip(arrays, shapes, strict=True)
            if len(shape) == len(shapes[0])
        ]  # fmt: skip
        return with_levels(images)

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Write an OME-TIFF: spacing, units and origin as text, exact to the last digit."""
        _imwrite(path, labels, labels.shape, labels.dtype, like, class_names)


def write_labels_in_tiles(
    path: Path,
    tiles: Iterator[npt.NDArray[Any]],
    dtype: npt.DTypeLike,
    like: Image,
    class_names: dict[int, str],
) -> None:
    """Write an OME-TIFF of labels from its tiles.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced if it exists.
    tiles : iterator of numpy.ndarray of shape (TILE, TILE)
        Plane by plane, row by row.
    dtype : dtype
        Of the labels.
    like : Image
        Gives shape and grid.
    class_names : dict of int to str
        Names by label.
    """
    _imwrite(path, tiles, like.shape, np.dtype(dtype), like, class_names)


def _imwrite(
    path: Path,
    data: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Image,
    class_names: dict[int, str],
) -> None:
    import tifffile

    metadata: dict[str, Any] = {"axes": "ZYX"[-len(shape) :]}
    metadata |= ome_labels_metadata(like, class_names)
    big = math.prod(shape) * dtype.itemsize > _CLASSIC_BYTES
    tifffile.imwrite(
        path, data, shape=shape, dtype=dtype, bigtiff=big, ome=True, photometric="minisblack",
        tile=(TILE, TILE), compression="deflate", metadata=metadata,
    )  # fmt: skip


def with_levels(images: Sequence[Image]) -> Image:
    """Return the first image with the others, coarser ones of the same extent, as its levels."""
    from dataclasses import replace

    finest = images[0]
    levels = [
        replace(image, affine=level_affine(finest.affine, finest.shape, image.shape))
        for image in images[1:]
        if image.n_bands == finest.n_bands
    ]
    return replace(finest, levels=(finest, *levels)) if levels else finest


def has_geo_tags(path: Path) -> bool:
    """Return whether a TIFF is georeferenced.

    Raises
    ------
    FileFormatError
        If its first page cannot be read.
    """
    import tifffile

    with reading(path), tifffile.TiffFile(path, _multifile=False) as tif:
        tags = tif.pages.first.tags
        return any(code in tags for code in _GEO_TAGS)


def _axes_of(path: Path, series: Any, options: OpenOptions) -> tuple[str, tuple[int, ...]]:
    if options.axes is not None:
        return options.axes, tuple(range(len(series.shape)))
    return keep_axes(path, series.axes, series.shape, options.generic_axis)


def _native_chunk(level: Any) -> tuple[int, ...]:
    page = level.keyframe
    if level.dataoffset is not None:
        return (1,) * (len(level.shape) - 1) + (level.shape[-1],)
    chunks = tuple(page.chunks)[-len(level.shape) :]
    return (1,) * (len(level.shape) - len(chunks)) + chunks


def check_complete(path: Path) -> None:
    """Refuse a TIFF whose pixels do not all lie within the file.

    Raises
    ------
    FileFormatError
        If the file is cut short or its directories are damaged.
    """
    import tifffile

    with reading(path), tifffile.TiffFile(path, _multifile=False) as tif:
        pages: list[Any] = [tif.pages[i] for i in range(len(tif.pages))]
        for page in pages:
            check_claim(path, page.shape, page.dtype, n_bands=page.keyframe.samplesperpixel)
        _check_pieces(path, pages)


def _check_level(path: Path, level: Any, axes: str, kept: tuple[int, ...]) -> None:
    sizes = [level.shape[i] for i in kept]
    n_bands = math.prod(n for n, a in zip(sizes, axes.upper(), strict=False) if a in "CS")
    chunk = () if level.dataoffset is not None else level.keyframe.chunks
    check_claim(path, level.shape, level.dtype, n_bands=max(1, n_bands), chunk=chunk)
    end = (level.dataoffset or 0) + level.nbytes
    if level.dataoffset is not None and end > path.stat().st_size:
        _refuse_short(path, end, path.stat().st_size)


def _check_pieces(path: Path, pages: Sequence[Any]) -> None:
    """Check that every strip or tile lies within the file, and that none is missing."""
    size = path.stat().st_size
    for page in pages:
        offsets, counts = page.dataoffsets, page.databytecounts
        end = max((o + n for o, n in zip(offsets, counts, strict=False)), default=0)
        if len(offsets) != len(counts) or end > size:
            _refuse_short(path, end, size)
    page = pages[0].keyframe if pages else None
    if page is not None and page.is_tiled and len(page.dataoffsets) < math.prod(page.chunked):
        refuse(path, f"{len(page.dataoffsets)} of {math.prod(page.chunked)} tiles are there",
               "Copy or export the file again")  # fmt: skip


def _refuse_short(path: Path, needed: int, found: int) -> None:
    refuse(
        path, f"the file is cut short or damaged: its pixels need {needed} bytes, it has {found}",
        "Copy or export the file again",
    )  # fmt: skip


def _fields(tif: Any, axes: str) -> dict[str, Any]:
    """Return what the file says beside its pixels, as arguments of `Image.from_array`."""
    import tifffile

    spatial = "".join(a for a in "ZYX" if a in axes.upper())
    fields: dict[str, Any] = {}
    if tif.is_ome:
        fields = ome_grid(tif.ome_metadata, spatial)
        fields["extra"] = {"class_names": class_names_of(tif.ome_metadata)}
    elif tif.is_imagej:
        fields = _imagej_grid(tif, spatial)
    colours = tif.pages.first.photometric == tifffile.PHOTOMETRIC.RGB
    fields["extra"] = {**fields.get("extra", {}), "rgb": colours}
    n_bands = math.prod(
        n for n, a in zip(tif.series[0].shape, axes.upper(), strict=False) if a in "CS"
    )
    if len(fields.get("band_names") or []) != n_bands:
        fields.pop("band_names", None)
    nodata = tif.pages.first.tags.get(_GDAL_NODATA)
    if nodata is not None:
        fields["nodata"] = float(str(nodata.value).strip().rstrip("\0"))
    return fields


def _imagej_grid(tif: Any, spatial: str) -> dict[str, Any]:
    metadata = tif.imagej_metadata or {}
    tags = tif.pages.first.tags
    unit = unit_name(metadata.get("unit"))
    spacing = {"Z": float(metadata.get("spacing", 1.0))}
    for axis, tag in (("Y", "YResolution"), ("X", "XResolution")):
        pixels, per_unit = tags[tag].value if tag in tags else (1, 1)
        known = pixels > 0 and per_unit > 0 and "unit" in metadata
        spacing[axis] = per_unit / pixels if known else 1.0
    names = metadata.get("Labels")
    return {
        "spacing": [abs(spacing[axis]) or 1.0 for axis in spatial],
        "units": unit,
        "band_names": names if isinstance(names, list) else None,
    }


FORMAT = TiffFormat()
