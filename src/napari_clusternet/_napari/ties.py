"""Connections of a dock to what outlives it, cut when the dock is gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class Ties:
    """Connects signals (psygnal, napari events) to the methods of a widget while it lives.

    Parameters
    ----------
    widget : QWidget
        The dock; all ties are cut when Qt destroys it.
    """

    def __init__(self, widget: QWidget) -> None:
        self._ties: list[tuple[Any, Callable[..., object]]] = []
        widget.destroyed.connect(self.cut)

    def tie(self, signal: Any, method: Callable[..., object]) -> None:
        """Call `method` when `signal` is emitted."""
        signal.connect(method)
        self._ties.append((signal, method))

    def cut(self, *_: Any) -> None:
        """Call nothing any more."""
        while self._ties:
            signal, method = self._ties.pop()
            with suppress(TypeError, ValueError, RuntimeError):  # the other side is gone already
                signal.disconnect(method)
