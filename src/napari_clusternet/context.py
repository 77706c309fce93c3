"""What surrounds a pixel, learned from the image: how often each texton occurs near it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_clusternet.clustering import Assigner, KMeans
from napari_clusternet.features.bands import sample_blocks
from napari_clusternet.features.filters import FilterFeatures
from napari_clusternet.tiles import fine_axes

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Bands, Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Textons, and principal components of their frequencies that are features.
N_TEXTONS, N_COMPONENTS = 48, 32
#: Standard deviations of the neighbourhoods, pixels of the finest axis, by number of fine axes.
SIGMAS = {1: (6.0, 16.0), 2: (6.0, 16.0), 3: (4.0, 8.0)}
#: Textons are counted in cells of so many pixels along every fine axis.
CELL = 4
#: Neighbourhoods end at this many sigma: finite, so that tiles are exact.
TRUNCATE = 3.0
#: Variance of the context in a distance, as a share of the filter bank's.
SHARE = 0.25
#: Pixels that textons are learned from.
_SAMPLE = 40_000


@dataclass(frozen=True, eq=False)
class ContextFeatures:
    """The filter bank, and the frequencies of textons around each pixel.

    A texton is a centroid of the filter bank's responses, found by k-means on the image itself,
    without labels. Around every pixel, at two scales, the share of each texton is measured with
    Gaussian weights, in cells of 4 pixels; the square roots of the shares (Hellinger's distance)
    are reduced to principal components and interpolated to the pixels. So a pixel is told by what
    its surroundings consist of, such as roofs among trees, which no filter's response says.
    Invalid pixels count for nothing; across thick slices nothing is counted.

    Textons after Leung and Malik (2001) and Shotton et al. (2009). Make one with `fit`.

    Attributes
    ----------
    filters : FilterFeatures
        The filter bank.
    textons : numpy.ndarray of float32, shape (k, F)
        Centroids of its responses.
    mean : numpy.ndarray of float32, shape (s * k,)
        Mean of the square roots at all scales.
    components : numpy.ndarray of float32, shape (n, s * k)
        What they are projected on.
    """

    filters: FilterFeatures
    textons: FloatArray = field(repr=False)
    mean: FloatArray = field(repr=False)
    components: FloatArray = field(repr=False)

    @classmethod
    def fit(cls, image: Image, random_state: int = 0) -> ContextFeatures:
        """Learn textons and their components on `image`.

        Parameters
        ----------
        image : Image
            Its spacing sets what is near.
        random_state : int
            Seed of the sample and of k-means.

        Raises
        ------
        InputError
            If the image has no valid pixel.
        """
        filters = FilterFeatures.fit(image, random_state)
        normal = sample_blocks(image, filters.normalizer, random_state)
        blocks = [(filters.compute(values), valid) for values, valid in normal]
        rows = _sample(blocks, np.random.default_rng(random_state))
        k = min(N_TEXTONS, len(rows))
        with warnings.catch_warnings():  # a flat image has fewer textons, which is no fault
            warnings.simplefilter("ignore", UserWarning)
            found = KMeans(k, max_iter=20, sample_size=None, random_state=random_state).fit(rows)
        nothing = np.zeros((0, 0), np.float32)
        plain = cls(filters, found.cluster_centers_, nothing, nothing)
        roots = [plain._roots(features, valid) for features, valid in blocks]
        table = np.concatenate([root.reshape(-1, root.shape[-1]) for root in roots])
        table = table[table.any(axis=1)]  # not amid nodata
        mean, components = _principal(table, SHARE * filters.n_features)
        return replace(plain, mean=mean, components=components)

    @property
    def bands(self) -> Bands:
        """Bands of the images it takes."""
        return self.filters.bands

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the images it takes."""
        return self.filters.ndim

    @property
    def n_features(self) -> int:
        """Features a pixel."""
        return self.filters.n_features + len(self.components)

    @property
    def halo(self) -> tuple[int, ...]:
        """That of the filters, the widest neighbourhood of cells, the next cell and a part."""
        reach = [max(self._radii(axis), default=0) + 2 for axis in range(self.ndim)]
        return tuple(
            own + (cells * cell if cell > 1 else 0)
            for own, cells, cell in zip(self.filters.halo, reach, self._cells, strict=True)
        )

    @property
    def multiple(self) -> tuple[int, ...]:
        """A block must start with a whole cell."""
        return self._cells

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""
        features = np.empty((self.n_features, *valid.shape), np.float32)
        filtered, around = np.split(features, [self.filters.n_features])
        self.filters.compute(self.filters.normalizer(values, valid), out=filtered)
        if around.size:  # a flat image has none
            self._surround(filtered, valid, around)
        if not valid.all():
            features[:, ~valid] = 0
        return features

    def _surround(self, filtered: FloatArray, valid: BoolArray, out: FloatArray) -> None:
        """Write the context's features into `out` (n, [Z,] Y, X)."""
        reduced = (self._roots(filtered, valid) - self.mean) @ self.components.T
        self._spread(reduced.astype(np.float32, copy=False), out)

    @property
    def _cells(self) -> tuple[int, ...]:
        return tuple(CELL if fine else 1 for fine in fine_axes(self.filters.spacing))

    def _sigmas(self, axis: int) -> list[float]:
        """Return the neighbourhoods' standard deviations along an axis, cells; none if thick."""
        if self._cells[axis] == 1:
            return []
        wide = SIGMAS[len(self.filters.axes)]
        return [sigma / self.filters.spacing[axis] / CELL for sigma in wide]

    def _radii(self, axis: int) -> list[int]:
        return [int(TRUNCATE * sigma + 0.5) for sigma in self._sigmas(axis)]

    def _roots(self, filtered: FloatArray, valid: BoolArray) -> FloatArray:
        """Return the square roots of the textons' shares, ([Z,] Y, X) in cells x (s * k)."""
        counts = self._count(filtered, valid)
        found = []
        for scale in range(len(SIGMAS[len(self.filters.axes)])):
            near = counts
            for axis in range(self.ndim):
                if self._cells[axis] > 1:
                    near = ndimage.gaussian_filter1d(
                        near, self._sigmas(axis)[scale], axis, mode="constant",
                        radius=self._radii(axis)[scale],
                    )  # fmt: skip
            total = near.sum(axis=-1, keepdims=True)
            found.append(np.sqrt(near / np.maximum(total, np.float32(1e-6))))
        return np.concatenate(found, axis=-1)

    def _count(self, filtered: FloatArray, valid: BoolArray) -> FloatArray:
        """Return how many valid pixels of each cell belong to each texton."""
        n_cells = [-(-size // cell) for size, cell in zip(valid.shape, self._cells, strict=True)]
        cell = np.zeros(valid.shape, np.intp)
        for axis, (n, step) in enumerate(zip(n_cells, self._cells, strict=True)):
            along = np.arange(valid.shape[axis]) // step
            cell = cell * n + along.reshape([-1 if i == axis else 1 for i in range(valid.ndim)])
        inside, k = valid.reshape(-1), len(self.textons)
        rows = filtered.reshape(len(filtered), -1)
        rows, cell = (rows, cell.reshape(-1)) if inside.all() else (rows[:, inside], cell[valid])
        texton = Assigner(self.textons)(rows.T) if len(cell) else np.zeros(0, np.int32)
        counts = np.bincount(cell * k + texton, minlength=int(np.prod(n_cells)) * k)
        return counts.astype(np.float32).reshape(*n_cells, k)

    def _spread(self, reduced: FloatArray, out: FloatArray) -> None:
        """Interpolate values of cells ([Z,] Y, X, n) to the pixels `out` (n, [Z,] Y, X)."""
        import torch
        from torch.nn import functional as F

        planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(reduced, -1, 0)))[None]
        linear = "bilinear" if self.ndim == 2 else "trilinear"
        steps = tuple(map(float, self._cells))
        wide = F.interpolate(planes, scale_factor=steps, mode=linear, align_corners=False)[0]
        out[:] = wide.numpy()[(slice(None), *map(slice, out.shape[1:]))]


def _sample(blocks: list[tuple[FloatArray, BoolArray]], rng: np.random.Generator) -> FloatArray:
    """Return some valid pixels' features (n, F), as many of each block as it holds."""
    share = min(1.0, _SAMPLE / sum(int(valid.sum()) for _, valid in blocks))
    rows = []
    for features, valid in blocks:
        inside = np.flatnonzero(valid)
        some = np.sort(rng.permutation(inside)[: max(1, round(share * len(inside)))])
        rows.append(features.reshape(len(features), -1)[:, some].T)
    return np.concatenate(rows)


def _principal(table: FloatArray, variance: float) -> tuple[FloatArray, FloatArray]:
    """Return the mean of rows, and components that give them so much variance in all.

    A component's variance goes with its standard deviation: between as it is and all alike.
    """
    mean = table.mean(axis=0, dtype=np.float64)
    centred = table.astype(np.float64) - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(table))
    order = np.argsort(values, kind="stable")[::-1][:N_COMPONENTS]
    spread = np.sqrt(np.maximum(values[order], 0))
    kept = spread > 1e-4 * max(float(spread[0]), 1e-3)
    axes, spread = vectors[:, order[kept]].T, spread[kept]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    weights = np.sqrt(variance / max(float(spread.sum()), 1e-9) / spread)
    components = axes * (signs * weights)[:, None]
    return mean.astype(np.float32), components.astype(np.float32)
