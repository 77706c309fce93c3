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
#: Milliseconds between looks whether a stroke that is being painted has come to its end.
PATIENCE = 50


class StrokeWatcher:
    """Calls back after the data of a Labels layer were painted, undone, set or replaced.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; changes of its array in place, without a refresh, go unnoticed.
    changed : callable
        Called without arguments in the window's thread.
    painting : callable
        Called without arguments at every dab of the brush, while `changed` waits for the stroke's
        end.
    """

    def __init__(
        self, layer: Labels, changed: Callable[[], object], painting: Callable[[], object]
    ) -> None:
        self._layer = layer
        self._changed: Callable[[], object] | None = changed
        self._painting = painting
        self._waiting = False
        for event in self._events():
            event.connect(self._wake)
        layer.events.labels_update.connect(self._dab)

    def _events(self) -> tuple[object, ...]:
        events = self._layer.events
        return events.paint, events.set_data, events.data

    def _wake(self, _: object = None) -> None:
        if not self._waiting:
            self._waiting = True
            QTimer.singleShot(DELAY, self._look)

    def _dab(self, _: object = None) -> None:
        self._painting()

    def _look(self) -> None:
        self._waiting = False
        if self._changed is None:  # stopped meanwhile
            return
        if getattr(self._layer, "_block_history", False):  # in the middle of a stroke
            QTimer.singleShot(PATIENCE, self._wake)
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
        self._layer.events.labels_update.disconnect(self._dab)
