"""What all window tests share: nothing may be left behind by any of them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

#: Threads of pools that live as long as the program, by the beginnings of their names.
POOLS = ("ThreadPoolExecutor", "Dummy", "IPython", "tqdm", "pydevd", "asyncio", "dask", "zarr_io")
#: How long what was told to end may take to do so, seconds.
GRACE = 3.0


def _settle(is_clean: Any, seconds: float = GRACE) -> None:
    """Let the window's events happen until all is clean, or for so long."""
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    deadline = time.monotonic() + seconds
    while True:
        if QApplication.instance() is not None:
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            QApplication.processEvents()
        if is_clean() or time.monotonic() > deadline:
            return
        time.sleep(0.01)


def _is_active(timer: Any) -> bool:
    try:
        return bool(timer.isActive())
    except RuntimeError:  # Qt has deleted it
        return False


@pytest.fixture(autouse=True)
def _nothing_is_left(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that leaves threads, running work, timers or viewers' controllers behind."""
    from qtpy.QtCore import QTimer

    from napari_clusternet._napari.controller import _CONTROLLERS
    from napari_clusternet._napari.worker import THREAD_NAME

    timers: WeakSet[Any] = WeakSet()
    start = QTimer.start

    def note(timer: Any, *arguments: Any) -> None:
        timers.add(timer)
        start(timer, *arguments)

    monkeypatch.setattr(QTimer, "start", note)
    before = set(threading.enumerate())

    def threads() -> list[str]:
        new = set(threading.enumerate()) - before
        return [t.name for t in new if t.name == THREAD_NAME or not t.name.startswith(POOLS)]

    def running() -> list[str]:
        return [f"timer of {t.interval()} ms" for t in timers if _is_active(t)]

    def viewers() -> list[str]:
        return [f"controller of {viewer.title!r}" for viewer in _CONTROLLERS]

    yield
    _settle(lambda: not (threads() or running() or viewers()))
    found = [*threads(), *running(), *viewers()]
    if viewers():
        _CONTROLLERS.clear()
        gc.collect()
    report = getattr(request.node, "rep_call", None)
    if found and not (report is not None and report.failed):
        pytest.fail(f"left behind: {', '.join(found)}")


@pytest.fixture(autouse=True)
def _own_user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep unfinished trainings in the test's folder."""
    monkeypatch.setattr(
        "napari_clusternet._napari.checkpoints.platformdirs.user_data_dir",
        lambda *_, **__: str(tmp_path / "user"),
    )


@pytest.fixture(autouse=True)
def _no_refining(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep labels as the strokes gave them, but in tests of refining."""
    if request.node.get_closest_marker("refining") is None:
        monkeypatch.setattr(
            "napari_clusternet._napari.refining.Refiner.schedule", lambda _self: None
        )


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the user was told by notifications during the test, as texts."""
    from napari.utils.notifications import notification_manager

    texts: list[str] = []

    def note(notification: Any) -> None:
        texts.append(str(notification.message))

    notification_manager.notification_ready.connect(note)
    yield texts
    notification_manager.notification_ready.disconnect(note)
