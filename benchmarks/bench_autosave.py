"""What keeping strokes costs the window: the longest gaps of its loop while files are written.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/bench_autosave.py --edge 5000

A timer of 1 ms beats in the window's thread; a gap is the time between two beats. Strokes on a
picture of edge x edge pixels are changed and kept again and again; the same without keeping says
what the machine itself does to the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np


def gaps(seconds: float, every: float, act: object) -> np.ndarray:
    """Run the window's loop, calling `act` every so many seconds; return the gaps, ms."""
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    beats = [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(1)
    end, following = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        if time.monotonic() > following:
            following = time.monotonic() + every
            act()
            beats.append(time.perf_counter())
            beats.append(float("nan"))  # what `act` itself took is not the matter
        QApplication.processEvents()
    timer.stop()
    found = np.diff(beats) * 1000
    return found[np.isfinite(found)]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--strokes", type=int, default=500)
    parser.add_argument("--dtype", default="uint8")
    options = parser.parse_args()
    import napari

    from napari_clusternet._napari.autosave import Autosave
    from napari_clusternet.config import AutosaveLimits

    rng = np.random.default_rng(0)
    data = np.zeros((options.edge,) * 2, options.dtype)
    for y, x in rng.integers(0, options.edge - 200, (options.strokes, 2)):
        data[y : y + 12, x : x + 200] = 1 + (x + y) % 4
    viewer = napari.Viewer(show=True)
    layer = viewer.add_labels(data, name="strokes")
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("platformdirs.user_data_dir", return_value=folder),
        mock.patch("napari_clusternet._napari.autosave.AUTOSAVE", AutosaveLimits(seconds=0)),
    ):
        for kept in (False, True):
            autosave = Autosave()
            if kept:
                autosave.watch(layer, lambda: {"name": "bench"})

            took: list[float] = []

            def act(autosave: Autosave = autosave, took: list[float] = took) -> None:
                data[0, 0] = 1 + data[0, 0] % 3
                began = time.perf_counter()
                layer.events.paint(value=[])
                autosave.save()
                took.append(1000 * (time.perf_counter() - began))

            found = gaps(options.seconds, 0.5, act)
            sizes = [f.stat().st_size for f in Path(folder).rglob("*.strokes")]
            print(
                f"{'kept' if kept else 'not kept':<9} longest gap {found.max():6.1f} ms, "
                f"99.9 % {np.percentile(found, 99.9):5.1f} ms, itself {max(took):4.1f} ms, "
                f"file {sum(sizes)} bytes"
            )
            autosave.close()
    viewer.close()


if __name__ == "__main__":
    main()
