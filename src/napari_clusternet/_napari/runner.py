"""Long work beside the window: one piece at a time, with progress, pause and cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from napari.utils import cancelable_progress
from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal
from qtpy.QtWidgets import QApplication, QLabel

from napari_clusternet._napari.worker import Cancelled, Worker
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.progress import Progress

#: How long closing the viewer waits for the work to end, seconds.
CLOSING_WAIT = 1.5
#: Work must have run so long before it is said how long it will go on, seconds.
_MEASURED = 2.0
#: Speed of napari's spinner while work runs.
_SPINNER_PERCENT = 15


class _Bar(cancelable_progress):
    """A bar in napari's activity dock whose Cancel button works without a loop over the bar."""

    def cancel(self) -> None:
        super().cancel()
        self.cancel_callback()


class Runner:
    """Runs generators of `Progress` in a thread, and tells the window about them.

    All methods are called, and all signals are emitted, in the window's thread.

    Attributes
    ----------
    changed : Signal
        Work began, ended, was paused or resumed.
    progressed : Signal(Progress)
        A step was done; at most twice a second.
    title : str
        What is running, for people; empty if nothing is.
    seconds_left : float or None
        How long it will go on at the pace so far, pauses left out; None where that is unknown.
    """

    changed = Signal()
    progressed = Signal(Progress)

    def __init__(self) -> None:
        self.title = ""
        self.seconds_left: float | None = None
        self._worker: Worker | None = None
        self._bar: Any = None
        self._done: Callable[[Any], object] = _nothing
        self._stale: Callable[[], str] = str
        self._stopped: Callable[[], str] = str
        self._closed = False
        self._reporting, self._stage = False, ""
        self._first: tuple[float, Progress] | None = None
        self._paused_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether something is running or paused."""
        return self._worker is not None

    @property
    def paused(self) -> bool:
        """Whether what is running waits to be resumed."""
        return self._worker is not None and self._worker.paused

    def start(
        self,
        title: str,
        steps: Callable[[], Generator[Progress, None, Any]],
        done: Callable[[Any], object],
        stale: Callable[[], str] = str,
        stopped: Callable[[], str] = str,
    ) -> bool:
        """Run a generator.

        Parameters
        ----------
        title : str
            What it does, for people.
        steps : callable
            Returns the generator; called in the worker's thread.
        done : callable
            Called with the generator's result.
        stale : callable
            Called at the end; returns why the result is of no use any more, or "". Then `done`
            is not called, and the user is told.
        stopped : callable
            Called after a cancel or an error, once the generator is closed; returns what is left
            of the work, for people, or "".

        Returns
        -------
        bool
            False if something else is running; the user is then told so.
        """
        if self._closed:
            return False
        if self.busy:
            show_info(f"{self.title} is still running. Cancel it first, or wait.")
            return False
        self.title, self._done, self._stale, self._stopped = title, done, stale, stopped
        self._first, self.seconds_left, self._stage = None, None, ""
        self._worker = Worker(steps, self._report, self._end, show_warning)
        self._bar = _Bar(total=0, desc=title, cancel_callback=self.cancel)
        _slow_down_spinner()
        self._worker.start()
        self.changed.emit()
        return True

    def pause(self) -> None:
        """Wait after the current step."""
        if self.busy and not self.paused:
            self._worker.pause()
            self._paused_at = time.monotonic()
            self.changed.emit()

    def resume(self) -> None:
        """Go on after a pause."""
        if self.paused:
            if self._first is not None:  # a pause says nothing about the pace
                since, step = self._first
                self._first = since + time.monotonic() - self._paused_at, step
            self._worker.resume()
            self.changed.emit()

    def cancel(self) -> None:
        """Stop after the current step; what the work promised to keep is kept."""
        if self.busy:
            self._worker.cancel()

    def wait(self, seconds: float = float("inf")) -> bool:
        """Keep the window alive until nothing is running; return whether that came in time.

        For scripts that go on with the result.
        """
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            QApplication.processEvents()
            time.sleep(0.005)
        return not self.busy

    def close(self) -> None:
        """Stop the work, and wait a moment for it; nothing is reported any more."""
        self._closed = True
        worker = self._worker
        self._finish()
        if worker is not None:
            worker.close(CLOSING_WAIT)

    # ---- news from the worker, in the window's thread --------------------------------------------

    def _report(self, step: Progress) -> None:
        bar = self._bar
        if bar is None or self._reporting:
            return
        self._reporting = True  # napari's bars handle events in between, this one's end included
        try:
            self._measure(step)
            if bar.total != step.total:
                bar.total = step.total
            bar.n = step.done
            if (stage := f"{self.title}: {step.stage}") != self._stage:  # a repaint each time
                self._stage = stage
                bar.set_description(stage)
            left = "" if self.seconds_left is None else in_words(self.seconds_left)
            bar.events.eta(value=f"{left} left" if left else "")
            bar.events.value(value=step.done)
            if self._bar is bar:
                self.progressed.emit(step)
        finally:
            self._reporting = False

    def _measure(self, step: Progress) -> None:
        """Estimate the time left from the pace since the first step of this stage."""
        now = time.monotonic()
        if self._first is None or _is_new_stage(self._first[1], step):
            self._first = now, step
        since, first = self._first
        steps, elapsed = step.done - first.done, now - since
        known = step.total and steps > 0 and elapsed > _MEASURED
        self.seconds_left = elapsed / steps * (step.total - step.done) if known else None

    def _end(self, result: Any, error: BaseException | None) -> None:
        title, done, stale, stopped = self.title, self._done, self._stale, self._stopped
        self._finish()
        try:
            if error is None and (reason := stale()):
                show_warning(f"{title}: the result was discarded, because {reason}.")
            elif error is None:
                done(result)
            elif isinstance(error, Cancelled):
                show_info(f"{title}: cancelled. {stopped()}".rstrip())
            else:
                tell_error(error, title, stopped())
        except Exception as failure:
            tell_error(failure, title)
        finally:
            self.changed.emit()

    def _finish(self) -> None:
        bar, self._bar = self._bar, None
        self.title, self.seconds_left, self._worker = "", None, None
        self._done, self._stale, self._stopped = _nothing, str, str
        if bar is not None:
            bar.close()


def _slow_down_spinner() -> None:
    """Let napari's spinner turn slowly: every picture of it paints the whole window anew.

    At twenty a second that takes more than half a core where there is no graphics card.
    """
    for widget in QApplication.allWidgets():
        movie = widget.movie() if isinstance(widget, QLabel) else None
        if movie is not None:
            movie.setSpeed(_SPINNER_PERCENT)


def in_words(seconds: float) -> str:
    """Say how long something takes, no more exactly than it is known."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < 55 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def tell_error(error: BaseException, title: str = "", more: str = "") -> None:
    """Show an error as a notification: ours in plain words, others with their kind."""
    prefix = f"{title}: " if title else ""
    kind = "" if isinstance(error, ClusterNetError) else f"{type(error).__name__}: "
    show_error(f"{prefix}{kind}{error} {more}".rstrip())


def _is_new_stage(before: Progress, now: Progress) -> bool:
    return (before.stage, before.total) != (now.stage, now.total) or now.done < before.done


def _nothing(_: Any) -> None:
    pass
