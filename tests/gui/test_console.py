"""`cn.current(viewer)` in napari's own console: what is done there the docks show, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_clusternet._napari.classify_dock import ClassifyDock

pytest.importorskip("napari_console", reason="napari's console is not installed")


class Console:
    """napari's console, fed with lines as if they were typed.

    It is made here, because napari's fixture for tests puts an empty widget in its place.
    """

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        from napari_console import QtConsole

        self._console = QtConsole(viewer)
        viewer.window._qt_viewer.console = self._console
        self.shell, self._qtbot = self._console.shell, qtbot
        self("import napari_clusternet as cn")
        self("control = cn.current(viewer)")

    def __call__(self, line: str) -> Any:
        """Run a line; return what it evaluates to."""
        outcome = self.shell.run_cell(line)
        outcome.raise_error()
        return outcome.result

    def wait(self, expression: str) -> None:
        self._qtbot.waitUntil(lambda: bool(self(expression)), timeout=120_000)


def halves() -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 40, (40, 60, 3))
    values[:, 30:] += 180
    return values.astype(np.uint8)


def test_console_and_dock_follow_each_other(
    make_napari_viewer: Callable[..., Any], qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    layer = viewer.add_image(halves(), rgb=True, name="scene")
    dock = ClassifyDock(viewer)
    qtbot.addWidget(dock)
    console = Console(viewer, qtbot)
    assert console("cn.current()") is console("control")  # with and without naming the viewer

    console("segmentation = control.segment(features='bands', n_clusters=8)")
    assert dock.going.cancel.native.isVisibleTo(dock)
    console.wait("control.session is not None")
    assert dock.strokes.value is viewer.layers["scene strokes"]
    console("control.strokes_layer.data[5:30, 5] = 1")
    console("control.strokes_layer.data[5:30, 50] = 2")
    labels = console("control.update()")
    np.testing.assert_array_equal(viewer.layers["scene classes"].data, labels)
    assert set(np.unique(labels)) == {1, 2}
    assert [dock.table.item(row, 2).text() for row in (0, 1)] == ["25", "25"]
    assert dock.undo.enabled

    console("control.classes.rename(1, 'lake')")
    assert dock.table.item(0, 1).text() == "lake"
    console("control.threshold = 0.4")
    assert dock.threshold.value == 0.4
    console("control.session.assign(int(control.session.cluster_map[0, 0]), 2)")
    assert viewer.layers["scene classes"].data[0, 0] == 2
    console("control.session.undo()")
    np.testing.assert_array_equal(viewer.layers["scene classes"].data, labels)

    dock.table.item(1, 1).setText("shore")
    assert console("control.classes.names") == {1: "lake", 2: "shore"}
    dock.table.selectRow(1)
    assert console("control.strokes_layer.selected_label") == 2
    dock.undo.native.click()  # the threshold
    assert console("control.threshold") == 0.3
    assert console("control.image.shape") == (40, 60)
    viewer.layers.remove(layer)
    assert console("control.session") is None
    assert not dock.undo.enabled
