"""Random walks from every pixel to the strokes (Grady 2006)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.samples import whole_image
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Tolerance of the conjugate gradients.
TOLERANCE = 1e-3


@dataclass
class RandomWalker:
    """Random walker: a pixel gets the class whose strokes a walk from it reaches first.

    A step to a neighbour has the weight exp(-beta |dI|^2), so walks seldom cross edges. The
    probabilities solve one sparse linear system a class; scikit-image's solver is used, conjugate
    gradients with Jacobi preconditioning. Where no stroke can be reached, around islands of
    invalid pixels, the nearest classified pixel decides.

    Parameters
    ----------
    beta : float
        How much edges hinder the walk; higher follows edges more closely.
    max_pixels : int
        Larger images are solved on a grid whose cells are means of n x n ([n x] n x n) pixels,
        with the smallest n that keeps within it; probabilities are then interpolated linearly, so
        that boundaries are as coarse as n pixels. A million pixels take some 700 bytes each.
    """

    beta: float = 130.0
    max_pixels: int = 1_000_000

    name: ClassVar[str] = "random_walker"
    summary: ClassVar[str] = "random walks to the strokes, which seldom cross image edges"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        if not self.beta > 0:
            invalid("beta", self.beta, "not positive", "Give a number above 0; 130 is usual")
        if self.max_pixels < 64:
            invalid("max_pixels", self.max_pixels, "too few to hold an image", "Give a million")

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`. Nothing is random here.
        """
        features, valid = yield from whole_image(extractor, image)
        classes = np.unique(strokes[strokes > 0])
        seeds = np.searchsorted(classes, strokes) + 1
        seeds[strokes == 0] = 0
        factor = int(np.ceil((valid.size / self.max_pixels) ** (1 / valid.ndim)))
        spacing = np.asarray(image.spacing) / min(image.spacing)
        if factor > 1:
            coarse = coarsen(features, valid, seeds, factor)
            chances = walk(*coarse, spacing, self.beta)
            yield Progress("solving", 1, 2)
            found = interpolated_argmax(chances, factor, valid.shape)
        else:
            chances = walk(features, valid, seeds, spacing, self.beta)
            yield Progress("solving", 1, 2)
            found = np.where(chances.any(axis=0), chances.argmax(axis=0) + 1, 0)
        found = np.where(seeds > 0, seeds, found)
        found = nearest_class(found, valid, image.spacing)
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = classes[found[valid] - 1]
        yield Progress("solving", 2, 2)
        return labels


def walk(
    features: FloatArray,
    valid: BoolArray,
    seeds: IntArray,
    spacing: Sequence[float] | npt.NDArray[np.float64],
    beta: float,
) -> FloatArray:
    """Chance that a walk from a pixel reaches each class's seeds first.

    Parameters
    ----------
    features : numpy.ndarray of float32, shape (F, [Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    seeds : numpy.ndarray of int, shape ([Z,] Y, X)
        0 for none, 1..K.
    spacing : sequence of float
        Pixel size per axis, the finest being 1.
    beta : float
        See `RandomWalker`.

    Returns
    -------
    numpy.ndarray of float32, shape (K, [Z,] Y, X)
        0 for all classes where invalid and where no seed can be reached.
    """
    from skimage.segmentation import random_walker

    n_classes = int(seeds.max())
    one_hot = np.arange(1, n_classes + 1).reshape(-1, *(1,) * seeds.ndim) == seeds
    deviation = float(features.std())
    if deviation == 0 or not (valid & (seeds == 0)).any():
        return np.asarray(one_hot, np.float32)  # nothing to be guided by, or nothing to solve
    with warnings.catch_warnings():  # about preconditioners that need another package
        warnings.simplefilter("ignore", UserWarning)
        chances = random_walker(
            np.moveaxis(features, 0, -1).astype(np.float64),
            np.where(valid, seeds, -1),
            beta=beta,
            mode="cg_j",
            tol=TOLERANCE,
            return_full_prob=True,
            spacing=np.asarray(spacing, float),
            channel_axis=-1,
        )
    chances = np.nan_to_num(np.asarray(chances, np.float32)).reshape(n_classes, *seeds.shape)
    chances[:, ~valid] = 0
    return chances


def coarsen(
    features: FloatArray, valid: BoolArray, seeds: IntArray, factor: int
) -> tuple[FloatArray, BoolArray, IntArray]:
    """Features, validity and seeds on a grid of cells of `factor` pixels an axis.

    A cell is valid if a pixel of it is, has their mean features, and is a seed of the class that
    most of its stroked pixels have. A class that is nowhere the most gets its fullest cell.
    """
    shape = tuple(-(-size // factor) for size in valid.shape)
    cells = np.zeros(valid.shape, np.int64)
    for axis, n in enumerate(shape):
        place = (np.arange(valid.shape[axis]) // factor).reshape(
            [-1 if i == axis else 1 for i in range(valid.ndim)]
        )
        cells = cells * n + place
    total = int(np.prod(shape))
    sizes = np.bincount(cells[valid], minlength=total)
    sums = [np.bincount(cells[valid], band[valid], total) for band in features]
    means = np.asarray(np.stack(sums) / np.maximum(sizes, 1), np.float32)
    counts = np.zeros((int(seeds.max()) + 1, total), np.int64)
    np.add.at(counts, (seeds[seeds > 0], cells[seeds > 0]), 1)
    coarse = counts.argmax(axis=0)
    for value in range(1, len(counts)):
        if not (coarse == value).any():
            coarse[counts[value].argmax()] = value
    return means.reshape(-1, *shape), (sizes > 0).reshape(shape), coarse.reshape(shape)


def interpolated_argmax(chances: FloatArray, factor: int, shape: tuple[int, ...]) -> IntArray:
    """Class of largest chance on the fine grid, by linear interpolation; 0 where all are 0."""
    from scipy.ndimage import map_coordinates

    centres = [(np.arange(size) + 0.5) / factor - 0.5 for size in shape]
    points = np.meshgrid(*centres, indexing="ij", sparse=False)
    best, found = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    for value, plane in enumerate(chances, start=1):
        fine = map_coordinates(plane, points, order=1, mode="nearest")
        found[fine > best] = value
        np.maximum(best, fine, out=best)
    return found


def nearest_class(found: IntArray, valid: BoolArray, spacing: Sequence[float]) -> IntArray:
    """Fill valid pixels without a class (0) with that of the nearest valid pixel that has one."""
    missing = valid & (found == 0)
    if not missing.any():
        return found
    from scipy.ndimage import distance_transform_edt

    places = distance_transform_edt(
        ~(valid & (found > 0)), spacing, return_distances=False, return_indices=True
    )
    return np.where(missing, found[tuple(places)], found)
