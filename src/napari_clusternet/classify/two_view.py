"""A U-Net trained on strokes that grow, and on two views that must agree (after CRGNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.samples import whole_image
from napari_clusternet.classify.sparse_unet import check_positive, class_targets
from napari_clusternet.config import CLUSTERNET
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt
    import torch
    from torch import Tensor

    from napari_clusternet.classify.stroke_patches import Patches
    from napari_clusternet.classify.stroke_training import Trainer
    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.int64]
    BoolArray = npt.NDArray[np.bool_]
    LabelArray = npt.NDArray[np.unsignedinteger]


@dataclass
class TwoView:
    """Region growing and two-view consistency on a U-Net, after CRGNet (Xu & Ghamisi 2022).

    Each batch is seen twice: as it is, and flipped with gain and offset of every band changed.
    L = CE on strokes (mean of both views) + CE on grown strokes + consistency x the mean over
    valid pixels of |P_1 - P_2|^2. Strokes grow into pixels that touch them where both views
    together are at least `sure` of the same class. CRGNet compares two classifiers on one view;
    here one classifier sees two views, which needs no second head. The image is held in memory.

    Parameters
    ----------
    n_iterations, batch, enough, n_features, learning_rate, device
        See `napari_clusternet.classify.sparse_unet.SparseUNet`.
    consistency : float
        Weight of the agreement of the two views; 0 leaves it out.
    sure : float
        Least probability to grow, below 1; 1 or more never grows.
    warm_up : int
        Iterations before strokes grow: a new network is sure of nothing worth keeping.
    rounds : int
        Pixels by which strokes may grow when a patch is seen.
    jitter : float
        Standard deviation of the changes to gain and offset of normalised bands.
    """

    n_iterations: int = 200
    batch: int = 4
    enough: float = 0.02
    consistency: float = 1.0
    sure: float = 0.9
    warm_up: int = 20
    rounds: int = 2
    jitter: float = 0.1
    n_features: int = 16
    learning_rate: float = 2e-3
    device: str = CLUSTERNET.device

    name: ClassVar[str] = "two_view"
    summary: ClassVar[str] = "a U-Net on strokes that grow; two views must agree (CRGNet)"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        counts = ("n_iterations", "batch", "rounds", "n_features")
        check_positive({name: getattr(self, name) for name in counts}, 1)
        check_positive({n: getattr(self, n) for n in ("learning_rate", "enough", "sure")}, 0)
        for name in ("consistency", "jitter", "warm_up"):
            if not getattr(self, name) >= 0:
                invalid(name, getattr(self, name), "negative", "Give 0 or more")

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`; `random_state` seeds weights, patches
        and views.
        """
        from napari_clusternet.classify.stroke_training import Trainer

        features, valid = yield from whole_image(extractor, image)
        classes, targets = class_targets(strokes)
        grown = targets.copy()
        trainer = Trainer.start(
            features, valid, targets, image.spacing, n_features=self.n_features,
            learning_rate=self.learning_rate, seed=random_state, device=self.device,
        )  # fmt: skip

        def losses(patches: Patches, iteration: int) -> tuple[Tensor, Tensor]:
            return self._losses(trainer, patches, grown, iteration)

        yield from trainer.steps(self.n_iterations, self.batch, self.enough, losses)
        found = yield from trainer.predict_steps()
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = classes[found[valid]]
        return labels

    def _losses(
        self, trainer: Trainer, patches: Patches, grown: IntArray, iteration: int
    ) -> tuple[Tensor, Tensor]:
        """Losses of one batch; grows `grown`, in place, by what the two views agree on."""
        import torch

        from napari_clusternet.classify.stroke_training import flip_axes, stroke_loss

        axes = flip_axes(trainer.generator, grown.ndim)
        changed = jittered(patches.values, self.jitter, trainer.generator)
        # one pass over both views: BatchNorm sees them together
        both = torch.cat([patches.values, changed.flip(axes)])
        first, second = trainer.network(both)[1].chunk(2)
        second = second.flip(axes)
        on_strokes = (
            stroke_loss(first, patches.targets) + stroke_loss(second, patches.targets)
        ) / 2
        one, two = first.softmax(dim=1), second.softmax(dim=1)
        apart = (one - two).square().sum(dim=1)
        agreement = (apart * patches.valid).sum() / patches.valid.sum().clamp(min=1)
        loss = on_strokes + self.consistency * agreement
        if iteration >= self.warm_up and self.sure < 1:
            chances = ((one + two) / 2).detach().cpu().numpy()
            inside = patches.valid.cpu().numpy()
            extra = []
            for part, region, shares in zip(inside, patches.regions, chances, strict=True):
                crop = tuple(slice(0, s.stop - s.start) for s in region)
                grow(
                    grown[region], shares[(slice(None), *crop)], part[crop], self.sure, self.rounds
                )
                filled = np.full(part.shape, -1)
                filled[crop] = grown[region]
                extra.append(filled)
            targets = torch.from_numpy(np.stack(extra)).to(first.device)
            targets[patches.targets >= 0] = -1  # those are in the other term
            loss = loss + stroke_loss(first, targets)
        return loss, on_strokes


def jittered(values: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Change gain and offset of every band of every patch (B, C, ...) a little."""
    import torch

    shape = (*values.shape[:2], *(1,) * (values.ndim - 2))
    gain = 1 + jitter * torch.randn(shape, generator=generator)
    offset = jitter * torch.randn(shape, generator=generator)
    changed: Tensor = values * gain.to(values.device) + offset.to(values.device)
    return changed


def grow(grown: IntArray, chances: FloatArray, valid: BoolArray, sure: float, rounds: int) -> None:
    """Let classes grow, in place, into touching pixels that surely are of the same class.

    Parameters
    ----------
    grown : numpy.ndarray of int64, shape ([Z,] Y, X)
        Class 0..K - 1, or -1.
    chances : numpy.ndarray, shape (K, [Z,] Y, X)
        Class probabilities.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    sure : float
        Least probability of the class that grows.
    rounds : int
        Pixels to grow by at most; pixels touch by an edge (2D) or a face (3D).
    """
    from scipy.ndimage import binary_dilation

    best = chances.argmax(axis=0)
    ready = (chances.max(axis=0) >= sure) & valid & (grown < 0)
    for value in np.unique(grown[grown >= 0]):
        seeds = grown == value
        reached = binary_dilation(seeds, iterations=rounds, mask=ready & (best == value) | seeds)
        grown[reached & ~seeds] = value
