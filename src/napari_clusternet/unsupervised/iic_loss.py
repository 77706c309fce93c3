"""The loss of invariant information clustering for pixels (Ji, Henriques & Vedaldi 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

#: Least probability, so that its logarithm exists.
_TINY = 1e-8


def joint_distribution(
    first: torch.Tensor, second: torch.Tensor, valid: torch.Tensor, reach: Sequence[int]
) -> torch.Tensor:
    """Return how often classes i and j meet: at pixels up to `reach` apart, in two views.

    P = sum over pixels u and displacements t, |t| <= reach, of first(u) second(u + t)^T;
    symmetrised, and divided by its sum. The sum over displacements is a box sum of `second`, which
    makes the cost independent of their number.

    Parameters
    ----------
    first, second : torch.Tensor, shape (B, k, [Z,] Y, X)
        Class probabilities of the same pixels in two views.
    valid : torch.Tensor of bool, shape (B, 1, [Z,] Y, X)
        Pairs with an invalid pixel do not count.
    reach : sequence of int
        T, largest displacement per axis, pixels.

    Returns
    -------
    torch.Tensor, shape (k, k)
    """
    first, second = first * valid, second * valid
    for axis, width in enumerate(reach):
        if width:
            second = _box_sum(second, axis + 2, width)
    joint = torch.einsum("bi...,bj...->ij", first, second)
    joint = (joint + joint.T) / 2
    return joint / joint.sum()


def _box_sum(x: torch.Tensor, axis: int, width: int) -> torch.Tensor:
    """Sum `x` over 2 width + 1 pixels along an axis; outside the image there is nothing."""
    pads = [0, 0] * (x.ndim - axis - 1) + [width + 1, width]
    total = F.pad(x, pads).cumsum(dim=axis)
    n, span = x.shape[axis], 2 * width + 1
    return total.narrow(axis, span, n) - total.narrow(axis, 0, n)


def iic_loss(joint: torch.Tensor, lamb: float = 1.0) -> torch.Tensor:
    """Return minus the mutual information: -sum P (ln P - lambda ln Pi - lambda ln Pj).

    Parameters
    ----------
    joint : torch.Tensor, shape (k, k)
        See `joint_distribution`.
    lamb : float
        lambda; above 1 it asks for classes of more equal size.
    """
    rows = joint.sum(dim=1, keepdim=True).clamp(min=_TINY).log()
    columns = joint.sum(dim=0, keepdim=True).clamp(min=_TINY).log()
    return -(joint * (joint.clamp(min=_TINY).log() - lamb * rows - lamb * columns)).sum()
