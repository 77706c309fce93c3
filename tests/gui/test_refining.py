"""Between strokes the session is refined, beside the window."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet._napari import refining
from napari_clusternet._napari.classify_dock import REFINING, ClassifyDock
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.preferences import Preferences

pytestmark = [pytest.mark.gui, pytest.mark.refining]


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


@pytest.fixture
def segmentation(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(refining, "IDLE_MS", 20)
    rng = np.random.default_rng(0)
    grey = np.repeat([0.0, 4.0, 8.0, 12.0], 16)[None].repeat(48, 0)
    layer = viewer.add_image(grey + rng.normal(0, 0.3, grey.shape), name="scene")
    control = current(viewer)
    found = control.segment(layer, features="bands", n_clusters=6)
    qtbot.waitUntil(lambda: control.session is not None, timeout=60_000)
    return found


def strokes(segmentation: Any, qtbot: Any) -> None:
    """Three strokes a class: the outer stripes against the inner ones."""
    layer = segmentation.strokes_layer
    data = layer.data.copy()
    for column, row in ((3, 4), (58, 20), (8, 36)):
        data[row : row + 8, column] = 1
    for column, row in ((24, 4), (40, 20), (28, 36)):
        data[row : row + 8, column] = 2
    layer.data = data
    taken(segmentation, qtbot)


def taken(segmentation: Any, qtbot: Any) -> None:
    """Wait until the session has the strokes of the layer."""
    data = segmentation.strokes_layer.data
    qtbot.waitUntil(lambda: np.array_equal(segmentation.session.strokes, data), timeout=20_000)


def refined(segmentation: Any) -> np.ndarray:
    """What the same calls give without a window."""
    alone = cn.Session(segmentation.image, "bands", n_clusters=6)
    alone.update(segmentation.strokes_layer.data)
    return alone.refine()


def test_labels_become_those_of_refine(segmentation: Any, qtbot: Any) -> None:
    before = []
    segmentation.session.subscribe(lambda session: before.append(session.labels.copy()))
    strokes(segmentation, qtbot)
    qtbot.waitUntil(lambda: len(before) == 2 and not segmentation.refiner.busy, timeout=60_000)
    np.testing.assert_array_equal(segmentation.labels_layer.data, refined(segmentation))
    segmentation.session.undo()
    assert not segmentation.session.labels.any()
    assert not segmentation.strokes_layer.data.any()


def test_a_stroke_meanwhile_goes_before(
    segmentation: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = segmentation.session
    wait, begun = threading.Event(), threading.Event()
    steps = session.refine_steps

    def slow() -> Any:
        begun.set()
        wait.wait(20)
        return steps()

    monkeypatch.setattr(session, "refine_steps", slow)
    strokes(segmentation, qtbot)
    qtbot.waitUntil(begun.is_set, timeout=20_000)
    monkeypatch.setattr(session, "refine_steps", steps)
    data = segmentation.strokes_layer.data.copy()
    data[10:20, 30] = 2
    segmentation.strokes_layer.data = data  # answered at once, though the other waits
    taken(segmentation, qtbot)
    assert session.labels.any()
    wait.set()
    qtbot.waitUntil(lambda: not segmentation.refiner.busy, timeout=60_000)
    alone = cn.Session(segmentation.image, "bands", n_clusters=6)
    first = np.array(data)
    first[10:20, 30] = 0
    alone.update(first)
    alone.update(data)
    np.testing.assert_array_equal(segmentation.labels_layer.data, alone.refine())


def test_it_gives_way_to_a_stroke_that_is_being_painted(
    segmentation: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, ended = segmentation.session.refine_steps, []

    def endless() -> Any:
        try:
            while True:
                time.sleep(0.005)
                yield None
        finally:
            ended.append(True)

    monkeypatch.setattr(segmentation.session, "refine_steps", endless)
    strokes(segmentation, qtbot)
    qtbot.waitUntil(lambda: segmentation.refiner._worker is not None, timeout=20_000)
    monkeypatch.setattr(segmentation.session, "refine_steps", steps)
    layer = segmentation.strokes_layer
    layer.selected_label = 2
    with layer.block_history():  # as long as the button is down
        layer.paint((15, 30), 2)
        qtbot.waitUntil(lambda: bool(ended), timeout=20_000)
        qtbot.wait(3 * refining.IDLE_MS)
        assert not segmentation.refiner.busy
    taken(segmentation, qtbot)
    qtbot.waitUntil(lambda: not segmentation.refiner.busy, timeout=60_000)
    assert segmentation.session.labels[15, 30] == 2


def test_a_look_elsewhere_neither_begins_it_anew_nor_stops_it(
    segmentation: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, wait, steps = [], threading.Event(), segmentation.session.refine_steps

    def slow() -> Any:
        begun.append(True)
        wait.wait(20)
        return (yield from steps())

    monkeypatch.setattr(segmentation.session, "refine_steps", slow)
    strokes(segmentation, qtbot)
    qtbot.waitUntil(lambda: segmentation.is_refining, timeout=20_000)
    segmentation.strokes_layer.refresh()  # what another plane of a volume does
    qtbot.wait(200)
    assert segmentation.is_refining
    wait.set()
    qtbot.waitUntil(lambda: not segmentation.refiner.busy, timeout=60_000)
    segmentation.strokes_layer.refresh()
    qtbot.wait(200)
    assert not segmentation.refiner.busy
    assert len(begun) == 1
    segmentation.refiner.hold()
    np.testing.assert_array_equal(segmentation.labels_layer.data, refined(segmentation))


def test_it_can_be_turned_off(
    segmentation: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "preferences", lambda: Preferences(refine=False))
    strokes(segmentation, qtbot)
    assert not segmentation.refiner.busy
    assert segmentation.session.labels.any()


def test_the_dock_says_so_until_it_is_done(
    segmentation: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock, wait, steps = ClassifyDock(viewer), threading.Event(), segmentation.session.refine_steps
    qtbot.addWidget(dock)

    def slow() -> Any:
        wait.wait(20)
        return (yield from steps())

    monkeypatch.setattr(segmentation.session, "refine_steps", slow)
    assert dock.refining.text() == ""
    strokes(segmentation, qtbot)
    qtbot.waitUntil(lambda: dock.refining.text() == REFINING, timeout=20_000)
    segmentation.refiner.hold()  # a stroke begins: this one comes to nothing
    assert dock.refining.text() == ""
    wait.set()
    segmentation.refiner.schedule()
    qtbot.waitUntil(lambda: dock.refining.text() == REFINING, timeout=20_000)
    qtbot.waitUntil(lambda: not segmentation.refiner.busy, timeout=60_000)
    assert dock.refining.text() == ""
    np.testing.assert_array_equal(segmentation.labels_layer.data, refined(segmentation))


def test_closing_the_viewer_ends_it(segmentation: Any, viewer: Any, qtbot: Any) -> None:
    strokes(segmentation, qtbot)
    qtbot.waitUntil(lambda: segmentation.refiner._worker is not None, timeout=20_000)
    viewer.close()  # what is left behind is looked for after every test
