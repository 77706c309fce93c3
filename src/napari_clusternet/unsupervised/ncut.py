"""The soft normalised cut (Xia & Kulis 2017, section 3.1; Shi & Malik 2000) on a grid of pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

#: Keeps a class without a pixel from dividing by 0.
_TINY = 1e-12


def half_offsets(radius: float, spacing: Sequence[float]) -> list[tuple[tuple[int, ...], float]]:
    """List offsets and distances of the neighbours nearer than `radius`, one of each pair.

    Parameters
    ----------
    radius : float
        In units of the finest spacing; neighbours at exactly this distance are left out.
    spacing : sequence of float
        Pixel size per axis ([Z,] Y, X).

    Returns
    -------
    list of (tuple of int, float)
        Offset and distance; the pixel itself is not in it.
    """
    steps = [size / min(spacing) for size in spacing]
    reach = [int(radius / step) for step in steps]
    found = []
    for offset in itertools.product(*(range(-r, r + 1) for r in reach)):
        distance = sum((o * s) ** 2 for o, s in zip(offset, steps, strict=True)) ** 0.5
        if offset > (0,) * len(offset) and distance < radius:
            found.append((offset, distance))
    return found


def _pair(offset: Sequence[int]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the slices of pixels u and of their neighbours v = u + offset, both in the image."""
    first = (slice(max(0, -o), -o if o > 0 else None) for o in offset)
    second = (slice(max(0, o), o if o < 0 else None) for o in offset)
    return (..., *first), (..., *second)


@dataclass(frozen=True, eq=False)
class Affinity:
    """Weights w(u, v) between pixels and their neighbours, without storing a matrix.

    w = exp(-dI^2 / sigma_i^2) exp(-dX^2 / sigma_x^2) for pixels nearer than the radius, 1 for a
    pixel and itself, 0 where either is invalid.

    Attributes
    ----------
    pairs : list of (offset, torch.Tensor (B, 1, ...))
        Weights of one half of the offsets; w is symmetric.
    own : torch.Tensor, shape (B, 1, [Z,] Y, X)
        1 where valid, else 0: w(u, u).
    degree : torch.Tensor, shape (B, 1, [Z,] Y, X)
        Sum of w(u, v) over v.
    """

    pairs: list[tuple[tuple[int, ...], torch.Tensor]]
    own: torch.Tensor
    degree: torch.Tensor

    @classmethod
    def measure(
        cls, intensities: torch.Tensor, valid: torch.Tensor, spacing: Sequence[float],
        radius: float = 5.0, sigma_i: float = 10.0, sigma_x: float = 4.0,
    ) -> Affinity:  # fmt: skip
        """Measure the weights of images.

        Parameters
        ----------
        intensities : torch.Tensor, shape (B, C, [Z,] Y, X)
            From 0 to 255. dI^2 is the mean over bands of squared differences: the paper's for one
            band, and no harder for many.
        valid : torch.Tensor of bool, shape (B, 1, [Z,] Y, X)
        spacing : sequence of float
            Pixel size per axis; distances are in units of the finest.
        radius, sigma_i, sigma_x : float
            r, sigma_I and sigma_X of the paper.
        """
        own = valid.to(intensities.dtype)
        degree = own.clone()
        pairs = []
        for offset, distance in half_offsets(radius, spacing):
            if any(abs(o) >= n for o, n in zip(offset, own.shape[2:], strict=True)):
                continue
            u, v = _pair(offset)
            squared = ((intensities[u] - intensities[v]) ** 2).mean(dim=1, keepdim=True)
            weight = torch.exp(-squared / sigma_i**2 - (distance / sigma_x) ** 2) * own[u] * own[v]
            degree[u] += weight
            degree[v] += weight
            pairs.append((offset, weight))
        return cls(pairs, own, degree)

    def spread(self, p: torch.Tensor) -> torch.Tensor:
        """Return sum over v of w(u, v) p(v), shape of `p` (B, K, [Z,] Y, X)."""
        total = p * self.own
        for offset, weight in self.pairs:
            u, v = _pair(offset)
            total[u] += weight * p[v]
            total[v] += weight * p[u]
        return total


def soft_ncut(p: torch.Tensor, affinity: Affinity) -> torch.Tensor:
    """Return the soft normalised cut, averaged over images.

    J = K - sum_k [sum_u p_k(u) sum_v w(u, v) p_k(v)] / [sum_u p_k(u) sum_v w(u, v)].

    Parameters
    ----------
    p : torch.Tensor, shape (B, K, [Z,] Y, X)
        Probabilities of the classes.
    affinity : Affinity
        Of the same images.

    Returns
    -------
    torch.Tensor, scalar
        From 0 to K - 1 for hard classes; the gradient goes to `p`.
    """
    axes = tuple(range(2, p.ndim))
    still = p.detach()
    spread = affinity.spread(still)
    # p' W p has the gradient 2 W p since W is symmetric: so W p need not keep a graph
    within = (2 * p - still) * spread
    association = within.sum(axes) / (p * affinity.degree).sum(axes).clamp(min=_TINY)
    return (p.shape[1] - association.sum(dim=1)).mean()
