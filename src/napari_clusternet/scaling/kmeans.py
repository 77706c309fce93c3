"""Exact k-means of an image's features where they do not fit into memory: tile by tile."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clustering._passes import Pass
from napari_clusternet.clustering._rows import ROWS_PER_CLUSTER, draw
from napari_clusternet.clustering._seeding import update_centers
from napari_clusternet.clustering.kmeans import KMeans
from napari_clusternet.clustering.lloyd import run_pass
from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor
from napari_clusternet.image import Image
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.scaling.fingerprint import fingerprint
from napari_clusternet.scaling.plan import compute_tile
from napari_clusternet.scaling.runners import Runner, open_runner
from napari_clusternet.scaling.work import direct, on_device
from napari_clusternet.tiles import Tile, plan_tiles

if TYPE_CHECKING:
    import numpy.typing as npt
    from distributed import Client

    FloatArray = npt.NDArray[np.float32]
    Statistics = tuple[Any, Any, Any, Any]

#: Tiles that first centroids are learned from, at most.
_SAMPLED_TILES = 64


def k_means_tiles(
    extractor: Extractor,
    image: Image,
    n_clusters: int,
    client: Client | str | None = None,
    *,
    workers: int = 0,
    passes: int = 2,
    tol: float = 1e-4,
    memory: float | None = None,
    random_state: int = 0,
    callback: Callback | None = None,
) -> KMeans:
    """Cluster the features of an image of any size.

    First centroids come from k-means on a sample of rows of some tiles; then every pass is one
    exact Lloyd iteration over all valid pixels. Each tile gives the sums and numbers of its rows
    by cluster, in float64, and these are added in the order of the tiles. So the result is the
    same to the bit however many threads, processes or machines of one kind compute.

    Parameters
    ----------
    extractor : Extractor
        A fitted extractor; features are computed anew in every pass, never stored.
    image : Image
        The image, which may be lazy.
    n_clusters : int
        Number of clusters.
    client : distributed.Client or str, optional
        Cluster to compute on, or its scheduler's address.
    workers : int
        Processes of this machine; 0 for this process.
    passes : int
        Most Lloyd iterations over the whole image.
    tol : float
        Stop when centroids move, squared and summed, less than this share of their variance.
    memory : float, optional
        Memory a tile may use, GB.
    random_state : int
        Seed.
    callback : callable, optional
        Called with a `Progress`.

    Returns
    -------
    KMeans
        Fitted: ``cluster_centers_``, ``inertia_``, ``n_iter_``.

    Raises
    ------
    InputError
        If no pixel is valid, or an argument cannot be used.
    """
    steps = k_means_tiles_steps(
        extractor, image, n_clusters, client, workers=workers, passes=passes, tol=tol,
        memory=memory, random_state=random_state,
    )  # fmt: skip
    return drain(steps, callback)


def k_means_tiles_steps(
    extractor: Extractor,
    image: Image,
    n_clusters: int,
    client: Client | str | None = None,
    *,
    workers: int = 0,
    passes: int = 2,
    tol: float = 1e-4,
    memory: float | None = None,
    random_state: int = 0,
) -> Generator[Progress, None, KMeans]:
    """Do what `k_means_tiles` does as a generator of `Progress`."""
    extractor.bands.check(image, "the feature extractor")
    job = _Job.of(extractor, image, memory)
    rng = np.random.default_rng(random_state)
    with open_runner(job, client, workers) as runner:
        sample = yield from _sample_steps(runner, len(job.tiles), n_clusters, rng)
        if not len(sample):
            invalid("image", image.name, "no pixel is valid", "Check nodata, the mask and NaN")
        model = KMeans(n_clusters, sample_size=None, max_iter=20, random_state=random_state)
        model.fit(sample)
        model.__dict__.pop("labels_", None)
        still = tol * float(sample.astype(np.float64).var(axis=0).mean())
        for turn in range(passes):
            before = model.cluster_centers_
            found = yield from _pass_steps(runner, len(job.tiles), before, turn)
            moved = update_centers(found, before, rng)
            step = np.square(moved - before).sum(axis=1, dtype=np.float64)
            # moving centroids to the means of their rows lowers the inertia by exactly this
            model.inertia_ = float(found.within.sum() - found.counts @ step)
            model.cluster_centers_, model.n_iter_ = moved, model.n_iter_ + 1
            if float(step.sum()) <= still:
                break
    return model


@dataclass(frozen=True)
class _Job:
    """Rows of features of tiles, sampled or summed; see `runners.Job`."""

    extractor: Extractor
    image: Image
    tiles: tuple[Tile, ...]
    token: str

    @classmethod
    def of(cls, extractor: Extractor, image: Image, memory: float | None) -> _Job:
        extent = compute_tile(extractor, image, None if memory is None else memory * 2**30)
        plan = plan_tiles(image.shape, extent, extractor.halo, extractor.multiple)
        return cls(extractor, direct(image), tuple(plan), f"kmeans-{secrets.token_hex(4)}")

    def on(self, device: str) -> _Job:
        return replace(self, extractor=on_device(self.extractor, device))

    def digest(self) -> str:
        return fingerprint(self.extractor)

    def check(self) -> None:
        self.image.read(tuple(slice(0, 1) for _ in self.image.shape))

    def run(self, task: tuple[Any, ...]) -> Any:
        kind, index, *rest = task
        rows = self._rows(self.tiles[index])
        return _sampled(rows, *rest) if kind == "sample" else _summed(rows, *rest)

    def _rows(self, tile: Tile) -> FloatArray:
        """Features of a tile's valid pixels (n, n_features), in C order of the pixels."""
        values, valid = self.image.read(tile.read)
        inside = valid[tile.crop]
        if not inside.any():
            return np.empty((0, self.extractor.n_features), np.float32)
        features = self.extractor(values, valid)[(slice(None), *tile.crop)]
        rows: FloatArray = features[:, inside].T
        return rows


def _sampled(rows: FloatArray, size: int, seed: int) -> FloatArray:
    return np.ascontiguousarray(draw(rows, size, np.random.default_rng(seed)))


def _summed(rows: FloatArray, centers: FloatArray) -> Statistics | None:
    if not len(rows):
        return None
    found = run_pass(rows, centers, "cpu")
    return found.sums, found.counts, found.within, found.shift


def _in_order(
    runner: Runner, tasks: Sequence[tuple[Any, ...]], stage: str
) -> Iterator[tuple[Progress, Any]]:
    """Yield results in the order of the tasks, with no more under way than the runner's slots."""
    waiting: deque[Future[Any]] = deque()
    done = 0
    for task in tasks:
        waiting.append(runner.submit(task))
        if len(waiting) > runner.slots:
            done += 1
            yield Progress(stage, done, len(tasks)), waiting.popleft().result()
    while waiting:
        done += 1
        yield Progress(stage, done, len(tasks)), waiting.popleft().result()


def _sample_steps(
    runner: Runner, n_tiles: int, n_clusters: int, rng: np.random.Generator
) -> Generator[Progress, None, FloatArray]:
    chosen = np.sort(rng.choice(n_tiles, min(n_tiles, _SAMPLED_TILES), replace=False))
    # up to four times a tile's share: nodata leave some tiles with fewer rows
    share = -(-4 * ROWS_PER_CLUSTER * n_clusters // len(chosen))
    seeds = rng.integers(0, 2**63, len(chosen))
    tasks = [("sample", int(i), share, int(seed)) for i, seed in zip(chosen, seeds, strict=True)]
    parts = []
    for progress, rows in _in_order(runner, tasks, "sampling features"):
        parts.append(rows)
        yield progress
    sample: FloatArray = draw(np.concatenate(parts), ROWS_PER_CLUSTER * n_clusters, rng)
    return sample


def _pass_steps(
    runner: Runner, n_tiles: int, centers: FloatArray, turn: int
) -> Generator[Progress, None, Pass]:
    """One pass over all tiles; their statistics are added in the tiles' order."""
    tasks = [("sum", i, centers) for i in range(n_tiles)]
    k, d = centers.shape
    total = Pass(
        np.zeros((k, d)), np.zeros(k, np.int64), np.zeros(k), np.zeros(d, np.float32),
        np.empty(0, np.int32),
    )  # fmt: skip
    for progress, found in _in_order(runner, tasks, f"k-means, pass {turn + 1}"):
        if found is not None:
            total.sums += found[0]
            total.counts += found[1]
            total.within += found[2]
            total.shift = found[3]
        yield progress
    return total
