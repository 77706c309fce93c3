"""Differentiable feature clustering guided by strokes (Kim, Kanezaki & Tanaka 2020, III-D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.classify.random_walker import coarsen, interpolated_argmax
from napari_clusternet.classify.samples import whole_image
from napari_clusternet.classify.sparse_unet import check_positive, class_targets
from napari_clusternet.config import CLUSTERNET
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[np.unsignedinteger]


@dataclass
class DFCScribbles:
    """Differentiable feature clustering with scribbles (Kim et al. 2020).

    A small network learns the image's own clusters: L = CE(r, own labels) on pixels without a
    stroke + scribble x CE(r, class) on strokes + mu x (mean |dy r| + mean |dx r|). Class c is
    the c-th channel of the response r; every pixel gets the class, among those stroked, with the
    largest response.

    Parameters
    ----------
    n_iterations : int
        Iterations at most; it stops when as many labels are left as there are classes.
    n_channels, n_blocks : int
        q and M of the paper.
    mu, scribble : float
        Weights of the continuity loss and of the strokes.
    learning_rate : float
        Of stochastic gradient descent with momentum 0.9.
    max_pixels : int
        Larger images are learned on a grid whose cells are means of n x n ([n x] n x n) pixels,
        with the smallest n that keeps within it, and responses are interpolated linearly: a
        pixel costs 100 channels and up to 1000 iterations. The published images have 154 401.
    device : str
        ``"auto"``, ``"cpu"`` or another torch device.
    """

    n_iterations: int = 1000
    n_channels: int = 100
    n_blocks: int = 3
    mu: float = 5.0
    scribble: float = 0.5
    learning_rate: float = 0.1
    max_pixels: int = 160_000
    device: str = CLUSTERNET.device

    name: ClassVar[str] = "dfc_scribbles"
    summary: ClassVar[str] = "a network learns the image's own labels, guided by strokes (Kim 2020)"
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    uses: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        counts = ("n_iterations", "n_channels", "n_blocks", "max_pixels")
        check_positive({name: getattr(self, name) for name in counts}, 1)
        check_positive({n: getattr(self, n) for n in ("scribble", "learning_rate")}, 0)
        if not self.mu >= 0:
            invalid("mu", self.mu, "negative", "Give 0 or more; 5 is usual")

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        See `napari_clusternet.classify.base.StrokeMethod`; `random_state` seeds the weights.

        Raises
        ------
        InputError
            If there are more classes than `n_channels`.
        """
        from napari_clusternet.networks.dfc import DFCSettings, ImagePart, fit_dfc_steps

        classes, targets = class_targets(strokes)
        if len(classes) > self.n_channels:
            invalid(
                "n_channels", self.n_channels, f"the strokes hold {len(classes)} classes",
                "Give as many channels or more",
            )  # fmt: skip
        features, valid = yield from whole_image(extractor, image)
        factor = int(np.ceil((valid.size / self.max_pixels) ** (1 / valid.ndim)))
        values, inside, scribbles = features, valid, targets + 1
        if factor > 1:
            values, inside, scribbles = coarsen(features, valid, targets + 1, factor)
        settings = DFCSettings(
            n_channels=self.n_channels, n_blocks=self.n_blocks, n_iterations=self.n_iterations,
            mu=self.mu, scribble=self.scribble, learning_rate=self.learning_rate,
        )  # fmt: skip
        model = yield from fit_dfc_steps(
            [values], [inside], settings, scribbles=scribbles, spacing=image.spacing,
            seed=random_state, device=self.device,
        )  # fmt: skip
        response = model.respond(ImagePart.load(values, inside, model.device))[0, : len(classes)]
        chances = response.softmax(dim=0).cpu().numpy()
        found = chances.argmax(axis=0)
        if factor > 1:
            found = interpolated_argmax(chances, factor, valid.shape) - 1
        labels = np.zeros(image.shape, dtype=strokes.dtype)
        labels[valid] = classes[found[valid]]
        yield Progress("classifying pixels", 1, 1)
        return labels
