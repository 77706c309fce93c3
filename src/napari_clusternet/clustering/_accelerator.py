"""The same pass on CUDA or MPS: chunks, so that the n x k scores never exist as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._passes import Pass
from napari_clusternet.clustering._rows import raise_nonfinite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_clusternet.clustering._passes import Centers
    from napari_clusternet.clustering._rows import FloatArray, Rows

#: Scores on the device at a time: 64 Mi of them are 256 MB.
_SCORES = 1 << 26


def _chunks(rows: Rows, centers: Centers, device: str) -> Iterator[tuple[slice, Any, Any, Any]]:
    """Yield (rows, centred rows, labels, squared distances) as tensors on the device."""
    import torch

    weights, bias = centers.weights.to(device), centers.bias.to(device)
    shift = torch.from_numpy(centers.shift).to(device)
    step = max(1, _SCORES // len(centers.values))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        block = rows[part]
        if block.dtype not in (np.float16, np.float32):
            block = block.astype(np.float32)
        x = torch.from_numpy(np.ascontiguousarray(block)).to(device).float() - shift
        best, labels = torch.addmm(bias, x, weights).min(dim=1)
        squared = (best + (x * x).sum(dim=1)).clamp_(min=0)
        bad = ~torch.isfinite(best)
        if bool(bad.any()):
            raise_nonfinite(rows, start + int(bad.int().argmax()))
        yield part, x, labels, squared


def accelerator_pass(rows: Rows, centers: Centers, device: str) -> Pass:
    """Assign every row and sum rows by centroid on `device`.

    Sums are products with a one-hot matrix: unlike atomic adds, the same on every run.
    """
    import torch

    found = Pass.empty(len(rows), centers)
    k = len(centers.values)
    for part, x, labels, squared in _chunks(rows, centers, device):
        member = torch.zeros(len(x), k, device=device).scatter_(1, labels[:, None], 1.0)
        found.sums += (member.T @ x).cpu().numpy()
        found.within += (member.T @ squared).cpu().numpy()
        found.labels[part] = labels.cpu().numpy()
        found.counts += np.bincount(found.labels[part], minlength=k)
    return found


def accelerator_assign(
    rows: Rows,
    centers: Centers,
    device: str,
    labels: np.ndarray[Any, Any],
    distances: FloatArray | None,
) -> None:
    """Write nearest centroids, and distances if wanted, into the arrays given."""
    for part, _, found, squared in _chunks(rows, centers, device):
        labels[part] = found.cpu().numpy()
        if distances is not None:
            distances[part] = squared.sqrt().cpu().numpy()
