"""Timers that may be gone before what uses them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtCore import QTimer


def stop_timer(timer: QTimer) -> None:
    """Stop a timer, if it is there.

    When the program ends with a window open, Qt deletes its objects in an order of its own: a
    timer that a closing window wants to stop may be gone. An error there would end the program
    with a crash.
    """
    with suppress(RuntimeError):  # wrapped C++ object has been deleted
        timer.stop()
