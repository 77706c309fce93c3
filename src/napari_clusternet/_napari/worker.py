"""A thread that runs a generator of `Progress`, and posts its news to the window's thread."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtCore import Signal as QtSignal

from napari_clusternet._napari.thread_warnings import taken_by
from napari_clusternet.progress import Progress

logger = logging.getLogger(__name__)

#: Name of the threads.
THREAD_NAME = "napari-clusternet"

#: Shortest time between two reports to the window, seconds. napari paints for every one of them;
#: without a graphics card ten a second keep a core busy.
REPORT_EVERY = 0.5
#: Warnings shown to the user at most in one piece of work; the rest are logged.
MAX_WARNINGS = 5
#: How far the work steps back behind the window where cores are scarce (Linux "nice").
_NICENESS = 5


class Cancelled(Exception):  # noqa: N818 - a wish of the user is no error
    """The user stopped the work."""


class _Closing(BaseException):
    """The window is gone; raised in the worker's thread in the middle of a step."""


class Post(QObject):
    """Carries news from one thread to the one that this object lives in."""

    posted = QtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self.posted.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def _deliver(self, call: Callable[[], object]) -> None:
        call()


class Worker:
    """Runs one generator.

    The thread is a daemon: a step that does not come to its end cannot keep the program from
    ending.

    Parameters
    ----------
    steps : callable
        Returns the generator; called in the thread.
    report : callable
        Called with a `Progress` now and then.
    end : callable
        Called with (result, None) or (None, error) at the end; error is `Cancelled` after a cancel.
    warn : callable
        Called with the text of each warning, once.

    All but `steps` are called in the thread that made the worker, by its event loop.
    """

    def __init__(
        self,
        steps: Callable[[], Generator[Progress, None, Any]],
        report: Callable[[Progress], object],
        end: Callable[[Any, BaseException | None], object],
        warn: Callable[[str], object],
    ) -> None:
        self._steps, self._report, self._end, self._warn = steps, report, end, warn
        self._go, self._stop, self._closed = threading.Event(), threading.Event(), False
        self._go.set()
        self._lock, self._ending = threading.Lock(), False
        self._warned: set[str] = set()
        self._post = Post()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    @property
    def paused(self) -> bool:
        """Whether it waits to be resumed."""
        return not self._go.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Wait after the current step."""
        self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._go.set()

    def cancel(self) -> None:
        """Stop after the current step."""
        self._stop.set()
        self._go.set()

    def close(self, seconds: float) -> None:
        """Stop now, in the middle of a step if need be; wait so long at most; report nothing."""
        self._closed = True
        self.cancel()
        self._thread.join(seconds / 3)
        if self._thread.is_alive():
            with self._lock:
                if not self._ending:  # else it is saving
                    raise_in(self._thread, _Closing)
            self._thread.join(seconds * 2 / 3)
        if self._thread.is_alive():
            logger.warning("the work has not ended %.1f s after the window was closed", seconds)

    # ---- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            _step_back()
            with taken_by(self._warning):
                result, error = self._drain()
            _give_back()
            self._tell(self._end, result, error)
        except _Closing:
            pass

    def _drain(self) -> tuple[Any, BaseException | None]:
        reported = 0.0
        try:
            work = self._steps()
            try:
                while not self._stop.is_set():
                    step = next(work)
                    if time.monotonic() - reported > REPORT_EVERY:
                        reported = time.monotonic()
                        self._tell(self._report, step)
                    self._go.wait()
            except StopIteration as stop:
                return stop.value, None
            finally:
                try:
                    with self._lock:
                        self._ending = True
                finally:
                    work.close()
        except Exception as error:
            logger.debug("the work failed", exc_info=True)
            return None, error
        return None, Cancelled()

    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        if not self._closed:
            self._post.posted.emit(lambda: None if self._closed else call(*args))

    def _warning(self, text: str, category: type[Warning]) -> None:
        """Show a warning of the work, once."""
        if text in self._warned:
            return
        self._warned.add(text)
        # numpy's RuntimeWarnings and the like tell users nothing they could act on
        if category is UserWarning and len(self._warned) <= MAX_WARNINGS:
            self._tell(self._warn, text)
        else:
            logger.warning("%s: %s", category.__name__, text)


def _step_back() -> None:
    """Let the window go first; threads that this one starts inherit it."""
    if sys.platform == "linux":  # elsewhere the priority is not a thread's own
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        except OSError:
            logger.debug("the priority cannot be lowered", exc_info=True)


def _give_back() -> None:
    """Hand the system the memory that the work freed.

    glibc's malloc keeps it in pieces between what stays, and over hours that adds up.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in another thread at its next Python instruction."""
    if thread.ident is not None:
        raise_async = ctypes.pythonapi.PyThreadState_SetAsyncExc
        raise_async(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
