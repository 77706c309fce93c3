"""Graph cut on superpixels instead of pixels (table 1 of the ClusterNet paper, method 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.graphcut import PottsEnergy, minimise
from napari_clusternet.classify.grid import boundary_weights, grid_edges
from napari_clusternet.classify.samples import stroke_samples, whole_image
from napari_clusternet.classify.svm import PixelSVM, check_svm, fit_calibrated
from napari_clusternet.classify.svm_graphcut import check_boundary
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

#: Features are clipped to so many standard deviations: SLIC scales by the extremes it sees.
_CLIP = 3.0


@dataclass
class SuperpixelGraphCut:
    """Graph cut on SLIC superpixels: a node a superpixel, with its mean features.

    SLIC (Achanta et al. 2010) joins pixels of like features into compact superpixels. A node's
    unary term is -ln P(class | mean features) of a support vector machine trained on the stroked
    pixels; neighbours are tied by exp(-|dI|^2 / (2 s^2)), I being the means, times the length of
    their border over the mean length. A superpixel with strokes is a hard seed of the class that
    most of its stroked pixels have; stroked pixels themselves always keep their class.

    Parameters
    ----------
    size : int
        Pixels a superpixel holds about; 64 to 400 are usual in 2D.
    compactness : float
        Weight of distance in space against features; higher gives squarer superpixels.
    smoothness, sigma
        See `napari_clusternet.classify.svm_graphcut.SVMGraphCut`.
    penalty, gamma, max_pixels
        See `napari_clusternet.classify.svm.SVM`.
    """

    size: int = 100
    compactness: float = 0.1
    smoothness: float = 1.0
    sigma: float | None = None
    penalty: float = 1.0
    gamma: float | str = "scale"
    max_pixels: int = 3000

    name: ClassVar[str] = "superpixel_graphcut"
    summary: ClassVar[str] = "SLIC superpixels, classified by graph cuts with strokes as seeds"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        if self.size < 2:
            invalid("size", self.size, "too few pixels", "Give 2 or more; 100 is usual")
        if not self.compactness > 0:
            invalid("compactness", self.compactness, "not positive", "Give a number such as 0.1")
        check_svm(self.penalty, self.gamma, self.max_pixels)
        check_boundary(self.smoothness, self.sigma)

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`. Nothing is random here.
        """
        rows, classes, pixels = yield from stroke_samples(extractor, image, strokes)
        machine = PixelSVM(self.penalty, self.gamma)
        fit_calibrated(rows, classes, pixels, strokes, machine, self.max_pixels)
        yield Progress("training", 1, 1)
        features, valid = yield from whole_image(extractor, image)
        n_wanted = max(2, int(valid.sum()) // self.size)
        regions = superpixels(features, valid, image.spacing, n_wanted, self.compactness)
        yield Progress("making superpixels", 1, 1)
        painted, ids = strokes[valid], regions[valid]
        means = region_means(features[:, valid], ids)
        ends, lengths = borders(regions, valid, image.spacing)
        contrast = ((means[ends[0]] - means[ends[1]]) ** 2).sum(axis=1)
        share = lengths / lengths.mean() if lengths.size else lengths
        weights = self.smoothness * share * boundary_weights(contrast, self.sigma)
        unary = -np.log(machine.probabilities(means).T)
        energy = PottsEnergy.rounded(unary, ends, weights)
        targets = np.searchsorted(machine.classes_, painted)
        seeds = majority(ids[painted > 0], targets[painted > 0], unary.shape)
        found = yield from minimise(energy, seeds)
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = np.where(painted > 0, painted, machine.classes_[found][ids])
        return labels


def superpixels(
    features: FloatArray,
    valid: BoolArray,
    spacing: Sequence[float],
    n_wanted: int,
    compactness: float,
) -> IntArray:
    """Cut valid pixels into SLIC superpixels.

    Parameters
    ----------
    features : numpy.ndarray of float32, shape (F, [Z,] Y, X)
        Normalised features.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    spacing : sequence of float
        Pixel size per axis.
    n_wanted : int
        About how many.
    compactness : float
        Weight of distance in space against features.

    Returns
    -------
    numpy.ndarray of int64, shape ([Z,] Y, X)
        0 .. n - 1 without gaps on valid pixels, -1 elsewhere.
    """
    from skimage.segmentation import slic

    found = slic(
        np.moveaxis(np.clip(features, -_CLIP, _CLIP), 0, -1),
        n_segments=n_wanted,
        compactness=compactness,
        spacing=tuple(spacing),
        convert2lab=False,
        channel_axis=-1,
        start_label=1,
        mask=None if valid.all() else valid,
    )
    regions = np.full(valid.shape, -1)
    # without gaps: what slic leaves out of its mask becomes one region of its own
    regions[valid] = np.unique(found[valid], return_inverse=True)[1].reshape(-1)
    return regions


def region_means(rows: FloatArray, ids: IntArray) -> FloatArray:
    """Mean features (n_regions, F) of pixels given as (F, n), by region id 0 .. n_regions - 1."""
    sizes = np.bincount(ids)
    sums = [np.bincount(ids, band, len(sizes)) for band in rows]
    return (np.stack(sums, axis=1) / sizes[:, None]).astype(np.float32)


def borders(
    regions: IntArray, valid: BoolArray, spacing: Sequence[float]
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pairs of regions that touch (2, n_edges), and the pixel pairs along each border.

    In anisotropic volumes a pair across wide spacing counts less, as in `grid_edges`.
    """
    ends, _, closeness = grid_edges(np.empty((0, *valid.shape), np.float32), valid, spacing)
    pairs = np.sort(regions[valid][ends], axis=0)
    apart = pairs[0] != pairs[1]
    n = int(regions.max()) + 1
    codes, places = np.unique(pairs[0, apart] * n + pairs[1, apart], return_inverse=True)
    lengths = np.bincount(places, closeness[apart], len(codes)).astype(np.float64)
    return np.stack([codes // n, codes % n]), lengths


def majority(ids: IntArray, targets: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Commonest target of every region, -1 for regions without; `shape` is (n_targets, n)."""
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (targets, ids), 1)
    return np.where(counts.any(axis=0), counts.argmax(axis=0), -1)
