"""Invariant information clustering of pixels (Ji, Henriques & Vedaldi 2019)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import check_number, number_regions

if TYPE_CHECKING:
    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray, Tools


@dataclass
class IIC:
    """A network learns classes that tell most about each other between two views of a pixel.

    The views differ by flips and by gain and offset of each band. A pixel is compared with all
    pixels at most `reach` away, so classes are to be the same nearby. The loss is the negative
    mutual information of the joint distribution of classes; see
    `napari_clusternet.unsupervised.iic_loss`. An auxiliary head with more classes trains beside the
    one that counts, as in the paper; both losses are summed. The network is the package's U-Net,
    not the paper's VGG-like one.

    Parameters
    ----------
    k : int
        Number of classes, at least 2.
    over : int
        Classes of the auxiliary head, as a multiple of k; 0 for none.
    reach : int
        T, largest displacement along an axis, pixels of the finest spacing.
    lamb : float
        lambda, weight of the classes' entropy; above 1 it asks for equal sizes.
    jitter : float
        Standard deviation of gain and offset between the views, in deviations of a band.
    n_steps, batch : int
        Training steps and patches a step.
    tile : int
        Edge of a training patch, pixels; at most 32 in volumes.
    learning_rate : float
        Of Adam.

    Attributes
    ----------
    losses_ : list of float
        The loss of every step.
    """

    name: ClassVar[str] = "iic"
    summary: ClassVar[str] = "classes that survive a change of view (IIC, Ji 2019)"
    advice: ClassVar[str] = (
        "Learns classes that stay the same where the image is flipped or its light changed. "
        "Takes minutes."
    )
    main: ClassVar[tuple[str, ...]] = ("k", "n_steps")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = ""

    k: int = 8
    over: int = 3
    reach: int = 5
    lamb: float = 1.0
    jitter: float = 0.2
    n_steps: int = 200
    batch: int = 4
    tile: int = 128
    learning_rate: float = 3e-3
    losses_: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lowest = {"k": 2, "over": 0, "reach": 0, "n_steps": 1, "batch": 1, "tile": 8}
        for name, value in lowest.items():
            check_number(name, getattr(self, name), value, whole=True)
        check_number("lamb", self.lamb, 0)
        check_number("jitter", self.jitter, 0)
        check_number("learning_rate", self.learning_rate, 1e-12)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return a region a class, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If no pixel is valid.
        """
        from napari_clusternet.device import select_device
        from napari_clusternet.unsupervised import iic_training as training
        from napari_clusternet.unsupervised.patches import (
            Patches,
            argmax_steps,
            patch_edge,
            read_standard,
        )

        yield Progress("reading", 0, 1)
        device = select_device(tools.device).torch
        values, valid = read_standard(image)
        patches = Patches.over(values, valid, patch_edge(self.tile, image.ndim), (0,) * image.ndim)
        widths = [self.k] + [self.k * self.over] * (self.over > 0)
        network = training.build(
            image.n_bands, widths, image.spacing, patches.extent, random_state
        ).to(device)
        finest = min(image.spacing)
        self.losses_ = yield from training.train_steps(
            network, patches, np.random.default_rng(random_state), device,
            reach=[int(self.reach * finest / step) for step in image.spacing],
            lamb=self.lamb, jitter=self.jitter, n_steps=self.n_steps, batch=self.batch,
            learning_rate=self.learning_rate,
        )  # fmt: skip
        labels = yield from argmax_steps(network, patches, device)
        return number_regions(labels, valid)
