"""How W-Net trains: the encoder by the soft normalised cut, both halves by reconstruction."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import torch

from napari_clusternet.networks.ktextures import measure_statistics
from napari_clusternet.networks.wnet import PixelNetwork
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.ncut import Affinity, soft_ncut

if TYPE_CHECKING:
    import numpy as np

    from napari_clusternet.unsupervised.patches import Patches

#: Batches that BatchNorm's final statistics are averaged over.
_STATISTICS = 8


def build(
    n_bands: int, k: int, spacing: Sequence[float], shape: Sequence[int], seed: int
) -> tuple[PixelNetwork, PixelNetwork]:
    """Return encoder (bands to k) and decoder (k to bands) with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = PixelNetwork(n_bands, [k], spacing, shape)
        return encoder, PixelNetwork(k, [n_bands], spacing, shape)


def train_steps(
    encoder: PixelNetwork,
    decoder: PixelNetwork,
    patches: Patches,
    rng: np.random.Generator,
    device: torch.device,
    *,
    spacing: Sequence[float],
    radius: float,
    sigma_i: float,
    sigma_x: float,
    n_steps: int,
    batch: int,
    learning_rate: float,
) -> Generator[Progress, None, list[tuple[float, float]]]:
    """Train; yield every step, return (normalised cut, reconstruction error) of each.

    A step is the two updates of the paper's Algorithm 1, on one batch: the encoder by J_soft-Ncut,
    then encoder and decoder by the squared error, of values from 0 to 1.
    """
    both = [*encoder.parameters(), *decoder.parameters()]
    cutting = torch.optim.Adam(encoder.parameters(), lr=learning_rate)
    rebuilding = torch.optim.Adam(both, lr=learning_rate)
    encoder.train()
    decoder.train()
    losses: list[tuple[float, float]] = []
    for step in range(n_steps):
        x, valid = (part.to(device) for part in patches.draw(rng, batch))
        affinity = Affinity.measure(255 * x, valid, spacing, radius, sigma_i, sigma_x)
        cut = soft_ncut(encoder(x)[0].softmax(dim=1), affinity)
        cutting.zero_grad()
        cut.backward()  # type: ignore[no-untyped-call]
        cutting.step()
        rebuilt = decoder(encoder(x)[0].softmax(dim=1))[0]
        error = ((rebuilt - x) ** 2)[valid.expand_as(x)].mean()
        rebuilding.zero_grad()
        error.backward()
        rebuilding.step()
        losses.append((float(cut.detach()), float(error.detach())))
        metrics = {"normalised cut": losses[-1][0], "reconstruction": losses[-1][1]}
        yield Progress("training", step + 1, n_steps, metrics)
    inputs = (patches.draw(rng, batch)[0].to(device) for _ in range(_STATISTICS))
    measure_statistics(encoder, inputs, encoder)
    return losses
