"""Does the window stay alive? Gaps between the beats of a timer while features are learned.

    python benchmarks/bench_window.py heartbeat --megapixels 1 --seconds 60
    python benchmarks/bench_window.py heartbeat --ways window thread one-torch-thread

A timer of the window's event loop beats every 10 ms; a gap is the time between two beats. The ways:
`idle` (nothing runs), `window` (as the docks run it), `thread` (a plain thread that does not step
back for the window), `one-torch-thread` (the same with one thread less than cores for torch). Each
way runs in a process of its own. Needs a display (or xvfb-run).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BEAT_MS = 10
WAYS = ("idle", "window", "thread", "one-torch-thread")


def scene(megapixels: float) -> np.ndarray:
    """Return blocks of colours with noise, (Y, X, 3) uint8."""
    rng = np.random.default_rng(0)
    side = round((megapixels * 1e6) ** 0.5)
    blocks = rng.integers(20, 235, (-(-side // 40), -(-side // 40), 3))
    picture = np.repeat(np.repeat(blocks, 40, 0), 40, 1)[:side, :side]
    return (picture + rng.integers(-15, 16, picture.shape)).astype(np.uint8)


class Beats:
    """A timer of the window and the gaps between its beats, milliseconds."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(BEAT_MS)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps.append((now - self._last) * 1e3)
        self._last = now

    def begin(self) -> None:
        self.gaps.clear()
        self._last = time.perf_counter()

    def stop(self) -> None:
        self._timer.stop()


def run(seconds: float) -> None:
    """Let the window live for a while, waiting for events as an event loop does."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


def as_plain_thread(way: str) -> None:
    """Undo what the worker does for the window."""
    from napari_clusternet._napari import worker

    def step_back() -> None:
        if way == "one-torch-thread":
            import torch

            torch.set_num_threads(max(1, torch.get_num_threads() - 1))

    worker._step_back = step_back


def measure(way: str, megapixels: float, seconds: float) -> dict[str, Any]:
    """Measure one way in this process."""
    import napari

    from napari_clusternet._napari.controller import current
    from napari_clusternet._napari.learn_dock import LearnDock

    viewer = napari.Viewer()
    viewer.add_image(scene(megapixels), name="scene", rgb=True)
    viewer.window.add_dock_widget(LearnDock(viewer))
    control = current(viewer)
    beats = Beats()
    run(2)
    beats.begin()
    if way != "idle":
        if way != "window":
            as_plain_thread(way)
        control.learn(random_state=0, n_epochs=1000, checkpoint_seconds=1e6)
    run(seconds)
    beats.stop()
    steps = control.curve[-1].done if control.curve else 0
    control.runner.close()
    gaps = np.array(beats.gaps)
    found = {f"p{q}_ms": round(float(np.percentile(gaps, q)), 1) for q in (50, 95, 99)}
    return {"way": way, "megapixels": megapixels, "seconds": seconds, "steps": steps,
            "beats": len(gaps), **found, "max_ms": round(float(gaps.max()), 1)}  # fmt: skip


def heartbeat(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every way in a process of its own."""
    rows = []
    for way in options.ways:
        command = [
            sys.executable, __file__, "one", way, str(options.megapixels), str(options.seconds),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    beat = what.add_parser("heartbeat")
    beat.add_argument("--megapixels", type=float, default=1.0)
    beat.add_argument("--seconds", type=float, default=60.0)
    beat.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    beat.add_argument("--json", type=Path)
    one = what.add_parser("one")
    one.add_argument("way", choices=WAYS)
    one.add_argument("megapixels", type=float)
    one.add_argument("seconds", type=float)
    options = parser.parse_args()
    if options.what == "one":
        print(json.dumps(measure(options.way, options.megapixels, options.seconds)))
        return
    rows = heartbeat(options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
