"""Two views of a patch: mild changes of brightness, and flips and turns that can be undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Turn:
    """A symmetry of the pixel grid: optional flips, then quarter turns in the YX plane.

    Attributes
    ----------
    flips : tuple of int
        Spatial axes to flip, counted from the last: -1 is X.
    quarters : int
        Quarter turns in YX, 0 to 3.
    """

    flips: tuple[int, ...]
    quarters: int

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int, square: bool) -> Turn:
        """Draw a symmetry; odd quarter turns only where YX is `square`."""
        flips = tuple(-1 - axis for axis in range(ndim) if rng.random() < 0.5)
        return cls(flips, int(rng.integers(4)) if square else 2 * int(rng.integers(2)))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Flip, then turn."""
        return torch.rot90(x.flip(self.flips), self.quarters, (-2, -1))

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """Turn back, then flip back."""
        return torch.rot90(x, -self.quarters, (-2, -1)).flip(self.flips)


def jitter(x: torch.Tensor, rng: np.random.Generator, strength: float) -> torch.Tensor:
    """Change gain and offset of each band of each patch and add noise, mildly.

    Values are in units of the band's standard deviation. Strong colour changes would teach the
    network to forget colour, which step 2 needs.

    Parameters
    ----------
    x : Tensor of shape (B, C, [Z,] Y, X)
        Normalised values.
    rng : numpy.random.Generator
    strength : float
        Standard deviation of gain, offset and (half of it) noise.
    """
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    gain = torch.from_numpy(rng.normal(1, strength, shape).astype(np.float32)).to(x.device)
    offset = torch.from_numpy(rng.normal(0, strength, shape).astype(np.float32)).to(x.device)
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x.device)
    return x * gain + offset + noise * (strength / 2)
