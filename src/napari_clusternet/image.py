"""`Image`: pixels with all that gives them meaning - axes, spacing, affine, CRS, units, nodata."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.tiles import Region, plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Block edge for passes over a whole image, by number of spatial axes; about 4 M values a band.
PASS_BLOCK = {2: (2048, 2048), 3: (160, 160, 160)}


@dataclass(frozen=True)
class Bands:
    """The bands something was made for: their names in order and their dtype.

    Attributes
    ----------
    names : tuple of str
        One name a band; ``band_1 .. band_n`` where the source names none.
    dtype : str
        NumPy name of the pixel type, native byte order.
    """

    names: tuple[str, ...]
    dtype: str

    @property
    def named(self) -> bool:
        """Whether the source named its bands."""
        return self.names != tuple(f"band_{i + 1}" for i in range(len(self.names)))

    def check(self, image: Image, owner: str) -> None:
        """Check that `image` has these bands.

        Names are compared only where both sides have them. Floats may stand in for integers and
        the other way round (the values are the same); two different integer types may not, as
        their ranges differ.

        Raises
        ------
        InputError
            If number, names, order or dtype differ; both lists are named.
        """
        other = image.bands
        both = (
            f"the image has {len(other.names)} bands {list(other.names)} of {other.dtype}, "
            f"{owner} was made for {len(self.names)} bands {list(self.names)} of {self.dtype}"
        )
        if len(other.names) != len(self.names):
            invalid("image", image.name, both, "Give an image with the same bands")
        if self.named and other.named and self.names != other.names:
            invalid("image", image.name, both, "Reorder the bands, or name them with band_names=")
        integers = np.dtype(self.dtype).kind in "iu" and np.dtype(other.dtype).kind in "iu"
        if integers and self.dtype != other.dtype:
            invalid("image", image.name, both, "Cast it to float32 if the values mean the same")


@dataclass(frozen=True, eq=False)
class Image:
    """An image or volume, channels first, in memory or lazy.

    Build one with `from_array` or `napari_clusternet.open_image`, which check their input.

    Attributes
    ----------
    data : numpy.ndarray or dask.array.Array
        Values, shape (C, [Z,] Y, X), any real dtype.
    affine : numpy.ndarray
        Array index ([z,] y, x) to world, homogeneous, shape (D + 1, D + 1), world axes in the
        same order as the array's.
    units : tuple of str
        Unit of each world axis ([z,] y, x), such as ``"millimeter"``, ``"metre"``, ``"degree"``
        or ``"pixel"``.
    crs : str or None
        Coordinate reference system, ``"EPSG:32621"`` or WKT.
    band_names : tuple of str
        One name a band.
    nodata : float or None
        The declared nodata value.
    mask : array or None
        Bool, shape ([Z,] Y, X), True where the source itself says a pixel is valid.
    name : str
        What the image is called, for layers and messages.
    source : pathlib.Path or None
        The local file it was opened from.
    levels : tuple of Image
        The same image at coarser resolutions, finest first; empty if there are none.
    extra : mapping
        Format-specific fields that a writer of the same format puts back.
    """

    data: Any
    affine: npt.NDArray[np.float64]
    units: tuple[str, ...]
    band_names: tuple[str, ...]
    crs: str | None = None
    nodata: float | None = None
    mask: Any = None
    name: str = "image"
    source: Path | None = None
    levels: tuple[Image, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_array(
        cls,
        array: Any,
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
        name: str = "image",
        source: Path | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Image:
        """Build an `Image` from a NumPy or dask array.

        Parameters
        ----------
        array : array-like
            Pixel values; any real dtype and byte order.
        axes : str, optional
            Order of the axes, letters from ``C``, ``Z``, ``Y``, ``X`` (``S`` counts as ``C``; other
            letters must have length 1). A 2D array is ``"YX"``; more axes must be named.
        spacing : sequence of float, optional
            Pixel size per spatial axis ([Z,] Y, X), in `units`. Default 1. Not with `affine`.
        affine : array-like, optional
            Index to world, (D + 1, D + 1), axes ordered as the array's.
        units : str or sequence of str, optional
            Unit of every, or of each, spatial axis. Default ``"pixel"``.
        crs : str, optional
            Coordinate reference system.
        band_names : sequence of str, optional
            One name a band.
        nodata : float, optional
            Value that marks missing pixels; may be NaN.
        mask : array-like, optional
            Bool ([Z,] Y, X), True where valid.
        complex_values : {"refuse", "magnitude"}
            What to do with complex values (single-look SAR).
        name, source, extra
            See `Image`.

        Returns
        -------
        Image
            Channels first.

        Raises
        ------
        InputError
            If the axes are ambiguous, or any argument does not fit the array.
        """
        if not hasattr(array, "dtype") or not hasattr(array, "ndim"):
            array = np.asarray(array)
        data = _channels_first(_real_values(array, complex_values), axes)
        ndim = data.ndim - 1
        matrix = _affine_matrix(affine, spacing, ndim)
        unit_list = [units] * ndim if isinstance(units, str) else list(units or ["pixel"] * ndim)
        names = list(band_names or [f"band_{i + 1}" for i in range(data.shape[0])])
        if len(unit_list) != ndim:
            invalid("units", units, f"the image has {ndim} spatial axes", "Give one unit an axis")
        if len(names) != data.shape[0]:
            invalid("band_names", names, f"the image has {data.shape[0]} bands", "Name each once")
        if mask is not None and tuple(mask.shape) != tuple(data.shape[1:]):
            invalid(
                "mask", mask, f"the image is {tuple(data.shape[1:])}", "Give a mask of its shape"
            )
        return cls(
            data, matrix, tuple(unit_list), tuple(names), crs, nodata, mask, name, source, (),
            dict(extra or {}),
        )  # fmt: skip

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return int(self.data.ndim) - 1

    @property
    def axes(self) -> str:
        """``"CYX"`` or ``"CZYX"``."""
        return "CYX" if self.ndim == 2 else "CZYX"

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape ([Z,] Y, X)."""
        return tuple(int(n) for n in self.data.shape[1:])

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.data.shape[0])

    @property
    def bands(self) -> Bands:
        """The image's bands, to compare with those a model was made for."""
        return Bands(self.band_names, np.dtype(self.data.dtype).newbyteorder("=").name)

    @property
    def is_lazy(self) -> bool:
        """Whether the pixels are read on demand (a dask array) or already in memory."""
        return not isinstance(self.data, np.ndarray)

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Pixel size per spatial axis ([Z,] Y, X) in `units`: the affine's column norms."""
        columns = self.affine[:-1, :-1]
        return tuple(float(s) for s in np.sqrt((columns**2).sum(axis=0)))

    def read(self, region: Region | None = None) -> tuple[FloatArray, BoolArray]:
        """Read a region as float32 with its validity.

        A pixel is valid if the source's mask says so, no band is NaN or infinite (after the cast
        to float32), and it is not nodata. With an integer image whose nodata value is 0, which is
        also a legal dark value, *all* bands must be 0; otherwise one nodata band is enough.

        Parameters
        ----------
        region : tuple of slice, optional
            Spatial region ([Z,] Y, X); the whole image by default.

        Returns
        -------
        values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
            Pixel values; 0 where invalid.
        valid : numpy.ndarray of bool, shape ([Z,] Y, X)
        """
        region = region or (slice(None),) * self.ndim
        raw = np.asarray(self.data[(slice(None), *region)])
        with np.errstate(over="ignore", invalid="ignore"):
            values = raw.astype(np.float32)
        valid: BoolArray = np.asarray(np.isfinite(values).all(axis=0))
        if self.nodata is not None and not np.isnan(self.nodata):
            missing = raw == self.nodata
            dark_zero = self.nodata == 0 and raw.dtype.kind in "iub"
            valid &= ~(missing.all(axis=0) if dark_zero else missing.any(axis=0))
        if self.mask is not None:
            valid &= np.asarray(self.mask[region]).astype(bool)
        values[:, ~valid] = 0
        return values, valid

    def blocks(self) -> Iterator[Region]:
        """Yield regions that cover the image once, sized for one pass within bounded memory.

        Yields
        ------
        Region
            A slice for each spatial axis ([Z,] Y, X).
        """
        zeros = (0,) * self.ndim
        ones = (1,) * self.ndim
        for tile in plan_tiles(self.shape, PASS_BLOCK[self.ndim], zeros, ones):
            yield tile.write

    def with_data(self, data: Any, **changes: Any) -> Image:
        """Return a copy with other pixels on the same grid.

        Parameters
        ----------
        data : array-like, shape (C, [Z,] Y, X)
            The pixels.
        **changes
            Other fields to replace.

        Returns
        -------
        Image
            On the same grid.
        """
        return replace(self, data=data, **changes)

    @property
    def layer_metadata(self) -> dict[str, Any]:
        """Keyword arguments that place a napari layer of this image's ([Z,] Y, X) grid.

        A layer has no place for a CRS: it goes into its ``metadata``, and so into saved files.
        """
        return {
            "affine": self.affine.copy(),
            "units": self.units,
            "axis_labels": tuple("zyx"[-self.ndim :]),
            "metadata": {"crs": self.crs},
        }


def _real_values(array: Any, complex_values: str) -> Any:
    kind = np.dtype(array.dtype).kind
    if kind == "c":
        if complex_values == "magnitude":
            return abs(array)
        invalid(
            "array", array, "complex values have no single meaning as intensities",
            "Pass complex_values='magnitude', or np.abs(array) and its phase as bands",
        )  # fmt: skip
    if kind not in "biuf":
        invalid("array", array, "not numeric", "Give integers, floats or booleans")
    return array


def _channels_first(array: Any, axes: str | None) -> Any:
    """Return `array` as (C, [Z,] Y, X)."""
    if axes is None:
        if array.ndim != 2:
            invalid(
                "axes", axes, f"an array of shape {tuple(array.shape)} is ambiguous without it",
                "Name each axis, e.g. axes='CYX' for bands of a scene, 'ZYX' for a volume",
            )  # fmt: skip
        axes = "YX"
    order = axes.upper().replace("S", "C")
    remedy = "Use each of C, Z, Y, X at most once, one letter per axis"
    if len(order) != array.ndim:
        invalid("axes", axes, f"the array has {array.ndim} axes {tuple(array.shape)}", remedy)
    singles = [i for i, letter in enumerate(order) if letter not in "CZYX" and array.shape[i] == 1]
    if singles:
        array = array[tuple(0 if i in singles else slice(None) for i in range(array.ndim))]
        order = "".join(letter for i, letter in enumerate(order) if i not in singles)
    if len(set(order)) != len(order) or set(order) - set("CZYX") or not set("YX") <= set(order):
        invalid("axes", axes, "not an order of image axes", remedy)
    wanted = "".join(letter for letter in "CZYX" if letter in order)
    data = array.transpose(tuple(order.index(letter) for letter in wanted))
    if "C" not in order:
        data = data[None]
    if 0 in data.shape:
        invalid("array", array, "an axis has length 0", "Give an image with pixels")
    return data


def _affine_matrix(
    affine: npt.ArrayLike | None, spacing: Sequence[float] | None, ndim: int
) -> npt.NDArray[np.float64]:
    if affine is None:
        steps = np.ones(ndim) if spacing is None else np.asarray(spacing, dtype=float)
        if steps.shape != (ndim,) or not np.isfinite(steps).all() or (steps <= 0).any():
            invalid(
                "spacing", spacing, "not a positive size per axis", f"Give {ndim} positive numbers"
            )
        return np.diag([*steps, 1.0])
    if spacing is not None:
        invalid("spacing", spacing, "given together with affine", "Give only one of the two")
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (ndim + 1, ndim + 1) or not np.isfinite(matrix).all():
        invalid("affine", affine, f"not a finite {ndim + 1} x {ndim + 1} matrix", "Give one")
    if abs(np.linalg.det(matrix)) < 1e-300 or np.linalg.matrix_rank(matrix) <= ndim:
        invalid("affine", matrix.tolist(), "singular", "Give an invertible affine, or spacing=")
    return matrix


def warn_constant(image: Image, constant: Sequence[bool]) -> None:
    """Warn about bands that hold one value only; they carry no information and become zeros."""
    names = [name for name, flat in zip(image.band_names, constant, strict=True) if flat]
    if names:
        warnings.warn(
            f"bands {names} of {image.name!r} are constant; they are treated as zeros",
            UserWarning,
            stacklevel=3,
        )
