"""Time a session on a scene of 1 (or more) megapixels: opening, the first and further strokes.

    python benchmarks/bench_session.py --megapixels 1 --repeats 20

Prints seconds and milliseconds (wall and CPU), and writes JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

import napari_clusternet as cn
from napari_clusternet.data.samples import load_sample


def scene(megapixels: float, seed: int) -> cn.Image:
    """Tile the RGB sample to the wanted size, with noise so that no two tiles are equal."""
    sample = load_sample("rmnp").open()
    data = np.asarray(sample.data)
    side = round((megapixels * 1e6) ** 0.5)
    repeats = [-(-side // size) for size in data.shape[1:]]
    tiled = np.tile(data, (1, *repeats))[:, :side, :side].astype(np.int16)
    noise = np.random.default_rng(seed).integers(-6, 7, tiled.shape, dtype=np.int16)
    return cn.Image.from_array(np.clip(tiled + noise, 0, 255).astype(np.uint8), axes="CYX")


def paint(strokes: np.ndarray, rng: np.random.Generator, class_: int) -> None:
    """Add one horizontal stroke, 3 pixels high and 40 wide."""
    y, x = (int(rng.integers(10, size - 50)) for size in strokes.shape)
    strokes[y : y + 3, x : x + 40] = class_


def import_libraries() -> None:
    """Import what the first session of a program would import, to time the work alone."""
    import sklearn.ensemble  # noqa: F401
    import torch  # noqa: F401


def timed(function: object, *args: object) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*args)  # type: ignore[operator]
    return time.perf_counter() - wall, time.process_time() - cpu


def run(megapixels: float, repeats: int, features: str, mode: str) -> dict[str, object]:
    """Measure one session."""
    image, rng = scene(megapixels, 0), np.random.default_rng(1)
    import_libraries()
    sessions: list[cn.Session] = []
    opened = timed(lambda: sessions.append(cn.Session(image, features=features, mode=mode)))
    session = sessions[0]
    strokes = np.zeros(image.shape, np.uint8)
    for i in range(12):
        paint(strokes, rng, i % 4 + 1)
    first = timed(session.update, strokes)
    further = []
    for i in range(repeats):
        paint(strokes, rng, i % 4 + 1)
        further.append(timed(session.update, strokes))
    cluster = int(session.clusters["pixels"].idxmax())
    split = timed(session.split, cluster)
    undo = timed(session.undo)
    wall, cpu = np.array(further).T * 1e3
    return {
        "megapixels": image.shape[0] * image.shape[1] / 1e6,
        "features": features,
        "mode": mode,
        "open_seconds": opened,
        "first_stroke_ms": [t * 1e3 for t in first],
        "further_stroke_ms_p50_p95": [float(np.percentile(wall, q)) for q in (50, 95)],
        "further_stroke_cpu_ms_p50": float(np.median(cpu)),
        "split_ms": [t * 1e3 for t in split],
        "undo_ms": [t * 1e3 for t in undo],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--features", default="filters")
    parser.add_argument("--modes", nargs="+", default=["enhanced", "paper"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [
        run(options.megapixels, options.repeats, options.features, mode) for mode in options.modes
    ]
    for row in rows:
        print(json.dumps(row, indent=1))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
