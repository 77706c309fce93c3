"""Patches clustered by agglomeration and a network, in turns (Moriya et al. 2018, after JULE)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import check_number, number_regions

if TYPE_CHECKING:
    from napari_clusternet.image import Image
    from napari_clusternet.unsupervised.base import RegionArray, Tools


@dataclass
class Moriya:
    """Features of patches learned from their own agglomeration; k-means of them for every pixel.

    As Moriya et al. (2018) segment volumes with JULE (Yang, Parikh & Batra 2016): patches at random
    places are merged into ever fewer clusters, and between merges a small network learns to bring
    patches of a cluster together, and apart from those of the clusters nearest to it. Then every
    pixel's patch is described by the network, and k-means makes k regions.

    Merging is average linkage of the clusters' means, not JULE's affinity on a graph of nearest
    neighbours, and the network is three convolutions, so that it runs over the whole image at once;
    the paper takes patches of 27 voxels and a deeper one. It is here to be compared with. It sees
    patches, so it blurs what is thinner than one: on a part of the MNI152 sample (k = 3, mean Dice)
    it scored .57, its untrained network .52, and k-means on intensities .90.

    Parameters
    ----------
    k : int
        Number of regions, at least 2.
    n_patches : int
        Patches that are clustered and learned from.
    kernel : int
        Extent of each of the three convolutions, odd; 3 makes patches of 7 pixels, 5 of 13.
    n_rounds, n_steps : int
        Rounds of merging, and training steps after each.
    batch : int
        Triplets a step.
    learning_rate : float
        Of Adam.

    Attributes
    ----------
    losses_ : list of float
        The triplet loss of every step.
    """

    name: ClassVar[str] = "moriya"
    summary: ClassVar[str] = "patches merged and learned from in turns (Moriya 2018, JULE)"
    advice: ClassVar[str] = (
        "Learns to tell small patches apart; made for volumes. Blurs what is thinner than a "
        "patch. Takes minutes."
    )
    main: ClassVar[tuple[str, ...]] = ("k", "n_patches")
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = "clusterer"

    k: int = 8
    n_patches: int = 1000
    kernel: int = 3
    n_rounds: int = 8
    n_steps: int = 25
    batch: int = 64
    learning_rate: float = 1e-3
    losses_: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lowest = {"k": 2, "n_patches": 10, "kernel": 3, "n_rounds": 1, "n_steps": 1, "batch": 1}
        for name, value in lowest.items():
            check_number(name, getattr(self, name), value, whole=True)
        if self.kernel % 2 == 0:
            problem = "an even extent has no centre"
            invalid("kernel", self.kernel, problem, f"Give {self.kernel + 1}")
        check_number("learning_rate", self.learning_rate, 1e-12)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return a region a cluster, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If no pixel is valid.
        """
        from napari_clusternet.device import select_device
        from napari_clusternet.networks.ktextures import kernel_of
        from napari_clusternet.unsupervised import moriya_training as training
        from napari_clusternet.unsupervised.patches import Patches, read_standard

        yield Progress("reading", 0, 1)
        device = select_device(tools.device).torch
        values, valid = read_standard(image)
        kernel = kernel_of(self.kernel, image.spacing, image.shape)
        network = training.build(image.n_bands, kernel, random_state).to(device)
        patches = Patches.over(values, valid, 1, network.margin)
        rng = np.random.default_rng(random_state)
        sample, _ = patches.draw(rng, self.n_patches)
        self.losses_ = yield from training.train_steps(
            network, sample.to(device), rng, k=self.k, n_rounds=self.n_rounds,
            n_steps=self.n_steps, batch=self.batch, learning_rate=self.learning_rate,
        )  # fmt: skip
        features = yield from training.feature_steps(network, patches, device)
        rows = np.ascontiguousarray(features[:, valid].T)
        estimator = tools.make_clusterer("kmeans", self.k, random_state)
        yield from estimator.fit_steps(rows)
        labels = np.zeros(image.shape, np.int64)
        labels[valid] = estimator.predict(rows)
        return number_regions(labels, valid)
