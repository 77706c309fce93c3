"""One pass of a diagonal Gaussian mixture over all rows: responsibilities and their sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._passes import for_chunks
from napari_clusternet.clustering._rows import CHUNK, raise_nonfinite

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_clusternet.clustering._rows import Rows

    Float64Array = npt.NDArray[np.float64]

#: Log densities (rows x components) a thread holds at a time.
_SCORES = 1 << 18


@dataclass(frozen=True)
class Mixture:
    """Parameters of a mixture of Gaussians with diagonal covariances.

    Attributes
    ----------
    weights : array of shape (k,)
        Share of each component; they sum to 1.
    means, covariances : arrays of shape (k, d)
        Mean and variance of each component and feature.
    """

    weights: Float64Array
    means: Float64Array
    covariances: Float64Array

    @cached_property
    def shift(self) -> Float64Array:
        """What is taken from each row before squaring, shape (d,), against cancellation."""
        mean: Float64Array = self.weights @ self.means
        return mean

    @cached_property
    def coefficients(self) -> tuple[Float64Array, Float64Array]:
        """Matrix (2 d, k) and constant (k,) with log(w p(x)) = [x, x^2] @ matrix + constant."""
        mean, precision = self.means - self.shift, 1 / self.covariances
        matrix = np.concatenate([mean * precision, -0.5 * precision], axis=1).T
        logs = np.log(2 * np.pi * self.covariances) + mean**2 * precision
        with np.errstate(divide="ignore"):  # a component of weight 0 gets log density -inf
            constant = np.log(self.weights) - 0.5 * logs.sum(axis=1)
        return np.ascontiguousarray(matrix), constant


class Densities:
    """Log densities of chunks of rows; one instance serves many threads.

    Float64, save on MPS which has none: variances are differences of large numbers.
    """

    def __init__(self, rows: Rows, mixture: Mixture, device: str = "cpu") -> None:
        import torch

        self.rows, self.mixture, self.device = rows, mixture, device
        self.dtype = torch.float32 if device.startswith("mps") else torch.float64
        matrix, constant = mixture.coefficients
        self.matrix = torch.from_numpy(matrix).to(device, self.dtype)
        self.constant = torch.from_numpy(constant).to(device, self.dtype)
        self.block = int(np.clip(_SCORES // len(constant), 64, CHUNK))

    def each(self, chunk: slice, take: Callable[[slice, Any, Any, Any], None]) -> None:
        """Call ``take(rows, [x, x^2], log(w p), log likelihood)`` on blocks of a chunk."""
        import torch

        size = self.block if self.device == "cpu" else CHUNK
        for start in range(chunk.start, chunk.stop, size):
            part = slice(start, min(start + size, chunk.stop))
            x = torch.from_numpy(self.rows[part].astype(np.float64) - self.mixture.shift)
            x = x.to(self.device, self.dtype)
            both = torch.cat([x, x * x], dim=1)
            scores = torch.addmm(self.constant, both, self.matrix)
            likelihood = torch.logsumexp(scores, dim=1)
            bad = ~torch.isfinite(likelihood)
            if bool(bad.any()):
                raise_nonfinite(self.rows, start + int(bad.int().argmax()))
            take(part, both, scores, likelihood)

    def run(self, task: Callable[[slice], Any], merge: Callable[[Any], None]) -> None:
        """Run `task` over all rows: on threads, or one chunk after another on an accelerator."""
        for_chunks(task, len(self.rows), merge, None if self.device == "cpu" else 1)


def expectation(rows: Rows, mixture: Mixture, device: str = "cpu") -> tuple[Any, Any, float]:
    """Return sums of responsibilities (k,), of them times [x, x^2] (k, 2 d), log likelihood.

    x is counted from ``mixture.shift``. Totals are float64, merged in row order.
    """
    densities = Densities(rows, mixture, device)
    k, d = mixture.means.shape
    counts, moments, total = np.zeros(k), np.zeros((k, 2 * d)), 0.0

    def task(chunk: slice) -> list[tuple[Any, Any, float]]:
        found: list[tuple[Any, Any, float]] = []

        def take(part: slice, both: Any, scores: Any, likelihood: Any) -> None:
            share = scores.sub_(likelihood[:, None]).exp_()
            sums = (share.T @ both).cpu().numpy()
            found.append((share.sum(dim=0).cpu().numpy(), sums, float(likelihood.sum())))

        densities.each(chunk, take)
        return found

    def merge(found: list[tuple[Any, Any, float]]) -> None:
        nonlocal counts, moments, total
        for count, moment, likelihood in found:
            counts += count
            moments += moment
            total += likelihood

    densities.run(task, merge)
    return counts, moments, total


def maximization(
    counts: Float64Array, moments: Float64Array, mixture: Mixture, reg_covar: float
) -> Mixture:
    """Return the mixture that maximises the likelihood of the given responsibilities.

    A component that no row belongs to keeps its mean and variance, with weight 0.
    """
    d = mixture.means.shape[1]
    held = counts > 10 * np.finfo(float).eps
    share = np.where(held, counts, 1)[:, None]
    mean = moments[:, :d] / share
    variance = np.maximum(moments[:, d:] / share - mean**2, 0) + reg_covar
    return Mixture(
        counts / counts.sum(),
        np.where(held[:, None], mean + mixture.shift, mixture.means),
        np.where(held[:, None], variance, mixture.covariances),
    )
