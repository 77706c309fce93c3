"""One task: read, classify and write one piece of the result; runs in any process."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.device import select_device
from napari_clusternet.extractor import Extractor
from napari_clusternet.image import Image
from napari_clusternet.predictor import Predictor
from napari_clusternet.scaling.fingerprint import session_fingerprint
from napari_clusternet.scaling.ledger import checksum
from napari_clusternet.scaling.plan import Plan

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Direct:
    """A dask array whose slices are computed here and now, in the thread that asks.

    Without it, a slice taken inside a task of `distributed` would become tasks of its own.

    Attributes
    ----------
    array : dask.array.Array
    """

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self.array.ndim)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Compute what a basic index selects."""
        return np.asarray(self.array[key].compute(scheduler="synchronous"))


def direct(image: Image) -> Image:
    """Return an image that reads its pixels in the thread that asks."""

    def wrapped(array: Any) -> Any:
        return array if array is None or isinstance(array, np.ndarray) else Direct(array)

    return replace(image, data=wrapped(image.data), mask=wrapped(image.mask), levels=())


def on_device(extractor: Extractor, device: str) -> Extractor:
    """Return the extractor with its networks on another device, or itself if it has none."""
    parts = getattr(extractor, "parts", None)
    if parts is not None:
        placed = copy.copy(extractor)
        object.__setattr__(placed, "parts", tuple(on_device(part, device) for part in parts))
        return placed
    network: Any = getattr(extractor, "network", None)
    if network is None or extractor.device.name == device:  # type: ignore[attr-defined]
        return extractor
    chosen, placed = select_device(device), copy.copy(extractor)
    object.__setattr__(placed, "network", copy.deepcopy(network).to(chosen.torch))
    object.__setattr__(placed, "device", chosen)
    return placed


@dataclass(frozen=True)
class Work:
    """All that tasks need; it is sent to each process once.

    Attributes
    ----------
    predictor : Predictor
    image : Image
        As `direct` returns it.
    plan : Plan
    store : pathlib.Path
        Group whose array ``0`` takes the labels.
    """

    predictor: Predictor
    image: Image
    plan: Plan
    store: Path

    @property
    def token(self) -> str:
        """What this work is called on a cluster."""
        return self.plan.store

    @property
    def extractor(self) -> Extractor:
        """What knows the device."""
        return self.predictor.extractor

    def digest(self) -> str:
        """Return what must be equal here and in every worker."""
        return session_fingerprint(self.predictor)

    def check(self) -> None:
        """Check that the source and the output can be seen from here.

        Raises
        ------
        RuntimeError
            If there is no folder to write to.
        """
        if not (self.store / "0").is_dir():
            raise RuntimeError(f"there is no {str(self.store)!r} here")
        self.image.read(tuple(slice(0, 1) for _ in self.plan.shape))

    def on(self, device: str) -> Work:
        """Return the same work with networks on another device."""
        extractor = on_device(self.predictor.extractor, device)
        return replace(self, predictor=replace(self.predictor, extractor=extractor))

    def run(self, task: int) -> tuple[int, int]:
        """Do one task; return its number and the checksum of its labels, which are on disk.

        Raises
        ------
        OSError
            If the system refuses to write (disk full).
        """
        import zarr

        region = self.plan.regions[task]
        labels = np.zeros([part.stop - part.start for part in region], self.plan.dtype)
        for tile in self.plan.tiles(task):
            inside = tuple(
                slice(part.start - whole.start, part.stop - whole.start)
                for part, whole in zip(tile.write, region, strict=True)
            )
            labels[inside] = self.predictor.tile(self.image, tile)
        array = zarr.open_array(self.store / "0", mode="r+")
        array[region] = labels
        for file in _files_of(array, self.store / "0", region):
            _sync(file)
        return task, checksum(labels)


def _files_of(array: Any, folder: Path, region: tuple[slice, ...]) -> Iterator[Path]:
    """Files that hold a region of a zarr array, as far as they exist."""
    steps = array.shards or array.chunks
    spans = [
        range(part.start // step, -(-part.stop // step))
        for part, step in zip(region, steps, strict=True)
    ]
    for index in np.ndindex(*map(len, spans)):
        key = array.metadata.encode_chunk_key(
            tuple(span[i] for span, i in zip(spans, index, strict=True))
        )
        if (folder / key).is_file():
            yield folder / key


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
