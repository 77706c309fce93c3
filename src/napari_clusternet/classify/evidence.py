"""What is known of single pixels, by kind, for the classifiers that learn from strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]


class Matrix(Protocol):
    """What `napari_clusternet.features.matrix.FeatureMatrix` is here."""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which pixels are valid, ([Z,] Y, X)."""

    @property
    def maps(self) -> object | None:
        """All maps of a pretrained network."""

    @property
    def of_maps(self) -> npt.NDArray[np.bool_]:
        """Which features are made of those maps."""

    def take(self, pixels: IntArray) -> npt.NDArray[np.floating]:
        """Features (n, n_features) of pixels by flat index."""

    def take_maps(self, pixels: IntArray) -> FloatArray:
        """Channels (n, channels) of the maps, of pixels by flat index."""

    def places(self, pixels: IntArray) -> npt.NDArray[np.int64]:
        """Pixel indices (n, ndim) of pixels by flat index."""


#: How often a pixel's place stands among hundreds of features, so that trees come across it.
PLACE_REPEATS = 4
#: The parts of each group.
_PARTS = {
    "own": ("own",),
    "place": ("place",),
    "own+place": ("own", "place"),
    "maps": ("maps",),
    "all": ("own", "maps", *("place",) * PLACE_REPEATS),
}


class Evidence:
    """Groups of features of any pixels of one image.

    - ``own``: the session's features, but for those made of a pretrained network's maps.
    - ``place``: the pixel's place.
    - ``own+place``: both.
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

    def take(self, pixels: IntArray, names: Collection[str]) -> dict[str, FloatArray]:
        """Return the named groups, each (n, n_features) in float32, of valid pixels by index."""
        wanted = {part for name in names for part in _PARTS[name]}
        parts = {part: self._part(part, pixels) for part in wanted}
        return {name: _side_by_side([parts[part] for part in _PARTS[name]]) for name in names}

    def _part(self, name: str, pixels: IntArray) -> FloatArray:
        matrix = self._matrix
        if name == "maps":
            return matrix.take_maps(pixels)
        if name == "place":
            place: FloatArray = matrix.places(pixels).astype(np.float32) * self._step
            return place
        rows = matrix.take(pixels)
        own: FloatArray = rows if self._own is None else rows[:, self._own]
        return own


def _side_by_side(parts: Sequence[FloatArray]) -> FloatArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
