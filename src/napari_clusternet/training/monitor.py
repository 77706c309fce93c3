"""Signs of health of unsupervised training: clusters used, features that differ, stable labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

#: Below this share of the best perplexity seen, clusters have collapsed.
COLLAPSED_SHARE = 0.2

#: Features that vary along fewer directions than this have collapsed.
COLLAPSED_RANK = 1.2


def perplexity(labels: npt.NDArray[Any], n_clusters: int) -> float:
    """Return the effective number of clusters in use: exp of the entropy of their sizes.

    From 1 (all pixels in one cluster) to `n_clusters` (all the same size).
    """
    share = np.bincount(labels.ravel(), minlength=n_clusters) / max(1, labels.size)
    used = share[share > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def effective_rank(features: npt.NDArray[np.float32]) -> float:
    """Return how many directions `features` (n, f) vary along; 0 if all are the same.

    (Sum of variances)^2 / sum of squared variances, along the principal axes.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred  # its scale cancels below
    squares = float((covariance**2).sum())
    return float(np.trace(covariance) ** 2 / squares) if squares > 0 else 0.0


def agreement(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> float:
    """Return the share of pixels whose cluster is the same in two labellings."""
    return float((before == after).mean())


def collapsed(figures: Mapping[str, float], best_perplexity: float, rank_before: float) -> bool:
    """Return whether an epoch's figures show a collapse.

    Parameters
    ----------
    figures : mapping
        With ``loss``, ``perplexity`` and ``rank``.
    best_perplexity : float
        The best of the epochs before; 0 if none.
    rank_before : float
        Effective rank before training; an image may have no more than that.
    """
    few = figures["perplexity"] < COLLAPSED_SHARE * best_perplexity
    flat = figures["rank"] < min(COLLAPSED_RANK, rank_before)
    return bool(few or flat or not np.isfinite(figures["loss"]))
