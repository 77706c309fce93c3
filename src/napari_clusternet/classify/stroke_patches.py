"""Patches of an image for training on its strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_clusternet.tiles import Region

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Patches:
    """A batch cut from an image.

    Attributes
    ----------
    values : Tensor of float32, shape (B, C, [Z,] Y, X)
    targets : Tensor of int64, shape (B, [Z,] Y, X)
        Class 0..K - 1, or -1 where there is none.
    valid : Tensor of bool, shape (B, [Z,] Y, X)
        False where invalid and beyond the image.
    regions : tuple of tuple of slice
        Where each patch lies in the image; smaller than the patch if the image is.
    """

    values: Tensor
    targets: Tensor
    valid: Tensor
    regions: tuple[Region, ...]


class PatchSampler:
    """Draws patches at random in space and by class frequency.

    Every other patch holds a stroked pixel of a class drawn with equal chances, so that rare
    classes are seen as often as common ones; the others lie anywhere.

    Parameters
    ----------
    features : numpy.ndarray of float32, shape (C, [Z,] Y, X)
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    targets : numpy.ndarray of int64, shape ([Z,] Y, X)
        Class 0..K - 1, or -1. Looked at anew for every batch: it may grow.
    extent : tuple of int
        Patch extent.
    seed : int
    """

    def __init__(
        self,
        features: FloatArray,
        valid: BoolArray,
        targets: IntArray,
        extent: tuple[int, ...],
        seed: int,
    ) -> None:
        self.features, self.valid, self.targets = features, valid, targets
        self.extent = extent
        self._rng = np.random.default_rng(seed)
        n_classes = int(targets.max()) + 1
        self._stroked = [np.argwhere(targets == c) for c in range(n_classes)]

    def draw(self, n: int, device: torch.device, anywhere: bool = False) -> Patches:
        """Return `n` patches on `device`; all at random in space if they may lie `anywhere`."""
        regions = tuple(self._region(anywhere or i % 2 == 1) for i in range(n))
        parts = [
            (self.features[(slice(None), *r)], self.targets[r], self.valid[r]) for r in regions
        ]
        values, targets, valid = (
            torch.from_numpy(np.stack([self._fill(part[i], empty) for part in parts])).to(device)
            for i, empty in enumerate((0, -1, False))
        )
        return Patches(values, targets, valid, regions)

    def _region(self, anywhere: bool) -> Region:
        """Choose where a patch lies: anywhere, or about a stroked pixel of a drawn class."""
        shape = self.valid.shape
        members = self._stroked[self._rng.integers(len(self._stroked))]
        stroked = members[self._rng.integers(len(members))]
        centre = self._rng.integers(0, shape) if anywhere else stroked
        origin = centre - self._rng.integers(0, self.extent)
        origin = np.clip(origin, 0, np.maximum(0, np.subtract(shape, self.extent)))
        return tuple(
            slice(int(low), min(int(low) + side, size))
            for low, side, size in zip(origin, self.extent, shape, strict=True)
        )

    def _fill(self, part: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        """Pad the spatial axes of a part at their ends to the patch extent."""
        sizes = part.shape[-len(self.extent) :]
        pads = [(0, side - n) for side, n in zip(self.extent, sizes, strict=True)]
        lead = [(0, 0)] * (part.ndim - len(pads))
        return np.pad(part, lead + pads, constant_values=empty)
