"""When did the strokes change? A Labels layer tells it in many ways, or hardly at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_clusternet._napari.runner import tell_error

if TYPE_CHECKING:
    from napari.layers import Labels

#: Milliseconds from a layer's event to the look at its data. Some events fire before the write,
#: and a change fires several; all of that is over when the window's loop turns again.
DELAY = 0


class StrokeWatcher:
    """Calls back after the data of a Labels layer were painted, undone, set or replaced.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; changes of its array in place, without a refresh, go unnoticed.
    changed : callable
        Called without arguments in the window's thread.
    """

    def __init__(self, layer: Labels, changed: Callable[[], object]) -> None:
        self._layer = layer
        self._changed: Callable[[], object] | None = changed
        self._waiting = False
        for event in self._events():
            event.connect(self._wake)

    def _events(self) -> tuple[object, ...]:
        events = self._layer.events
        return events.paint, events.set_data, events.data

    def _wake(self, _: object = None) -> None:
        if not self._waiting:
            self._waiting = True
            QTimer.singleShot(DELAY, self._look)

    def _look(self) -> None:
        self._waiting = False
        if self._changed is None:  # stopped meanwhile
            return
        try:
            self._changed()
        except Exception as error:  # an error that leaves a slot of Qt ends the program
            tell_error(error, f"Strokes of {self._layer.name!r}")

    def stop(self) -> None:
        """Watch no more."""
        self._changed = None
        for event in self._events():
            event.disconnect(self._wake)
