"""What is known of single pixels, by kind, for the classifiers that learn from strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]


class Maps(Protocol):
    """What `napari_clusternet.features.maps.PretrainedMaps` is here."""

    def take(self, pixels: IntArray) -> FloatArray:
        """Channels (n, channels) of pixels by flat index."""


class Matrix(Protocol):
    """What `napari_clusternet.features.matrix.FeatureMatrix` is here."""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which pixels are valid, ([Z,] Y, X)."""

    @property
    def maps(self) -> Maps | None:
        """All maps of a pretrained network."""

    @property
    def of_maps(self) -> npt.NDArray[np.bool_]:
        """Which features are made of those maps."""

    def take(self, pixels: IntArray) -> npt.NDArray[np.floating]:
        """Features (n, n_features) of pixels by flat index."""


#: How often a pixel's place stands among hundreds of features, so that trees come across it.
PLACE_REPEATS = 4


class Evidence:
    """Groups of features of any pixels of one image.

    - ``own``: the session's features, but for those made of a pretrained network's maps.
    - ``own+place``: the same and the pixel's place.
    - ``maps``: all channels of those maps; only if there are any.
    - ``all``: all of that.

    Parameters
    ----------
    matrix : Matrix
        The session's features.
    spacing : sequence of float
        Pixel size ([Z,] Y, X): places are measured in parts of the image's longest side.
    """

    def __init__(self, matrix: Matrix, spacing: Sequence[float]) -> None:
        self._matrix = matrix
        shape = matrix.valid.shape
        steps = np.asarray(spacing, dtype=np.float64)
        self._step = (steps / (steps * shape).max()).astype(np.float32)
        self._own = None if matrix.of_maps.all() or matrix.maps is None else ~matrix.of_maps

    @property
    def has_maps(self) -> bool:
        """Whether there is the group ``maps``."""
        return self._matrix.maps is not None

    def take(self, pixels: IntArray) -> dict[str, FloatArray]:
        """Return the groups, each (n, n_features) in float32, of valid pixels by flat index."""
        matrix = self._matrix
        own = matrix.take(pixels)
        if self._own is not None:
            own = own[:, self._own]
        index = np.unravel_index(pixels, matrix.valid.shape)
        place = np.stack(index, axis=1).astype(np.float32) * self._step
        groups = {"own": own, "own+place": np.concatenate([own, place], axis=1)}
        if matrix.maps is None:
            return groups
        groups["maps"] = matrix.maps.take(pixels)
        groups["all"] = np.concatenate([own, groups["maps"], np.tile(place, PLACE_REPEATS)], axis=1)
        return groups


def stroke_numbers(pixels: IntArray, classes: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Give every stroke a number: stroked pixels of one class that touch, corners included.

    Only the stroked pixels are looked at, however large the image is.

    Parameters
    ----------
    pixels : numpy.ndarray of int, shape (n,)
        Flat indices of the stroked pixels, in order.
    classes : numpy.ndarray of int, shape (n,)
        Their classes.
    shape : tuple of int
        Shape ([Z,] Y, X) of the image.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        0, 1, ... for every pixel.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(pixels)
    places = np.stack(np.unravel_index(pixels, shape))
    first, second = [], []
    steps = [step for step in np.ndindex(*(3,) * len(shape)) if step > (1,) * len(shape)]
    for step in np.array(steps) - 1:  # half the neighbours: the others are found from there
        there = places + step[:, None]
        inside = ((there >= 0) & (there < np.array(shape)[:, None])).all(axis=0)
        flat = np.ravel_multi_index(tuple(there[:, inside]), shape)
        found = np.minimum(np.searchsorted(pixels, flat), n - 1)
        here = np.flatnonzero(inside)
        same = (pixels[found] == flat) & (classes[found] == classes[here])
        first.append(here[same])
        second.append(found[same])
    rows, columns = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    numbers: IntArray = connected_components(graph, directed=False)[1]
    return numbers
