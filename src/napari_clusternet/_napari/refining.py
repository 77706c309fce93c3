"""Between strokes: the classes are worked out anew with all evidence, beside the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer

from napari_clusternet._napari.preferences import preferences
from napari_clusternet._napari.runner import tell_error
from napari_clusternet._napari.timers import stop_timer
from napari_clusternet._napari.worker import Cancelled, Worker
from napari_clusternet.session import Session

#: How long after a stroke it begins, milliseconds: who paints on is not disturbed.
IDLE_MS = 400
#: How long closing waits for it, seconds.
CLOSING_WAIT = 1.5


class Refiner:
    """Refines one session while no stroke is painted; a new stroke goes before.

    All methods are called in the window's thread, and there the session is changed.

    Parameters
    ----------
    session : Session
        See `napari_clusternet.Session.refine`.
    changed : callable
        Called when `working` changes.

    Attributes
    ----------
    working : bool
        Whether it is at work, on what will be of use as far as is known.
    """

    def __init__(self, session: Session, changed: Callable[[], object]) -> None:
        self.working = False
        self._session, self._changed = session, changed
        self._worker: Worker | None = None
        self._due = True
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._begin)

    @property
    def busy(self) -> bool:
        """Whether it is at work, or will be soon."""
        return self._worker is not None or self._timer.isActive()

    def hold(self) -> None:
        """Give up what is being worked out: a stroke is being painted."""
        self._timer.stop()
        if self._worker is not None:
            self._worker.cancel()
        self._set_working(False)

    def schedule(self) -> None:
        """Begin when no stroke has come for a while; what is being worked out is given up."""
        self.hold()
        self._due = True
        if preferences().refine and self._session.can_refine:
            self._timer.start(IDLE_MS)

    def go_on(self) -> None:
        """Schedule what was given up, if nothing came of it and it has not begun again."""
        if self._due and not self.working and not self._timer.isActive():
            self.schedule()

    def stop(self) -> None:
        """Give up, and wait a moment until that is done."""
        stop_timer(self._timer)
        self.working = False
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close(CLOSING_WAIT)

    def _begin(self) -> None:
        if self._worker is not None:  # the one before is not at its end yet
            self._timer.start(IDLE_MS)
            return
        self._worker = Worker(self._session.refine_steps, _nothing, self._end, _nothing)
        self._worker.start()
        self._set_working(True)

    def _set_working(self, working: bool) -> None:
        if working != self.working:
            self.working = working
            self._changed()

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._worker = None
        self._set_working(False)
        if error is None:
            self._due = False
            self._session.take(result)
        elif not isinstance(error, Cancelled):
            self._due = False
            tell_error(error, "Refining")


def _nothing(_: object) -> None:
    pass
