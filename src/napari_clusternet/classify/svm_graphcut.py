"""SVM scores and image edges in one energy, minimised by graph cuts (table 1, method 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.graphcut import PottsEnergy, minimise
from napari_clusternet.classify.grid import boundary_weights, cut_tilings, grid_edges
from napari_clusternet.classify.samples import stroke_samples, whole_image
from napari_clusternet.classify.svm import PixelSVM, check_svm, fit_calibrated
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Pixels whose probabilities are computed between two yields.
_CHUNK = 1 << 18


@dataclass
class SVMGraphCut:
    """Graph cut on pixels: unary terms from a support vector machine, strokes as hard seeds.

    E(l) = sum_p -ln P(l_p | I_p) + smoothness x sum_(p,q) exp(-|dI|^2 / (2 s^2)) [l_p != l_q]
    over pixels p and their 4 (2D) or 6 (3D) neighbours q. Pixels whose class their own term
    already decides, whatever the others are, are taken out first; that changes no minimum. Two
    classes get a minimum, more the local minimum of alpha-expansion. Images of over a million
    pixels are cut in tiles, with pixels around a tile held.

    Parameters
    ----------
    smoothness : float
        Weight of the boundary term, 0 or more; higher gives smoother boundaries.
    sigma : float, optional
        s of the boundary term, in standard deviations of a band; measured if not given, so that
        s^2 is the mean of |dI|^2.
    penalty, gamma, max_pixels
        Of the machine; see `napari_clusternet.classify.svm.SVM`.
    """

    smoothness: float = 2.0
    sigma: float | None = None
    penalty: float = 1.0
    gamma: float | str = "scale"
    max_pixels: int = 3000

    name: ClassVar[str] = "svm_graphcut"
    summary: ClassVar[str] = "support vector machine, smoothed along image edges by graph cuts"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
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
        unary = yield from _unary(machine, features, valid)
        ends, contrast, closeness = grid_edges(features, valid, image.spacing)
        weights = self.smoothness * closeness * boundary_weights(contrast, self.sigma)
        energy = PottsEnergy.rounded(unary, ends, weights)
        seeds = np.searchsorted(machine.classes_, strokes[valid])
        seeds[strokes[valid] == 0] = -1
        found = yield from minimise(energy, seeds, cut_tilings(valid))
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = machine.classes_[found]
        return labels


def _unary(
    machine: PixelSVM, features: FloatArray, valid: BoolArray
) -> Generator[Progress, None, FloatArray]:
    """Return -ln P of every class and valid pixel, (n_classes, n_valid)."""
    rows = features[:, valid]
    unary = np.empty((len(machine.classes_), rows.shape[1]), np.float32)
    for start in range(0, rows.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        unary[:, part] = -np.log(machine.probabilities(rows[:, part].T).T)
        yield Progress("scoring pixels", min(start + _CHUNK, rows.shape[1]), rows.shape[1])
    return unary


def check_boundary(smoothness: float, sigma: float | None) -> None:
    """Refuse settings of the boundary term that make no energy.

    Raises
    ------
    InputError
        If `smoothness` is negative or `sigma` not positive.
    """
    if not 0 <= smoothness < 1000:
        invalid("smoothness", smoothness, "not in 0..1000", "Give a number such as 2")
    if sigma is not None and not sigma > 0:
        invalid("sigma", sigma, "not positive", "Give a number above 0, or None to measure it")
