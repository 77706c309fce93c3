"""Time the first classes on a scene that does not fit in memory, in the viewer.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/bench_scene.py \\
        --size 30720 --features filters --repeats 3

Opens a tiled GeoTIFF with overviews (written into --folder and kept, 2.6 GB for 30720 pixels a
side), looks at a place in its middle at full resolution, presses Start in Classify, and paints
three strokes of two classes. Every run is a process of its own. Prints seconds: the file opened;
from Start to a session; from the strokes to their classes in the layer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_apply import write_scene


def prepare(folder: Path, size: int) -> Path:
    """Return a scene with overviews; written if it is not there."""
    import rasterio
    from rasterio.enums import Resampling

    path = folder / f"overviews-{size}.tif"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new.tif")
        write_scene(new, size)
        with rasterio.open(new, "r+") as dataset:
            dataset.build_overviews([2, 4, 8, 16, 32], Resampling.average)
        new.rename(path)
    return path


def seconds_until(condition: Callable[[], Any], limit: float = 300) -> float:
    """Keep the window alive until something is true; return how long that took."""
    from qtpy.QtWidgets import QApplication

    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > limit:
            raise SystemExit("it did not come to its end")
        QApplication.processEvents()
        time.sleep(0.005)
    return time.perf_counter() - start


def pause() -> None:
    """Let the window come to rest."""
    end = time.perf_counter() + 1.5
    seconds_until(lambda: time.perf_counter() > end)


def child(path: Path, features: str) -> None:
    """Do it once, and print the seconds."""
    import napari

    from napari_clusternet import current

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 1000)
    _, dock = viewer.window.add_plugin_dock_widget("napari-clusternet", "Classify")
    control = current(viewer)
    pause()
    start = time.perf_counter()
    (layer,) = viewer.open(path, plugin="napari-clusternet")
    opened = time.perf_counter() - start
    middle = tuple(size // 2 for size in layer.data[0].shape[:2])
    viewer.camera.center = (0, *layer.data_to_world(middle))
    viewer.camera.zoom = 1 / layer.scale[-1]
    pause()
    wanted = {"filters": "Filters: colour", "auto": "Automatic", "context": "Filters, and"}[
        features
    ]
    dock.features.value = next(c for c in dock.features.choices if c.startswith(wanted))
    start = time.perf_counter()
    dock.start.native.click()
    seconds_until(lambda: control.session is not None)
    ready = time.perf_counter() - start
    strokes = control.strokes_layer
    brightness = np.asarray(control.session.image.data).mean(axis=0)
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(3):
        for value, there in ((1, brightness < np.quantile(brightness, 0.1)),
                             (2, brightness > np.quantile(brightness, 0.9))):  # fmt: skip
            rows, columns = np.nonzero(there[:, :-12])
            at = rng.integers(len(rows))
            along = columns[at] + np.arange(12)
            strokes.data_setitem((np.full(12, rows[at]), along), value)
    seconds_until(lambda: control.labels_layer is not None and control.labels_layer.data.any())
    shown = time.perf_counter() - start
    size = "x".join(map(str, control.session.image.shape))
    print(f"{features:<9} {size:<11} {opened:>6.1f} {ready:>8.1f} {shown:>8.2f}", flush=True)
    viewer.close()


def main() -> None:
    """Run it --repeats times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=30720)
    parser.add_argument("--features", nargs="+", default=["filters"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench_apply"))
    parser.add_argument("--scene", type=Path, help="a GeoTIFF of your own, with overviews")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.scene, options.features[0])
        return
    scene = options.scene or prepare(options.folder, options.size)
    print("features  field       opened  session  classes", flush=True)
    for features in options.features:
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as home:
                subprocess.run(
                    [sys.executable, __file__, "--child", "--scene", scene, "--features", features],
                    check=True, env=os.environ | {"XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip


if __name__ == "__main__":
    main()
