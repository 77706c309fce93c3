"""Long work beside the window: its end, its faults, and that nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.progress import Progress

napari = pytest.importorskip("napari")

from napari_clusternet._napari.runner import Runner, in_words  # noqa: E402


@pytest.fixture
def runner(qtbot: Any) -> Iterator[Runner]:
    made = Runner()
    yield made
    made.close()


def _count(n: int, pause: float = 0.0, kept: list[str] | None = None) -> Any:
    def steps() -> Generator[Progress, None, int]:
        try:
            for i in range(n):
                time.sleep(pause)
                yield Progress("counting", i + 1, n)
        finally:
            if kept is not None:
                kept.append("closed")
        return n

    return steps


def test_the_result_arrives_in_the_windows_thread(runner: Runner) -> None:
    results: list[int] = []
    assert runner.start("Counting", _count(5), results.append)
    assert runner.busy
    assert runner.title == "Counting"
    assert runner.wait(5)
    assert results == [5]
    assert runner.title == ""


def test_cancel_stops_at_the_next_step_and_says_what_is_kept(
    runner: Runner, told: list[str]
) -> None:
    kept: list[str] = []
    results: list[int] = []
    runner.start("Counting", _count(10_000, 0.02, kept), results.append, stopped=lambda: "Kept.")
    steps: list[Progress] = []
    runner.progressed.connect(steps.append)
    deadline = time.monotonic() + 5
    while not steps and time.monotonic() < deadline:
        runner.wait(0.05)
    runner.cancel()
    began = time.monotonic()
    assert runner.wait(5)
    assert time.monotonic() - began < 1.0  # a step of 20 ms, on a busy machine
    assert kept == ["closed"]
    assert results == []
    assert told[-1] == "Counting: cancelled. Kept."


def test_a_pause_holds_the_work_until_it_is_resumed(runner: Runner) -> None:
    results: list[int] = []
    runner.start("Counting", _count(20, 0.01), results.append)
    runner.pause()
    assert runner.paused
    assert not runner.wait(0.6)  # 20 steps of 10 ms would be over
    runner.resume()
    assert not runner.paused
    assert runner.wait(5)
    assert results == [20]


def test_what_is_paused_can_be_cancelled(runner: Runner) -> None:
    runner.start("Counting", _count(1000, 0.01), _fail)
    runner.pause()
    runner.wait(0.1)
    runner.cancel()
    assert runner.wait(5)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, InputError, MemoryError])
def test_an_error_is_shown_and_the_next_work_can_start(
    runner: Runner, told: list[str], kind: type[Exception]
) -> None:
    def steps() -> Generator[Progress, None, None]:
        yield Progress("failing", 1, 2)
        raise kind("no more of this")

    runner.start("Failing", steps, _fail)
    assert runner.wait(5)
    # ours are written for people; of others the kind is a hint
    prefix = "" if kind is InputError else f"{kind.__name__}: "
    assert told[-1] == f"Failing: {prefix}no more of this"
    results: list[int] = []
    assert runner.start("Counting", _count(2), results.append)
    assert runner.wait(5)
    assert results == [2]


def test_an_error_before_the_first_step_is_shown_too(runner: Runner, told: list[str]) -> None:
    def steps() -> Generator[Progress, None, None]:
        raise RuntimeError("not even one")

    runner.start("Failing", steps, _fail)
    assert runner.wait(5)
    assert told[-1].endswith("not even one")


def test_an_error_of_the_receiver_is_shown(runner: Runner, told: list[str]) -> None:
    runner.start("Counting", _count(1), _fail)
    assert runner.wait(5)
    assert "AssertionError" in told[-1]


def test_a_second_start_is_refused_and_the_first_goes_on(runner: Runner, told: list[str]) -> None:
    results: list[int] = []
    assert runner.start("First", _count(5, 0.01), results.append)
    assert not runner.start("Second", _count(7), results.append)
    assert "First is still running" in told[-1]
    assert runner.wait(5)
    assert results == [5]


def test_a_stale_result_is_discarded_with_a_notice(runner: Runner, told: list[str]) -> None:
    runner.start("Counting", _count(2), _fail, stale=lambda: "the image is gone")
    assert runner.wait(5)
    assert told[-1] == "Counting: the result was discarded, because the image is gone."


def test_numpy_warnings_neither_freeze_the_window_nor_flood_it(
    runner: Runner, told: list[str]
) -> None:
    def steps() -> Generator[Progress, None, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for i in range(300):
                np.zeros(2) / np.zeros(2)
                warnings.warn("one band is constant", UserWarning, stacklevel=1)
                yield Progress("dividing", i + 1, 300)
        return "done"

    results: list[str] = []
    runner.start("Dividing", steps, results.append)
    began, worst = time.monotonic(), 0.0
    while runner.busy and time.monotonic() - began < 10:
        last = time.monotonic()
        runner.wait(0.02)
        worst = max(worst, time.monotonic() - last)
    assert results == ["done"]
    assert worst < 0.5
    assert told.count("one band is constant") == 1  # said once; numpy's are only logged
    assert len(told) == 1


def test_the_activity_dock_has_a_bar_whose_cancel_works(runner: Runner) -> None:
    from napari.utils.progress import progress

    runner.start("Counting", _count(10_000, 0.01), _fail)
    (bar,) = progress._all_instances
    assert bar.desc.startswith("Counting")
    bar.cancel()
    assert runner.wait(5)
    assert not progress._all_instances


def test_the_time_left_leaves_pauses_out(runner: Runner) -> None:
    # 100 steps; 20 were done in 4 s, so 80 take 16 s; a pause of 1000 s changes nothing
    from napari_clusternet._napari import runner as module

    clock = [0.0]
    original = module.time.monotonic
    module.time.monotonic = lambda: clock[0]  # type: ignore[assignment]
    try:
        runner._measure(Progress("x", 0, 100))
        clock[0] = 4.0
        runner._measure(Progress("x", 20, 100))
        assert runner.seconds_left == pytest.approx(16.0)
        since, step = runner._first
        clock[0] = 1004.0
        runner._first = since + 1000.0, step
        runner._measure(Progress("x", 20, 100))
        assert runner.seconds_left == pytest.approx(16.0)
        runner._measure(Progress("another stage", 1, 3))
        assert runner.seconds_left is None
    finally:
        module.time.monotonic = original


def test_times_are_said_roughly() -> None:
    assert in_words(2) == "about 5 s"
    assert in_words(43) == "about 45 s"
    assert in_words(100) == "about 2 min"
    assert in_words(5400) == "about 1.5 h"


def test_closing_ends_a_step_that_would_go_on(qtbot: Any) -> None:
    """A step that never yields is left by an exception; its cleaning up is done."""
    runner, cleaned = Runner(), []

    def steps() -> Generator[Progress, None, None]:
        try:
            while True:
                sum(range(1000))
            yield Progress("never", 1, 1)
        finally:
            cleaned.append(True)

    runner.start("Looping", steps, _fail)
    time.sleep(0.1)
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < 1.6
    assert cleaned == [True]
    assert not runner.start("After", _count(1), _fail)


_CLOSING = """
import sys, time, numpy as np, napari
from qtpy.QtCore import QTimer
from napari_clusternet._napari.controller import current
viewer = napari.Viewer(show=True)
rng = np.random.default_rng(0)
viewer.add_image(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8), name="noise")
control = current(viewer)
control.learn(n_epochs=10_000, n_clusters=8, n_features=8, random_state=0,
              checkpoint=sys.argv[1], checkpoint_seconds=1e6)
def look():
    if len(control.curve) >= 2:
        print("closing", time.time(), time.process_time(), flush=True)
        viewer.window._qt_window.close()
    else:
        QTimer.singleShot(50, look)
look()
napari.run()
print("closed", time.time(), time.process_time(), flush=True)
"""


def test_closing_does_not_interrupt_what_is_being_saved(qtbot: Any) -> None:
    """A step that ends in time is followed by its saving, even if the wait for the step is over."""
    runner, saved = Runner(), []

    def steps() -> Generator[Progress, None, None]:
        try:
            while True:
                time.sleep(0.01)
                yield Progress("working", 1, 2)
        finally:
            for _ in range(80):  # longer than the wait for a step
                time.sleep(0.01)
            saved.append(True)

    runner.start("Learning", steps, _fail)
    time.sleep(0.1)
    runner.close()
    assert saved == [True]


@pytest.mark.slow
def test_closing_the_window_in_training_ends_the_program(tmp_path: Any) -> None:
    import resource  # what a busy machine does to the clock is not the program's fault

    path = tmp_path / "kept.safetensors"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", _CLOSING, str(path)], capture_output=True, text=True, timeout=280
    )
    ended, after = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    clock, busy = map(float, words[words.index("closing") + 1 :][:2])
    closed, busy_then = map(float, words[words.index("closed") + 1 :][:2])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - busy
    assert min(closed - clock, busy_then - busy) < 2.0
    # and the end of a Python that holds napari and torch, which takes as long without a training
    assert min(ended - clock, used) < 4.5
    assert path.exists()  # the training can go on


def _fail(_: object) -> None:
    raise AssertionError("nothing was to arrive")
