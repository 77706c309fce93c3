"""Draw the documentation's screenshots: the real viewer, driven by script.

    xvfb-run -a -s "-screen 0 1800x1300x24" python docs/make_screenshots.py docs/images

Run it once more with QT_SCALE_FACTOR=1.5 and another folder to see the docks at 150 %.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

import napari_clusternet as cn

PLUGIN = "napari-clusternet"
DOCKS = {"learn": "Learn features", "classify": "Classify", "clusters": "Clusters",
         "export": "Apply and export"}  # fmt: skip


def wait(ready, seconds: float = 300) -> None:
    """Let the viewer work until something is so."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.005)


def pause(seconds: float = 0.5) -> None:
    """Let the viewer draw."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def shoot(viewer, folder: Path, name: str) -> None:
    """Keep the whole window, and each dock alone."""
    pause()
    viewer.window.screenshot(str(folder / f"{name}.png"), flash=False)


def workflow(sample: str, folder: Path, **learning) -> None:
    """From the sample to classes, with a picture of every step."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 1000)
    viewer.open_sample(PLUGIN, sample)
    control = cn.current(viewer)
    image = viewer.layers[sample]

    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS["learn"], tabify=False)
    control.learn(image, preset="quick", **learning)
    wait(lambda: control.runner.busy)
    pause(4)
    shoot(viewer, folder, f"{sample}-learn")
    wait(lambda: not control.runner.busy)
    control.show_features(image)
    wait(lambda: not control.runner.busy)
    shoot(viewer, folder, f"{sample}-features")
    viewer.window.remove_dock_widget(dock)
    for layer in list(viewer.layers):
        if "features" in layer.name:
            layer.visible = False

    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS["classify"], tabify=False)
    segmentation = control.segment(image)
    wait(lambda: segmentation.session is not None)
    if viewer.dims.ndim == 3 and segmentation.image.ndim == 3:
        strokes = segmentation.strokes_layer.data
        viewer.dims.set_current_step(0, int(np.argmax(strokes.reshape(len(strokes), -1).sum(1))))
    shoot(viewer, folder, f"{sample}-classify")
    control.show_certainty()
    shoot(viewer, folder, f"{sample}-certainty")
    control.show_certainty(False)
    viewer.window.remove_dock_widget(dock)

    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS["clusters"], tabify=False)
    largest = control.session.clusters["pixels"].nlargest(3).index
    control.select([int(cluster) for cluster in largest])
    shoot(viewer, folder, f"{sample}-clusters")
    control.select(())
    viewer.window.remove_dock_widget(dock)

    viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS["export"], tabify=False)
    shoot(viewer, folder, f"{sample}-export")
    viewer.close()


def main() -> None:
    """Draw the satellite and the brain workflow."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    workflow("rmnp", folder, n_epochs=3)
    workflow("indian-pines", folder, n_epochs=3)
    workflow("mni152", folder, n_epochs=2)


if __name__ == "__main__":
    main()
