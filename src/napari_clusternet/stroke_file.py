"""Strokes alone in a small file: runs of equal classes, and what they were painted on.

Written while the user paints, so that a crash of the program takes no strokes along. A session
file (`napari_clusternet.session_file`) holds everything; this one can be written every second.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from napari_clusternet.config import FILES
from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.io.model_files import load_model, save_model

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.integer]

KIND = "clusternet-strokes"
VERSION = 1

#: Pixels looked at in one go: a fraction of a millisecond, so that other threads get their turn.
_BLOCK = 1 << 18
_REQUIRED = ("starts", "lengths", "values", "shape", "about")


@dataclass(frozen=True)
class Strokes:
    """Strokes as runs of pixels of one class.

    Attributes
    ----------
    shape : tuple of int
        ([Z,] Y, X).
    starts : numpy.ndarray of uint32 (uint64 past 2**32 pixels), shape (n,)
        Flat index, in C order, of the first pixel of each run; rising.
    lengths : numpy.ndarray of uint32, shape (n,)
        Pixels of each run.
    values : numpy.ndarray of uint8, uint16 or int64, shape (n,)
        Class of each run, never 0.
    """

    shape: tuple[int, ...]
    starts: IntArray
    lengths: IntArray
    values: IntArray

    @classmethod
    def of(cls, array: Any) -> Strokes:
        """Return the runs of a map of strokes ([Z,] Y, X), 0 for none; any integer dtype."""
        flat = np.asarray(array).reshape(-1)
        nothing: IntArray = np.zeros(0, np.int64)
        parts: list[tuple[IntArray, IntArray, IntArray]] = [(nothing, nothing, nothing)]
        for begin in range(0, flat.size, _BLOCK):
            part = flat[begin : begin + _BLOCK]
            if part.any():
                parts.append(_runs(part, begin))
        starts, lengths, values = (np.concatenate(found) for found in zip(*parts, strict=True))
        low, high = values.min(initial=0), values.max(initial=0)
        narrow = np.uint8 if high <= 255 else np.uint16 if high <= 65535 else np.int64
        return cls(
            tuple(int(n) for n in np.shape(array)),
            starts.astype(np.uint32 if flat.size < 2**32 else np.uint64),
            lengths.astype(np.uint32),
            values.astype(np.int64 if low < 0 else narrow),
        )

    @property
    def nbytes(self) -> int:
        """Size in a file, but for a few hundred bytes."""
        return sum(part.nbytes for part in (self.starts, self.lengths, self.values))

    @property
    def n_pixels(self) -> int:
        """Stroked pixels."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def checksum(self) -> int:
        """A number that differs where strokes differ; never 0."""
        found = 1
        for part in (self.starts, self.lengths, self.values):
            found = zlib.crc32(part.tobytes(), found)
        return found or 1

    def array(self) -> npt.NDArray[Any]:
        """Return the map of strokes, ([Z,] Y, X)."""
        lengths = self.lengths.astype(np.int64)
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if ends.size else 0)
        places += np.repeat(self.starts.astype(np.int64) - (ends - lengths), lengths)
        flat = np.zeros(math.prod(self.shape), self.values.dtype)
        flat[places] = np.repeat(self.values, lengths)
        return flat.reshape(self.shape)

    def save(self, path: str | Path, about: Mapping[str, Any]) -> None:
        """Write to a file, atomically, with anything JSON can hold beside them.

        Raises
        ------
        OSError
            If the system refuses to write; the earlier file is unchanged.
        """
        arrays = {"starts": self.starts, "lengths": self.lengths, "values": self.values}
        metadata = {"shape": list(self.shape), "about": dict(about)}
        save_model(path, arrays, metadata, kind=KIND, version=VERSION)

    @classmethod
    def load(cls, path: str | Path) -> tuple[Strokes, dict[str, Any]]:
        """Read what `save` wrote; return the strokes and what was beside them.

        Raises
        ------
        FileFormatError
            If the file is damaged, of a future version, or not of strokes.
        """
        arrays, metadata = load_model(path, kind=KIND, version=VERSION, required=_REQUIRED)
        shape, about = metadata.get("shape"), metadata.get("about")
        if not isinstance(shape, list) or not isinstance(about, dict) or not _is_shape(shape):
            _refuse(path, f"shape {shape}")
        if any(name not in arrays for name in _REQUIRED[:3]):
            _refuse(path, "no runs")
        strokes = cls(tuple(shape), arrays["starts"], arrays["lengths"], arrays["values"])
        problem = strokes._problem()
        if problem:
            _refuse(path, problem)
        return strokes, about

    def _problem(self) -> str:
        """Say what makes these no runs within the shape, or ""."""
        parts = (self.starts, self.lengths, self.values)
        if any(part.dtype.kind not in "iu" or part.ndim != 1 for part in parts):
            return "runs that are not lists of whole numbers"
        if len({len(part) for part in parts}) != 1:
            return "runs of different numbers"
        size = math.prod(self.shape)
        if not (self.starts < size).all() or not (self.lengths <= size).all():
            return "runs outside the image"
        starts, lengths = self.starts.astype(np.int64), self.lengths.astype(np.int64)
        ends = starts + lengths
        if (lengths < 1).any() or (starts < 0).any() or (ends > size).any():
            return "runs outside the image"
        return "overlapping runs" if (starts[1:] < ends[:-1]).any() else ""


def _runs(part: IntArray, begin: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return starts, lengths and values of the runs of one block that are not 0."""
    edges = np.flatnonzero(part[1:] != part[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), edges])
    lengths = np.diff(starts, append=part.size)
    values = part[starts].astype(np.int64)
    there = values != 0
    return starts[there] + begin, lengths[there], values[there]


def _is_shape(shape: list[Any]) -> bool:
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    return whole and len(shape) in (2, 3) and math.prod(shape) <= FILES.max_eager_bytes


def _refuse(path: str | Path, problem: str) -> NoReturn:
    remedy = "It is damaged or edited; use an earlier file"
    invalid("path", str(path), f"it holds no strokes ({problem})", remedy, error=FileFormatError)
