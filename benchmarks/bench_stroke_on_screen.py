"""Time real mouse strokes in the viewer: button released -> new labels on the screen.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/bench_stroke_on_screen.py \\
        --megapixels 25 --features filters --strokes 24

The user is simulated: who paints a short stroke where a map, made from the sample's own strokes,
says that at least `PURE` of it is one class, and paints it with that class; with --careless any
class anywhere, so that most strokes contradict earlier ones.

The clock starts when the mouse button goes up and stops when the canvas has been drawn with the
new labels (`glFinish` included). Prints milliseconds, p50 and p95, in all and by part, and writes
JSON with --json. Parts run one inside the other where indented.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from bench_session import scene
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from vispy import gloo

import napari_clusternet as cn
from napari_clusternet import engine, session
from napari_clusternet._napari import controller, segmentation
from napari_clusternet.data.samples import load_sample

#: Share of a stroke that is of its class.
PURE = 0.9

#: What is timed on the way: owner, function, name of the part.
PARTS = (
    (segmentation.Segmentation, "update", "update"),
    (session.Session, "follow", "  session.follow"),
    (session, "changed_strokes", "    compare and check"),
    (engine.ClusterEngine, "count", "    count"),
    (engine.ClusterEngine, "set_strokes", "    set strokes"),
    (engine.ClusterEngine, "split_mixed", "    split"),
    (engine.ClusterEngine, "classify", "    classify"),
    (engine.ClusterEngine, "relabel", "    relabel (LUT)"),
    (segmentation.Segmentation, "_show", "    show"),
    (Labels, "refresh", "      refresh of layers"),
)


class Clock:
    """Milliseconds that functions took since the last `take`."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, function: str, part: str) -> None:
        """Time every call of a function."""
        inner: Callable[..., Any] = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self._spent[part] += (time.perf_counter() - start) * 1e3

        setattr(owner, function, timed)

    def take(self) -> dict[str, float]:
        """Return what was spent, and begin anew."""
        spent, self._spent = dict(self._spent), defaultdict(float)
        return spent


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Handle events until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        QApplication.processEvents()
        if time.monotonic() > deadline:
            raise TimeoutError


def drag(canvas: Any, start: QPoint, stop: QPoint, steps: int = 12) -> float:
    """Draw a line with the mouse; return when the button went up."""
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for i in range(1, steps + 1):
        QTest.mouseMove(canvas, start + (stop - start) * i / steps)
        QApplication.processEvents()
    wait_until(lambda: not QApplication.processEvents())
    released = time.perf_counter()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=stop)
    return released


def truth(shape: tuple[int, ...]) -> np.ndarray:
    """Class of every pixel of the tiled sample."""
    sample = load_sample("rmnp")
    classes = cn.segment(sample.open(), sample.strokes, features="filters")
    return np.tile(classes, [-(-n // m) for n, m in zip(shape, classes.shape, strict=True)])[
        tuple(slice(n) for n in shape)
    ]


def choose(
    classes: np.ndarray, layer: Any, view: Any, rng: np.random.Generator, wanted: int
) -> tuple[QPoint, QPoint, int]:
    """Choose where to drag on the canvas: both ends on the image, mostly of one class.

    The wanted class if it is found in reasonable time, else another.
    """
    size = view.native.size()
    for i in range(4000):
        x, y = int(rng.integers(20, size.width() - 80)), int(rng.integers(20, size.height() - 40))
        ends = [QPoint(x, y), QPoint(x + 60, y + 8)]
        places = [
            layer.world_to_data(view._map_canvas2world((p.x(), p.y()), view.view)[-2:])
            for p in ends
        ]
        line = np.linspace(*places, 40).round().astype(int)
        if (line < 0).any() or (line >= classes.shape).any():
            continue
        counts = np.bincount(classes[tuple(line.T)])
        class_ = int(counts.argmax())
        if counts.max() >= PURE * len(line) and (class_ == wanted or i > 300):
            return ends[0], ends[1], class_
    raise RuntimeError("no place for a stroke")


def open_session(
    control: controller.Controller, layer: Any, image: cn.Image, options: argparse.Namespace
) -> segmentation.Segmentation:
    """Start as the button does; with --tiled, from the clusters of one tile, which is quicker."""
    how = {"features": options.features, "mode": options.mode}
    if not options.tiled:
        found = control.segment(layer, **how)
        wait_until(lambda: found.session is not None, 900)
        return found
    side = load_sample("rmnp").open().shape
    tile = cn.Image.from_array(image.data[:, : side[0], : side[1]], axes="CYX")
    ids = cn.Session(tile, **how).cluster_map
    repeats = [-(-n // m) for n, m in zip(image.shape, side, strict=True)]
    regions = np.tile(ids, repeats)[: image.shape[0], : image.shape[1]]
    found = control._segmentation(image, (layer,), None)
    found.open(cn.Session(image, regions=regions, **how))
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Open a session in the viewer and paint."""
    clock = Clock()
    for part in PARTS:
        clock.wrap(*part)
    viewer = napari.Viewer(show=True)
    image = scene(options.megapixels, 0)
    layer = viewer.add_image(np.moveaxis(np.asarray(image.data), 0, -1), rgb=True, name="scene")
    control = controller.current(viewer)
    classes = truth(image.shape)
    n_classes = int(classes.max())
    control.classes.ensure(n_classes)
    found = open_session(control, layer, image, options)
    view = viewer.window._qt_viewer.canvas
    canvas, drawn = view.native, [0.0]

    def note(_: object = None) -> None:
        gloo.finish()
        drawn[0] = time.perf_counter()

    view._scene_canvas.events.draw.connect(note, position="last")
    rng = np.random.default_rng(1)
    middle, zoom = viewer.scene.camera.center, viewer.scene.camera.zoom
    rows = []
    for i in range(options.strokes + options.warm_up):
        found.start_painting(i % n_classes + 1)
        found.strokes_layer.brush_size = options.brush
        if options.zoom:
            viewer.scene.camera.zoom = zoom * options.zoom
            viewer.scene.camera.center = tuple(
                c * u for c, u in zip(middle, (1, *rng.uniform(0.2, 1.8, 2)), strict=True)
            )
        quiet = time.monotonic()
        wait_until(lambda quiet=quiet: time.monotonic() - quiet > 0.3)
        first, last, class_ = choose(classes, layer, view, rng, i % n_classes + 1)
        found.start_painting(int(rng.integers(1, n_classes + 1)) if options.careless else class_)
        before = found.session.labels
        clock.take()
        released = drag(canvas, first, last)
        wait_until(
            lambda before=before: (
                found.labels_layer.data is not before
                and not np.shares_memory(found.session.labels, before)
            )
        )
        done = time.perf_counter()
        wait_until(lambda done=done: drawn[0] > done)
        row = {"released -> on screen": (drawn[0] - released) * 1e3,
               "computed": (done - released) * 1e3, **clock.take(),
               "draw": (drawn[0] - done) * 1e3}  # fmt: skip
        if i >= options.warm_up:
            rows.append(row)
    size = found.session.labels.size / 1e6
    painted = np.bincount(found.session.strokes.reshape(-1)).tolist()
    n_clusters = int((found.session._engine.partition.sizes > 0).sum())
    viewer.close()
    keys = {key: None for row in rows for key in row}
    table = {key: [row.get(key, 0.0) for row in rows] for key in keys}
    return {
        "megapixels": size, "features": options.features, "mode": options.mode,
        "strokes": len(rows), "painted": painted, "clusters": n_clusters,
        "ms_p50_p95": {k: [round(float(np.percentile(v, q)), 1) for q in (50, 95)]
                       for k, v in table.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=25)
    parser.add_argument("--features", default="bands")
    parser.add_argument("--mode", default="enhanced")
    parser.add_argument("--strokes", type=int, default=24)
    parser.add_argument("--warm-up", type=int, default=6)
    parser.add_argument("--brush", type=int, default=segmentation.BRUSH)
    parser.add_argument("--zoom", type=float, default=4, help="of the camera, over the whole view")
    parser.add_argument("--tiled", action="store_true")
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
