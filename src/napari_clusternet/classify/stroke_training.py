"""Training a U-Net on strokes alone, and its use on the whole image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_clusternet.classify.stroke_patches import Patches, PatchSampler
from napari_clusternet.config import UNET_CHANNELS
from napari_clusternet.device import select_device
from napari_clusternet.networks.unet import CONV, UNet, pad_to_multiple, plan_levels
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import plan_tiles, round_up

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]

#: Side of a training patch by number of spatial axes, pixels.
PATCH = {2: 64, 3: 16}
#: Side of a tile in prediction.
TILE = {2: 512, 3: 64}
#: Share of an iteration in the running mean of the stroke loss, and the fewest iterations.
SMOOTHING, FEWEST = 0.1, 20
#: Batches that the final statistics of BatchNorm are measured on.
STATISTICS_BATCHES = 8


class StrokeNetwork(nn.Module):
    """The U-Net of the package with a linear layer from its features to classes.

    Parameters
    ----------
    in_channels, n_classes, n_features : int
        Bands, classes, features a pixel.
    spacing : sequence of float
        Pixel size per axis; see `napari_clusternet.networks.unet.plan_levels`.
    patch : sequence of int
        Extent of what it will be trained on.
    """

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        n_features: int,
        spacing: Sequence[float],
        patch: Sequence[int],
    ) -> None:
        super().__init__()
        channels = UNET_CHANNELS[len(patch)]
        plan = plan_levels(spacing, patch, len(channels))
        self.unet = UNet(in_channels, n_features, channels, plan)
        self.classifier = CONV[len(patch)](n_features, n_classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F, [Z,] Y, X) and logits (B, K, [Z,] Y, X)."""
        features = self.unet(x)
        return features, self.classifier(features)


@dataclass
class Trainer:
    """A network with its optimiser, its patches and the device they share.

    Make one with `start`.
    """

    network: StrokeNetwork
    optimizer: torch.optim.Optimizer
    sampler: PatchSampler
    device: torch.device
    generator: torch.Generator

    @classmethod
    def start(
        cls,
        features: FloatArray,
        valid: BoolArray,
        targets: IntArray,
        spacing: Sequence[float],
        *,
        n_features: int,
        learning_rate: float,
        seed: int,
        device: str,
    ) -> Trainer:
        """Build network and sampler for an image; the global random state stays as it was."""
        place = select_device(device).torch
        side = PATCH[valid.ndim]
        step = 2 ** (len(UNET_CHANNELS[valid.ndim]) - 1)
        extent = tuple(min(side, round_up(size, step)) for size in valid.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = StrokeNetwork(
                len(features), int(targets.max()) + 1, n_features, spacing, extent
            )
        network = network.to(place)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
        sampler = PatchSampler(features, valid, targets, extent, seed)
        return cls(network, optimizer, sampler, place, torch.Generator().manual_seed(seed))

    def steps(
        self,
        n_iterations: int,
        batch: int,
        enough: float,
        losses: Callable[[Patches, int], tuple[Tensor, Tensor]],
    ) -> Generator[Progress, None, None]:
        """Train; yields `Progress` with the losses after every iteration.

        Parameters
        ----------
        n_iterations : int
            Iterations at most.
        batch : int
            Patches an iteration.
        enough : float
            It stops once the running mean of the stroke loss is below.
        losses : callable
            (patches, iteration) -> (loss to minimise, loss on the strokes).
        """
        self.network.train()
        mean = 0.0
        yield Progress("training", 0, n_iterations)
        for i in range(n_iterations):
            patches = self.sampler.draw(batch, self.device)
            with repeatable():
                loss, on_strokes = losses(patches, i)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
            now = float(on_strokes.detach())
            mean = now if i == 0 else mean + SMOOTHING * (now - mean)
            figures = {"loss": float(loss.detach()), "strokes": now}
            yield Progress("training", i + 1, n_iterations, figures)
            if mean < enough and i + 1 >= FEWEST:
                break
        self._settle_statistics(batch)

    def _settle_statistics(self, batch: int) -> None:
        """Measure BatchNorm's statistics anew, with the final weights, on patches from anywhere.

        The running ones lag behind weights that change quickly, and know mostly the strokes.
        """
        norms = [
            m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)
        ]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over what follows
        with torch.no_grad(), repeatable():
            for _ in range(STATISTICS_BATCHES):
                self.network(self.sampler.draw(batch, self.device, anywhere=True).values)

    def predict_steps(self) -> Generator[Progress, None, IntArray]:
        """Classify every pixel by tiles that equal the whole; returns classes 0..K - 1."""
        self.network.eval()
        unet, features = self.network.unet, self.sampler.features
        shape = features.shape[1:]
        found = np.zeros(shape, np.int64)
        tiles = list(plan_tiles(shape, (TILE[len(shape)],) * len(shape), unet.halo, unet.multiple))
        for i, tile in enumerate(tiles):
            block = torch.from_numpy(features[(slice(None), *tile.read)].copy()).to(self.device)
            with torch.no_grad(), repeatable():
                logits = self.network(pad_to_multiple(block[None], unet.multiple))[1][0]
            found[tile.write] = logits.cpu().numpy()[(slice(None), *tile.crop)].argmax(axis=0)
            yield Progress("classifying pixels", i + 1, len(tiles))
        return found


def stroke_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that have a class (target 0 or more); 0 without any."""
    stroked = targets >= 0
    if not bool(stroked.any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits.movedim(1, -1)[stroked], targets[stroked])


def flip_axes(generator: torch.Generator, ndim: int) -> list[int]:
    """Choose spatial axes to flip, counted from the end so that they fit any batch."""
    chosen = torch.rand(ndim, generator=generator) < 0.5
    return [axis - ndim for axis in range(ndim) if bool(chosen[axis])]


def repeatable() -> Any:
    """Return a context in which a GPU gives the same numbers every time."""
    return cast("Any", torch.backends.cudnn.flags)(
        enabled=True, benchmark=False, deterministic=True
    )
