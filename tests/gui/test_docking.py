"""Docks lie on one another as tabs, and say what runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from qtpy.QtWidgets import QLabel

from napari_clusternet._napari.classify_dock import ClassifyDock
from napari_clusternet._napari.clusters_dock import ClustersDock
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.docking import open_dock
from napari_clusternet._napari.going import STOPPING, Going
from napari_clusternet.progress import Progress


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


def test_a_second_dock_is_a_tab_on_the_first(viewer: Any, qtbot: Any) -> None:
    window = viewer.window._qt_window
    # as napari's menu adds them: one below the other
    other = viewer.window.add_dock_widget(QLabel("of another plugin"), name="other")
    first = viewer.window.add_dock_widget(ClassifyDock(viewer), name="Classify (ClusterNet)")
    qtbot.wait(50)
    assert not window.tabifiedDockWidgets(first)
    second = viewer.window.add_dock_widget(ClustersDock(viewer), name="Clusters (ClusterNet)")
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(second) == [first], timeout=5000)
    assert [first.windowTitle(), second.windowTitle()] == ["Classify", "Clusters"]
    assert not window.tabifiedDockWidgets(other)


def test_a_dock_is_opened_once(viewer: Any) -> None:
    dock = open_dock(viewer, ClassifyDock, "Classify")
    assert open_dock(viewer, ClassifyDock, "Classify") is dock
    assert list(viewer.window.dock_widgets) == ["Classify (ClusterNet)"]


def test_what_runs_is_said_with_figures_where_they_are_wanted(viewer: Any, qtbot: Any) -> None:
    runner, go_on = current(viewer).runner, threading.Event()
    plain, full = Going(runner), Going(runner, figures=True)
    for part in (plain, full):
        qtbot.addWidget(part)
        assert part.isHidden()

    def steps() -> Iterator[Progress]:
        yield Progress("counting", 3, 8, {"loss": 0.25})
        go_on.wait(20)
        yield Progress("counting", 4, 8)

    assert runner.start("Work", steps, lambda _: None)
    assert not plain.isHidden()
    qtbot.waitUntil(lambda: plain.bar.value == 3, timeout=5000)
    assert plain.bar.max == 8
    assert plain.status.text() == "Work: counting, 3 of 8"
    assert full.status.text() == "Work: counting, 3 of 8, loss 0.25"
    plain.cancel.native.click()
    assert plain.status.text() == STOPPING
    assert not plain.cancel.enabled
    go_on.set()
    assert runner.wait(20)
    assert plain.isHidden()
    assert full.isHidden()
