"""Arrays that live in a file: read on demand, picklable, and wary of files that change."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.io.base import reading, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.array as da

Slices = tuple[slice, ...]

#: Bytes a dask chunk aims at: many times a file's own tile, so that the task graph stays small.
CHUNK_BYTES = 16 << 20


def stamp_of(path: Path) -> tuple[int, int]:
    """Return what tells whether a file changed: its size and modification time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class FileArray:
    """Pixels in a file, sliced on demand.

    Subclasses implement `read`. Instances hold no open file, so they can be pickled and sent to
    another process.

    Attributes
    ----------
    path : pathlib.Path
    shape : tuple of int
    dtype : numpy.dtype
    stamp : tuple of int
        Size and time of the file when it was opened; a later change is an error, not a mixture.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    stamp: tuple[int, int]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def read(self, region: Slices) -> npt.NDArray[Any]:
        """Read a region, one slice of step 1 within bounds per axis."""
        raise NotImplementedError

    @property
    def stamped(self) -> Path:
        """The file whose size and time are in `stamp`."""
        return self.path

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Read what a basic index (slices and integers) selects."""
        region, rest = _bounds(key, self.shape)
        with reading(self.path):
            if stamp_of(self.stamped) != self.stamp:
                refuse(self.path, "the file changed after it was opened", "Open it again")
            block = self._read_within_claim(region)
        expected = tuple(s.stop - s.start for s in region)
        if block.shape != expected:
            refuse(self.path, f"a block of {expected} came as {block.shape}", "Export it again")
        picked: npt.NDArray[Any] = block.astype(self.dtype, copy=False)[rest]
        return picked

    def _read_within_claim(self, region: Slices) -> npt.NDArray[Any]:
        """Read; where a small block exhausts memory, the file is to blame, not the machine."""
        try:
            return np.asarray(self.read(region))
        except MemoryError:
            size = math.prod(s.stop - s.start for s in region) * np.dtype(self.dtype).itemsize
            if size > 4 * CHUNK_BYTES:
                raise
            refuse(self.path, f"a block of {size} bytes decodes to far more", "Do not trust it")


@dataclass(frozen=True)
class WholeFileArray(FileArray):
    """Pixels of a file that can only be decoded as a whole; the last few are kept in memory.

    Subclasses implement `load`.
    """

    def load(self) -> npt.NDArray[Any]:
        """Decode the whole file."""
        raise NotImplementedError

    def read(self, region: Slices) -> npt.NDArray[Any]:
        """Read a region of the decoded file."""
        whole: npt.NDArray[Any] = _DECODED.get(self, self.load)
        return whole[region]


@dataclass(frozen=True)
class Reordered(FileArray):
    """A view of a file's pixels as (C, [Z,] Y, X).

    Reordering here, not in dask, lets dask hand a slice of the image down to `read`: a window
    smaller than a chunk then costs what the window costs.

    Attributes
    ----------
    source : FileArray
    order : tuple of int or None
        The source's axis for each axis of the view; None for a channel axis it does not have.
        The source's other axes have length 1.
    """

    source: FileArray
    order: tuple[int | None, ...]

    @property
    def stamped(self) -> Path:
        """The file whose size and time are in `stamp`."""
        return self.source.stamped

    def read(self, region: Slices) -> npt.NDArray[Any]:
        """Read a region, axes ordered as the view's."""
        inner = [slice(0, 1)] * self.source.ndim
        for axis, wanted in zip(self.order, region, strict=True):
            if axis is not None:
                inner[axis] = wanted
        kept = [axis for axis in self.order if axis is not None]
        dropped = [axis for axis in range(self.source.ndim) if axis not in kept]
        block = self.source.read(tuple(inner)).transpose(kept + dropped)
        return block.reshape([s.stop - s.start for s in region])


def in_image_order(
    source: FileArray, native: Sequence[int], axes: str, kept: Sequence[int]
) -> tuple[da.Array, str]:
    """Wrap a file's pixels as a dask array, (C, [Z,] Y, X) where the axes allow it.

    Parameters
    ----------
    source : FileArray
    native : sequence of int
        The file's own chunk.
    axes : str
        Letters of the kept axes.
    kept : sequence of int
        The kept axes; of the others, index 0 is taken.

    Returns
    -------
    array : dask.array.Array
    axes : str
        Its axes, for `Image.from_array`, which refuses what makes no image.
    """
    letters = axes.upper().replace("S", "C")
    wanted = "CZYX" if "Z" in letters else "CYX"
    valid = len(letters) == len(kept) == len(set(letters)) and set("YX") <= set(letters)
    if not valid or set(letters) - set("CZYX"):
        index = tuple(slice(None) if i in kept else 0 for i in range(source.ndim))
        return to_dask(source, native)[index], axes
    order = tuple(kept[letters.index(a)] if a in letters else None for a in wanted)
    shape = tuple(1 if axis is None else source.shape[axis] for axis in order)
    chunk = [1 if axis is None else native[axis] for axis in order]
    view = Reordered(source.path, shape, source.dtype, source.stamp, source, order)
    return to_dask(view, chunk), wanted


class Held:
    """The last few opened or decoded files, by the `FileArray` that reads them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._items: OrderedDict[FileArray, Any] = OrderedDict()

    def get(self, source: FileArray, make: Callable[[], Any]) -> Any:
        """Return what `make` returned for `source`, calling it if that is no longer held."""
        with self._lock:  # held while decoding: other threads want the same file
            if source not in self._items:
                self._items[source] = make()
            self._items.move_to_end(source)
            while len(self._items) > self._limit:
                self._items.popitem(last=False)
            return self._items[source]

    def forget(self, path: Path) -> None:
        """Let go of everything at or under `path`; some systems rename no open file."""
        with self._lock:
            for source in [s for s in self._items if s.path.is_relative_to(path)]:
                del self._items[source]


_DECODED = Held(limit=2)
#: Files kept open between reads.
OPENED = Held(limit=16)


def forget(path: Path) -> None:
    """Close `path` and free what was decoded from it."""
    for name in {path, path.resolve()}:
        _DECODED.forget(name)
        OPENED.forget(name)


def to_dask(source: FileArray, native: Sequence[int]) -> da.Array:
    """Wrap a file's pixels as a dask array.

    Parameters
    ----------
    source : FileArray
    native : sequence of int
        The file's own chunk, tile or strip; dask chunks are multiples of it.

    Raises
    ------
    FileFormatError
        If the file's own chunk holds no pixel.
    """
    import dask.array as da
    from dask.base import tokenize

    if any(c < 1 <= n for c, n in zip(native, source.shape, strict=True)):
        refuse(
            source.path, f"it says that its pieces have {tuple(native)} pixels", "Write it again"
        )
    chunks = grow_chunks(source.shape, native, np.dtype(source.dtype).itemsize)
    name = f"{type(source).__name__}-{tokenize(repr(source))}"
    meta = np.empty((0,) * source.ndim, dtype=source.dtype)
    from_array: Any = da.from_array  # typed in some releases of dask only
    # dask's default getter, as only that lets it push slices down to the source.
    array: da.Array = from_array(source, chunks=chunks, name=name, inline_array=True, meta=meta)
    return array


def grow_chunks(shape: Sequence[int], native: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return a multiple of the native chunk of about `CHUNK_BYTES`, as square as it goes.

    Only the last three axes grow: more channels in a chunk would be read in vain.
    """
    chunk = [min(int(c), int(n)) for c, n in zip(native, shape, strict=True)]
    while math.prod(chunk) * itemsize * 2 <= CHUNK_BYTES:
        short = [i for i in range(max(0, len(shape) - 3), len(shape)) if chunk[i] < shape[i]]
        if not short:
            break
        axis = min(short, key=lambda i: (chunk[i], -i))
        chunk[axis] = min(2 * chunk[axis], int(shape[axis]))
    return tuple(chunk)


def _bounds(key: Any, shape: tuple[int, ...]) -> tuple[Slices, tuple[Any, ...]]:
    """Split an index into a plain bounding region and the rest to apply to it."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    region: list[slice] = []
    rest: list[Any] = []
    for item, length in zip(keys, shape, strict=True):
        if isinstance(item, slice):
            picked = range(length)[item]
            ends = sorted((picked[0], picked[-1])) if picked else (0, -1)
            region.append(slice(ends[0], ends[1] + 1))
            rest.append(slice(None, None, picked.step) if picked.step != 1 else slice(None))
        elif np.ndim(item):  # dask hands lists of indices down too, one at most
            picked = np.arange(length)[np.asarray(item)]
            low, high = (int(picked.min()), int(picked.max()) + 1) if picked.size else (0, 0)
            region.append(slice(low, high))
            rest.append(picked - low)
        else:
            index = range(length)[item]
            region.append(slice(index, index + 1))
            rest.append(0)
    return tuple(region), tuple(rest)
