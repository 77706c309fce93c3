"""Hours of work in a few minutes: does the viewer keep its memory and its threads?

    xvfb-run -a -s "-screen 0 1600x1200x24" python benchmarks/soak.py --minutes 120

In a real viewer with the docks open: random strokes by the layer's own way of painting, undo and
redo, splits, merges and assignments, suggestions, certainty shown and hidden, the session saved and
opened, features learned anew, layers removed and images added. Every half minute a line: what was
done, resident memory, threads, layers, and how many layers and sessions are alive, those included
that were removed. Every --deep seconds, right after a new image has replaced all layers so that
they can be compared, two lines more: how much memory is in use, and which objects grew in number.
Everything random is drawn from --seed; --pause makes it as slow as a person.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import random
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from memory_use import MemoryUse, resident

#: Seconds that one piece of background work may take.
WAIT = 300.0


class User:
    """Somebody who does whatever comes to mind."""

    def __init__(self, viewer: Any, folder: Path, edge: int, seed: int) -> None:
        from napari_clusternet._napari.controller import current

        self.viewer, self.folder, self.edge = viewer, folder, edge
        self.control = current(viewer)
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.layers: WeakSet[Any] = WeakSet()
        self.sessions: WeakSet[Any] = WeakSet()
        self.begun_anew = False
        viewer.layers.events.inserted.connect(lambda event: self.layers.add(event.value))
        self.control.session_changed.connect(self.note_session)
        self.begin()

    def note_session(self, segmentation: Any) -> None:
        """Remember a session as long as it is alive."""
        if segmentation.session is not None:
            self.sessions.add(segmentation.session)

    def begin(self) -> None:
        """Add an image, and make it ready for strokes."""
        coarse = self.numbers.integers(0, 200, (self.edge // 16 + 1,) * 2)
        values = np.kron(coarse, np.ones((16, 16)))[: self.edge, : self.edge]
        bands = values[..., None] + self.numbers.integers(0, 40, (self.edge, self.edge, 3))
        layer = self.viewer.add_image(bands.astype(np.uint8), name="scene")
        self.control.segment(layer, features="filters", n_clusters=60)
        self.control.runner.wait(WAIT)

    def stroke(self) -> None:
        """Paint a short stroke."""
        layer, length = self.control.strokes_layer, self.random.randrange(5, 60)
        y, x = (self.random.randrange(self.edge - 60) for _ in range(2))
        self.control.select_class(self.random.randrange(1, 4))
        layer.paint([y, x], layer.selected_label)
        rows = np.repeat(np.arange(y, y + 3), length)
        columns = np.tile(np.arange(x, x + length), 3)
        layer.data_setitem((rows, columns), layer.selected_label)

    def undo(self) -> None:
        """Take back and apply again, by the session or by the layer."""
        control, layer = self.control, self.control.strokes_layer
        self.random.choice((control.undo, control.redo, layer.undo, layer.redo))()

    def clusters(self) -> None:
        """Split, merge or assign clusters."""
        session = self.control.session
        ids = list(session.clusters.query("pixels > 0").index)
        way = self.random.randrange(3)
        if way == 0:
            session.split(self.random.choice(ids))
        elif way == 1 and len(ids) > 20:
            session.merge(self.random.sample(ids, 2))
        else:
            session.assign(self.random.choice(ids), self.random.randrange(0, 4))

    def look(self) -> None:
        """Look around: suggestions, certainty, selected clusters, another threshold."""
        self.control.suggest()
        self.control.show_certainty(self.random.random() < 0.5)
        self.control.select(tuple(self.random.sample(range(1, 30), 3)))
        self.control.threshold = self.random.choice((0.2, 0.3, 0.5))

    def save_and_open(self) -> None:
        """Save the session and open it again."""
        self.control.save_session(self.folder / "a.clusternet")
        self.control.runner.wait(WAIT)
        self.control.open_session(self.folder / "a.clusternet")
        self.control.runner.wait(WAIT)

    def learn(self) -> None:
        """Learn features a little, and begin again with them."""
        self.control.learn(n_epochs=1, n_clusters=16, n_features=8, patch=64, random_state=0)
        self.control.runner.wait(WAIT)
        self.control.segment(self.control.active.image_layers, n_clusters=60)
        self.control.runner.wait(WAIT)

    def another_image(self) -> None:
        """Remove all layers, and begin with another image."""
        self.viewer.layers.clear()
        self.begin()
        self.begun_anew = True

    def read(self) -> None:
        """Close what was told a while ago: a window that is not active shows it for ever."""
        from napari._qt.dialogs.qt_notification import NapariQtNotification

        for told in NapariQtNotification._instances[:-3]:
            told.close()

    def act(self) -> None:
        """Do one thing."""
        from napari_clusternet.errors import ClusterNetError

        ways: list[tuple[Callable[[], None], int]] = [
            (self.stroke, 60), (self.undo, 15), (self.clusters, 10), (self.look, 10),
            (self.save_and_open, 2), (self.learn, 1), (self.another_image, 2),
        ]  # fmt: skip
        self.read()
        (way,) = self.random.choices([w for w, _ in ways], [n for _, n in ways])
        try:
            way()
        except ClusterNetError:  # one pixel cannot be split, for example
            self.refused[way.__name__] += 1
        self.done[way.__name__] += 1


def main() -> None:
    """Work, and print how memory and threads go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=30, help="seconds between lines")
    parser.add_argument("--deep", type=float, default=600, help="seconds between lines on memory")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between actions")
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        soak(options, Path(folder))


def soak(options: argparse.Namespace, folder: Path) -> None:
    """Open the viewer and let a user work in it."""
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    for dock in ("Classify", "Clusters", "Apply and export"):
        viewer.window.add_plugin_dock_widget("napari-clusternet", dock)
    user = User(viewer, folder, options.edge, options.seed)
    start = following = deep = time.monotonic()
    memory = MemoryUse()
    end = start + 60 * options.minutes
    print("minute   actions   memory MB   threads   layers    alive   sessions alive")

    def step() -> None:
        nonlocal following, deep
        now = time.monotonic()
        if now >= following or now >= end:
            following = now + options.every
            gc.collect()
            figures = (
                f"{(now - start) / 60:6.1f}", f"{sum(user.done.values()):9d}",
                f"{resident():11.0f}", f"{threading.active_count():9d}",
                f"{len(viewer.layers):8d}", f"{len(user.layers):8d}", f"{len(user.sessions):16d}",
            )  # fmt: skip
            print(*figures, flush=True)
        if user.begun_anew and now >= deep:
            deep = now + options.deep
            print(memory.report(), flush=True)
        user.begun_anew = False
        if now < end:
            user.act()
            QTimer.singleShot(round(1000 * options.pause), step)
            return
        print(f"done: {dict(user.done)}; refused: {dict(user.refused)}")
        viewer.close()

    # from within Qt's loop: what was removed is only deleted when that comes round again
    QTimer.singleShot(0, step)
    napari.run()
    QApplication.processEvents()
    left = [t.name for t in threading.enumerate() if t.name.startswith("napari-clusternet")]
    print(f"after closing: {left or 'no thread of ours'}, "
          f"{len(list(folder.rglob('*.strokes')))} kept files")  # fmt: skip


if __name__ == "__main__":
    main()
