"""How patches and their clusters teach each other: agglomeration and triplets, in turns (JULE)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_clusternet.networks.ktextures import measure_statistics
from napari_clusternet.networks.unet import CONV, NORM
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.unsupervised.patches import Patches

#: Channels of the three convolutions; the last is the number of features.
WIDTHS = (16, 32, 32)
#: Nearest other clusters that a negative example is drawn from.
_NEAREST = 5
#: By how much, in squared distance, a negative is to be farther than a positive.
_MARGIN = 0.5
#: Edge of a tile when features are computed, by number of spatial axes, pixels.
_TILE = {2: 256, 3: 48}


class PatchNetwork(nn.Module):
    """Three convolutions without padding: a patch of `extent` pixels becomes one unit vector.

    On a whole image it gives every pixel the features of the patch around it.

    Parameters
    ----------
    in_channels : int
        Bands of the image.
    kernel : tuple of int
        Extent of each convolution per axis.
    """

    def __init__(self, in_channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        conv, norm = CONV[len(kernel)], NORM[len(kernel)]
        self.margin = tuple(len(WIDTHS) * (size // 2) for size in kernel)
        layers: list[nn.Module] = []
        for source, width in zip((in_channels, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [conv(source, width, kernel, bias=False), norm(width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (B, F, [Z,] Y, X) of length 1, smaller by `margin` on every side."""
        return F.normalize(cast("torch.Tensor", self.layers(x)), dim=1)


def build(n_bands: int, kernel: tuple[int, ...], seed: int) -> PatchNetwork:
    """Return the network with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchNetwork(n_bands, kernel)


def agglomerate(
    rows: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], n_clusters: int
) -> npt.NDArray[np.int64]:
    """Merge clusters, nearest means first (average linkage), until `n_clusters` are left.

    Parameters
    ----------
    rows : numpy.ndarray of float32, shape (n, F)
    labels : numpy.ndarray of int, shape (n,)
        Present cluster of each row, 0 .. m - 1, none empty.
    n_clusters : int
        At most m.
    """
    from sklearn.cluster import AgglomerativeClustering

    counts = np.bincount(labels)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= counts[:, None]
    if n_clusters >= len(counts):
        return labels
    merging = AgglomerativeClustering(n_clusters=n_clusters, linkage="average")
    merged: npt.NDArray[np.int64] = merging.fit_predict(means).astype(np.int64)
    return merged[labels]


def triplets(
    rows: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], rng: np.random.Generator, n: int
) -> npt.NDArray[np.intp]:
    """Draw (anchor, positive, negative) row numbers (n, 3).

    The positive is of the anchor's cluster, the negative of one of the clusters nearest to it.
    """
    members = [np.flatnonzero(labels == c) for c in range(labels.max() + 1)]
    means = np.stack([rows[m].mean(axis=0) for m in members])
    distances = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, : min(_NEAREST, len(members) - 1)]
    drawn = np.empty((n, 3), np.intp)
    for i, anchor in enumerate(rng.integers(len(labels), size=n)):
        own = labels[anchor]
        other = near[own, rng.integers(near.shape[1])]
        drawn[i] = anchor, rng.choice(members[own]), rng.choice(members[other])
    return drawn


def train_steps(
    network: PatchNetwork,
    patches: torch.Tensor,
    rng: np.random.Generator,
    *,
    k: int,
    n_rounds: int,
    n_steps: int,
    batch: int,
    learning_rate: float,
) -> Generator[Progress, None, list[float]]:
    """Train in rounds; yield every step, return the losses.

    Every patch begins as a cluster of its own. A round merges clusters, on the features of the
    moment, and then trains on triplets. Their number falls geometrically from a fifth of the
    patches to `k`.
    """
    counts = np.geomspace(max(k, len(patches) // 5), k, n_rounds).round().astype(int)
    labels = np.arange(len(patches))
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses: list[float] = []
    for turn, count in enumerate(counts):
        with torch.no_grad():
            rows = network.train()(patches).flatten(1).cpu().numpy()
        labels = agglomerate(rows, labels, int(count))
        for step in range(n_steps):
            drawn = torch.from_numpy(triplets(rows, labels, rng, batch)).to(patches.device)
            found = network(patches[drawn.flatten()]).reshape(batch, 3, -1)
            anchor, positive, negative = found.unbind(dim=1)
            near = ((anchor - positive) ** 2).sum(dim=1)
            far = ((anchor - negative) ** 2).sum(dim=1)
            loss = F.relu(near - far + _MARGIN).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            done = turn * n_steps + step + 1
            metrics = {"loss": losses[-1], "clusters": float(count)}
            yield Progress("training", done, n_rounds * n_steps, metrics)
    measure_statistics(network, [patches], network)
    return losses


@torch.no_grad()
def feature_steps(
    network: PatchNetwork, patches: Patches, device: torch.device
) -> Generator[Progress, None, npt.NDArray[np.float32]]:
    """Return the features (F, [Z,] Y, X) of every pixel's patch; `patches` has their margin."""
    shape = patches.valid.shape
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    features = np.zeros((WIDTHS[-1], *shape), np.float32)
    plan = list(plan_tiles(shape, (_TILE[len(shape)],) * len(shape), zeros, ones))
    for i, tile in enumerate(plan):
        block = network(patches.cut(tile.write)[None].to(device))
        features[(slice(None), *tile.write)] = block[0].cpu().numpy()
        yield Progress("computing features", i + 1, len(plan))
    return features
