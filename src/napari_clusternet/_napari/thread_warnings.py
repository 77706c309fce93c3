"""Where the warnings of working threads go: to whoever shows them, one by one."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Takes a warning's text and category.
Taker = Callable[[str, type[Warning]], object]

_takers: dict[int, Taker] = {}  # by the thread's number, the latest last
_lock = threading.Lock()
_inside = threading.local()
_before: Callable[..., Any] = warnings.showwarning


@contextmanager
def taken_by(taker: Taker) -> Iterator[None]:
    """Give the warnings of this thread to `taker`; the window's thread keeps its own.

    There is one hook for all threads, put in when the first begins. A hook for each would hold
    another, for good, whenever work overlaps or the window's thread is inside
    `warnings.catch_warnings` when it ends.

    Parameters
    ----------
    taker : callable
        Called in this thread, or in one that it started, with (text, category).
    """
    global _before
    number = threading.get_ident()
    with _lock:
        _takers[number] = taker
        if warnings.showwarning is not _show:
            _before, warnings.showwarning = warnings.showwarning, _show
    try:
        yield
    finally:
        with _lock:
            del _takers[number]
            if not _takers and warnings.showwarning is _show:
                warnings.showwarning = _before


def _show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
    taker = None
    if threading.current_thread() is not threading.main_thread():
        with _lock:  # threads that the work started have no taker of their own
            taker = _takers.get(threading.get_ident(), next(reversed(_takers.values()), None))
    if taker is not None:
        taker(str(message), category)
    elif getattr(_inside, "show", False):  # somebody put a hook of their own around this one
        sys.stderr.write(warnings.formatwarning(message, category, *where[:2]))
    else:
        _inside.show = True
        try:
            _before(message, category, *where, **more)
        finally:
            _inside.show = False
