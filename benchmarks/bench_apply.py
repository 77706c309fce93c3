"""`apply` on growing images: peak memory, throughput against memory, efficiency of workers.

    python benchmarks/bench_apply.py --sizes 4096 8192 16384 --features bands
    python benchmarks/bench_apply.py --sizes 4096 --features filters --workers 1 2 --one-core

Sources are tiled GeoTIFFs, written block by block into --folder and kept for the next time. Every
run is a process of its own, so that peaks do not mix; the session comes from a part of the scene.
"In memory" is `Session.predict` of the same scene, where it has at most 2^24 pixels. A process has
as many threads as its share of the cores; with --one-core a single one has one core, so that two
can be compared with it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 2048
IN_MEMORY = 1 << 24


def texture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Three bands of smooth noise over fields, (3, BLOCK, BLOCK)."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    fields = np.kron(rng.integers(40, 200, (3, 16, 16)), np.ones((1, BLOCK // 16, BLOCK // 16)))
    noise = ndimage.gaussian_filter(rng.normal(size=(3, BLOCK, BLOCK)), (0, 1.5, 1.5)) * 40
    return np.clip(fields + noise, 1, 255).astype(np.uint8)


def write_scene(path: Path, size: int) -> None:
    """Write a scene of size x size pixels from eight textures, in blocks."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    textures = [texture(seed) for seed in range(8)]
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "height": size, "width": size,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1,
        "BIGTIFF": "YES", "crs": "EPSG:32621", "transform": from_origin(3e5, 5e6, 10, 10),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with rasterio.open(path.with_suffix(".part"), "w", **profile) as dataset:
        for top in range(0, size, BLOCK):
            for left in range(0, size, BLOCK):
                block = textures[rng.integers(8)][:, : size - top, : size - left]
                window = Window(left, top, block.shape[2], block.shape[1])
                dataset.write(np.roll(block, int(rng.integers(BLOCK)), axis=2), window=window)
    path.with_suffix(".part").rename(path)


def open_session(source: Path, features: str, clusters: int) -> Any:
    import napari_clusternet as cn

    scene = cn.open_image(source)
    corner = np.asarray(scene.data[:, :768, :768])
    image = cn.Image.from_array(corner, axes="CYX", crs=scene.crs, affine=scene.affine)
    session = cn.Session(image, features, n_clusters=clusters)
    strokes = np.zeros(image.shape, np.uint8)
    # classes are brightnesses of the first band, so that few clusters are mixed
    for row in range(20, 768, 60):
        strokes[row] = 1 + np.digitize(corner[0, row], (80, 120, 160))
    session.update(strokes)
    return session


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak(who: int) -> float:
    """Largest resident set of this process, or of its largest child, MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def child(options: argparse.Namespace) -> None:
    """One measurement, printed as JSON."""
    import napari_clusternet as cn

    if options.one_core and options.workers == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    session = open_session(options.source, options.features, options.clusters)
    before, start, used = peak(resource.RUSAGE_SELF), time.perf_counter(), cpu_seconds()
    stages: dict[str, list[float]] = {}

    def note(step: Any) -> None:
        if step.done or step.stage != "classifying":
            stages.setdefault(step.stage, []).append(time.perf_counter())

    if options.workers < 0:
        image = cn.open_image(options.source)
        array = cn.Image.from_array(np.asarray(image.data), axes="CYX", crs=image.crs)
        start, used = time.perf_counter(), cpu_seconds()
        session.predict(array)
    else:
        output = options.folder / f"labels-{options.source.stem}{options.suffix}"
        shutil.rmtree(output, ignore_errors=True)
        output.unlink(missing_ok=True)
        cn.apply(session, options.source, output, workers=options.workers, callback=note,
                 memory=options.memory, overwrite=True)  # fmt: skip
    found = {
        "seconds": time.perf_counter() - start,
        "cpu": cpu_seconds() - used,
        "before_mb": before,
        "peak_mb": peak(resource.RUSAGE_SELF),
        "worker_mb": peak(resource.RUSAGE_CHILDREN) if options.workers > 0 else 0.0,
        "steady": max(stages.get("classifying", [0.0])) - min(stages.get("classifying", [0.0])),
        "finishing": time.perf_counter() - max(stages.get("classifying", [time.perf_counter()])),
    }
    print(json.dumps(found))


def measure(options: argparse.Namespace, source: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", "--source", str(source)]
    command += ["--workers", str(workers), "--features", options.features]
    command += ["--clusters", str(options.clusters), "--folder", str(options.folder)]
    command += ["--suffix", options.suffix, *["--one-core"] * options.one_core]
    command += [] if options.memory is None else ["--memory", str(options.memory)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096])
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--features", default="bands")
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--memory", type=float)
    parser.add_argument("--suffix", default=".zarr", choices=(".zarr", ".tif"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench_apply"))
    parser.add_argument("--no-memory-run", action="store_true", help="leave `predict` out")
    parser.add_argument("--one-core", action="store_true", help="one worker has one core")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        options.workers = options.workers[0]
        child(options)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    print("size   where       Mpx/s  CPU s/Mpx  peak MB  worker MB  finishing s", flush=True)
    for size in options.sizes:
        source = options.folder / f"scene-{size}.tif"
        if not source.exists():
            write_scene(source, size)
        runs = [-1] if size * size <= IN_MEMORY and not options.no_memory_run else []
        for workers in [*runs, *options.workers]:
            found = measure(options, source, workers)
            where = {-1: "in memory", 0: "this process"}.get(workers, f"{workers} processes")
            mpx = size * size / 1e6
            pace, cpu = mpx / found["seconds"], found["cpu"] / mpx
            print(
                f"{size:<6} {where:<12} {pace:>5.2f}  {cpu:>9.3f}  {found['peak_mb']:>7.0f}"
                f"  {found['worker_mb']:>9.0f}  {found['finishing']:>11.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
