"""A multi-scale filter bank: smoothed intensity, edges and curvature at several scales."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_clusternet.features.bands import MAX_BANDS, Projection, sample_blocks
from napari_clusternet.normalization import Normalizer
from napari_clusternet.tiles import fine_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_clusternet.features.bands import Block
    from napari_clusternet.image import Bands, Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Scales by number of fine axes, pixels of the finest axis. In 3D a scale of 16 would make
#: the halo so wide that a tile of 64^3 reads 16 times its volume.
SIGMAS = {1: (1.0, 2.0, 4.0, 8.0, 16.0), 2: (1.0, 2.0, 4.0, 8.0, 16.0), 3: (1.0, 2.0, 4.0, 8.0)}
#: Kernels end at this many sigma: finite, so that tiles are exact.
TRUNCATE = 3.0
#: Differences are taken of so many pixels at a time, which fit the cache: fresh memory for whole
#: images costs more than the arithmetic.
_SLAB_PIXELS = 1 << 15
#: An axis is not smoothed by a kernel narrower than this, pixels.
MIN_SIGMA = 0.3
#: Up to this many bands the bank runs on each; above, on principal components.
MAX_BANK_BANDS = 8
#: Number of components the bank runs on (fewest, most), and the variance they should explain.
BANK_COMPONENTS, BANK_VARIANCE = (3, 10), 0.995


@dataclass(frozen=True, eq=False)
class FilterFeatures:
    """Gaussian intensity, gradient magnitude and Hessian eigenvalues at several scales.

    The features of a pixel are its normalised bands (at most 64, else principal components), then
    for each band (or component, above 8 bands) and scale: the intensity smoothed by a Gaussian,
    the magnitude of its gradient, and the eigenvalues of its Hessian, smallest first. Scales are
    in pixels of the finest axis and equal in physical units along all axes, so thick slices are
    smoothed together by wide kernels alone; gradient and Hessian leave out an axis whose spacing
    is over 3 times the finest. Each feature is scaled to mean 0 and standard deviation
    1 on a seeded sample of the image, so that all weigh the same in a distance. Invalid pixels
    count as the mean of their band in the neighbourhood of valid ones.

    Make one with `fit`.

    Attributes
    ----------
    bands : Bands
        Bands of the images it takes.
    ndim : int
        Number of spatial axes of the images it takes.
    spacing : tuple of float
        Pixel size ([Z,] Y, X) relative to the finest axis.
    sigmas : tuple of float
        Scales, pixels of the finest axis.
    normalizer : Normalizer
        Mean and standard deviation of each band.
    raw, bank : Projection or None
        Components kept as features, and those the bank runs on; None for the bands themselves.
    shift, scale : numpy.ndarray of float32, shape (F,)
        A feature is ``(value - shift) * scale``.
    """

    bands: Bands
    ndim: int
    spacing: tuple[float, ...]
    sigmas: tuple[float, ...]
    normalizer: Normalizer = field(repr=False)
    raw: Projection | None = field(default=None, repr=False)
    bank: Projection | None = field(default=None, repr=False)
    shift: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    scale: npt.NDArray[np.float32] | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls, image: Image, random_state: int = 0, sigmas: Sequence[float] | None = None
    ) -> FilterFeatures:
        """Measure normalisation, components and the features' scales on `image`.

        Parameters
        ----------
        image : Image
            Its spacing sets the anisotropy of the filters.
        random_state : int
            Seed of the sample.
        sigmas : sequence of float, optional
            Scales, pixels of the finest axis. Default 1 to 16, in isotropic 3D 1 to 8.

        Raises
        ------
        InputError
            If the image has no valid pixel.
        """
        normalizer = Normalizer.fit([image])
        blocks = sample_blocks(image, normalizer, random_state)
        finest = min(image.spacing)
        spacing = tuple(step / finest for step in image.spacing)
        n_filtered = sum(fine_axes(spacing))
        raw, bank = _projections(blocks, image.n_bands)
        scales = tuple(sigmas) if sigmas is not None else SIGMAS[n_filtered]
        plain = cls(image.bands, image.ndim, spacing, scales, normalizer, raw, bank)
        shift, scale = _moments(plain, blocks)
        return replace(plain, shift=shift, scale=scale)

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes along which differences are taken.

        Across thick slices they would compare different places.
        """
        return tuple(i for i, fine in enumerate(fine_axes(self.spacing)) if fine)

    @property
    def n_features(self) -> int:
        """Features a pixel."""
        n_bands = len(self.bands.names)
        n_raw = n_bands if self.raw is None else len(self.raw.components)
        n_bank = n_bands if self.bank is None else len(self.bank.components)
        return n_raw + n_bank * len(self.sigmas) * (2 + len(self.axes))

    @property
    def halo(self) -> tuple[int, ...]:
        """Radius of the widest kernel, and one pixel for the differences."""
        widest = self._pixel_sigmas(max(self.sigmas))
        return tuple(_radius(sigma) + (axis in self.axes) for axis, sigma in enumerate(widest))

    @property
    def multiple(self) -> tuple[int, ...]:
        """One: a block may start anywhere."""
        return (1,) * self.ndim

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""
        features = self.compute(self.normalizer(values, valid))
        if not valid.all():
            features[:, ~valid] = 0
        return features

    def compute(self, normal: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Return features (F, [Z,] Y, X) of normalised bands (C, [Z,] Y, X), `out` if given."""
        raw = normal if self.raw is None else self.raw(normal)
        channels = normal if self.bank is None else self.bank(normal)
        features = (
            np.empty((self.n_features, *normal.shape[1:]), np.float32) if out is None else out
        )
        features[: len(raw)] = raw
        step = 2 + len(self.axes)

        def fill(job: tuple[int, FloatArray, float]) -> None:
            start, channel, sigma = job
            out = features[start : start + step]
            self._filter(channel, sigma, out)
            self._standardise(out, slice(start, start + step))

        jobs = [(channel, sigma) for channel in channels for sigma in self.sigmas]
        starts = range(len(raw), self.n_features, step)
        self._standardise(features[: len(raw)], slice(0, len(raw)))
        with ThreadPoolExecutor(_n_threads()) as pool:  # scipy.ndimage releases the GIL
            list(pool.map(fill, [(s, *job) for s, job in zip(starts, jobs, strict=True)]))
        return features

    def _pixel_sigmas(self, sigma: float) -> tuple[float, ...]:
        """Return `sigma` in pixels of each axis, 0 where the axis is not smoothed."""
        wide = [sigma / step for step in self.spacing]
        return tuple(s if s >= MIN_SIGMA else 0.0 for s in wide)

    def _filter(self, channel: FloatArray, sigma: float, out: FloatArray) -> None:
        """Write smoothed intensity, gradient magnitude and Hessian eigenvalues into `out`."""
        sigmas = self._pixel_sigmas(sigma)
        smooth = out[0]
        ndimage.gaussian_filter(
            channel, sigmas, output=smooth, mode="reflect", radius=[_radius(s) for s in sigmas]
        )
        size, thickness = len(smooth), max(1, _SLAB_PIXELS * len(smooth) // smooth.size)
        for start in range(0, size, thickness):
            stop = min(start + thickness, size)
            slab = smooth.take(np.clip(np.arange(start - 1, stop + 1), 0, size - 1), axis=0)
            self._derive(slab, out[1:, start:stop])

    def _derive(self, slab: FloatArray, out: FloatArray) -> None:
        """Write gradient magnitude and Hessian eigenvalues of a slab into `out`.

        The slab has one slice more on each side along the first axis.
        """
        slopes, hessian = [], {}
        for i, axis in enumerate(self.axes):
            before, inside, after = _shifts(slab, axis)
            slope, curve = after - before, before + after
            slope *= np.float32(0.5 / self.spacing[axis])
            curve -= 2 * inside
            curve *= np.float32(1 / self.spacing[axis] ** 2)
            slopes.append(slope)
            hessian[i, i] = curve
        out[0] = np.sqrt(sum(slope * slope for slope in slopes))
        for (i, _), (j, axis) in combinations(enumerate(self.axes), 2):
            before, _, after = _shifts(slopes[i], axis, inner=True)
            hessian[i, j] = after - before
            hessian[i, j] *= np.float32(0.5 / self.spacing[axis])
        out[1:] = hessian_eigenvalues(hessian)

    def _standardise(self, out: FloatArray, part: slice) -> None:
        if self.shift is None or self.scale is None:
            return
        shape = (-1,) + (1,) * self.ndim
        out -= self.shift[part].reshape(shape)
        out *= self.scale[part].reshape(shape)


def hessian_eigenvalues(hessian: dict[tuple[int, int], FloatArray]) -> FloatArray:
    """Return the eigenvalues of symmetric matrices given by their upper triangles.

    Parameters
    ----------
    hessian : dict of (int, int) to numpy.ndarray
        Element (i, j), i <= j, of each pixel's matrix; 1 x 1, 2 x 2 or 3 x 3.

    Returns
    -------
    numpy.ndarray of float32, shape (D, ...)
        Smallest first. The 3 x 3 case is the closed form of Smith (1961), in float64.
    """
    if len(hessian) == 1:
        return hessian[0, 0][None]
    if len(hessian) == 3:
        middle = (hessian[0, 0] + hessian[1, 1]) / 2
        spread = (hessian[0, 0] - hessian[1, 1]) / 2
        spread *= spread
        spread += hessian[0, 1] * hessian[0, 1]
        np.sqrt(spread, out=spread)
        return np.stack([middle - spread, middle + spread])
    a, b, c, d, e, f = (
        hessian[key].astype(np.float64) for key in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    )
    mean = (a + b + c) / 3
    a, b, c = a - mean, b - mean, c - mean
    radius = np.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6)
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    cube = 2 * radius**3
    ratio = np.divide(determinant, cube, out=np.zeros_like(cube), where=cube > 1e-90)
    angle = np.arccos(np.clip(ratio, -1, 1)) / 3
    largest = mean + 2 * radius * np.cos(angle)
    smallest = mean + 2 * radius * np.cos(angle + 2 * np.pi / 3)
    return np.stack([smallest, 3 * mean - largest - smallest, largest]).astype(np.float32)


def _radius(sigma: float) -> int:
    return int(TRUNCATE * sigma + 0.5)


def _shifts(
    slab: FloatArray, axis: int, *, inner: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the previous pixel along `axis`, the pixel and the next; edges are repeated.

    Along the first axis a slab has one slice more on each side, unless it is `inner`.
    """
    if axis == 0 and not inner:
        return slab[:-2], slab[1:-1], slab[2:]
    inside = slab if inner else slab[1:-1]
    padded = np.pad(inside, [(1, 1) if i == axis else (0, 0) for i in range(slab.ndim)], "edge")
    size = slab.shape[axis]
    at = (slice(None),) * axis
    return padded[(*at, slice(0, size))], inside, padded[(*at, slice(2, size + 2))]


def _projections(blocks: list[Block], n_bands: int) -> tuple[Projection | None, Projection | None]:
    """Return the components kept as features and those the bank runs on."""
    if n_bands <= MAX_BANK_BANDS:
        return None, None
    projection = Projection.fit(blocks, n_bands, min(n_bands, MAX_BANDS))
    share = np.cumsum(projection.variance) / max(projection.variance.sum(), 1e-12)
    fewest, most = BANK_COMPONENTS
    bank = projection.first(int(np.clip(np.searchsorted(share, BANK_VARIANCE) + 1, fewest, most)))
    return (projection if n_bands > MAX_BANDS else None), bank


def _moments(
    extractor: FilterFeatures, blocks: list[Block]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each feature's mean, and 1 / standard deviation (0 if constant), on the blocks."""
    count, total, squares = 0, np.zeros(extractor.n_features), np.zeros(extractor.n_features)
    for normal, valid in blocks:
        values = extractor.compute(normal)[:, valid]
        count += values.shape[1]
        total += values.sum(axis=1, dtype=np.float64)
        squares += np.einsum("fn,fn->f", values, values, dtype=np.float64)
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-6)
    return mean.astype(np.float32), scale.astype(np.float32)


def _n_threads() -> int:
    """Threads as OMP_NUM_THREADS has it, by which processes share a machine; else every core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit():
        return max(1, int(told))
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
