"""`open_image`: a path, an array, a napari layer or an `Image` -> `Image`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.config import FILES
from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io import FORMATS
from napari_clusternet.io.base import Format, MissingFileError, OpenOptions, refuse
from napari_clusternet.io.layers import image_from_layer, is_layer

if TYPE_CHECKING:
    import numpy.typing as npt


def open_image(
    source: Any,
    *,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    affine: npt.ArrayLike | None = None,
    units: Sequence[str] | str | None = None,
    crs: str | None = None,
    band_names: Sequence[str] | None = None,
    nodata: float | None = None,
    mask: Any = None,
    complex_values: str = "refuse",
    name: str | None = None,
) -> Image:
    """Open an image or volume; a file is opened lazily.

    What a file or layer says about itself is kept; each keyword given overrides that one thing.

    Parameters
    ----------
    source : path-like, array, napari layer or Image
        TIFF, OME-TIFF, ImageJ TIFF, GeoTIFF and COG, mosaics of them (VRT), NIfTI, OME-Zarr
        (v0.4 and v0.5), PNG, JPEG, ``.npy``; or a NumPy or dask array; or a napari Image or
        Labels layer.
    axes : str, optional
        Order of the source's axes, letters from ``C``, ``Z``, ``Y``, ``X``. Needed where the
        source does not name them and has more than two. Of a GeoTIFF, ``"CYX"`` also says that a
        band declared alpha (as GDAL does with near infrared by default) is a band, not a mask.
    spacing : sequence of float, optional
        Pixel size per spatial axis ([Z,] Y, X), in `units`; keeps the source's origin and
        directions. Not with `affine`.
    affine : array-like, optional
        Index of a pixel's centre to world, (D + 1, D + 1), axes ([z,] y, x).
    units : str or sequence of str, optional
        Unit of every, or of each, spatial axis.
    crs : str, optional
        Coordinate reference system, ``"EPSG:n"`` or WKT.
    band_names : sequence of str, optional
        One name a band.
    nodata : float, optional
        Value that marks missing pixels; may be NaN.
    mask : array-like, optional
        Bool ([Z,] Y, X), True where valid.
    complex_values : {"refuse", "magnitude"}
        What to do with complex values (single-look SAR).
    name : str, optional
        What to call the image.

    Returns
    -------
    Image
        With `source` set for a file, and coarser resolutions in `levels` where it has them
        (finest first).

    Raises
    ------
    FileFormatError
        If the file is missing (also a `FileNotFoundError`), damaged, of no known format, or
        claims more than the limits of `napari_clusternet.config.FILES`.
    InputError
        If the axes are ambiguous, or a keyword does not fit the image.
    MissingExtraError
        If the format needs a package that is not installed.
    """
    if complex_values not in ("refuse", "magnitude"):
        invalid("complex_values", complex_values, "unknown", "Use 'refuse' or 'magnitude'")
    options = OpenOptions(axes, complex_values, affine is not None or spacing is not None)
    if isinstance(source, Image):
        image = source
    elif isinstance(source, str | os.PathLike):
        path = local_path(source)
        image = find_format(path).open(path, options)
        if image.n_bands > FILES.max_bands:
            refuse(path, f"it has {image.n_bands} bands; at most {FILES.max_bands} are read",
                   "Choose bands with the tool that made it, or check axes=")  # fmt: skip
        # what the file did not say, so that a session can open it again in the same way
        opened = {"opened_with": {"axes": axes, "complex_values": complex_values}}
        levels = tuple(replace(one, extra={**one.extra, **opened}) for one in image.levels)
        image = replace(image, extra={**image.extra, **opened}, levels=levels)
    elif is_layer(source):
        image = image_from_layer(source, options)
    else:
        image = Image.from_array(source, axes=axes, complex_values=complex_values)
    return _override(image, spacing, affine, units, crs, band_names, nodata, mask, name)


def local_path(source: str | os.PathLike[str]) -> Path:
    """Return the absolute path of an existing local file or store.

    Raises
    ------
    MissingFileError
        If there is none; it is a `FileNotFoundError` too.
    FileFormatError
        If it is neither a file nor a folder.
    """
    text = os.fspath(source)
    if "://" in text:
        invalid("source", text, "addresses are not read yet", "Give the path of a local file")
    path = Path(text).expanduser()
    try:
        found = path.exists()
    except (OSError, ValueError) as error:  # a name too long, or with a null byte
        raise MissingFileError(f"source={text[:200]!r}: not a file name ({error})") from error
    if not found:
        invalid("source", text, "there is no such file", "Check the path", error=MissingFileError)
    if not (path.is_file() or path.is_dir()):  # reading a pipe would wait for ever
        refuse(path, "neither a file nor a folder", "Give a file or an OME-Zarr folder")
    return path.resolve()


@cache
def all_formats() -> tuple[Format, ...]:
    """Return every format of the table; looked up once, as asking for plugins takes a while."""
    return tuple(FORMATS.load(entry) for entry in FORMATS)


def find_format(path: Path) -> Format:
    """Return the format a file is of, judged by its content.

    Raises
    ------
    FileFormatError
        If no format knows it; the message lists the known ones.
    """
    for candidate in all_formats():
        if candidate.sniff(path):
            return candidate
    known = ", ".join(f"{f.name} ({' '.join(f.suffixes)})" for f in all_formats())
    refuse(path, "of no known format", f"Known: {known}")
    return None


def _override(
    image: Image,
    spacing: Sequence[float] | None,
    affine: npt.ArrayLike | None,
    units: Sequence[str] | str | None,
    crs: str | None,
    band_names: Sequence[str] | None,
    nodata: float | None,
    mask: Any,
    name: str | None,
) -> Image:
    """Return `image` with what is not None replaced, in its levels too."""
    given = (spacing, affine, units, crs, band_names, nodata, mask, name)
    if all(value is None for value in given):
        return image
    if nodata is not None and not isinstance(nodata, int | float | np.number):
        invalid("nodata", nodata, "not a number", "Give one number, which may be NaN")
    matrix = affine
    if spacing is not None and affine is None:
        matrix = _respaced(image, spacing)
    if mask is not None and not hasattr(mask, "shape"):
        mask = np.asarray(mask)
    checked = Image.from_array(
        image.data, axes=image.axes, spacing=spacing if affine is not None else None,
        affine=image.affine if matrix is None else matrix,
        units=image.units if units is None else units,
        crs=image.crs if crs is None else crs,
        band_names=image.band_names if band_names is None else band_names,
        nodata=image.nodata if nodata is None else float(nodata),
        mask=image.mask if mask is None else mask,
        name=image.name if name is None else name, source=image.source, extra=image.extra,
    )  # fmt: skip
    moved = checked.affine @ np.linalg.inv(image.affine)
    levels = tuple(
        replace(
            checked, data=level.data, affine=moved @ level.affine,
            mask=level.mask if mask is None else _resampled(mask, level.shape),
        )
        for level in image.levels[1:]
    )  # fmt: skip
    return replace(checked, levels=(checked, *levels) if levels else ())


def _respaced(image: Image, spacing: Sequence[float]) -> npt.NDArray[np.float64]:
    steps = Image.from_array(image.data, axes=image.axes, spacing=spacing).spacing
    matrix = image.affine.copy()
    matrix[:-1, :-1] *= np.asarray(steps) / np.asarray(image.spacing)
    return matrix


def _resampled(mask: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask at the coarser `shape`: each pixel takes the one at its centre."""
    for axis, (fine, coarse) in enumerate(zip(mask.shape, shape, strict=True)):
        centres = ((np.arange(coarse) + 0.5) * fine / coarse).astype(int)
        mask = mask.take(centres, axis=axis) if isinstance(mask, np.ndarray) else mask[
            (slice(None),) * axis + (centres,)
        ]  # fmt: skip
    return mask
