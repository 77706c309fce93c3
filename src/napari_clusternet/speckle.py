"""Speckle of radar images: how large it is in decibels, and a filter that knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

#: One unit of the natural logarithm, decibels.
_DB = 10 / np.log(10)


def speckle_std(looks: float = 1.0) -> float:
    """Return the standard deviation of fully developed speckle in decibels.

    (10 / ln 10) sqrt(psi'(L)) with psi' the trigamma function (Xie, Pierce & Ulaby 2002): 5.57 dB
    for one look.
    """
    from scipy.special import polygamma

    return float(_DB * np.sqrt(polygamma(1, _looks(looks))))


def speckle_bias(looks: float = 1.0) -> float:
    """Return the mean of speckle in decibels, (10 / ln 10) (psi(L) - ln L): -2.51 dB for one look.

    So much the mean of decibels lies below the decibels of the mean.
    """
    from scipy.special import digamma

    return float(_DB * (digamma(_looks(looks)) - np.log(looks)))


def despeckle(image: Image, looks: float = 1.0, window: int = 7) -> Image:
    """Return decibels with less speckle: Lee's filter (1980), where speckle adds.

    In a window with mean m and variance v, and with the speckle's own variance s, a pixel becomes
    m + k (x - m) with k = max(0, v - s) / v: flat areas become their mean, edges and points stay.
    The speckle's bias is taken away too.

    Parameters
    ----------
    image : Image
        Decibels, from `napari_clusternet.sar.to_decibels`.
    looks : float
        Looks the pixels are made of (ENL): the extents of multilooking multiplied, or what the
        product's metadata say.
    window : int
        Window edge, pixels, odd.

    Returns
    -------
    Image
        float32 decibels; invalid pixels stay NaN and enter no window.
    """
    if not isinstance(window, int) or window < 3 or window % 2 == 0:
        invalid("window", window, "not an odd extent of at least 3", "Use 5, 7 or 9")
    noise, bias = speckle_std(looks) ** 2, speckle_bias(looks)
    pixels = np.asarray(valid_or_nan(image).data)
    result = np.stack([_lee(band, noise, window) for band in pixels]) - np.float32(bias)
    return image.with_data(result, nodata=float("nan"), mask=None, levels=())


def valid_or_nan(image: Image) -> Image:
    """Return the image as float32 with NaN where it is invalid.

    Raises
    ------
    InputError
        If it holds complex values.
    """
    if np.dtype(image.data.dtype).kind == "c":
        invalid("image", image.name, "it holds complex values",
                "Open it with complex_values='magnitude'")  # fmt: skip

    def read(raw: npt.NDArray[Any], mask: npt.NDArray[Any] | None) -> FloatArray:
        part = image.with_data(raw, mask=mask)
        pixels, valid = part.read()
        pixels[:, ~valid] = np.nan
        return pixels

    if image.is_lazy:
        import dask.array as da

        data = image.data.rechunk({0: -1})
        if image.mask is None:
            values = da.map_blocks(lambda raw: read(raw, None), data, dtype=np.float32)
        else:
            mask = da.asarray(image.mask).rechunk(data.chunks[1:])[None]
            values = da.map_blocks(
                lambda raw, known: read(raw, known[0]), data, mask, dtype=np.float32,
                chunks=data.chunks,
            )  # fmt: skip
    else:
        values = read(image.data, None if image.mask is None else np.asarray(image.mask))
    return image.with_data(values, nodata=float("nan"), mask=None, levels=())


def _looks(looks: float) -> float:
    if not (np.isfinite(looks) and looks > 0):
        invalid("looks", looks, "not a number of looks", "Give 1 or more")
    return looks


def _lee(band: FloatArray, noise: float, window: int) -> FloatArray:
    from scipy.ndimage import uniform_filter

    known = np.isfinite(band)
    share = uniform_filter(known.astype(np.float64), window, mode="constant")
    filled = np.where(known, band, 0).astype(np.float64)
    weight = np.maximum(share, 1e-12)
    mean = uniform_filter(filled, window, mode="constant") / weight
    variance = uniform_filter(filled**2, window, mode="constant") / weight - mean**2
    gain = np.clip((variance - noise) / np.maximum(variance, 1e-12), 0, 1)
    result = np.where(known, mean + gain * (filled - mean), np.nan)
    return np.asarray(result, dtype=np.float32)
