"""When did the strokes change? A Labels layer tells it in many ways, or hardly at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.layers import Labels

#: Milliseconds from a layer's event to the look at its data. Some events fire before the write,
#: and a stroke fires several: one look after the last of them is enough.
DELAY = 10


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
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY)
        self._timer.timeout.connect(changed)
        for event in self._events():
            event.connect(self._wake)

    def _events(self) -> tuple[object, ...]:
        events = self._layer.events
        return events.paint, events.set_data, events.data

    def _wake(self, _: object = None) -> None:
        self._timer.start()

    def stop(self) -> None:
        """Watch no more."""
        self._timer.stop()
        for event in self._events():
            event.disconnect(self._wake)
