"""The classes of a large scene, beyond the field that is worked on: filled in where one looks."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import numpy as np
import zarr
from qtpy.QtCore import QTimer

from napari_clusternet._napari.runner import tell_error
from napari_clusternet._napari.timers import stop_timer
from napari_clusternet._napari.worker import Cancelled, Worker
from napari_clusternet.progress import Progress
from napari_clusternet.tiles import Tile, plan_tiles

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clusternet.image import Image
    from napari_clusternet.predictor import Predictor
    from napari_clusternet.session import Session
    from napari_clusternet.tiles import Region

    Index = tuple[int, ...]

#: Edge of a tile, pixels, by number of spatial axes.
TILE = {2: 512, 3: 64}
#: Tiles that are chosen at a time, those in the middle first.
TILES = 64
#: The coarsest level has at most so many pixels along its longest axis.
COARSEST = 1024
#: How long nothing must have happened before it begins, milliseconds.
IDLE_MS = 700
#: How long closing waits, seconds.
CLOSING_WAIT = 1.5


class SceneLabels:
    """Labels of a scene by tiles, in memory where they are known, with coarser levels.

    Parameters
    ----------
    shape : tuple of int
        Shape ([Z,] Y, X) of the scene.
    dtype : dtype
        Of the labels.

    Attributes
    ----------
    levels : list of zarr.Array
        Finest first; 0 where nothing is known.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
        self.dtype, edge = np.dtype(dtype), TILE[len(shape)]
        self.levels: list[zarr.Array] = []
        step = 1
        while True:
            level = tuple(-(-size // step) for size in shape)
            chunks = tuple(min(edge, size) for size in level)
            self.levels.append(
                zarr.create_array(
                    zarr.storage.MemoryStore(), shape=level, chunks=chunks, dtype=dtype
                )
            )
            if max(level) <= COARSEST or step * 2 > edge:
                break
            step *= 2

    @property
    def layer_data(self) -> Any:
        """The levels as a layer takes them."""
        return self.levels if len(self.levels) > 1 else self.levels[0]

    def put(self, region: Region, labels: Any) -> None:
        """Write the labels of a region that begins at a multiple of 64 pixels (of 16 voxels)."""
        for i, level in enumerate(self.levels):
            step = 1 << i
            first = [-(-part.start // step) for part in region]
            offset = [f * step - part.start for f, part in zip(first, region, strict=True)]
            block = labels[tuple(slice(o, None, step) for o in offset)]
            where = tuple(slice(f, f + n) for f, n in zip(first, block.shape, strict=True))
            level[where] = block


class SceneLayer:
    """Fills a multiscale Labels layer with what the session says of the tiles in view.

    Parameters
    ----------
    scene : Image
        The scene, at the resolution that the session works at.
    layer : napari.layers.Labels
        Shows `labels`.
    labels : SceneLabels
        What is filled.
    """

    def __init__(self, scene: Image, layer: Labels, labels: SceneLabels) -> None:
        self.scene, self.layer, self.labels = scene, layer, labels
        self._known: dict[Index, int] = {}  # tiles, and the version that each shows
        self._version = 0  # grows with every other thing that sessions say
        self._said: tuple[ReferenceType[Session], int] | None = None
        self._predictor: Predictor | None = None
        self._view: Region | None = None
        self._worker: Worker | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(IDLE_MS)
        self._timer.timeout.connect(self._begin)

    @property
    def working(self) -> bool:
        """Whether tiles are being filled in."""
        return self._worker is not None

    def look(self, view: Region) -> None:
        """Fill in what is in view, in the scene's pixels, once nothing has happened for a while."""
        self._view = view
        self._restart()

    def follow(self, session: Session) -> None:
        """Fill in what this session says now; what is there stays until it is its turn."""
        said = (ref(session), session.version)
        if said != self._said:
            self._said, self._predictor = said, session.predictor()
            self._version += 1
        self._restart()

    def hold(self) -> None:
        """Do nothing until the next `look` or `follow`."""
        self._timer.stop()
        if self._worker is not None:
            self._worker.cancel()

    def _restart(self) -> None:
        self.hold()
        if self._predictor is not None and self._view is not None:
            self._timer.start()

    def stop(self) -> None:
        """Give up; the layer stays as it is."""
        stop_timer(self._timer)
        worker, self._worker = self._worker, None
        self._predictor = None
        if worker is not None:
            worker.close(CLOSING_WAIT)

    def _begin(self) -> None:
        if self._worker is not None:  # the one before is not at its end yet
            self._timer.start()
            return
        predictor, version = self._predictor, self._version
        if predictor is not None and predictor.table.dtype != self.labels.dtype:
            self.labels = SceneLabels(self.scene.shape, predictor.table.dtype)  # over 255 classes
            self.layer.data = self.labels.layer_data
            self._known.clear()
        todo = self._todo()
        if predictor is None or not todo:
            return

        def steps() -> Generator[Progress, None, None]:
            for i, index in enumerate(todo):
                tile = self._tile(predictor, index)
                self.labels.put(tile.write, predictor.tile(self.scene, tile))
                self._known[index] = version
                yield Progress("filling in", i + 1, len(todo))

        self._worker = Worker(steps, self._show, self._end, _nothing)
        self._worker.start()

    def _todo(self) -> list[Index]:
        """Return some tiles in view that are not as they should be, those in the middle first."""
        view, edge = self._view, TILE[self.scene.ndim]
        if view is None:
            return []
        first = [part.start // edge for part in view]
        last = [max(f + 1, -(-part.stop // edge)) for f, part in zip(first, view, strict=True)]
        counts = [b - a for a, b in zip(first, last, strict=True)]
        middle = np.array([part.start + part.stop for part in view]) / 2 / edge - 0.5
        if int(np.prod(counts)) > 1 << 16:
            return []  # so far away that a tile is hardly a pixel
        indices = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1)
        indices = indices.reshape(-1, len(view))
        order = np.argsort(np.abs(indices - middle).max(axis=1), kind="stable")
        found = (tuple(index) for index in indices[order].tolist())
        due = (index for index in found if self._known.get(index) != self._version)
        return list(islice(due, TILES))

    def _tile(self, predictor: Predictor, index: Index) -> Tile:
        extractor, edge = predictor.extractor, TILE[self.scene.ndim]
        region = tuple(
            slice(i * edge, min((i + 1) * edge, size))
            for i, size in zip(index, self.scene.shape, strict=True)
        )
        extent = tuple(edge for _ in index)
        (tile,) = plan_tiles(self.scene.shape, extent, extractor.halo, extractor.multiple, region)
        return tile

    def _show(self, _: Progress) -> None:
        self.layer.refresh()

    def _end(self, _: Any, error: BaseException | None) -> None:
        self._worker = None
        self.layer.refresh()
        if error is None:
            self._begin()  # what else is in view
        elif not isinstance(error, Cancelled):
            tell_error(error, "Filling in the scene")


def _nothing(_: object) -> None:
    pass
