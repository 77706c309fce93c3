"""Long work beside the window: one piece at a time, with progress, pause and cancel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal

from napari_clusternet.errors import ClusterNetError
from napari_clusternet.progress import Progress

#: Shortest time between two reports to the window, seconds.
REPORT_EVERY = 0.1
#: How long closing the viewer waits for a worker to come to its next step, seconds.
CLOSING_WAIT = 1.5


class Runner:
    """Runs generators of `Progress` in a thread, and tells the window about them.

    All methods are called, and all signals are emitted, in the window's thread.

    Attributes
    ----------
    changed : Signal
        Work began, ended, was paused or resumed.
    progressed : Signal(Progress)
        A step was done; at most ten times a second.
    title : str
        What is running, for people; empty if nothing is.
    """

    changed = Signal()
    progressed = Signal(Progress)

    def __init__(self) -> None:
        self.title = ""
        self._go = threading.Event()
        self._stop = threading.Event()
        self._worker: Any = None
        self._bar: Any = None
        self._done: Callable[[Any], object] | None = None
        self._stale: Callable[[], str] = str
        self._closed = False
        self._reporting = False

    @property
    def busy(self) -> bool:
        """Whether something is running or paused."""
        return bool(self.title)

    @property
    def paused(self) -> bool:
        """Whether what is running waits to be resumed."""
        return self.busy and not self._go.is_set()

    def start(
        self,
        title: str,
        steps: Callable[[], Generator[Progress, None, Any]],
        done: Callable[[Any], object],
        stale: Callable[[], str] = str,
    ) -> bool:
        """Run a generator.

        Parameters
        ----------
        title : str
            What it does, for people.
        steps : callable
            Returns the generator; called in the worker's thread.
        done : callable
            Called with the generator's result, also after a cancel if it has one.
        stale : callable
            Returns why the result is of no use any more, or "".

        Returns
        -------
        bool
            False if something else is running; the user is then told so.
        """
        if self.busy:
            show_info(f"{self.title} is still running. Cancel it first, or wait.")
            return False
        self.title, self._done, self._stale = title, done, stale
        self._go.set()
        self._stop.clear()
        self._bar = cancelable_progress(total=0, desc=title, cancel_callback=self.cancel)
        self._worker = create_worker(
            self._relay, steps, _start_thread=False, _ignore_errors=True,
            _connect={"yielded": self._report, "returned": self._end, "warned": _tell_warning},
        )  # fmt: skip
        self._worker.start()
        self.changed.emit()
        return True

    def pause(self) -> None:
        """Wait after the current step."""
        if self.busy:
            self._go.clear()
            self.changed.emit()

    def resume(self) -> None:
        """Go on after a pause."""
        if self.busy:
            self._go.set()
            self.changed.emit()

    def cancel(self) -> None:
        """Stop after the current step; what the work promised to keep is kept."""
        self._stop.set()
        self._go.set()

    def close(self) -> None:
        """Cancel, and wait a moment; nothing is reported any more."""
        self._closed = True
        self.cancel()
        worker, self._worker = self._worker, None
        if worker is not None:
            deadline = time.monotonic() + CLOSING_WAIT
            while worker.is_running and time.monotonic() < deadline:
                time.sleep(0.01)
        self._finish()

    # ---- in the worker's thread ------------------------------------------------------------------

    def _relay(
        self, steps: Callable[[], Generator[Progress, None, Any]]
    ) -> Generator[Progress, None, tuple[Any, BaseException | None]]:
        """Pass on a step now and then; return (result, error).

        An error is returned, not raised: superqt takes a RuntimeError, which is what torch
        raises, for a worker that was deleted, and would swallow it.
        """
        reported = 0.0
        try:
            work = steps()
            try:
                while not self._stop.is_set():
                    step = next(work)
                    if time.monotonic() - reported > REPORT_EVERY:
                        reported = time.monotonic()
                        yield step
                    self._go.wait()
            except StopIteration as stop:
                return stop.value, None
            finally:
                work.close()
        except Exception as error:
            return None, error
        return None, Cancelled()

    # ---- in the window's thread ------------------------------------------------------------------

    def _report(self, step: Progress) -> None:
        bar = self._bar
        if self._closed or bar is None or self._reporting:
            return
        self._reporting = True  # napari's bars handle events in between, this one's end included
        try:
            bar.total = step.total
            bar.n = step.done
            bar.set_description(f"{self.title}: {step.stage}")
            bar.events.value(value=step.done)
            self.progressed.emit(step)
        finally:
            self._reporting = False

    def _end(self, outcome: tuple[Any, BaseException | None]) -> None:
        if self._closed:
            return
        result, error = outcome
        title, done, stale = self.title, self._done, self._stale()
        self._finish()
        self.changed.emit()
        if isinstance(error, Cancelled):
            show_info(f"{title}: cancelled.")
        elif error is not None:
            tell_error(error, title)
        elif stale:
            show_warning(f"{title}: the result was discarded, because {stale}.")
        elif done is not None:
            done(result)

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self.title, self._done, self._bar, self._worker = "", None, None, None


class Cancelled(Exception):  # noqa: N818 - a wish of the user is no error
    """The user stopped the work."""


def tell_error(error: BaseException, title: str = "") -> None:
    """Show an error as a notification: ours in plain words, others with their kind."""
    prefix = f"{title}: " if title else ""
    kind = "" if isinstance(error, ClusterNetError) else f"{type(error).__name__}: "
    show_error(f"{prefix}{kind}{error}")


def _tell_warning(warning: tuple[Any, ...]) -> None:
    show_warning(str(warning[0]))
