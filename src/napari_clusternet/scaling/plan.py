"""How an image is cut: what a task writes, what it computes at a time, where results are kept."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor
from napari_clusternet.image import Image
from napari_clusternet.predictor import Predictor
from napari_clusternet.scaling.fingerprint import session_fingerprint, source_record
from napari_clusternet.tiles import Region, Tile, plan_tiles

#: Layout of the ledger's files.
VERSION = 1
#: Chunk of the results ([Z,] Y, X), by number of spatial axes; a task writes 2 x 2 [x 2] of them.
CHUNK = {2: (512, 512), 3: (64, 64, 64)}
#: Beyond so many tasks each writes more, up to `_MOST_CHUNKS` chunks an axis, so that a ledger
#: and a scheduler have thousands to deal with, not millions.
_MOST_TASKS, _MOST_CHUNKS = 4096, 16
#: Memory one task may use where nothing else is said, bytes.
TASK_BYTES = 1 << 30
#: What a network's activations take, bytes a pixel.
_NETWORK_BYTES = 1024
#: Extent of a tile, unless margins are wide: larger ones leave the processor's caches, and took
#: 1.4 times as long with the filter bank.
_WIDEST = {2: (512, 512), 3: (128, 128, 128)}
#: No tile is cut below this, pixels.
_LEAST = 16


@dataclass(frozen=True)
class Plan:
    """Everything about a run that must not change before it is finished.

    Attributes
    ----------
    shape : tuple of int
        Spatial shape ([Z,] Y, X) of the image.
    dtype : str
        Of the labels.
    chunk, task, tile : tuple of int
        Extent of a chunk of the result, of what one task writes, of what it computes at a time.
    halo, multiple : tuple of int
        The extractor's.
    session : str
        Digest of the session.
    source : dict
        What identifies the image.
    store : str
        Name of the folder with the results so far.
    package : str
        Version of this package.
    layout : int
        Layout of the ledger.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    task: tuple[int, ...]
    tile: tuple[int, ...]
    halo: tuple[int, ...]
    multiple: tuple[int, ...]
    session: str
    source: dict[str, Any]
    store: str
    package: str
    layout: int = VERSION

    def __len__(self) -> int:
        return math.prod(-(-n // t) for n, t in zip(self.shape, self.task, strict=True))

    @cached_property
    def regions(self) -> list[Region]:
        """What each task writes, in C order."""
        zeros, ones = (0,) * len(self.shape), (1,) * len(self.shape)
        return [part.write for part in plan_tiles(self.shape, self.task, zeros, ones)]

    def tiles(self, task: int) -> Iterator[Tile]:
        """Tiles that a task computes, one after the other."""
        return plan_tiles(self.shape, self.tile, self.halo, self.multiple, self.regions[task])

    def name(self, task: int) -> str:
        """Return a task's place in words: ``z 0:64, y 0:1024, x 1024:2048``."""
        axes = "zyx"[-len(self.shape) :]
        spans = zip(axes, self.regions[task], strict=True)
        return ", ".join(f"{axis} {part.start}:{part.stop}" for axis, part in spans)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Plan:
        """Build a plan from `to_json`.

        Raises
        ------
        TypeError
            If something is missing or unknown.
        """
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**fields)

    def differences(self, other: Plan) -> list[str]:
        """Say what of `other` is not as it was here, in words; empty if work may go on."""
        changed = []
        if self.package != other.package:
            changed.append(f"the package was {self.package}, it is {other.package}")
        if self.session != other.session:
            changed.append("the session is another, or has changed")
        # where it is does not matter, as long as it is the same
        keys = [k for k in other.source if k not in ("source", "name")]
        names = [k for k in keys if self.source.get(k) != other.source[k]]
        if names or set(keys) - set(self.source):
            changed.append(f"the source has changed ({', '.join(names)})")
        if self.dtype != other.dtype:
            changed.append(f"labels were {self.dtype}, they are {other.dtype}")
        return changed


def make_plan(predictor: Predictor, image: Image, memory: float | None) -> Plan:
    """Decide how to cut an image.

    Parameters
    ----------
    predictor : Predictor
        Of the session.
    image : Image
        The image.
    memory : float or None
        Bytes a task may use; by default `TASK_BYTES`.

    Raises
    ------
    InputError
        If the image's bands are not the session's, or not even the smallest tile fits.
    """
    extractor = predictor.extractor
    extractor.bands.check(image, "the session")
    if extractor.ndim != image.ndim:
        problem = f"it has {image.ndim} spatial axes, the session {extractor.ndim}"
        invalid("source", image.name, problem, "Give images with the session's axes")
    chunk = tuple(min(c, n) for c, n in zip(CHUNK[image.ndim], image.shape, strict=True))
    task = _task(image.shape, chunk)
    return Plan(
        image.shape,
        np.dtype(predictor.table.dtype).name,
        chunk,
        task,
        compute_tile(extractor, image, memory),
        tuple(extractor.halo),
        tuple(extractor.multiple),
        session_fingerprint(predictor),
        source_record(image),
        f"labels-{secrets.token_hex(4)}.zarr",
        version("napari-clusternet"),
    )


def compute_tile(extractor: Extractor, image: Image, memory: float | None) -> tuple[int, ...]:
    """Return the extent of what is computed at a time; see `make_plan`."""
    chunk = tuple(min(c, n) for c, n in zip(CHUNK[image.ndim], image.shape, strict=True))
    return _tile(extractor, image, _task(image.shape, chunk), memory or TASK_BYTES)


def _task(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    wide = 2
    while math.prod(-(-n // (wide * c)) for n, c in zip(shape, chunk, strict=True)) > _MOST_TASKS:
        if wide == _MOST_CHUNKS:
            break
        wide *= 2
    # an axis of less than a chunk is one chunk
    return tuple(c if c == n else wide * c for c, n in zip(chunk, shape, strict=True))


def tile_bytes(extractor: Extractor, image: Image, tile: tuple[int, ...]) -> int:
    """Estimate the memory that computing one tile takes, bytes.

    Bands as read and in float32, twice the features, and the network's activations where there
    is one; `docs/big-data.md` compares this with measurements.
    """
    pixels = math.prod(t + 2 * h for t, h in zip(tile, extractor.halo, strict=True))
    bands = image.n_bands * (np.dtype(image.data.dtype).itemsize + 12)
    parts = getattr(extractor, "parts", (extractor,))
    networks = sum(hasattr(part, "network") for part in parts)
    each: int = bands + 8 * extractor.n_features + _NETWORK_BYTES * networks
    return pixels * each


def _tile(
    extractor: Extractor, image: Image, task: tuple[int, ...], memory: float
) -> tuple[int, ...]:
    """Halve a tile, along the axis that is widest against its halo, until it fits."""
    widest = (max(t, 3 * h) for t, h in zip(_WIDEST[image.ndim], extractor.halo, strict=True))
    tile = list(map(min, task, image.shape, widest))
    while tile_bytes(extractor, image, tuple(tile)) > memory:
        wide = [t / (h + 1) for t, h in zip(tile, extractor.halo, strict=True)]
        axis = max((i for i in range(len(tile)) if tile[i] > _LEAST), key=wide.__getitem__,
                   default=None)  # fmt: skip
        if axis is None:
            needed = tile_bytes(extractor, image, tuple(tile)) / 2**30
            problem = f"a tile of {tuple(tile)} pixels needs about {needed:.2g} GB"
            invalid("memory", memory / 2**30, problem, "Allow more, or use fewer workers")
        tile[axis] = -(-tile[axis] // 2)
    return tuple(tile)
