"""How IIC trains: two views of a patch, one network, mutual information."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clusternet.networks.ktextures import measure_statistics
from napari_clusternet.networks.wnet import PixelNetwork
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.iic_loss import iic_loss, joint_distribution

if TYPE_CHECKING:
    from napari_clusternet.unsupervised.patches import Patches

#: Batches that BatchNorm's final statistics are averaged over.
_STATISTICS = 8


@dataclass(frozen=True)
class View:
    """A change of a batch that leaves its classes alone: flipped axes, other gain and offset.

    Attributes
    ----------
    axes : tuple of int
        Tensor axes that are flipped.
    gain, offset : torch.Tensor, shape (B, C, 1, ...)
    """

    axes: tuple[int, ...]
    gain: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def draw(cls, rng: np.random.Generator, x: torch.Tensor, strength: float) -> View:
        """Draw a view of a batch `x` (B, C, [Z,] Y, X)."""
        axes = tuple(axis for axis in range(2, x.ndim) if rng.random() < 0.5)
        shape = (2, *x.shape[:2], *(1,) * (x.ndim - 2))
        change = torch.from_numpy(rng.normal(0, strength, shape).astype(np.float32)).to(x.device)
        return cls(axes, 1 + change[0], change[1])

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the view of `x`."""
        return torch.flip(x * self.gain + self.offset, self.axes)

    def undo(self, y: torch.Tensor) -> torch.Tensor:
        """Return what was computed from the view on the pixels of the original."""
        return torch.flip(y, self.axes)


def build(
    n_bands: int, widths: Sequence[int], spacing: Sequence[float], shape: Sequence[int], seed: int
) -> PixelNetwork:
    """Return the network with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PixelNetwork(n_bands, widths, spacing, shape)


def train_steps(
    network: PixelNetwork,
    patches: Patches,
    rng: np.random.Generator,
    device: torch.device,
    *,
    reach: Sequence[int],
    lamb: float,
    jitter: float,
    n_steps: int,
    batch: int,
    learning_rate: float,
) -> Generator[Progress, None, list[float]]:
    """Train every head by its own loss, summed; yield each step, return the losses."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    network.train()
    losses: list[float] = []
    for step in range(n_steps):
        x, valid = (part.to(device) for part in patches.draw(rng, batch))
        view = View.draw(rng, x, jitter)
        pairs = zip(network(x), network(view.apply(x)), strict=True)
        loss = x.new_zeros(())
        for here, there in pairs:
            joint = joint_distribution(
                here.softmax(dim=1), view.undo(there).softmax(dim=1), valid, reach
            )
            loss = loss + iic_loss(joint, lamb)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
        yield Progress("training", step + 1, n_steps, {"loss": losses[-1]})
    inputs = (patches.draw(rng, batch)[0].to(device) for _ in range(_STATISTICS))
    measure_statistics(network, inputs, network)
    return losses
