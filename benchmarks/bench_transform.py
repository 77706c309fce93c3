"""Transform a large lazy image into a zarr store and report time and peak memory.

    python benchmarks/bench_transform.py --megapixels 25 --folder /tmp/features

The scene is made chunk by chunk as it is read, so what is measured is the transform alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import zarr

import napari_clusternet as cn

CHUNK = 1024


def lazy_scene(side: int) -> cn.Image:
    """Return a 3-band scene of smooth noise, made on demand."""

    def block(block_info: dict | None = None) -> np.ndarray:
        assert block_info is not None
        where = block_info[None]
        rng = np.random.default_rng([7, *where["chunk-location"]])
        coarse = rng.random((3, *(-(-n // 16) for n in where["chunk-shape"][1:])))
        fine = np.kron(coarse, np.ones((1, 16, 16)))[:, : where["chunk-shape"][1]]
        fine = fine[:, :, : where["chunk-shape"][2]]
        return (255 * (0.8 * fine + 0.2 * rng.random(fine.shape))).astype(np.uint8)

    chunks = da.core.normalize_chunks((3, CHUNK, CHUNK), (3, side, side))
    return cn.Image.from_array(da.map_blocks(block, chunks=chunks, dtype=np.uint8), axes="CYX")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=25)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    side = round((options.megapixels * 1e6) ** 0.5)
    image = lazy_scene(side)
    corner = cn.Image.from_array(np.asarray(image.data[:, :512, :512]), axes="CYX")
    model = cn.ClusterNet.from_preset("quick", n_epochs=1, n_clusters=50, random_state=0)
    model.fit([corner])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        features = model.transform(image)
        store = zarr.open_array(
            f"{folder}/features.zarr", mode="w", shape=features.shape, chunks=features.chunksize,
            dtype="float16",
        )  # fmt: skip
        start = time.perf_counter()
        with dask.config.set(scheduler="threads", num_workers=2):
            da.store(features.astype(np.float16), store)
        seconds = time.perf_counter() - start
    row = {
        "megapixels": side * side / 1e6,
        "n_features": features.shape[0],
        "seconds": seconds,
        "megapixels_per_second": side * side / 1e6 / seconds,
        "peak_gb_before": before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(row, indent=1))
    if options.json:
        options.json.write_text(json.dumps(row))


if __name__ == "__main__":
    main()
