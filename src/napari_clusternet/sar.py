"""Radar images (SAR): polarisations in decibels, speckle, and a span image for display.

Speckle multiplies: an intensity of L looks has the standard deviation mean / sqrt(L). In decibels
it adds, with a spread that depends on L alone (`napari_clusternet.speckle`), so everything that
normalises, clusters or learns should see decibels. Every function takes and returns an `Image`,
one band a polarisation (such as HH, HV, VH, VV). Lazy images stay lazy in `to_decibels`,
`to_intensity`, `span` and `clip_decibels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.speckle import despeckle, valid_or_nan

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

Values = Literal["intensity", "amplitude"]
#: Pixels that percentiles are measured on at most.
_SAMPLE = 2_000_000


def to_decibels(
    image: Image,
    values: Values = "intensity",
    zeros: Literal["nodata", "floor"] = "nodata",
    floor: float = -50.0,
) -> Image:
    """Return 10 log10 of intensities, or 20 log10 of amplitudes; they are the same.

    Complex single-look data are refused by `open_image` unless ``complex_values="magnitude"``
    turns them into amplitudes: pass ``values="amplitude"`` then.

    Parameters
    ----------
    image : Image
        Polarisations as bands, linear values.
    values : {"intensity", "amplitude"}
        What the pixels hold. Intensity is amplitude squared.
    zeros : {"nodata", "floor"}
        What becomes of pixels without any echo, whose logarithm is not finite: ``"nodata"`` makes
        them invalid, ``"floor"`` gives them `floor`. Negative values (left by noise subtraction)
        are treated alike.
    floor : float
        Decibels; with ``zeros="floor"``, lower values are raised to it.

    Returns
    -------
    Image
        float32 decibels; invalid pixels are NaN.

    Raises
    ------
    InputError
        If an argument is unknown, or the image holds complex values.
    """
    factor = _factor(values)
    if zeros not in ("nodata", "floor"):
        invalid("zeros", zeros, "unknown", "Use 'nodata' or 'floor'")

    def convert(block: npt.NDArray[Any]) -> FloatArray:
        power = block.astype(np.float32)
        power[~(power > 0)] = np.nan if zeros == "nodata" else 0
        with np.errstate(divide="ignore"):
            decibels = factor * np.log10(power)
        if zeros == "floor":
            decibels = np.maximum(decibels, np.float32(floor))
        return np.asarray(decibels, dtype=np.float32)

    return _mapped(image, convert)


def to_intensity(image: Image) -> Image:
    """Return 10^(decibels / 10), the inverse of `to_decibels`; invalid pixels stay NaN."""
    return _mapped(image, lambda block: np.asarray(10 ** (block / 10), dtype=np.float32))


def multilook(image: Image, looks: Sequence[int] = (2, 2), values: Values = "intensity") -> Image:
    """Return the mean intensity of blocks of pixels: fewer pixels, less speckle.

    The mean of n independent looks has 1 / n of the speckle's variance.

    Parameters
    ----------
    image : Image
        Linear values, 2D.
    looks : (int, int)
        Block extent in Y and X. Pixels that do not fill a block at the end are dropped.
    values : {"intensity", "amplitude"}
        What the pixels hold; amplitudes are squared first, and the result is always intensity.

    Returns
    -------
    Image
        float32 intensities on the coarser grid; a block is NaN if none of its pixels is valid.
    """
    if image.ndim != 2 or len(looks) != 2 or min(looks) < 1:
        invalid("looks", looks, "not the extent of a block in Y and X", "Give (2, 2) or such")
    square = _factor(values) == 20
    rows, columns = (n // look for n, look in zip(image.shape, looks, strict=True))
    if not rows or not columns:
        invalid("looks", looks, f"larger than the image {image.shape}", "Give smaller blocks")
    pixels = np.asarray(valid_or_nan(image).data)[:, : rows * looks[0], : columns * looks[1]]
    blocks = pixels.reshape(len(pixels), rows, looks[0], columns, looks[1])
    power = blocks**2 if square else blocks
    known = np.isfinite(power)
    count = known.sum(axis=(2, 4))
    total = np.where(known, power, 0).sum(axis=(2, 4), dtype=np.float64)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    # the centre of a block's first pixel to the centre of the block
    scale = np.diag([*map(float, looks), 1.0])
    scale[:2, 2] = (np.asarray(looks) - 1) / 2
    extra = {k: v for k, v in image.extra.items() if k != "geotransform"}
    return image.with_data(
        mean.astype(np.float32), affine=image.affine @ scale, nodata=float("nan"), mask=None,
        levels=(), extra=extra,
    )  # fmt: skip


def clip_decibels(image: Image, percentiles: tuple[float, float] = (1.0, 99.0)) -> Image:
    """Return decibels clipped per band to two percentiles of its valid pixels.

    A few corner reflectors are tens of decibels above all else; clipped, they no longer set the
    scale of a band's mean and standard deviation.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        invalid("percentiles", percentiles, "not a range", "Give 0 <= low < high <= 100")
    limits = np.array([_percentiles(image, band, percentiles) for band in range(image.n_bands)])
    shape = (-1, *(1,) * image.ndim)
    lows, highs = (limits[:, i].reshape(shape).astype(np.float32) for i in (0, 1))
    return image.with_data(np.clip(valid_or_nan(image).data, lows, highs), levels=())


def prepare(
    image: Image,
    values: Values = "intensity",
    looks: float = 1.0,
    multilooking: Sequence[int] | None = None,
    window: int = 0,
) -> Image:
    """Return SAR ready for any method here: decibels, less speckle if asked, clipped.

    Parameters
    ----------
    image : Image
        Linear polarisations as bands; zeros become invalid.
    values : {"intensity", "amplitude"}
        What the pixels hold.
    looks : float
        Looks they are made of.
    multilooking : (int, int), optional
        Blocks for `multilook`.
    window : int
        Window of `despeckle`; 0 for none.
    """
    if multilooking is not None:
        image = multilook(image, multilooking, values)
        looks, values = looks * multilooking[0] * multilooking[1], "intensity"
    image = to_decibels(image, values)
    return clip_decibels(despeckle(image, looks, window) if window else image)


def span(image: Image, values: Literal["intensity", "amplitude", "decibels"]) -> Image:
    """Return the span in decibels, one band: the total power of all polarisations, for display.

    10 log10 (|HH|^2 + |HV|^2 + |VH|^2 + |VV|^2).

    Parameters
    ----------
    image : Image
        Polarisations as bands.
    values : {"intensity", "amplitude", "decibels"}
        What they hold.
    """
    if values != "decibels":
        _factor(values)  # refuses what is unknown
    data = valid_or_nan(image).data
    power = (
        10 ** (data / 10) if values == "decibels" else data**2 if values == "amplitude" else data
    )
    total = power.sum(axis=0, keepdims=True)
    return to_decibels(
        image.with_data(total, band_names=("span",), nodata=float("nan"), mask=None, levels=())
    )


def _factor(values: str) -> int:
    factors = {"intensity": 10, "amplitude": 20}
    if values not in factors:
        invalid("values", values, "unknown", f"Use one of {list(factors)}")
    return factors[values]


def _mapped(image: Image, convert: Any) -> Image:
    known = valid_or_nan(image)
    data = known.data
    # convert turns NaN, too, into what is asked for of zeros: put the invalid pixels back
    keep = np.isnan(data)
    values = data.map_blocks(convert, dtype=np.float32) if image.is_lazy else convert(data)
    if image.is_lazy:
        import dask.array as da

        return known.with_data(da.where(keep, np.float32(np.nan), values))
    values[keep] = np.nan
    return known.with_data(values)


def _percentiles(image: Image, band: int, percentiles: tuple[float, float]) -> tuple[float, float]:
    blocks = list(image.blocks())
    most = max(1, _SAMPLE // len(blocks))
    parts = []
    for region in blocks:
        values, valid = image.read(region)
        pixels = values[band][valid]
        parts.append(pixels[:: max(1, -(-pixels.size // most))])
    sample = np.concatenate(parts)
    if not sample.size:
        invalid("image", image.name, "no valid pixel", "Check nodata, the mask and zeros")
    low, high = np.percentile(sample, percentiles)
    return float(low), float(high)
