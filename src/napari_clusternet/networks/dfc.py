"""Differentiable feature clustering: a small network learns the labels of one image by itself.

Kim, Kanezaki & Tanaka 2020 (IEEE TIP 29, 8055), and two kin that differ in one line each: targets
smoothed in superpixels (Kanezaki 2018, ICASSP) and a continuity weight that follows the number of
labels (FSF and SCF, "A dynamically weighted loss function for unsupervised image segmentation",
section III-B).
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_clusternet.device import select_device
from napari_clusternet.networks._dfc_image import ImagePart as ImagePart
from napari_clusternet.networks._dfc_parts import (
    DFCNetwork,
    continuity,
    cross_entropy,
    kernel_extent,
)
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]

#: What a progress bar calls this.
STAGE = "learning regions"


@dataclass(frozen=True)
class DFCSettings:
    """Network, loss and optimisation; defaults are those of Kim et al. 2020 for BSD500.

    Attributes
    ----------
    n_channels : int
        q: channels of features and response, and so the largest number of labels.
    n_blocks : int
        M: convolution blocks.
    n_iterations : int
        Most iterations.
    min_labels : int
        Stop when so few labels are left; fewer are never returned if there ever were more.
    mu : float
        Weight of the continuity loss; 0 leaves it out.
    weighting : {"fixed", "fsf", "scf"}
        The continuity loss counts mu, q'/mu or mu/q' times, where q' is the number of labels now.
    similarity, scribble : float
        Weights of the cross-entropy with the network's own labels, and with scribbles.
    learning_rate, momentum : float
        Of stochastic gradient descent.
    """

    n_channels: int = 100
    n_blocks: int = 3
    n_iterations: int = 1000
    min_labels: int = 3
    mu: float = 5.0
    weighting: Literal["fixed", "fsf", "scf"] = "fixed"
    similarity: float = 1.0
    scribble: float = 0.5
    learning_rate: float = 0.1
    momentum: float = 0.9

    def continuity_weight(self, n_labels: int) -> float:
        """Weight of the continuity loss with q' = `n_labels` labels (equations 1 to 3)."""
        if self.weighting == "fixed" or self.mu == 0:
            return self.mu
        return n_labels / self.mu if self.weighting == "fsf" else self.mu / n_labels


@dataclass(frozen=True)
class DFCModel:
    """A trained network that labels images with the bands it was trained on.

    Attributes
    ----------
    network : DFCNetwork
        On `device`.
    device : torch.device
        Where it runs.
    """

    network: DFCNetwork
    device: torch.device

    def labels(
        self, x: FloatArray, mask: BoolArray | None = None, n_classes: int | None = None
    ) -> IntArray:
        """Label each pixel with the channel of its largest response.

        The BatchNorm statistics are those of the image itself, as in training, so the whole image
        is one piece.

        Parameters
        ----------
        x : numpy.ndarray of float32, shape (C, [Z,] Y, X)
            Pixels scaled as in training.
        mask : numpy.ndarray of bool, shape ([Z,] Y, X), optional
            True where valid; all by default.
        n_classes : int, optional
            Choose among the first so many channels: the classes of scribbles 1..n_classes.

        Returns
        -------
        numpy.ndarray of int64, shape ([Z,] Y, X)
            Channel, 0..q - 1; -1 where invalid.
        """
        response = self.respond(ImagePart.load(x, mask, self.device))[:, :n_classes]
        found = response.max(1).indices[0].cpu().numpy()
        labels: IntArray = found if mask is None else np.where(mask, found, -1)
        return labels

    def respond(self, part: ImagePart) -> Tensor:
        """Return the response (1, q, [Z,] Y, X) of an image on the device, without gradients."""
        with torch.no_grad(), _repeatable():
            response: Tensor = self.network(part.x, part.weights)
        return response


def dfc_steps(
    x: FloatArray,
    mask: BoolArray | None = None,
    settings: DFCSettings | None = None,
    *,
    scribbles: npt.NDArray[Any] | None = None,
    segments: npt.NDArray[Any] | None = None,
    spacing: Sequence[float] | None = None,
    n_classes: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Generator[Progress, None, IntArray]:
    """Label one image: learn on it, then apply to it.

    Parameters
    ----------
    x : numpy.ndarray of float32, shape (C, [Z,] Y, X)
        Pixels, roughly 0 to 1; anything finite where invalid.
    mask : numpy.ndarray of bool, shape ([Z,] Y, X), optional
        True where valid; all by default. Other pixels neither train nor touch the statistics.
    settings : DFCSettings, optional
        Its defaults by default.
    scribbles : numpy.ndarray of int, shape ([Z,] Y, X), optional
        0 for none; class c trains channel c - 1, with weight ``settings.scribble``, and the pixels
        without a scribble train with their own labels (Kim et al. 2020, section III-D). It then
        stops at as many labels as there are scribbled classes.
    segments : numpy.ndarray of int, shape ([Z,] Y, X), optional
        Superpixels, 0..n - 1: a pixel's target is the majority label of its segment.
    spacing : sequence of float, optional
        Pixel size per spatial axis; 1 by default. An axis with more than three times the finest
        spacing has no kernel extent, and differences along a coarse axis count less.
    n_classes : int, optional
        See `DFCModel.labels`.
    seed : int
        Seed of the weights.
    device : str
        See `napari_clusternet.device.select_device`.

    Yields
    ------
    Progress
        One an iteration, with ``loss`` and ``labels`` (q'), and the labels as a preview.

    Returns
    -------
    numpy.ndarray of int64, shape ([Z,] Y, X)
        Channel, 0..q - 1; -1 where invalid.

    Raises
    ------
    InputError
        If no pixel is valid or a scribbled class has no channel.
    """
    model = yield from fit_dfc_steps(
        [x], [mask], settings, scribbles=scribbles, segments=segments, spacing=spacing,
        seed=seed, device=device,
    )  # fmt: skip
    return model.labels(x, mask, n_classes)


def fit_dfc_steps(
    images: Sequence[FloatArray],
    masks: Sequence[BoolArray | None],
    settings: DFCSettings | None = None,
    *,
    scribbles: npt.NDArray[Any] | None = None,
    segments: npt.NDArray[Any] | None = None,
    spacing: Sequence[float] | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Generator[Progress, None, DFCModel]:
    """Learn labels on one image, or on several reference images in turn; see `dfc_steps`.

    With several images each iteration takes the next one (Kim et al. 2020, section III-E, train on
    one after the other), and training stops early when all are down to ``min_labels``.
    `scribbles` and `segments` go with a single image.

    Returns
    -------
    DFCModel
        If the labels of an image had fallen below ``min_labels`` at the end, the network as it was
        when all images last had that many.
    """
    settings = settings or DFCSettings()
    place = select_device(device).torch
    parts = [ImagePart.load(x, mask, place) for x, mask in zip(images, masks, strict=True)]
    few = settings.min_labels
    if scribbles is not None:
        few = parts[0].add_scribbles(scribbles, settings.n_channels)
    if segments is not None:
        parts[0].segments = torch.as_tensor(segments.astype(np.int64), device=place)[None]
    network = DFCNetwork(
        len(images[0]), settings.n_channels, settings.n_blocks,
        kernel_extent(spacing, images[0].ndim - 1), seed,
    ).to(place)  # fmt: skip
    optimizer = torch.optim.SGD(
        network.parameters(), lr=settings.learning_rate, momentum=settings.momentum
    )
    counts = [settings.n_channels] * len(parts)
    kept: dict[str, Any] | None = None
    yield Progress(STAGE, 0, settings.n_iterations)
    for i in range(settings.n_iterations):
        before = copy.deepcopy(network.state_dict())
        turn = i % len(parts)
        loss, counts[turn] = _step(network, optimizer, parts[turn], settings, spacing)
        if min(counts) >= few:
            kept = before  # these weights gave that many labels
        yield Progress(
            STAGE, i + 1, settings.n_iterations, {"loss": loss, "labels": float(counts[turn])},
            parts[0].preview if len(parts) == 1 else None,
        )  # fmt: skip
        if max(counts) <= few:
            break
    model = DFCModel(network, place)
    if kept is not None and min(_count(model, part) for part in parts) < few:
        network.load_state_dict(kept)
    return model


def loss_terms(
    response: Tensor, part: ImagePart, settings: DFCSettings, spacing: Sequence[float] | None = None
) -> tuple[Tensor, int]:
    """Return the loss of a response and q', the number of its labels.

    L = similarity * CE(r', argmax r') + scribble * CE(r', scribbles) + weight(q') * L_con (Kim et
    al. 2020, equations 1 and 5; section III-B of the dynamic weighting). q' carries no gradient.

    Parameters
    ----------
    response : Tensor, shape (1, q, [Z,] Y, X)
    part : ImagePart
        The image, with its scribbles or segments.
    settings : DFCSettings
        The weights.
    spacing : sequence of float, optional
        Pixel size per spatial axis; differences along a coarse axis count less.
    """
    part.own = own = response.detach().max(1).indices
    seen = own if part.where is None else own[part.where]
    q = response.shape[1]
    n_labels = int((torch.bincount(seen.flatten(), minlength=q) > 0).sum())
    loss = settings.similarity * cross_entropy(response, part.target(own, q), part.unguided)
    if part.scribbled is not None and part.classes is not None:
        loss = loss + settings.scribble * cross_entropy(response, part.classes, part.scribbled)
    weight = settings.continuity_weight(n_labels)
    if weight:
        scale = None if spacing is None else [min(spacing) / size for size in spacing]
        loss = loss + weight * continuity(response, part.weights, scale)
    return loss, n_labels


def _step(
    network: DFCNetwork,
    optimizer: torch.optim.Optimizer,
    part: ImagePart,
    settings: DFCSettings,
    spacing: Sequence[float] | None,
) -> tuple[float, int]:
    """Take one step; return the loss and the number of labels before it."""
    with _repeatable():
        loss, n_labels = loss_terms(network(part.x, part.weights), part, settings, spacing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach()), n_labels


def _count(model: DFCModel, part: ImagePart) -> int:
    found = model.respond(part).max(1).indices
    return len(torch.unique(found if part.where is None else found[part.where]))


def _repeatable() -> Any:
    """Return a context in which a GPU gives the same numbers every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
