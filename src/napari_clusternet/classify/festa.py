"""FESTA's regularisation: pixels near in feature space and in the image are alike, far ones not.

Hua et al. 2021, "Semantic segmentation of remote sensing images with sparse annotations".
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_clusternet.classify.grid import neighbour_offsets


def festa_terms(features: Tensor, valid: Tensor, picked: Tensor) -> Tensor:
    """Return the three means over the picked pixels that FESTA weighs.

    A pair that does not count (a pixel with itself, a neighbour that is invalid or outside) is set
    to +inf before the minimum. A pixel without any pair is left out of that mean.

    Parameters
    ----------
    features : Tensor, shape (B, F, [Z,] Y, X)
        Features x of the pixels.
    valid : Tensor of bool, shape (B, [Z,] Y, X)
    picked : Tensor of int64, shape (n,)
        Flat indices of valid pixels in (B, [Z,] Y, X), each once.

    Returns
    -------
    Tensor, shape (3,)
        Mean of min_j |x_i - x_j|^2 over the picked, of min_j |x_i - x_j|^2 over the 8 (2D) or 26
        (3D) pixels around i, and of min_j cos(x_i, x_j) over the picked.
    """
    pixels = features.movedim(1, -1).flatten(0, -2)
    rows = pixels[picked]
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    norms = rows.square().sum(dim=1)
    squares = (norms[:, None] + norms[None] - 2 * rows @ rows.T).clamp(min=0)
    squares = squares.masked_fill(itself, torch.inf)
    unit = torch.nn.functional.normalize(rows, dim=1)
    cosines = (unit @ unit.T).masked_fill(itself, torch.inf)
    around = _around(pixels, rows, valid, picked)
    return torch.stack([_mean_of_least(table) for table in (squares, around, cosines)])


def _around(pixels: Tensor, rows: Tensor, valid: Tensor, picked: Tensor) -> Tensor:
    """Squared distance of each picked pixel to each pixel around it, (n, 8 or 26), or +inf.

    One gather an offset: no address is gathered twice, so its gradient has one order of addition.
    """
    shape = valid.shape
    place = torch.stack(torch.unravel_index(picked, shape))
    limits = torch.tensor(shape, device=picked.device)[:, None]
    columns = []
    for offset in neighbour_offsets(valid.ndim - 1):
        there = place + torch.tensor((0, *offset), device=picked.device)[:, None]
        inside = ((there >= 0) & (there < limits)).all(dim=0)
        index = torch.where(inside, _flat(there, shape), picked)
        counts = inside & valid.flatten()[index]
        distance = (rows - pixels[index]).square().sum(dim=1)
        columns.append(distance.masked_fill(~counts, torch.inf))
    return torch.stack(columns, dim=1)


def _flat(place: Tensor, shape: torch.Size) -> Tensor:
    index = place[0]
    for axis in range(1, len(shape)):
        index = index * shape[axis] + place[axis]
    return index


def _mean_of_least(table: Tensor) -> Tensor:
    """Mean over rows of the least entry; rows without a finite entry do not count."""
    least = table.amin(dim=1)
    finite = least.isfinite()
    return torch.where(finite, least, 0.0).sum() / finite.sum().clamp(min=1)


def pick_pixels(valid: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw at most `n` different valid pixels, flat indices into (B, [Z,] Y, X)."""
    inside = valid.flatten().nonzero()[:, 0]
    order = torch.randperm(len(inside), generator=generator)[:n].to(inside.device)
    return inside[order]
