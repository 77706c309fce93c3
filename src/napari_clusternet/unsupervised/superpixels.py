"""Regions from colour and place alone: Felzenszwalb's graph, and superpixels that merge."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import ndimage

from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import (
    Tools,
    check_choice,
    check_number,
    number_regions,
    read_unit,
)
from napari_clusternet.unsupervised.merging import merge_steps, neighbour_pairs, region_means

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Value of invalid pixels, so far from all others that no region grows across them.
_FAR = -1e3


@dataclass
class Felzenszwalb:
    """Efficient graph-based segmentation (Felzenszwalb & Huttenlocher 2004), scikit-image's.

    Parameters
    ----------
    scale : float
        k of the paper: larger gives larger regions. For 8-bit values; of other images the range is
        mapped to 8 bits first.
    sigma : float
        Standard deviation of the Gaussian that smooths the image first, pixels.
    min_size : int
        Smaller regions join a neighbour, pixels.
    colour : {"bands", "lab"}
        Compare bands, as the paper, or, of photos, CIELAB colours as a share of their range.
    """

    name: ClassVar[str] = "felzenszwalb"
    summary: ClassVar[str] = "regions grow along the weakest edges of a pixel graph"
    advice: ClassVar[str] = (
        "Finds connected regions with clear outlines, small ones too. Takes seconds."
    )
    main: ClassVar[tuple[str, ...]] = ("scale", "min_size")
    ndims: ClassVar[tuple[int, ...]] = (2,)
    needs: ClassVar[str] = ""

    scale: float = 300.0
    sigma: float = 0.8
    min_size: int = 20
    colour: str = "bands"

    def __post_init__(self) -> None:
        check_number("scale", self.scale, 0)
        check_number("sigma", self.sigma, 0)
        check_number("min_size", self.min_size, 1, whole=True)
        check_choice("colour", self.colour, ("bands", "lab"))

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions, uint16 (Y, X), 0 where invalid; nothing is random.

        Raises
        ------
        InputError
            If there are more than 65535 regions, or no pixel is valid.
        """
        yield Progress("growing regions", 0, 1)
        values, valid = read_unit(image)
        if self.colour == "lab":
            values = lab_or_bands(image, values) / np.float32(100)
        labels = grow(smooth_valid(values, valid, self.sigma), valid, self.scale, self.min_size)
        yield Progress("growing regions", 1, 1)
        return number_regions(labels, valid)


@dataclass
class SlicMerge:
    """SLIC superpixels, of which the two most alike neighbours merge again and again.

    The cost of a merge is Ward's: n_a n_b / (n_a + n_b) times the squared distance of the mean
    colours, so that small regions go first and colour decides among large ones.

    Parameters
    ----------
    n_regions : int
        Regions left at the end.
    n_segments : int
        Superpixels to begin with.
    compactness : float
        Weight of place against colour in SLIC; for colours of a range of 100.
    """

    name: ClassVar[str] = "slic"
    summary: ClassVar[str] = "SLIC superpixels, merged by colour"
    advice: ClassVar[str] = (
        "Finds connected, compact regions, and as many as you ask for. Takes seconds."
    )
    main: ClassVar[tuple[str, ...]] = ("n_regions", "n_segments")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = ""

    n_regions: int = 20
    n_segments: int = 1000
    compactness: float = 10.0

    def __post_init__(self) -> None:
        check_number("n_regions", self.n_regions, 1, whole=True)
        check_number("n_segments", self.n_segments, 1, whole=True)
        check_number("compactness", self.compactness, 1e-6)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions, uint16 ([Z,] Y, X), 0 where invalid; nothing is random.

        Raises
        ------
        InputError
            If no pixel is valid.
        """
        yield Progress("finding superpixels", 0, 1)
        values, valid = read_unit(image)
        colours = lab_or_bands(image, values)
        segments = slic(image, values, valid, int(self.n_segments), self.compactness)
        yield Progress("finding superpixels", 1, 1)
        means, sizes = region_means(colours, segments, valid)
        pairs = neighbour_pairs(segments, valid)
        groups = yield from merge_steps(pairs, means, sizes, int(self.n_regions))
        return number_regions(np.where(valid, groups[segments], -1), valid)


def is_photo(image: Image) -> bool:
    """Whether an image is taken for a colour picture: three bands of 8 bits."""
    return image.n_bands == 3 and np.dtype(image.data.dtype) == np.uint8


def lab_or_bands(image: Image, values: FloatArray) -> FloatArray:
    """Return the colours (C, [Z,] Y, X) of `read_unit`: CIELAB of a photo, else 100 x values."""
    if not is_photo(image):
        return values * np.float32(100)
    from skimage.color import rgb2lab

    return np.ascontiguousarray(rgb2lab(values, channel_axis=0), dtype=np.float32)


def slic(
    image: Image, values: FloatArray, valid: BoolArray, n_segments: int, compactness: float
) -> npt.NDArray[np.int64]:
    """Return SLIC superpixels (Achanta et al. 2012, scikit-image's), numbered 0..n - 1.

    Parameters
    ----------
    image : Image
        For its spacing and kind; photos are compared in CIELAB.
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
        From `read_unit`.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
        Superpixels hold only such pixels.
    n_segments : int
        Superpixels to aim at.
    compactness : float
        Weight of place against colour, for colours of a range of 100.

    Returns
    -------
    numpy.ndarray of int64, shape ([Z,] Y, X)
        0 where invalid, too.
    """
    from skimage.segmentation import slic as find

    photo = is_photo(image)
    options: dict[str, Any] = {} if valid.all() else {"mask": valid}
    finest = min(image.spacing)
    labels = find(
        np.moveaxis(values, 0, -1), n_segments=min(n_segments, int(valid.sum())),
        # scikit-image brings bands to 0..1 but leaves CIELAB at 0..100
        compactness=compactness if photo else compactness / 100, convert2lab=photo,
        spacing=[size / finest for size in image.spacing], channel_axis=-1, start_label=0,
        enforce_connectivity=True, **options,
    )  # fmt: skip
    segments = np.zeros(valid.shape, np.int64)
    segments[valid] = np.unique(labels[valid], return_inverse=True)[1].reshape(-1)
    return segments


def smooth_valid(values: FloatArray, valid: BoolArray, sigma: float) -> FloatArray:
    """Return each band (C, [Z,] Y, X) smoothed by a Gaussian, with the mean over valid pixels.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
        0 where invalid.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    sigma : float
        Standard deviation, pixels; 0 leaves the values as they are.
    """
    if not sigma:
        return values.copy()
    weight = ndimage.gaussian_filter(valid.astype(np.float32), sigma)
    smooth = np.stack([ndimage.gaussian_filter(band, sigma) for band in values])
    result: FloatArray = (smooth / np.maximum(weight, 1e-6)).astype(np.float32)
    return result


def grow(
    values: FloatArray, valid: BoolArray, scale: float, min_size: int
) -> npt.NDArray[np.int64]:
    """Return Felzenszwalb's regions (Y, X) of values (C, Y, X); no region grows across a gap.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (C, Y, X)
        A range of about 1.
    valid : numpy.ndarray of bool, shape (Y, X)
    scale, min_size
        See `Felzenszwalb`.
    """
    from skimage.segmentation import felzenszwalb

    apart = np.moveaxis(values, 0, -1).astype(np.float64)
    apart[~valid] = _FAR
    with warnings.catch_warnings():
        # it warns of any number of bands but 1 and 3, though it handles them
        warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
        labels: npt.NDArray[np.int64] = felzenszwalb(
            apart, scale=float(scale), sigma=0, min_size=int(min_size), channel_axis=-1
        )
    return labels
