"""Losses of methods that learn from masks, and the weight of each pixel.

Scores are (B, K, [Z,] Y, X) for classes 1..K; masks (B, [Z,] Y, X) hold 0 for no class, which
counts nowhere, and 1..K. Every loss is a mean over the pixels that have a class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

#: Keeps the Dice of a class without pixels from being 0 / 0.
_SMOOTH = 1e-6


def cross_entropy(
    scores: torch.Tensor, masks: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean over pixels with a class of ``-w log p`` (Ronneberger et al. 2015, eq. 1).

    Parameters
    ----------
    scores : Tensor of shape (B, K, [Z,] Y, X)
        Before the softmax.
    masks : Tensor of int64, shape (B, [Z,] Y, X)
        0 for no class, 1..K.
    weights : Tensor of shape (B, [Z,] Y, X), optional
        Weight w of each pixel; 1 by default.
    """
    return focal_loss(scores, masks, weights, gamma=0.0)


def focal_loss(
    scores: torch.Tensor,
    masks: torch.Tensor,
    weights: torch.Tensor | None = None,
    gamma: float = 2.0,
) -> torch.Tensor:
    """Return the mean over pixels with a class of ``-w (1 - p)^gamma log p`` (Lin et al. 2017).

    Parameters
    ----------
    scores, masks, weights
        See `cross_entropy`.
    gamma : float
        How much less pixels count that are already right; 0 gives the cross-entropy.
    """
    known = masks > 0
    log_p = _log_probability(scores, masks)
    loss = -log_p
    if gamma:
        # 1 - p from log p, with p a little under 1: the power has no gradient at exactly 0
        loss = loss * (1 - log_p.exp()).clamp_min(1e-12) ** gamma
    if weights is not None:
        loss = loss * weights
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp_min(1)


def dice_loss(
    scores: torch.Tensor, masks: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return 1 - the mean over classes of ``2 sum(w p g) / (sum(w p) + sum(w g))``.

    The soft Dice of Milletari et al. 2016 without squares. Sums run over the pixels of the batch
    that have a class; classes that no pixel of the batch has are left out of the mean.

    Parameters
    ----------
    scores, masks, weights
        See `cross_entropy`.
    """
    n_classes = scores.shape[1]
    known = masks > 0
    share = known.float() if weights is None else torch.where(known, weights, 0.0)
    p = scores.float().softmax(dim=1) * share[:, None]
    g = _one_hot(masks, n_classes) * share[:, None]
    axes = (0, *range(2, scores.ndim))
    both, found, true = (p * (g > 0)).sum(axes), p.sum(axes), g.sum(axes)
    dice = (2 * both + _SMOOTH) / (found + true + _SMOOTH)
    present = true > 0
    return 1 - torch.where(present, dice, 0.0).sum() / present.sum().clamp_min(1)


def dice_cross_entropy(
    scores: torch.Tensor, masks: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum of `dice_loss` and `cross_entropy`, as nnU-Net trains."""
    return dice_loss(scores, masks, weights) + cross_entropy(scores, masks, weights)


#: What ``loss=`` takes.
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "dice+cross_entropy": dice_cross_entropy,
    "focal": focal_loss,
}


def _log_probability(scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return log p of each pixel's own class; where it has none, that of class 1."""
    log_p = F.log_softmax(scores.float(), dim=1)
    # gather, not nll_loss: the latter's gradient is not the same twice on a GPU
    return log_p.gather(1, (masks - 1).clamp_min(0)[:, None])[:, 0]


def _one_hot(masks: torch.Tensor, n_classes: int) -> torch.Tensor:
    classes = torch.arange(1, n_classes + 1, device=masks.device)
    return (masks[:, None] == classes.view(1, -1, *(1,) * (masks.ndim - 1))).float()
