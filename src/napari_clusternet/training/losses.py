"""Losses that never hold one score per pixel and cluster for a whole image at once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn import functional as F

#: The largest buffer of scores, bytes: 4 patches of 512^2 and 800 clusters would take 3.4 GB.
LOGIT_BYTES = 64 << 20

#: Rows per matrix product that keep scores in a CPU core's cache.
CPU_ROWS = 1024


def rows_per_chunk(n_clusters: int, device: str) -> int:
    """Return how many pixels' scores fit the buffer (half of it: scores and their gradient)."""
    rows = max(1, LOGIT_BYTES // (8 * n_clusters))
    return min(rows, CPU_ROWS) if device == "cpu" else rows


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of a linear layer; gradients are made chunk by chunk on the way forward.

    For a chunk with softmax p and one-hot target y the gradient of the scores is (p - y) / n, so
    each chunk's scores are computed once, used for loss and gradients, and dropped.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        labels: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        n = features.shape[0]
        weight_t = weight.detach().float()
        grad_features = torch.empty_like(features)
        grad_weight, grad_bias = torch.zeros_like(weight_t), torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float32, device=features.device)
        minus_one = torch.full((rows, 1), -1.0, device=features.device)
        for start in range(0, n, rows):
            part = features[start : start + rows].float()
            target = labels[start : start + rows, None]
            grad = F.log_softmax(torch.addmm(bias, part, weight_t.T), dim=1)
            total -= grad.gather(1, target).sum()
            grad.exp_().scatter_add_(1, target, minus_one[: len(target)])
            grad_features[start : start + rows] = grad @ weight_t
            grad_weight.addmm_(grad.T, part)
            grad_bias += grad.sum(dim=0)
        # the division by n is left to the small results
        grads = grad_features.div_(n), grad_weight.div_(n).to(weight.dtype), grad_bias.div_(n)
        ctx.save_for_backward(*grads)
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = grads
        features, weight, bias = ctx.saved_tensors
        return features * scale.to(features.dtype), weight * scale, bias * scale, None, None


def chunked_cross_entropy(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    rows: int | None = None,
) -> torch.Tensor:
    """Return the mean of ``cross_entropy(features @ weight.T + bias, labels)`` (Fig. 1).

    Parameters
    ----------
    features : Tensor of shape (n_pixels, n_features)
    weight : Tensor of shape (n_clusters, n_features)
        The 1x1 convolution.
    bias : Tensor of shape (n_clusters,)
    labels : Tensor of int64, shape (n_pixels,)
        Pseudo-labels, 0 .. n_clusters - 1.
    rows : int, optional
        Pixels per chunk; as many as `LOGIT_BYTES` allows by default.
    """
    rows = rows or rows_per_chunk(weight.shape[0], features.device.type)
    apply = _ChunkedCrossEntropy.apply
    return cast("torch.Tensor", apply(features, weight, bias, labels, rows))  # type: ignore[no-untyped-call]


@torch.no_grad()
def sinkhorn(scores: torch.Tensor, epsilon: float, n_iter: int = 3) -> torch.Tensor:
    """Return balanced soft assignments: every cluster gets an equal share of the pixels.

    Sinkhorn-Knopp scaling of ``exp(scores / epsilon)`` (Cuturi 2013; SwAV, Caron et al. 2020).

    Parameters
    ----------
    scores : Tensor of shape (n_pixels, n_clusters)
        Similarities.
    epsilon : float
        Softness: small gives nearly hard assignments.
    n_iter : int
        Alternations; each ends with rows that sum to 1.

    Returns
    -------
    Tensor of shape (n_pixels, n_clusters)
        Rows sum to 1, columns to about ``n_pixels / n_clusters``.
    """
    logits = scores.float() / epsilon
    for _ in range(n_iter):  # in logarithms: exp of large scores would overflow
        logits = logits - logits.logsumexp(dim=0, keepdim=True)
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
    return logits.exp()


def soft_cross_entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over pixels of ``-sum(targets * log_softmax(scores))``."""
    return -(targets * F.log_softmax(scores.float(), dim=1)).sum(dim=1).mean()
