"""A list of the viewer's images with check boxes, in step with the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_clusternet._napari.frames import TICKS
from napari_clusternet._napari.ties import Ties

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clusternet._napari.controller import Controller

#: Rows that are seen without scrolling.
_ROWS = 4
#: Around each row, pixels.
_GAP = 3
_KEY = Qt.ItemDataRole.UserRole


class LayerChoice(QListWidget):
    """Image layers to check; the topmost image is checked at first.

    Attributes
    ----------
    changed : psygnal.Signal
        Layers were checked, came, went or got other names or pixels.
    """

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._ties = Ties(self)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSpacing(_GAP)
        self.setStyleSheet(TICKS)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setAccessibleName("Images to learn from")
        self.setToolTip("Check one image, or several layers that are its bands or further images")
        events = controller.viewer.layers.events
        for signal in (events.inserted, events.removed, events.reordered, events.renamed):
            self._ties.tie(signal, self.refresh)
        self.itemChanged.connect(self._toggled)
        self._layers: list[Layer] = []
        self.refresh()

    @property
    def checked(self) -> list[Layer]:
        """The checked layers, bottom first."""
        rows = range(self.count())
        return [
            self._layers[row] for row in rows
            if self.item(row).checkState() == Qt.CheckState.Checked
        ]  # fmt: skip

    def check(self, layers: list[Layer]) -> None:
        """Check these layers and no others."""
        for row, layer in enumerate(self._layers):
            state = Qt.CheckState.Checked if layer in layers else Qt.CheckState.Unchecked
            self.item(row).setCheckState(state)

    def refresh(self, *_: object) -> None:
        """Follow the viewer's layers."""
        before = self.checked
        self._layers = list(self._controller.image_layers)
        kept = [layer for layer in before if layer in self._layers] or self._layers[-1:]
        self.blockSignals(True)
        self.clear()
        for layer in self._layers:
            item = QListWidgetItem(f"{layer.name}  ({_size(layer)})")
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled
                          | Qt.ItemFlag.ItemIsSelectable)  # fmt: skip
            item.setCheckState(Qt.CheckState.Checked if layer in kept else Qt.CheckState.Unchecked)
            item.setToolTip(item.text())
            self.addItem(item)
        self.blockSignals(False)
        self._fit()
        self.changed.emit()

    def _fit(self) -> None:
        rows = min(max(self.count(), 1), _ROWS)
        row_height = self.sizeHintForRow(0) if self.count() else self.fontMetrics().height() + 4
        self.setFixedHeight(rows * (row_height + 2 * _GAP) + 2 * self.frameWidth() + 2)
        self.scrollToTop()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the rows again once the window has given them its style."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit()

    def showEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the rows as they are shown."""
        super().showEvent(event)
        self._fit()

    def _toggled(self, _: QListWidgetItem) -> None:
        self.changed.emit()


def _size(layer: Layer) -> str:
    data = layer.data[0] if layer.multiscale else layer.data
    return " x ".join(str(n) for n in data.shape)
