"""`BandMeans`: mean of every band over every cluster, at the cost of what changed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.image import Image
from napari_clusternet.partition import Partition
from napari_clusternet.progress import Progress, drain
from napari_clusternet.tiles import Region

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.integer]


class BandMeans:
    """Mean of every band over every cluster, kept up to date.

    The first time the whole image is read, later only the pixels of clusters that changed. Every
    sum runs over the same pixels in the same order either way, so the result does not depend on
    what happened before: it is equal to that of a pass over the whole image, to the last bit.

    Parameters
    ----------
    image : Image
        The image.
    partition : Partition
        Its clusters; changed by others.
    """

    def __init__(self, image: Image, partition: Partition) -> None:
        self._image, self._partition = image, partition
        self._version = -1
        self._sums: FloatArray = np.zeros((0, image.n_bands))
        self._lock = Lock()

    @property
    def pending(self) -> int:
        """Values (pixels times bands) that have to be read to be up to date."""
        if self._version < 0:
            return self._partition.cluster_map.size * self._image.n_bands
        changed = self._partition.changed_since(self._version)
        return sum(self._partition.size(i) for i in changed) * self._image.n_bands

    def means(self, *, wait: bool = True) -> FloatArray:
        """Return the means.

        Parameters
        ----------
        wait : bool
            Whether to read what has to be read. If not, clusters that changed have NaN.

        Returns
        -------
        numpy.ndarray of float64, shape (n_ids, n_bands)
            In the image's own units; NaN for empty ids.
        """
        if wait and self.pending:
            drain(self.steps())
        with self._lock:
            version, known = self._version, self._sums
        partition = self._partition
        sums = np.full((partition.n_ids, self._image.n_bands), np.nan)
        n = min(len(known), len(sums))
        sums[:n] = known[:n]
        if version >= 0:
            sums[np.array(partition.changed_since(version), dtype=int) - 1] = np.nan
        sizes = partition.sizes_inside.astype(np.float64)
        means: FloatArray = sums / np.where(sizes > 0, sizes, np.nan)[:, None]
        return means

    def steps(self) -> Generator[Progress, None, None]:
        """Bring the means up to date, as a generator of `Progress`.

        It may run in another thread: it works on a copy of what this call finds. Clusters that
        change meanwhile are pending again afterwards.
        """
        partition, version = self._partition, self._partition.version
        if self._version < 0:
            return self._all(version, partition.n_ids, partition.cluster_map.copy())
        changed = partition.changed_since(self._version)
        members = [partition.inside(i) for i in changed]
        slots = np.repeat(np.arange(len(changed)), [len(part) for part in members])
        pixels = np.concatenate([np.zeros(0, np.int64), *members]).astype(np.int64)
        return self._some(version, partition.n_ids, changed, pixels, slots)

    def _all(
        self, version: int, n_ids: int, cluster_map: npt.NDArray[np.uint16]
    ) -> Generator[Progress, None, None]:
        """Read the whole image."""
        sums = np.zeros((n_ids + 1, self._image.n_bands))
        regions = list(self._image.blocks())
        for done, region in enumerate(regions, start=1):
            values, _ = self._image.read(region)
            _add(sums, cluster_map[region].reshape(-1), values.reshape(len(values), -1))
            yield Progress("band means", done, len(regions))
        self._keep(version, sums[1:])

    def _some(
        self, version: int, n_ids: int, changed: list[int], pixels: IntArray, slots: IntArray
    ) -> Generator[Progress, None, None]:
        """Read the pixels of the changed clusters, each of which has a slot."""
        order = np.argsort(pixels, kind="stable")  # as they lie in the image
        pixels, slots = pixels[order], slots[order]
        sums = np.zeros((len(changed), self._image.n_bands))
        regions = list(self._image.blocks())
        found = _by_region(pixels, self._image.shape, regions)
        for done, (region, inside) in enumerate(found, start=1):
            if inside.any():
                values = _take(self._image, region, pixels[inside])
                _add(sums, slots[inside], values)
                yield Progress("band means", done, len(regions))
        with self._lock:
            kept = self._sums
        result = np.zeros((n_ids, self._image.n_bands))
        n = min(n_ids, len(kept))
        result[:n] = kept[:n]
        result[np.array(changed, dtype=int) - 1] = sums
        self._keep(version, result)

    def _keep(self, version: int, sums: FloatArray) -> None:
        with self._lock:
            if version > self._version:
                self._version, self._sums = version, sums


def _add(sums: FloatArray, ids: IntArray, values: npt.NDArray[np.float32]) -> None:
    """Add values (n_bands, n) to the sums (n_ids, n_bands) of their ids, pixel by pixel."""
    ids = ids.astype(np.intp)
    for band, plane in enumerate(values):
        sums[:, band] += np.bincount(ids, plane, minlength=len(sums))


def _by_region(
    pixels: IntArray, shape: tuple[int, ...], regions: list[Region]
) -> Iterator[tuple[Region, npt.NDArray[np.bool_]]]:
    """For each region, tell which of the flat pixel indices lie in it."""
    positions = np.unravel_index(pixels, shape)
    for region in regions:
        inside = np.ones(len(pixels), dtype=bool)
        for where, part in zip(positions, region, strict=True):
            inside &= (where >= part.start) & (where < part.stop)
        yield region, inside


def _take(image: Image, region: Region, pixels: IntArray) -> npt.NDArray[np.float32]:
    """Read single pixels of a region, shape (n_bands, n), as `Image.read` does."""
    where: tuple[IntArray, ...] = np.unravel_index(pixels, image.shape)
    in_memory = not image.is_lazy and (image.mask is None or isinstance(image.mask, np.ndarray))
    if in_memory:
        mask = None if image.mask is None else image.mask[where][None]
        picked = image.data[(slice(None), *where)][:, None]
        return image.with_data(picked, mask=mask).read()[0][:, 0]
    tight = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in where)
    values, _ = image.read(tight)
    local = tuple(axis - part.start for axis, part in zip(where, tight, strict=True))
    inner = np.ravel_multi_index(local, values.shape[1:])
    taken: npt.NDArray[np.float32] = values.reshape(len(values), -1)[:, inner]
    return taken
