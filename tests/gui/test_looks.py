"""Narrow docks, all unfolded, long names, many classes: no text is cut, nothing overlaps."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn

PLUGIN = "napari-clusternet"
LONG = "LC08_L1TP_034032_20130429_20200913_02_T1_surface_reflectance"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = Path(__file__).parents[2] / "docs" / "make_screenshots.py"
    spec = importlib.util.spec_from_file_location("screenshots", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def below_each_other(parent: Any) -> Iterator[str]:
    """Yield what covers its neighbour in a layout, anywhere in a dock."""
    from qtpy.QtWidgets import QWidget

    for holder in (parent, *parent.findChildren(QWidget)):
        layout = holder.layout()
        if layout is None or not holder.isVisible():
            continue
        placed = [layout.itemAt(i).widget() for i in range(layout.count())]
        shown = [widget for widget in placed if widget is not None and widget.isVisible()]
        for i, one in enumerate(shown):
            for other in shown[i + 1 :]:
                if one.geometry().intersects(other.geometry()):
                    yield f"{one} over {other}"


@pytest.mark.slow  # every dock, unfolded, in a real window
def test_no_text_is_cut_and_nothing_overlaps(
    make_napari_viewer: Any, qtbot: Any, maker: ModuleType
) -> None:
    from qtpy.QtCore import Qt

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 700)
    control = cn.current(viewer)
    rng = np.random.default_rng(0)
    layer = viewer.add_image(rng.random((12, 40, 50)), name=LONG, axis_labels=("band", "y", "x"))
    strokes = np.zeros((40, 50), np.uint8)
    strokes[::5, :20] = np.arange(1, 9)[:, None]
    names = [f"buildings, grass and trees {i}" for i in range(1, 9)]
    viewer.add_labels(strokes, name=f"{LONG} strokes", metadata={"class_names": names})
    control.find_regions(layer, method="kmeans", n_clusters=4)
    control.runner.wait()
    control.segment(layer, features="bands", n_clusters=20)
    control.runner.wait()
    control.select([1, 2])
    for title in maker.DOCKS.values():
        area, dock = viewer.window.add_plugin_dock_widget(PLUGIN, title, tabify=False)
        maker.unfold(dock)

        def narrow(dock: Any = dock, area: Any = area) -> bool:  # once it is laid out
            viewer.window._qt_window.resizeDocks([area], [300], Qt.Orientation.Horizontal)
            return dock.width() <= 310

        def looks_well(dock: Any = dock) -> bool:
            return not (maker.cut(dock) or [*below_each_other(dock)])

        qtbot.waitUntil(narrow, timeout=20000)
        with contextlib.suppress(qtbot.TimeoutError):
            qtbot.waitUntil(looks_well, timeout=20000)  # laid out by now
        assert not maker.cut(dock), title
        assert not [*below_each_other(dock)], title
        viewer.window.remove_dock_widget(area)


def test_what_is_cut_would_be_found(make_napari_viewer: Any, qtbot: Any, maker: ModuleType) -> None:
    from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

    holder = QWidget()
    qtbot.addWidget(holder)
    button, label = QPushButton("much too long for so narrow a button"), QLabel("word " * 30)
    label.setWordWrap(True)
    label.setFixedHeight(10)
    for part in (button, label):
        QVBoxLayout.addWidget(holder.layout() or QVBoxLayout(holder), part)
        part.setMinimumWidth(0)
        part.setMaximumWidth(50)
    holder.show()
    qtbot.wait(20)
    found = maker.cut(holder)
    assert "much too long for so narrow a button" in found
    assert any(text.startswith("lines of") for text in found)
