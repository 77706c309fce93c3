"""The graph of an image's valid pixels: neighbours, their contrast, and tiles of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]

#: Nodes of a graph that one cut handles; larger images are cut in tiles of about so many.
CUT_NODES = 1 << 20


def grid_edges(
    features: FloatArray, valid: BoolArray, spacing: Sequence[float]
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Pairs of valid pixels that share an edge (2D) or a face (3D).

    Parameters
    ----------
    features : numpy.ndarray, shape (F, [Z,] Y, X)
        Features of the pixels.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    spacing : sequence of float
        Pixel size per axis ([Z,] Y, X).

    Returns
    -------
    ends : numpy.ndarray of int64, shape (2, n_edges)
        Numbers of the two pixels among the valid ones, in C order.
    contrast : numpy.ndarray, shape (n_edges,)
        Squared distance of their features.
    closeness : numpy.ndarray, shape (n_edges,)
        Finest spacing over the spacing between the two: 1 for isotropic images.
    """
    number = np.cumsum(valid.reshape(-1)).reshape(valid.shape) - 1
    ends, contrast, closeness = [], [], []
    for axis, step in enumerate(spacing):
        low: list[slice] = [slice(None)] * valid.ndim
        high = list(low)
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        first, second = tuple(low), tuple(high)
        both = valid[first] & valid[second]
        squares = np.zeros(both.shape, np.float32)
        for band in features:
            squares += (band[first] - band[second]) ** 2
        ends.append(np.stack([number[first][both], number[second][both]]))
        contrast.append(squares[both])
        closeness.append(np.full(ends[-1].shape[1], min(spacing) / step))
    return np.concatenate(ends, axis=1), np.concatenate(contrast), np.concatenate(closeness)


def boundary_weights(contrast: FloatArray, sigma: float | None) -> FloatArray:
    """Return exp(-|dI|^2 / (2 s^2)), dear to cut where neighbours are alike (Boykov & Jolly 2001).

    Parameters
    ----------
    contrast : numpy.ndarray, shape (n_edges,)
        Squared distances |dI|^2.
    sigma : float or None
        s, in units of the features; None takes s^2 = mean of |dI|^2.
    """
    variance = sigma**2 if sigma is not None else float(contrast.mean()) if contrast.size else 0.0
    if variance <= 0:  # a constant image: nothing tells neighbours apart
        return np.ones_like(contrast, dtype=np.float64)
    return np.asarray(np.exp(-contrast.astype(np.float64) / (2 * variance)))


def cut_tilings(valid: BoolArray, nodes: int = CUT_NODES) -> list[IntArray]:
    """Two tilings of the valid pixels, the second moved by half a tile; none for small images.

    Parameters
    ----------
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)
    nodes : int
        Pixels in a tile.

    Returns
    -------
    list of numpy.ndarray of int64, shape (n_valid,)
        Tile of every valid pixel.
    """
    if valid.sum() <= nodes:
        return []
    edge = max(2, int(nodes ** (1 / valid.ndim)))
    tilings = []
    for offset in (0, edge // 2):
        places = [(np.arange(size) + offset) // edge for size in valid.shape]
        tile = np.zeros(valid.shape, np.int64)
        for axis, place in enumerate(places):
            shape = [1] * valid.ndim
            shape[axis] = -1
            tile = tile * (int(place[-1]) + 1) + place.reshape(shape)
        tilings.append(tile[valid])
    return tilings


def neighbour_offsets(ndim: int) -> list[tuple[int, ...]]:
    """Return the 8 (2D) or 26 (3D) offsets to the pixels around a pixel."""
    return [offset for offset in product((-1, 0, 1), repeat=ndim) if any(offset)]
