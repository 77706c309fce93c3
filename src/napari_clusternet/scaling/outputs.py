"""From finished tasks to the output: a pyramid, a cloud-optimised GeoTIFF, a TIFF."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.atomic import remove
from napari_clusternet.io.base import refuse
from napari_clusternet.io.geotiff import copy_as_cog, create_labels_tiff
from napari_clusternet.io.labels import label_writer, write_labels
from napari_clusternet.io.lazy import forget
from napari_clusternet.io.omezarr import create_labels
from napari_clusternet.io.opening import open_image
from napari_clusternet.io.tiff import TILE, write_labels_in_tiles
from napari_clusternet.progress import Progress
from napari_clusternet.scaling.ledger import Ledger, checksum
from napari_clusternet.scaling.plan import Plan
from napari_clusternet.tiles import Region, plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

#: A pyramid ends where no axis is longer, pixels.
_COARSEST = 512
#: An axis is halved with the others while its pixels are at most so many times the finest.
_SAME = 1.5
#: Planes of a volume read together, bytes.
_SLAB = 256 << 20
#: Largest labels that formats without tiles are written from, bytes.
_WHOLE = 1 << 30


def output_kind(destination: Path, image: Image, plan: Plan) -> str:
    """Return ``"zarr"``, ``"geotiff"``, ``"tiff"`` or ``"whole"``, judged by suffix and image.

    Raises
    ------
    FileFormatError
        If no format writes labels under this suffix.
    InputError
        If the format needs all labels in memory, and they are too many.
    """
    name = label_writer(destination, image).name
    kind = {"ome-zarr": "zarr", "geotiff": "geotiff", "tiff": "tiff"}.get(name, "whole")
    size = math.prod(plan.shape) * np.dtype(plan.dtype).itemsize
    if kind == "whole" and size > _WHOLE:
        problem = f"{name} is written as a whole, and these labels are {size / 2**30:.1f} GB"
        invalid("destination", str(destination), problem, "Write a .zarr or .tif")
    return kind


def prepare(ledger: Ledger, kind: str, image: Image, class_names: dict[int, str]) -> None:
    """Make the store that tasks write to, if it is not there yet."""
    import zarr

    if (ledger.store / "0").is_dir():
        return
    plan = ledger.plan
    # made under another name: what has the right one is complete
    fresh = ledger.store.with_name("new.zarr")
    remove(fresh)
    if kind == "zarr":
        levels = _pyramid(image)
        create_labels(fresh, plan.dtype, image, class_names, plan.chunk, plan.task, levels)
    else:
        zarr.create_array(
            fresh / "0", shape=plan.shape, dtype=plan.dtype, chunks=plan.chunk,
            shards=plan.task, fill_value=0,
        )  # fmt: skip
    os.rename(fresh, ledger.store)


def finish_steps(
    ledger: Ledger, kind: str, image: Image, class_names: dict[int, str]
) -> Generator[Progress, None, Path]:
    """Make the output from finished tasks; yields `Progress`, returns where it is.

    What is read is compared with the ledger, and what was written is read back: a full disk does
    not always say so.

    Raises
    ------
    FileFormatError
        If labels on the disk are not those that were written; the task will be done again.
    OSError
        If the system refuses to write.
    """
    if kind == "zarr":
        yield from _pyramid_steps(ledger)
        _sweep(ledger.store)
        return ledger.store
    result = ledger.folder / f"result{_suffix(kind, ledger)}"
    if kind == "geotiff":
        plain = ledger.folder / "plain.tif"
        yield from _geotiff_steps(ledger, image, class_names, plain)
        yield Progress("writing overviews", 0, 1)
        copy_as_cog(plain, result)
        yield from _check_steps(ledger, result)
        plain.unlink()
    elif kind == "tiff":
        tiles = _tiff_tiles(ledger)
        yield Progress("writing TIFF", 0, 1)
        write_labels_in_tiles(result, tiles, ledger.plan.dtype, image, class_names)
        yield from _check_steps(ledger, result)
    else:
        labels = np.empty(ledger.plan.shape, ledger.plan.dtype)
        for region, block in _finished(ledger):
            labels[region] = block
        yield Progress(f"writing {result.suffix}", 0, 1)
        write_labels(result, labels, image, class_names=class_names)
    return result


def _sweep(store: Path) -> None:
    """Remove the files that zarr was writing under other names when a process was killed."""
    for left in store.rglob("*.partial"):
        left.unlink()


def _suffix(kind: str, ledger: Ledger) -> str:
    name = ledger.folder.name.removesuffix(".partial").lower()
    return ".tif" if kind != "whole" else ".nii.gz" if name.endswith(".gz") else Path(name).suffix


def _array(ledger: Ledger, level: int = 0) -> Any:
    import zarr

    return zarr.open_array(ledger.store / str(level), mode="r+")


def _finished(ledger: Ledger) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
    """Yield every task's region and labels, compared with the ledger."""
    array = _array(ledger)
    for task, region in enumerate(ledger.plan.regions):
        block = np.asarray(array[region])
        _compare(ledger, task, block, ledger.store)
        yield region, block


def _compare(ledger: Ledger, task: int, block: npt.NDArray[Any], where: Path) -> None:
    if checksum(block) != ledger.done[task]:
        if where == ledger.store:
            ledger.forget(task)
        refuse(
            where, f"the labels at {ledger.plan.name(task)} are not those that were written",
            "The disk may be full or failing; run again to go on",
        )  # fmt: skip


def _pyramid(image: Image) -> list[tuple[int, ...]]:
    """Pixels of level 0, per axis, that are one pixel of the levels 1, 2, ..."""
    shape, spacing = np.array(image.shape), np.array(image.spacing)
    factor, levels = np.ones(image.ndim, int), []
    while (-(-shape // factor)).max() > _COARSEST:
        steps = spacing * factor
        halved = (steps <= _SAME * steps.min()) & (-(-shape // factor) > 1)
        if not halved.any():
            halved = -(-shape // factor) > _COARSEST
        factor = np.where(halved, 2 * factor, factor)
        levels.append(tuple(factor.tolist()))
    return levels


def _pyramid_steps(ledger: Ledger) -> Generator[Progress, None, None]:
    """Fill the coarser levels: each pixel takes the first of those that it stands for."""
    import zarr

    levels = sorted(int(name) for name in zarr.open_group(ledger.store, mode="r"))
    if len(levels) == 1:
        for _ in _finished(ledger):
            pass
    for level in levels[1:]:
        finer, coarser = _array(ledger, level - 1), _array(ledger, level)
        steps = tuple(-(-n // m) for n, m in zip(finer.shape, coarser.shape, strict=True))
        if level == 1:
            blocks = _finished(ledger)
            total = len(ledger.plan)
        else:
            regions = _regions(finer.shape, coarser.chunks, steps)
            blocks, total = ((r, np.asarray(finer[r])) for r in regions), len(regions)
        for i, (region, block) in enumerate(blocks):
            place = tuple(
                slice(part.start // step, -(-part.stop // step))
                for part, step in zip(region, steps, strict=True)
            )
            coarser[place] = block[tuple(slice(None, None, step) for step in steps)]
            yield Progress(f"writing level {level}", i + 1, total)


def _regions(
    shape: tuple[int, ...], chunks: tuple[int, ...], steps: tuple[int, ...]
) -> list[Region]:
    """Blocks of a finer level that fill two chunks an axis of the coarser one."""
    block = [2 * chunk * step for chunk, step in zip(chunks, steps, strict=True)]
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    return [part.write for part in plan_tiles(shape, block, zeros, ones)]


def _geotiff_steps(
    ledger: Ledger, image: Image, class_names: dict[int, str], path: Path
) -> Generator[Progress, None, None]:
    path.unlink(missing_ok=True)
    with create_labels_tiff(path, ledger.plan.dtype, image, class_names) as write:
        for i, (region, block) in enumerate(_finished(ledger)):
            write(block, region)
            yield Progress("writing GeoTIFF", i + 1, len(ledger.plan))


def _tiff_tiles(ledger: Ledger) -> Iterator[npt.NDArray[Any]]:
    """Yield a TIFF's tiles, plane by plane and row by row, padded to their full size."""
    array, plan = _array(ledger), ledger.plan
    for _ in _finished(ledger):  # that all is well is known before anything is written
        pass
    height, width = plan.shape[-2:]
    if len(plan.shape) == 2:
        for top in range(0, height, 2 * TILE):
            yield from _tiles_of(np.asarray(array[top : top + 2 * TILE]))
        return
    # planes of a chunk are stored together, so they are read together, as far as memory allows
    n_planes = max(1, min(plan.chunk[0], _SLAB // (height * width)))
    for first in range(0, plan.shape[0], n_planes):
        for plane in np.asarray(array[first : first + n_planes]):
            yield from _tiles_of(plane)


def _tiles_of(plane: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for y in range(0, plane.shape[0], TILE):
        for x in range(0, plane.shape[1], TILE):
            part = plane[y : y + TILE, x : x + TILE]
            tile = np.zeros((TILE, TILE), plane.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _check_steps(ledger: Ledger, result: Path) -> Generator[Progress, None, None]:
    """Read the result back and compare it with the ledger."""
    data = open_image(result).data
    try:
        for task, region in enumerate(ledger.plan.regions):
            block = data[(0, *region)].compute(scheduler="synchronous")
            _compare(ledger, task, block, result)
            yield Progress("reading back", task + 1, len(ledger.plan))
    finally:
        forget(result)
