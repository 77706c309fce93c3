"""Hours of work: what was closed is freed, and the canvas outlives its layers."""

from __future__ import annotations

import gc
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from napari_clusternet.progress import Progress

napari = pytest.importorskip("napari")

from napari_clusternet._napari.controller import current  # noqa: E402
from napari_clusternet._napari.worker import Worker  # noqa: E402

OPTIONS: dict[str, Any] = {"features": "bands", "n_clusters": 8}


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


def begin(viewer: Any, qtbot: Any) -> Any:
    """Segment an image with a stroke of each of two classes; return its segmentation."""
    values = np.random.default_rng(0).integers(0, 200, (40, 50)).astype(np.uint8)
    found = current(viewer).segment(viewer.add_image(values, name="scene"), **OPTIONS)
    qtbot.waitUntil(lambda: found.session is not None, timeout=60_000)
    for row, class_ in ((3, 1), (30, 2)):
        found.strokes_layer.data_setitem((np.full(9, row), np.arange(9)), class_)
    qtbot.waitUntil(lambda: (found.session.stroke_counts > 0).sum() == 2, timeout=20_000)
    return found


def is_freed(reference: Any, qtbot: Any) -> None:
    def gone() -> bool:
        gc.collect()
        return reference() is None

    qtbot.waitUntil(gone, timeout=10_000)


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        "all layers removed",
        pytest.param("strokes removed", marks=pytest.mark.slow),
        pytest.param("image replaced", marks=pytest.mark.slow),
    ],
)
def test_a_session_that_has_ended_is_freed(viewer: Any, qtbot: Any, way: str) -> None:
    segmentation = begin(viewer, qtbot)
    current(viewer).show_certainty()
    current(viewer).select(1)
    references = weakref.ref(segmentation.session), weakref.ref(segmentation)
    if way == "all layers removed":
        viewer.layers.clear()
    elif way == "strokes removed":
        viewer.layers.remove(segmentation.strokes_layer)
    else:
        viewer.layers["scene"].data = np.zeros((40, 50), np.uint8)
    del segmentation
    if way == "image replaced":  # its strokes stay, and what says what they are
        references = references[:1]
    for reference in references:
        is_freed(reference, qtbot)


def test_work_that_overlaps_leaves_no_hook_of_warnings(qtbot: Any) -> None:
    class Held:
        """What a piece of work holds: a session, for example."""

        def __init__(self) -> None:
            self.go = threading.Event()

        def steps(self) -> Generator[Progress, None, None]:
            yield Progress("waiting", 0, 1)
            self.go.wait(20)

    def begun() -> tuple[Held, Worker]:
        held = Held()
        worker = Worker(held.steps, lambda _: None, lambda *_: None, lambda _: None)
        worker.start()
        qtbot.waitUntil(lambda: warnings.showwarning is not before, timeout=20_000)
        return held, worker

    def end(held: Held, worker: Worker) -> None:
        held.go.set()
        worker._thread.join(20)

    before = warnings.showwarning
    first, second = begun(), begun()
    references = [weakref.ref(held) for held, _ in (first, second)]
    end(*first)
    with warnings.catch_warnings():  # as the window does while strokes are taken
        warnings.simplefilter("ignore")
        end(*second)
    del first, second
    time.sleep(0.05)
    for reference in references:
        is_freed(reference, qtbot)
    with warnings.catch_warnings(record=True) as caught:  # and warnings are heard as before
        warnings.simplefilter("always")
        warnings.warn("heard", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["heard"]


def test_warnings_of_overlapping_work_go_each_to_its_own(qtbot: Any) -> None:
    told: dict[str, list[str]] = {"a": [], "b": []}
    both = threading.Barrier(2)

    def steps(name: str) -> Callable[[], Generator[Progress, None, None]]:
        def run() -> Generator[Progress, None, None]:
            yield Progress("warning", 0, 1)
            both.wait(20)
            warnings.warn(f"from {name}", UserWarning, stacklevel=1)
            both.wait(20)

        return run

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        workers = [
            Worker(steps(name), lambda _: None, lambda *_: None, told[name].append) for name in told
        ]
        for worker in workers:
            worker.start()
        qtbot.waitUntil(lambda: all(told.values()), timeout=20_000)
        for worker in workers:
            worker._thread.join(20)
    assert told == {"a": ["from a"], "b": ["from b"]}


# ---- the canvas ----------------------------------------------------------------------------------


def test_layers_are_removed_in_the_context_of_the_canvas(
    make_napari_viewer: Callable[..., Any], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what napari deletes on the graphics card is not its own, and the driver crashes."""
    from qtpy.QtGui import QOpenGLContext
    from qtpy.QtWidgets import QApplication

    viewer = make_napari_viewer(show=True)
    current(viewer)
    canvas = viewer.window._qt_viewer.canvas
    names = []

    def note(context: Any) -> None:
        here, own = QOpenGLContext.currentContext(), canvas.native.context()
        names.append("the canvas's" if here == own else "another")

    monkeypatch.setattr(type(canvas._scene_canvas.context), "finish", note)
    for remove in (lambda: viewer.layers.clear(), lambda: viewer.layers.remove("b")):
        viewer.add_labels(np.zeros((40, 50), np.uint8), name="a")
        viewer.add_labels(np.ones((40, 50), np.uint8), name="b")
        qtbot.waitUntil(canvas.native.isValid, timeout=20_000)
        for _ in range(20):  # the window is drawn, which is done in a context of Qt's
            QApplication.processEvents()
        remove()
    assert set(names) == {"the canvas's"}
