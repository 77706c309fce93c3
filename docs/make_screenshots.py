"""Draw the documentation's pictures: the real viewer, driven by script, looked at by its docks.

    xvfb-run -a -s "-screen 0 2560x1700x24" python docs/make_screenshots.py shots --docs docs/images

Every window and every dock alone, at 100 % (shots/100) and at 150 % (shots/150), for each workflow;
texts that do not fit are named at the end. With ``--docs``, the pictures that pages show are made
smaller and put there, with the strip of the workflow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

SCALES = {"100": "1", "150": "1.5"}
PLUGIN = "napari-clusternet"
DOCKS = {"learn": "Learn features", "regions": "Segment without strokes", "classify": "Classify",
         "clusters": "Clusters", "export": "Apply and export"}  # fmt: skip
#: Their classes.
CLASSES = {"learn": "learn_dock.LearnDock", "regions": "unsupervised_dock.UnsupervisedDock",
           "classify": "classify_dock.ClassifyDock", "clusters": "clusters_dock.ClustersDock",
           "export": "transfer_dock.TransferDock"}  # fmt: skip
#: Width of a dock, and size of the window, in pixels of 100 %.
DOCK_WIDTH, WINDOW = 300, (1280, 840)
#: How each sample is gone through: learning, regions, and the plane to look at.
WORKFLOWS: dict[str, dict[str, Any]] = {
    "rmnp": {"learning": {"n_epochs": 3, "n_clusters": 32}, "method": "hierarchy"},
    "indian-pines": {"learning": {"n_epochs": 4, "n_clusters": 64}, "method": "kmeans"},
    "mni152": {
        "learning": {"n_epochs": 2, "n_clusters": 24, "patch": 128, "n_features": 16,
                     "channels": (8, 12), "cluster_pixels": 4096},
        "method": "kmeans",
    },
}  # fmt: skip
#: The strip: what each frame shows.
FRAMES = ("strokes", "features", "clusters", "classes", "certainty")
CAPTIONS = ("1. A few strokes (drawn wider)", "2. Features, learned without labels", "3. Clusters",
            "4. Strokes give clusters classes", "5. How sure that is")  # fmt: skip
#: Pictures that pages show, and how many pixels wide they are there.
SHOWN = {
    "rmnp-learn": 900,
    "rmnp-classify": 1100,
    "rmnp-regions": 900,
    "rmnp-export": 900,
    "rmnp-clusters-plots": 1100,
    "mni152-classify": 1100,
    "mni152-clusters": 900,
}


class Studio:
    """A viewer that is photographed.

    Parameters
    ----------
    sample : str
        A sample's name.
    folder : Path
        Where pictures go.
    """

    def __init__(self, sample: str, folder: Path) -> None:
        import napari

        import napari_clusternet as cn

        self.sample, self.folder = sample, folder
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*WINDOW)
        self.control = cn.current(self.viewer)
        self.cut: list[str] = []

    def wait(self, ready: Callable[[], object], seconds: float = 1800) -> None:
        """Let the viewer work until something is so."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.sample}: {self.control.runner.title}")
            QApplication.processEvents()
            time.sleep(0.005)

    def idle(self) -> None:
        """Wait for the work that runs, refining included."""
        self.wait(lambda: not self.control.runner.busy)
        refiner = getattr(self.control.active, "refiner", None)
        self.wait(lambda: refiner is None or not refiner.busy)
        self.pause()

    def pause(self, seconds: float = 0.6) -> None:
        """Let the viewer draw."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    @contextmanager
    def dock(self, key: str) -> Iterator[Any]:
        """Open a dock as the menu does, as wide as a narrow one is."""
        from qtpy.QtCore import Qt

        from napari_clusternet._napari.docking import open_dock

        module, name = CLASSES[key].split(".")
        kind = getattr(import_module(f"napari_clusternet._napari.{module}"), name)
        dock = open_dock(self.viewer, kind, DOCKS[key])
        area = dock.parent()
        window = self.viewer.window._qt_window
        self.pause(0.2)
        window.resizeDocks([area], [DOCK_WIDTH], Qt.Orientation.Horizontal)
        self.pause(0.2)
        yield dock
        self.viewer.window.remove_dock_widget(area)

    def shoot(self, name: str, dock: Any = None) -> None:
        """Keep the window, and all of a dock that is scrolled there."""
        from napari._qt.dialogs.qt_notification import NapariQtNotification
        from qtpy.QtWidgets import QScrollArea

        if dock is not None:
            dock.findChild(QScrollArea).verticalScrollBar().setValue(0)
        window = self.viewer.window
        for told in window._qt_window.findChildren(NapariQtNotification):
            told.close()
        self.pause()
        window.screenshot(str(self.folder / f"{self.sample}-{name}.png"), flash=False)
        if dock is not None:
            self.shoot_dock(name, dock)

    def shoot_dock(self, name: str, dock: Any) -> None:
        """Keep all of a dock, and note what does not fit."""
        from qtpy.QtWidgets import QScrollArea

        self.pause(0.2)
        inside = dock.findChild(QScrollArea).widget()
        dock.window().grab()  # lays out what was just unfolded
        inside.grab().save(str(self.folder / f"{self.sample}-{name}-dock.png"))
        self.cut += [f"{self.folder.name} % {self.sample}-{name}: {text}" for text in cut(dock)]

    def frame(self, name: str, *visible: Any) -> None:
        """Keep the canvas alone with some layers, for the strip."""
        before = {layer: layer.visible for layer in self.viewer.layers}
        for layer in before:
            layer.visible = layer in visible
        self.pause()
        path = self.folder / "frames" / f"{self.sample}-{name}.png"
        path.parent.mkdir(exist_ok=True)
        self.viewer.screenshot(str(path), canvas_only=True, flash=False)
        for layer, shown in before.items():
            layer.visible = shown


def cut(dock: Any) -> list[str]:
    """Return the texts of a dock that are wider than their place."""
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QTabBar

    from napari_clusternet._napari.frames import Shortening

    found = []
    for widget in dock.findChildren(QAbstractButton) + dock.findChildren(QLabel):
        text = widget.text().replace("&", "")
        wraps = isinstance(widget, QLabel) and (widget.wordWrap() or "<" in text)
        if not widget.isVisible() or not text or wraps or isinstance(widget.parent(), QTabBar):
            continue
        if widget.fontMetrics().horizontalAdvance(text) > widget.width():
            found.append(text)
    for widget in dock.findChildren(QComboBox):
        room = widget.width() - widget.fontMetrics().height() - 6  # the arrow
        text, shortens = widget.currentText(), widget.findChild(Shortening)
        wide = widget.fontMetrics().horizontalAdvance(text) > room
        if wide and shortens is None and widget.isVisible():
            found.append(f"choice {text!r}")
    for widget in dock.findChildren(QLabel):
        lines = widget.isVisible() and widget.wordWrap() and widget.text()
        if lines and widget.heightForWidth(widget.width()) > widget.height() + 2:
            found.append(f"lines of {widget.text()!r}")
    return found


# ---- a workflow ----------------------------------------------------------------------------------


def draw(sample: str, folder: Path) -> list[str]:
    """Go from the sample to its classes, with pictures of every step; return cut texts."""
    studio = Studio(sample, folder)
    empty_docks(studio)
    studio.viewer.open_sample(PLUGIN, sample)
    studio.viewer.window.resize(*WINDOW)
    image = studio.viewer.layers[sample]
    middle_of_strokes(studio)
    learn(studio, image)
    regions(studio, image)
    classify(studio, image)
    clusters(studio)
    export(studio)
    frames(studio, image)
    studio.viewer.close()
    return studio.cut


def middle_of_strokes(studio: Studio) -> None:
    """Look at the plane of a volume with the most strokes."""
    import numpy as np

    strokes = np.asarray(studio.viewer.layers[f"{studio.sample} strokes"].data)
    if strokes.ndim == 3:
        in_plane = (strokes > 0).reshape(len(strokes), -1).sum(1)
        studio.viewer.dims.set_current_step(0, int(in_plane.argmax()))


def empty_docks(studio: Studio) -> None:
    """Show every dock before there is an image."""
    if studio.sample != "rmnp":
        return
    for key in DOCKS:
        with studio.dock(key) as dock:
            studio.shoot_dock(f"empty-{key}", dock)


def unfold(dock: Any) -> None:
    """Open all that is folded."""
    from napari_clusternet._napari.frames import Fold

    for fold in dock.findChildren(Fold):
        fold.expand()


def learn(studio: Studio, image: Any) -> None:
    """Learn features, and show them."""
    control = studio.control
    with studio.dock("learn") as dock:
        studio.shoot_dock("learn-before", dock)
        control.learn(image, preset="quick", random_state=0,
                      **WORKFLOWS[studio.sample]["learning"])  # fmt: skip
        half = lambda: control.curve and control.curve[-1].done > 0.6 * control.curve[-1].total  # noqa: E731
        studio.wait(lambda: half() or not control.runner.busy)
        control.pause()
        studio.pause()
        control.resume()
        studio.shoot("learn", dock)
        studio.idle()
        control.show_features(image)
        studio.idle()
        studio.shoot("features", dock)
        unfold(dock)
        studio.shoot_dock("learn-advanced", dock)
    for layer in list(studio.viewer.layers):
        layer.visible = layer.visible and "features" not in layer.name


def regions(studio: Studio, image: Any) -> None:
    """Divide the image without strokes."""
    with studio.dock("regions") as dock:
        dock.method.value = WORKFLOWS[studio.sample]["method"]
        studio.control.find_regions(image, method=dock.method.value)
        studio.idle()
        studio.shoot("regions", dock)
        unfold(dock)
        studio.shoot_dock("regions-advanced", dock)
    for found in studio.control.found_regions:
        found.layer.visible = False


def classify(studio: Studio, image: Any) -> None:
    """Give the clusters classes by the strokes that come with the sample."""
    control = studio.control
    with studio.dock("classify") as dock:
        studio.shoot_dock("classify-before", dock)
        studio.viewer.layers.selection.active = image
        control.segment(image, n_clusters=400)
        studio.idle()
        studio.shoot("classify", dock)
        control.suggest()
        studio.shoot("suggest", dock)
        studio.viewer.layers.remove("next stroke")
        middle_of_strokes(studio)
        studio.viewer.reset_view()
        control.show_certainty()
        studio.shoot("certainty")
        control.show_certainty(False)
        unfold(dock)
        studio.shoot_dock("classify-advanced", dock)


def clusters(studio: Studio) -> None:
    """Look at some clusters."""
    control = studio.control
    with studio.dock("clusters") as dock:
        studio.shoot_dock("clusters-none", dock)
        largest = control.session.clusters["pixels"].nlargest(6).index
        control.select([int(cluster) for cluster in largest])
        studio.shoot("clusters", dock)
        unfold(dock)
        studio.shoot("clusters-plots", dock)
        control.select(())
        control.show_clusters()
        studio.shoot("clusters-all")
        control.show_clusters(False)


def export(studio: Studio) -> None:
    """Look at what can be written."""
    with studio.dock("export") as dock:
        studio.shoot("export", dock)


def frames(studio: Studio, image: Any) -> None:
    """Draw the frames of the strip."""
    control, viewer = studio.control, studio.viewer
    viewer.reset_view()
    control.show_clusters()
    control.show_certainty()
    studio.pause()
    active = control.active
    shown = {
        "strokes": [image, thicker(viewer, active.strokes_layer)],
        "features": [image, viewer.layers[f"{image.name} features"]],
        "clusters": [control.clusters_layer],
        "classes": [image, active.labels_layer],
        "certainty": [image, active.certainty_layer],
    }
    for name, layers in shown.items():
        studio.frame(name, *layers)


def thicker(viewer: Any, strokes: Any) -> Any:
    """Add strokes that are seen in a small picture, too."""
    from scipy.ndimage import grey_dilation

    data = strokes.data
    wide = grey_dilation(data, size=(1,) * (data.ndim - 2) + ((9, 9) if data.ndim == 2 else (3, 3)))
    return viewer.add_labels(
        wide, colormap=strokes.colormap, opacity=1, affine=strokes.affine, units=strokes.units,
        axis_labels=strokes.axis_labels,
    )  # fmt: skip


# ---- pictures of the pages -----------------------------------------------------------------------


def strip(folder: Path, path: Path, width: int = 300, gap: int = 8) -> None:
    """Put the frames of a scene and a volume beside each other, captions above.

    The frames are cut to what is not the canvas's black.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    rows = []
    for sample in ("rmnp", "mni152"):
        files = [Image.open(folder / "frames" / f"{sample}-{name}.png").convert("RGB")
                 for name in FRAMES]  # fmt: skip
        there = np.max([np.asarray(file).max(2) for file in files], axis=0) > 12
        ys, xs = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
        box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
        height = round(width * (box[3] - box[1]) / (box[2] - box[0]))
        rows.append([f.crop(box).resize((width, height), Image.Resampling.LANCZOS) for f in files])
    top, font = 30, ImageFont.load_default(15)
    size = (len(FRAMES) * (width + gap) - gap, top + sum(row[0].height + gap for row in rows) - gap)
    picture = Image.new("RGB", size, "white")
    ink = ImageDraw.Draw(picture)
    for i, caption in enumerate(CAPTIONS):
        ink.text((i * (width + gap) + 2, 5), caption, fill="black", font=font)
    y = top
    for row in rows:
        for i, file in enumerate(row):
            picture.paste(file, (i * (width + gap), y))
        y += row[0].height + gap
    save_small(picture, path)


def save_small(picture: Any, path: Path) -> None:
    """Write a PNG of 256 colours."""
    from PIL import Image

    # this way the colour of a small swatch is kept, too
    few = picture.convert("RGB").quantize(
        256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )
    few.save(path, optimize=True)


def for_pages(folder: Path, pages: Path) -> None:
    """Make the pictures that pages show smaller, and the strip."""
    from PIL import Image

    for name, width in SHOWN.items():
        picture = Image.open(folder / f"{name}.png").convert("RGB")
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        save_small(picture, pages / f"{name}.png")
    strip(folder, pages / "workflow.png")


def main() -> int:
    """Draw all workflows at all scales, each in a program of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", type=Path, help="folder of the pictures that pages show")
    parser.add_argument("--samples", nargs="+", default=list(WORKFLOWS), choices=list(WORKFLOWS))
    parser.add_argument("--scales", nargs="+", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--draw", help=argparse.SUPPRESS)  # one sample, in this program
    asked = parser.parse_args()
    if asked.draw:
        print(*draw(asked.draw, asked.folder), sep="\n")
        return 0
    failed = False
    for scale in asked.scales:
        folder = (asked.folder / scale).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for sample in asked.samples:
            with tempfile.TemporaryDirectory() as home:  # settings of a first start
                own = {"NAPARI_CONFIG": f"{home}/napari.yaml", "XDG_DATA_HOME": f"{home}/data",
                       "QT_SCALE_FACTOR": SCALES[scale]}  # fmt: skip
                command = [sys.executable, __file__, str(folder), "--draw", sample]
                ended = subprocess.run(command, env=os.environ | own, check=False)  # noqa: S603
                failed |= ended.returncode != 0
    if asked.docs and not failed:
        asked.docs.mkdir(parents=True, exist_ok=True)
        for_pages(asked.folder / "100", asked.docs)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
