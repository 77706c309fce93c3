"""A U-Net trained on the strokes, regularised by FESTA's three terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.samples import whole_image
from napari_clusternet.config import CLUSTERNET
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt
    from torch import Tensor

    from napari_clusternet.classify.stroke_patches import Patches
    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress

    LabelArray = npt.NDArray[np.unsignedinteger]


@dataclass
class SparseUNet:
    """U-Net trained on strokes with the regularisation of FESTA (Hua et al. 2021).

    L = CE on strokes + weight x (near x A + around x B + far x C), where A is the mean squared
    distance of sampled pixels to the nearest of them in feature space, B to the most alike of the
    8 (2D) or 26 (3D) pixels around, and C the mean cosine with the least alike of them. Patches
    are drawn at random in space and by class frequency, and flipped. The image is held in memory.

    Parameters
    ----------
    n_iterations, batch : int
        Iterations at most, and patches of 64^2 (16^3) pixels in each.
    enough : float
        Training stops once the running mean of the stroke loss is below this: a network that goes
        on remembers the strokes.
    weight, near, around, far : float
        Weights of the regularisation (0.1) and of its three terms (0.5, 1.5, 1.0); 0 leaves a term
        out.
    n_sampled : int
        Pixels sampled for it in a batch.
    n_features : int
        Features a pixel.
    learning_rate : float
        Of AdamW.
    device : str
        ``"auto"``, ``"cpu"`` or another torch device.
    """

    n_iterations: int = 200
    batch: int = 4
    enough: float = 0.02
    weight: float = 0.1
    near: float = 0.5
    around: float = 1.5
    far: float = 1.0
    n_sampled: int = 256
    n_features: int = 16
    learning_rate: float = 2e-3
    device: str = CLUSTERNET.device

    name: ClassVar[str] = "sparse_unet"
    summary: ClassVar[str] = "a U-Net trained on the strokes, regularised by FESTA's three terms"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        counts = ("n_iterations", "batch", "n_sampled", "n_features")
        check_positive({name: getattr(self, name) for name in counts}, 1)
        check_positive({"learning_rate": self.learning_rate, "enough": self.enough}, 0)
        for name in ("weight", "near", "around", "far"):
            if not getattr(self, name) >= 0:
                invalid(name, getattr(self, name), "negative", "Give 0 or more")

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`; `random_state` seeds weights, patches
        and samples.
        """
        from napari_clusternet.classify.festa import festa_terms, pick_pixels
        from napari_clusternet.classify.stroke_training import Trainer, flip_axes, stroke_loss

        features, valid = yield from whole_image(extractor, image)
        classes, targets = class_targets(strokes)
        trainer = Trainer.start(
            features, valid, targets, image.spacing, n_features=self.n_features,
            learning_rate=self.learning_rate, seed=random_state, device=self.device,
        )  # fmt: skip

        def losses(patches: Patches, iteration: int) -> tuple[Tensor, Tensor]:
            axes = flip_axes(trainer.generator, valid.ndim)
            maps, logits = trainer.network(patches.values.flip(axes))
            on_strokes = stroke_loss(logits, patches.targets.flip(axes))
            if self.weight == 0:
                return on_strokes, on_strokes
            inside = patches.valid.flip(axes)
            picked = pick_pixels(inside, self.n_sampled, trainer.generator)
            terms = festa_terms(maps, inside, picked)
            weighted = terms * terms.new_tensor([self.near, self.around, self.far])
            return on_strokes + self.weight * weighted.sum(), on_strokes

        yield from trainer.steps(self.n_iterations, self.batch, self.enough, losses)
        found = yield from trainer.predict_steps()
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = classes[found[valid]]
        return labels


def class_targets(strokes: LabelArray) -> tuple[LabelArray, npt.NDArray[np.int64]]:
    """Return the classes there are, ascending, and each pixel's place among them, -1 for none."""
    classes = np.unique(strokes[strokes > 0])
    targets = np.searchsorted(classes, strokes).astype(np.int64)
    targets[strokes == 0] = -1
    return classes, targets


def check_positive(settings: dict[str, float], least: int) -> None:
    """Refuse settings below 1 (if `least` is 1, whole numbers), or not above 0.

    Raises
    ------
    InputError
        Naming the setting.
    """
    for name, value in settings.items():
        if least and (value < 1 or value != int(value)):
            invalid(name, value, "not a whole number of 1 or more", "Give one")
        if not value > 0:
            invalid(name, value, "not positive", "Give a number above 0")
