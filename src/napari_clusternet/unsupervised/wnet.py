"""W-Net (Xia & Kulis 2017): soft normalised cut and reconstruction by two U-Nets."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import check_number, number_regions, read_unit

if TYPE_CHECKING:
    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray, Tools


@dataclass
class WNet:
    """One U-Net cuts the image into k soft classes, a second one rebuilds the image from them.

    The first learns, in turns, a small soft normalised cut and classes that suffice to rebuild the
    image. Intensities go from 0 to 255 (see `read_unit`); with several bands, the squared
    difference of two pixels is the mean over bands. The paper's post-processing (a conditional
    random field and a merging by contours) is not part of it, and the U-Nets are the package's.

    Parameters
    ----------
    k : int
        Number of classes, at least 2.
    radius : float
        Pixels nearer than this are compared; in units of the finest spacing.
    sigma_i, sigma_x : float
        Scales of intensity (of 255) and of distance in the weights between pixels.
    n_steps, batch : int
        Training steps and patches a step.
    tile : int
        Edge of a training patch, pixels; at most 32 in volumes.
    learning_rate : float
        Of Adam.

    Attributes
    ----------
    losses_ : list of (float, float)
        Soft normalised cut and reconstruction error (values from 0 to 1) of every step.
    """

    name: ClassVar[str] = "wnet"
    summary: ClassVar[str] = "two U-Nets: normalised cut and reconstruction (W-Net, Xia 2017)"
    advice: ClassVar[str] = (
        "Learns smooth classes from which the image can be rebuilt. Takes minutes."
    )
    main: ClassVar[tuple[str, ...]] = ("k", "n_steps")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = ""

    k: int = 8
    radius: float = 5.0
    sigma_i: float = 10.0
    sigma_x: float = 4.0
    n_steps: int = 200
    batch: int = 4
    tile: int = 96
    learning_rate: float = 3e-3
    losses_: list[tuple[float, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in {"k": 2, "n_steps": 1, "batch": 1, "tile": 8}.items():
            check_number(name, getattr(self, name), value, whole=True)
        for name in ("radius", "sigma_i", "sigma_x"):
            check_number(name, getattr(self, name), 1e-6)
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
        from napari_clusternet.unsupervised import wnet_training as training
        from napari_clusternet.unsupervised.patches import Patches, argmax_steps, patch_edge

        yield Progress("reading", 0, 1)
        device = select_device(tools.device).torch
        values, valid = read_unit(image)
        patches = Patches.over(values, valid, patch_edge(self.tile, image.ndim), (0,) * image.ndim)
        encoder, decoder = training.build(
            image.n_bands, self.k, image.spacing, patches.extent, random_state
        )
        encoder.to(device), decoder.to(device)
        self.losses_ = yield from training.train_steps(
            encoder, decoder, patches, np.random.default_rng(random_state), device,
            spacing=image.spacing, radius=self.radius, sigma_i=self.sigma_i, sigma_x=self.sigma_x,
            n_steps=self.n_steps, batch=self.batch, learning_rate=self.learning_rate,
        )  # fmt: skip
        labels = yield from argmax_steps(encoder, patches, device)
        return number_regions(labels, valid)
