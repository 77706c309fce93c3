"""Methods that train a small network on one image: Kanezaki 2018, DFC, FSF and SCF."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import (
    Tools,
    check_number,
    number_regions,
    read_unit,
)
from napari_clusternet.unsupervised.superpixels import slic

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.networks.dfc import DFCModel, DFCSettings
    from napari_clusternet.unsupervised.base import RegionArray


@dataclass
class _NetworkRegions:
    """What the four methods share: the network of Kim et al. 2020 and its training.

    Its fields are described in `DFC`.
    """

    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    needs: ClassVar[str] = ""
    weighting: ClassVar[Literal["fixed", "fsf", "scf"]] = "fixed"

    n_blocks: int = 3
    n_channels: int = 100
    n_iterations: int = 1000
    min_labels: int = 3
    learning_rate: float = 0.1
    max_pixels: int = 2_000_000

    def __post_init__(self) -> None:
        for name in ("n_blocks", "n_iterations", "min_labels", "max_pixels"):
            check_number(name, getattr(self, name), 1, whole=True)
        check_number("n_channels", self.n_channels, 2, whole=True)
        check_number("learning_rate", self.learning_rate, 1e-12)

    def settings(self) -> DFCSettings:
        """Return the settings of the network and its training."""
        from napari_clusternet.networks.dfc import DFCSettings

        return DFCSettings(
            n_channels=int(self.n_channels), n_blocks=int(self.n_blocks),
            n_iterations=int(self.n_iterations), min_labels=int(self.min_labels),
            mu=float(getattr(self, "mu", 0.0)), weighting=self.weighting,
            learning_rate=self.learning_rate,
            scribble=float(getattr(self, "scribble_weight", 0.0)),
        )  # fmt: skip

    def check_size(self, image: Image) -> None:
        """Refuse an image whose activations would not fit: about 8 kB a pixel in training.

        Raises
        ------
        InputError
            If it has more than `max_pixels` pixels.
        """
        n_pixels = int(np.prod(image.shape))
        if n_pixels > self.max_pixels:
            invalid(
                "image", image.name, f"{n_pixels} pixels, more than max_pixels={self.max_pixels}; "
                f"training would take about {n_pixels * 8 / 1e6:.0f} GB",
                "Cut or shrink the image, or raise max_pixels",
            )  # fmt: skip


@dataclass
class Kanezaki(_NetworkRegions):
    """Unsupervised segmentation by backpropagation (Kanezaki 2018).

    The network learns, from its own labels, the majority label of each superpixel.

    Parameters
    ----------
    n_blocks, n_channels, n_iterations, min_labels, learning_rate, max_pixels
        See `DFC`.
    n_segments : int
        SLIC superpixels.
    compactness : float
        Weight of place against colour in SLIC; for colours of a range of 100.
    """

    name: ClassVar[str] = "kanezaki"
    summary: ClassVar[str] = "a network learns the majority labels of superpixels (Kanezaki 2018)"
    advice: ClassVar[str] = (
        "Learns colours and textures of this image, guided by small patches. Without a "
        "graphics card count minutes, for large images hours; the regions are shown while it "
        "learns."
    )
    main: ClassVar[tuple[str, ...]] = ("n_iterations", "min_labels", "n_segments")

    n_blocks: int = 2
    n_segments: int = 10_000
    compactness: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("n_segments", self.n_segments, 1, whole=True)
        check_number("compactness", self.compactness, 1e-6)

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If the image is too large or no pixel is valid.
        """
        from napari_clusternet.networks.dfc import dfc_steps

        self.check_size(image)
        yield Progress("finding superpixels", 0, 1)
        values, valid = read_unit(image)
        segments = slic(image, values, valid, int(self.n_segments), self.compactness)
        yield Progress("finding superpixels", 1, 1)
        labels = yield from dfc_steps(
            values, valid, self.settings(), segments=segments, spacing=image.spacing,
            seed=random_state, device=tools.device,
        )  # fmt: skip
        return number_regions(labels, valid)


@dataclass
class DFC(_NetworkRegions):
    """Differentiable feature clustering (Kim, Kanezaki & Tanaka 2020).

    The network learns its own labels, and that neighbours respond alike.

    Parameters
    ----------
    n_blocks : int
        M: blocks of 3x3 convolution, ReLU and BatchNorm.
    n_channels : int
        q: channels, and so the largest number of labels.
    n_iterations : int
        Most iterations.
    min_labels : int
        Training stops at so few labels; fewer are not returned if there ever were more.
    learning_rate : float
        Of stochastic gradient descent with momentum 0.9.
    max_pixels : int
        Larger images are refused: training takes about 8 kB a pixel.
    mu : float
        Weight of the continuity loss.
    scribbles : array of int, shape ([Z,] Y, X), optional
        0 for none; pixels of one class, 1..n, are to have one label (section III-D). They pull
        the network, they do not force it.
    scribble_weight : float
        How hard they pull.
    references : image or sequence of images, optional
        Train on these and only apply to the image (section III-E). Same bands.

    Attributes
    ----------
    model_ : DFCModel
        The network after a run; `apply_steps` uses it on other images.
    """

    name: ClassVar[str] = "dfc"
    summary: ClassVar[str] = "a network learns its own labels, neighbours alike (Kim 2020)"
    advice: ClassVar[str] = (
        "Learns colours and textures of this image, and makes neighbours alike. Without a "
        "graphics card count minutes, for large images hours; the regions are shown while it "
        "learns."
    )
    main: ClassVar[tuple[str, ...]] = ("mu", "n_iterations", "min_labels")

    mu: float = 5.0
    scribbles: npt.NDArray[Any] | None = None
    scribble_weight: float = 0.5
    references: Sequence[Image] = ()
    model_: DFCModel | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("mu", self.mu, 1e-12)
        check_number("scribble_weight", self.scribble_weight, 0)
        if self.scribbles is not None and self.references:
            invalid(
                "references", self.references, "given together with scribbles",
                "Scribbles belong to the image itself: give one of the two",
            )  # fmt: skip

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions, uint16 ([Z,] Y, X), 0 where invalid.

        Raises
        ------
        InputError
            If an image is too large, has no valid pixel, or the references do not fit it.
        """
        self.check_size(image)
        for reference in self.references:
            reference.bands.check(image, f"the reference {reference.name!r}")
        yield from self.fit_steps(self.references or [image], tools, random_state)
        return (yield from self.apply_steps(image))

    def fit_steps(
        self, images: Sequence[Image], tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, DFCModel]:
        """Yield progress; train on one image or several, keep the network in `model_`.

        Raises
        ------
        InputError
            If an image is too large or has no valid pixel.
        """
        from napari_clusternet.networks.dfc import fit_dfc_steps

        for image in images:
            self.check_size(image)
        yield Progress("reading pixels", 0, 1)
        pixels = [read_unit(image) for image in images]
        self.model_ = yield from fit_dfc_steps(
            [values for values, _ in pixels], [valid for _, valid in pixels], self.settings(),
            scribbles=self.scribbles, spacing=images[0].spacing, seed=random_state,
            device=tools.device,
        )  # fmt: skip
        return self.model_

    def apply_steps(self, image: Image) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return the regions of an image by the network in `model_`.

        Raises
        ------
        InputError
            If nothing has been fitted or no pixel is valid.
        """
        if self.model_ is None:
            invalid("model_", None, "there is no network yet", "Run fit_steps first")
        yield Progress("applying the network", 0, 1)
        values, valid = read_unit(image)
        regions = number_regions(self.model_.labels(values, valid), valid)
        yield Progress("applying the network", 1, 1)
        return regions


@dataclass
class FSF(DFC):
    """Feature similarity focus: the continuity loss counts q'/mu times ("dynamic weighting").

    It starts with continuity, and as the labels q' become fewer, similarity takes over.

    Parameters
    ----------
    n_blocks, n_channels, n_iterations, min_labels, learning_rate, max_pixels
        See `DFC`.
    scribbles, scribble_weight, references
        See `DFC`.
    mu : float
        The larger, the less continuity counts.
    """

    name: ClassVar[str] = "fsf"
    summary: ClassVar[str] = "dfc that turns to likeness as regions get fewer (FSF)"
    advice: ClassVar[str] = (
        "Like dfc, but the fewer regions are left, the more their likeness counts against "
        "their smoothness. Takes as long as dfc."
    )
    main: ClassVar[tuple[str, ...]] = ("mu", "n_iterations", "min_labels")
    weighting: ClassVar[Literal["fixed", "fsf", "scf"]] = "fsf"

    mu: float = 15.0


@dataclass
class SCF(DFC):
    """Spatial continuity focus: the continuity loss counts mu/q' times ("dynamic weighting").

    It starts with similarity, and as the labels q' become fewer, continuity takes over.

    Parameters
    ----------
    n_blocks, n_channels, n_iterations, min_labels, learning_rate, max_pixels
        See `DFC`.
    scribbles, scribble_weight, references
        See `DFC`.
    mu : float
        The larger, the more continuity counts.
    """

    name: ClassVar[str] = "scf"
    summary: ClassVar[str] = "dfc that turns to smoothness as regions get fewer (SCF)"
    advice: ClassVar[str] = (
        "Like dfc, but the fewer regions are left, the more their smoothness counts. Takes as "
        "long as dfc."
    )
    main: ClassVar[tuple[str, ...]] = ("mu", "n_iterations", "min_labels")
    weighting: ClassVar[Literal["fixed", "fsf", "scf"]] = "scf"

    mu: float = 50.0
