"""The two ways to learn from pseudo-labels: the paper's, and ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.training.losses import chunked_cross_entropy, sinkhorn, soft_cross_entropy
from napari_clusternet.training.randomness import Purpose, generator
from napari_clusternet.training.views import Turn, jitter

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.config import ClusterNetDefaults
    from napari_clusternet.image import BoolArray
    from napari_clusternet.networks.unet import UNet

    Moment = tuple[int, ...]


class Mode(nn.Module, ABC):
    """What is trained beside the network, and the loss of one training batch.

    Parameters
    ----------
    settings : ClusterNetDefaults
    centers : array of shape (k, f)
        Centroids of the first batch.
    n_bands : int
        Bands of the images.
    """

    #: Whether the loss needs the pseudo-label of every pixel, or only the centroids.
    dense_labels: bool

    def __init__(
        self, settings: ClusterNetDefaults, centers: npt.NDArray[np.float32], n_bands: int
    ) -> None:
        super().__init__()
        self.settings, self.n_bands = settings, n_bands
        self.k, self.n_features = centers.shape

    @abstractmethod
    def recluster(self, centers: npt.NDArray[np.float32]) -> None:
        """Take note of new centroids (k, f)."""

    @abstractmethod
    def loss(
        self,
        network: UNet,
        x: torch.Tensor,
        valid: BoolArray,
        labels: npt.NDArray[Any] | None,
        moment: Moment,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a training batch and figures about it.

        Parameters
        ----------
        network : UNet
            In training mode.
        x : Tensor of shape (B, C, [Z,] Y, X)
            Normalised patches.
        valid : array of bool, shape (B, [Z,] Y, X)
        labels : array of int, shape (B, [Z,] Y, X), or None
            Pseudo-labels where `dense_labels` asks for them; -1 where invalid.
        moment : tuple of int
            Epoch, round and step, for the random decisions.
        """


def take_pixels(maps: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """Return the pixels (N, C) of `maps` (B, C, [Z,] Y, X) at flat indices over (B, [Z,] Y, X)."""
    rows = maps.movedim(1, -1).reshape(-1, maps.shape[1])
    return rows.index_select(0, flat)


def draw_pixels(valid: BoolArray, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw flat indices of valid pixels, the same number from each patch, with replacement.

    At least two in all, as BatchNorm needs.
    """
    each = max(2, count // len(valid))
    size = valid[0].size
    picks = []
    for i, mask in enumerate(valid):
        inside = np.flatnonzero(mask)
        picks.append(i * size + inside[rng.integers(inside.size, size=each)])
    return np.concatenate(picks)


class PaperMode(Mode):
    """Cross-entropy of a 1x1 convolution + softmax against every pixel's pseudo-label (Fig. 1)."""

    dense_labels = True

    def __init__(
        self, settings: ClusterNetDefaults, centers: npt.NDArray[np.float32], n_bands: int
    ) -> None:
        super().__init__(settings, centers, n_bands)
        self.head = nn.Linear(self.n_features, self.k)

    def recluster(self, centers: npt.NDArray[np.float32]) -> None:
        """Do nothing: warm-started centroids keep the meaning of the head's classes."""

    def loss(
        self,
        network: UNet,
        x: torch.Tensor,
        valid: BoolArray,
        labels: npt.NDArray[Any] | None,
        moment: Moment,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the mean cross-entropy over the valid pixels, or over `loss_pixels` of them."""
        assert labels is not None
        if self.settings.loss_pixels is None:
            flat = np.flatnonzero(valid)
            rows = network(x).movedim(1, -1).reshape(-1, self.n_features)
            if flat.size < rows.shape[0]:
                rows = rows.index_select(0, torch.from_numpy(flat).to(x.device))
        else:
            rng = generator(self.settings.random_state or 0, Purpose.PIXELS, *moment)
            flat = draw_pixels(valid, self.settings.loss_pixels, rng)
            rows = network.pixels(take_pixels(network.body(x), torch.from_numpy(flat).to(x.device)))
        targets = torch.from_numpy(labels.reshape(-1)[flat].astype(np.int64)).to(x.device)
        return chunked_cross_entropy(rows, self.head.weight, self.head.bias, targets), {}


class EnhancedMode(Mode):
    """Two views must agree on balanced assignments to prototypes, and rebuild the bands.

    The head's weights are the normalised centroids. Each view predicts the other's balanced
    (Sinkhorn) assignment, as in SwAV (Caron et al. 2020); a linear decoder from the features to
    the bands keeps the information that clusters alone would drop (section 5).
    """

    dense_labels = False

    def __init__(
        self, settings: ClusterNetDefaults, centers: npt.NDArray[np.float32], n_bands: int
    ) -> None:
        super().__init__(settings, centers, n_bands)
        self.prototypes = nn.Parameter(torch.empty(self.k, self.n_features))
        self.decoder = nn.Linear(self.n_features, n_bands)
        self.recluster(centers)

    @torch.no_grad()
    def recluster(self, centers: npt.NDArray[np.float32]) -> None:
        """Set the prototypes to the normalised centroids."""
        self.prototypes.copy_(F.normalize(torch.from_numpy(centers), dim=1))

    def loss(
        self,
        network: UNet,
        x: torch.Tensor,
        valid: BoolArray,
        labels: npt.NDArray[Any] | None,
        moment: Moment,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Return swapped prediction + reconstruction, on `loss_pixels` pixels of each view."""
        del labels
        s = self.settings
        rng = generator(s.random_state or 0, Purpose.VIEWS, *moment)
        count = valid.size if s.loss_pixels is None else s.loss_pixels
        flat = torch.from_numpy(draw_pixels(valid, count, rng)).to(x.device)
        inside = torch.from_numpy(valid[:, None]).to(x.device)
        bands = take_pixels(x, flat)
        scores, rebuilt = [], torch.zeros((), device=x.device)
        for _ in range(2):
            turn = Turn.draw(rng, network.ndim, self._turns(x, network))
            view = jitter(x, rng, s.jitter) * inside
            maps = turn.undo(network.body(turn.apply(view)))
            rows = network.pixels(take_pixels(maps, flat))
            rebuilt = rebuilt + F.mse_loss(self.decoder(rows).float(), bands) / 2
            unit = F.normalize(rows.float(), dim=1)
            scores.append(unit @ F.normalize(self.prototypes, dim=1).T)
        targets = [sinkhorn(score.detach(), s.sharpness) for score in scores]
        swapped = (
            soft_cross_entropy(scores[0] / s.temperature, targets[1])
            + soft_cross_entropy(scores[1] / s.temperature, targets[0])
        ) / 2
        figures = {"swapped": float(swapped.detach()), "rebuilt": float(rebuilt.detach())}
        return swapped + s.reconstruction * rebuilt, figures

    @staticmethod
    def _turns(x: torch.Tensor, network: UNet) -> bool:
        """Whether a quarter turn in YX maps patches and network onto themselves."""
        alike = all(step[-1] == step[-2] for step in network.plan.strides + network.plan.kernels)
        return alike and x.shape[-1] == x.shape[-2]


def make_mode(settings: ClusterNetDefaults, centers: npt.NDArray[np.float32], n_bands: int) -> Mode:
    """Return the mode that `settings` names."""
    kinds: dict[str, type[Mode]] = {"paper": PaperMode, "enhanced": EnhancedMode}
    return kinds[settings.mode](settings, centers, n_bands)
