"""How k-textures trains, and what its networks make of the whole image."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clusternet.networks.ktextures import (
    SCALAR_NOISE,
    MaskBranch,
    TextureBank,
    compose,
    hard_masks,
    kernel_of,
    measure_statistics,
)  # fmt: skip
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.ktextures_features import FeatureLoss

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.unsupervised.ktextures_features import Encoder
    from napari_clusternet.unsupervised.patches import Patches

#: Largest norm of a parameter's gradient; of each alone, as Keras' ``clipnorm`` does.
CLIP_NORM = 1.0
#: Batches that BatchNorm's final statistics are averaged over.
_STATISTICS = 8


@dataclass(eq=False)
class Model:
    """The two networks of k-textures on a device, with their source of noise.

    Attributes
    ----------
    branch, bank
        Masks and textures.
    noise : torch.Generator
        On the CPU, so that every device sees the same noise.
    device : torch.device
    """

    branch: MaskBranch
    bank: TextureBank
    noise: torch.Generator
    device: torch.device

    @classmethod
    def build(
        cls, k: int, n_bands: int, spacing: Sequence[float], shape: Sequence[int],
        kernel: int, window: int, seed: int, device: torch.device,
    ) -> Model:  # fmt: skip
        """Build both networks with the weights of a seed."""
        extents = [kernel_of(size, spacing, shape) for size in (kernel, window, 3)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            branch, bank = MaskBranch(n_bands, *extents[:2]), TextureBank(k, n_bands, extents[2])
        noise = torch.Generator().manual_seed(seed)
        return cls(branch.to(device), bank.to(device), noise, device)

    def draw(self, *shape: int) -> torch.Tensor:
        """Return normal noise of a shape."""
        return torch.randn(shape, generator=self.noise).to(self.device)

    def texture_noise(self, extent: Sequence[int]) -> torch.Tensor:
        """Return the noise that textures of an extent ([Z,] Y, X) are made of."""
        size = (n + 2 * m for n, m in zip(extent, self.bank.margin, strict=True))
        return self.draw(self.bank.k, *size)

    def masks(self, x: torch.Tensor) -> torch.Tensor:
        """Return the masks of bands with margin; noisy while training."""
        scalar = self.branch(x)
        if self.branch.training:
            scalar = scalar + SCALAR_NOISE * self.draw(*scalar.shape)
        return hard_masks(scalar, self.bank.k)


def without_margin(x: torch.Tensor, margin: Sequence[int]) -> torch.Tensor:
    """Return (B, C, [Z,] Y, X) without `margin` pixels on every side."""
    inner = (slice(m, n - m) for m, n in zip(margin, x.shape[2:], strict=True))
    return x[(slice(None), slice(None), *inner)]


def train_steps(
    model: Model,
    patches: Patches,
    encoders: Sequence[Encoder],
    rng: np.random.Generator,
    *,
    n_steps: int,
    batch: int,
    learning_rate: float,
) -> Generator[Progress, None, list[float]]:
    """Train; yield every step with its loss, return the losses.

    Adam with Keras' epsilon. Invalid pixels of the simulation are replaced by the original's, so
    that they add nothing.
    """
    parameters = [*model.branch.parameters(), *model.bank.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, eps=1e-7)
    first, _ = patches.draw(rng, batch)
    margin = patches.margin
    loss_of = FeatureLoss(encoders, without_margin(first.to(model.device), margin))
    losses: list[float] = []
    model.branch.train()
    model.bank.train()
    for step in range(n_steps):
        x, valid = (part.to(model.device) for part in patches.draw(rng, batch))
        masks = model.masks(x)
        textures = model.bank(model.texture_noise(patches.extent))
        original = without_margin(x, margin)
        simulated = torch.where(valid, compose(masks, textures), original)
        loss = loss_of(simulated, original)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            torch.nn.utils.clip_grad_norm_(parameter, CLIP_NORM)
        optimizer.step()
        losses.append(float(loss.detach()))
        used = float((masks.detach().mean(dim=(0, *range(2, masks.ndim))) > 1e-3).sum())
        yield Progress("training", step + 1, n_steps, {"loss": losses[-1], "masks used": used})
    return losses


def settle(model: Model, patches: Patches, rng: np.random.Generator, batch: int) -> None:
    """Freeze BatchNorm at statistics of the final weights, measured as training saw the image."""
    inputs = (patches.draw(rng, batch)[0].to(model.device) for _ in range(_STATISTICS))
    measure_statistics(model.branch, inputs, model.branch)
    noises = (model.texture_noise(patches.extent) for _ in range(_STATISTICS))
    measure_statistics(model.bank, noises, model.bank)


@torch.no_grad()
def apply_steps(
    model: Model, patches: Patches
) -> Generator[
    Progress, None, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]
]:
    """Return mask numbers ([Z,] Y, X), the simulated image (C, ...) and textures (k, C, ...)."""
    shape = patches.valid.shape
    labels = np.zeros(shape, np.int64)
    simulated = np.zeros((model.bank.n_bands, *shape), np.float32)
    # one field of noise for the whole image: its textures go on from tile to tile
    field = torch.randn(
        (model.bank.k, *(n + 2 * m for n, m in zip(shape, model.bank.margin, strict=True))),
        generator=model.noise,
    )
    tiles = list(patches.cover())
    for i, (region, x) in enumerate(tiles):
        masks = model.masks(x.to(model.device))
        part = tuple(
            slice(s.start, s.stop + 2 * m)
            for s, m in zip(region, model.bank.margin, strict=True)
        )  # fmt: skip
        textures = model.bank(field[(slice(None), *part)].to(model.device))
        labels[region] = masks.argmax(dim=1)[0].cpu().numpy()
        simulated[(slice(None), *region)] = compose(masks, textures)[0].cpu().numpy()
        yield Progress("applying", i + 1, len(tiles))
    textures = model.bank(model.texture_noise(patches.extent)).cpu().numpy()
    return labels, simulated, textures
