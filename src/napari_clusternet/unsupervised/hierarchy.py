"""Small regions that merge across weak borders: ours, quick, and the user says how many stay."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import Tools, check_number, number_regions, read_unit
from napari_clusternet.unsupervised.merging import (
    border_strength,
    merge_steps,
    neighbour_pairs,
    region_means,
)
from napari_clusternet.unsupervised.superpixels import grow, lab_or_bands, slic, smooth_valid

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray

    FloatArray = npt.NDArray[np.float32]

#: The first, small regions: smoothing, and the scale and smallest size of Felzenszwalb's graph.
_SIGMA, _SCALE, _MIN_SIZE = 0.8, 40.0, 15
#: Voxels a supervoxel, of volumes.
_SUPERVOXEL = 125
#: Standard deviation of the Gaussian before the gradient, pixels.
_EDGE_SIGMA = 1.5
#: Border without any edge at all: no border is free.
_WEAKEST = 1e-6


@dataclass
class Hierarchy:
    """Many small regions, of which neighbours of like colour merge across the weakest borders.

    The cost of a merge is the squared distance of the mean colours, times the mean gradient along
    the border, times a weak power of the sizes, so that small things of a colour of their own
    stay. Photos are compared in CIELAB, other images by their bands. The small regions are
    Felzenszwalb's in 2D and SLIC supervoxels in 3D.

    Parameters
    ----------
    n_regions : int
        Regions left at the end.
    size_power : float
        0 lets size not count; 1 makes regions of about one size.
    """

    name: ClassVar[str] = "hierarchy"
    summary: ClassVar[str] = "small regions merge across weak borders (ours, quick)"
    advice: ClassVar[str] = (
        "Finds connected regions, as many as you ask for, and keeps small things of a colour "
        "of their own. Takes seconds."
    )
    main: ClassVar[tuple[str, ...]] = ("n_regions",)
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = ""

    n_regions: int = 120
    size_power: float = 0.25

    def __post_init__(self) -> None:
        check_number("n_regions", self.n_regions, 1, whole=True)
        check_number("size_power", self.size_power, 0)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions, uint16 ([Z,] Y, X), 0 where invalid; nothing is random.

        Raises
        ------
        InputError
            If no pixel is valid.
        """
        yield Progress("growing regions", 0, 1)
        values, valid = read_unit(image)
        colours = lab_or_bands(image, values)
        if image.ndim == 2:
            smooth = smooth_valid(colours / np.float32(100), valid, _SIGMA)
            segments = grow(smooth, valid, _SCALE, _MIN_SIZE)
            segments[valid] = np.unique(segments[valid], return_inverse=True)[1].reshape(-1)
        else:
            n_segments = max(int(self.n_regions), int(valid.sum()) // _SUPERVOXEL)
            segments = slic(image, values, valid, n_segments, 10.0)
        segments[~valid] = 0
        yield Progress("growing regions", 1, 1)
        means, sizes = region_means(colours, segments, valid)
        pairs = neighbour_pairs(segments, valid)
        edges = gradient_magnitude(smooth_valid(colours, valid, _EDGE_SIGMA), image.spacing)
        strength = border_strength(edges, segments, valid) + _WEAKEST
        groups = yield from merge_steps(
            pairs, means, sizes, int(self.n_regions), strength, self.size_power
        )
        return number_regions(groups[segments], valid)


def gradient_magnitude(values: FloatArray, spacing: tuple[float, ...]) -> FloatArray:
    """Return the length of the gradient over all bands, per finest pixel size.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
    spacing : tuple of float
        Pixel size per spatial axis.

    Returns
    -------
    numpy.ndarray of float32, shape ([Z,] Y, X)
    """
    total = np.zeros(values.shape[1:], np.float32)
    for axis, size in enumerate(spacing):
        if values.shape[axis + 1] > 1:
            step = np.gradient(values, axis=axis + 1) * (min(spacing) / size)
            total += (step**2).sum(axis=0)
    magnitude: FloatArray = np.sqrt(total)
    return magnitude
