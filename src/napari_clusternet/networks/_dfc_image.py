"""One image as differentiable feature clustering sees it: on the device, with what guides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_clusternet.errors import invalid
from napari_clusternet.networks._dfc_parts import majority

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass
class ImagePart:
    """An image on the device, and what guides its labels.

    Attributes
    ----------
    x : Tensor of float32, shape (1, C, [Z,] Y, X)
        Pixels, 0 where invalid.
    weights : Tensor of float32, shape (1, 1, [Z,] Y, X), or None
        1 where valid; None if all are.
    where : Tensor of bool, shape (1, [Z,] Y, X), or None
        The same.
    scribbled : Tensor of bool, shape (1, [Z,] Y, X), or None
        Where there is a scribble on a valid pixel.
    classes : Tensor of int64, shape (1, [Z,] Y, X), or None
        Channel of the scribble, 0 where there is none.
    segments : Tensor of int64, shape (1, [Z,] Y, X), or None
        Superpixels, 0..n - 1.
    own : Tensor of int64, shape (1, [Z,] Y, X), or None
        The network's own labels at the last step.
    """

    x: Tensor
    weights: Tensor | None
    where: Tensor | None
    scribbled: Tensor | None = None
    classes: Tensor | None = None
    segments: Tensor | None = None
    own: Tensor | None = None

    @classmethod
    def load(
        cls, x: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None, device: torch.device
    ) -> ImagePart:
        """Put an image (C, [Z,] Y, X) on a device; `mask` ([Z,] Y, X) is True where valid.

        Raises
        ------
        InputError
            If no pixel is valid.
        """
        if mask is not None and not mask.any():
            invalid("mask", mask, "no valid pixel", "Check nodata, the mask and NaN values")
        if mask is None or mask.all():
            return cls(torch.tensor(x, dtype=torch.float32, device=device)[None], None, None)
        values = torch.tensor(np.where(mask, x, 0), dtype=torch.float32, device=device)[None]
        where = torch.tensor(mask, device=device)[None]
        return cls(values, where[:, None].float(), where)

    def add_scribbles(self, scribbles: npt.NDArray[Any], n_channels: int) -> int:
        """Keep scribbles on valid pixels; return how many classes they hold.

        Raises
        ------
        InputError
            If nothing is scribbled, or a class has no channel.
        """
        painted = torch.as_tensor(scribbles.astype(np.int64), device=self.x.device)[None]
        if self.where is not None:
            painted = painted * self.where
        if int(painted.max()) > n_channels:
            invalid(
                "scribbles", scribbles, f"class {int(painted.max())} has no channel",
                f"Use classes up to {n_channels}, or more channels",
            )  # fmt: skip
        if int(painted.max()) < 1:
            invalid("scribbles", scribbles, "nothing is scribbled on valid pixels", "Paint classes")
        self.scribbled, self.classes = painted > 0, (painted - 1).clamp(min=0)
        return len(torch.unique(painted[self.scribbled]))

    def target(self, own: Tensor, n_labels: int) -> Tensor:
        """Return the labels to learn: the network's own, or each segment's majority of them."""
        if self.segments is None:
            return own
        where = torch.ones_like(own, dtype=torch.bool) if self.where is None else self.where
        target = own.clone()
        target[where] = majority(own[where], self.segments[where], n_labels)
        return target

    @property
    def preview(self) -> npt.NDArray[np.uint16] | None:
        """The own labels ([Z,] Y, X), counted from 1, 0 where invalid; None before a step."""
        if self.own is None:
            return None
        shown = self.own + 1 if self.where is None else (self.own + 1) * self.where
        labels: npt.NDArray[np.uint16] = shown[0].to(torch.int32).cpu().numpy().astype(np.uint16)
        return labels

    @property
    def unguided(self) -> Tensor | None:
        """Pixels that learn their own labels: valid and without a scribble; None if all do."""
        if self.scribbled is None:
            return self.where
        return ~self.scribbled if self.where is None else self.where & ~self.scribbled
