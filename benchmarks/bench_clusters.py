"""Time the Clusters dock in the real viewer: selection -> highlight, change -> table.

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/bench_clusters.py --megapixels 25

Prints milliseconds (median, 95th percentile, median of CPU time), writes JSON with --json. The
clock stops when the canvas has been drawn after the change (`glFinish` included).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from vispy import gloo

import napari_clusternet as cn
from napari_clusternet._napari.clusters_dock import ClustersDock
from napari_clusternet._napari.controller import Controller, current


def scene(side: int, n_bands: int, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bands (C, Y, X) uint8 and clusters (Y, X): blocks of 64 pixels with ragged borders."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:side, :side]
    wave = (6 * np.sin(np.arange(side) / 9)).astype(int)
    blocks = (y + wave[None]) // 64 * 131 + (x + wave[:, None]) // 64 * 37
    ids = (blocks % n_clusters + 1).astype(np.uint16)
    values = rng.integers(30, 220, (n_bands, n_clusters + 1), dtype=np.uint8)
    noise = rng.integers(0, 20, (side, side), dtype=np.uint8)
    return values[:, ids] + noise, ids


def opened(viewer: napari.Viewer, megapixels: float, n_bands: int, n: int) -> Controller:
    """Open a session on blocks as clusters; clustering is not what is timed here."""
    data, ids = scene(round((megapixels * 1e6) ** 0.5), n_bands, n)
    layer = viewer.add_image(data, name="scene", axis_labels=("band", "y", "x"))
    control = current(viewer)
    image = cn.open_image(layer)
    segmentation = control._segmentation(image, (layer,), None)
    control.active = segmentation
    segmentation.open(cn.Session(image, "bands", regions=ids, mode="paper"))
    return control


def drawn(viewer: napari.Viewer) -> None:
    """Handle events until the canvas has drawn a frame that begins now."""
    canvas, done = viewer.window._qt_viewer.canvas._scene_canvas, [False]

    def note(_: object) -> None:
        gloo.finish()
        done[0] = True

    canvas.events.draw.connect(note, position="last")
    canvas.update()
    until(lambda: done[0])
    canvas.events.draw.disconnect(note)


def until(condition: Callable[[], bool]) -> None:
    """Handle events until something is so."""
    while not condition():
        QApplication.processEvents()
        time.sleep(0.0005)


def timed(actions: list[Callable[[], object]], after: Callable[[], object]) -> list[float]:
    """Return milliseconds of actions: median, 95th percentile, median of CPU time."""
    wall, cpu = [], []
    for action in actions:
        start, busy = time.perf_counter(), time.process_time()
        action()
        after()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - busy) * 1e3)
    return [round(float(p), 1) for p in (*np.percentile(wall, (50, 95)), np.median(cpu))]


def run(megapixels: float, n_bands: int, n_clusters: int, repeats: int) -> dict[str, object]:
    """Measure one scene."""
    viewer = napari.Viewer(show=True)
    control = opened(viewer, megapixels, n_bands, n_clusters)
    dock = ClustersDock(viewer)
    viewer.window.add_dock_widget(dock, name="Clusters", area="right")
    for section in (dock.profile_section, dock.map_section):
        section.expand(animate=False)
    start = time.perf_counter()
    control.session.inspector.band_means.means()
    first_pass = time.perf_counter() - start
    control.select([1])
    drawn(viewer)
    rng = np.random.default_rng(1)

    def settle() -> None:
        until(lambda: not dock._stale and not dock._timer.isActive())

    def rows(n: int) -> Callable[[], None]:
        first = int(rng.integers(0, n_clusters - n))
        return lambda: [dock.table.selectRow(first)] if n == 1 else _select_rows(dock, first, n)

    settle()
    result: dict[str, object] = {
        "megapixels": megapixels, "bands": n_bands, "clusters": n_clusters,
        "first_pass_s": round(first_pass, 2),
        "frame_ms": timed([lambda: None] * repeats, lambda: drawn(viewer)),
    }  # fmt: skip
    for n in (1, 40, min(800, n_clusters - 1)):
        result[f"select_{n}_rows_ms"] = timed([rows(n) for _ in range(repeats)],
                                              lambda: drawn(viewer))  # fmt: skip
    control.select([1])
    assign = [lambda i=i: control.assign([i], 1 + i % 3) for i in range(1, repeats + 1)]
    result["assign_core_and_layers_ms"] = timed(assign, lambda: None)
    settle()
    result["table_update_ms"] = timed([dock.refresh] * repeats, lambda: None)
    session = control.session
    split = [lambda i=i: session.split(i) for i in range(5, 5 + repeats)]
    result["split_core_and_layers_ms"] = timed(split, lambda: None)
    settle()
    halves = [lambda i=i: (session.split(i), dock.refresh()) for i in range(100, 100 + repeats)]
    print(json.dumps(result), flush=True)  # the rest takes longest
    result["split_and_table_ms"] = timed(halves, lambda: None)
    settle()
    control.select([2])
    result["next_place_ms"] = timed([control.show_place] * repeats, lambda: drawn(viewer))
    viewer.close()
    return result


def _select_rows(dock: ClustersDock, first: int, n: int) -> None:
    """Select a range of rows, as a click with Shift does."""
    from qtpy.QtCore import QItemSelection, QItemSelectionModel

    model = dock.table.model()
    last = model.columnCount() - 1
    chosen = QItemSelection(model.index(first, 0), model.index(first + n - 1, last))
    dock.table.selectionModel().select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=25.0)
    parser.add_argument("--bands", type=int, default=3)
    parser.add_argument("--clusters", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    row = run(options.megapixels, options.bands, options.clusters, options.repeats)
    print(json.dumps(row, indent=1))
    if options.json:
        options.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
