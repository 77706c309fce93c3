"""The list of other images: layers of the viewer, files and folders, each with a tick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_clusternet._napari.frames import TICKS, text

if TYPE_CHECKING:
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

#: Height of the list, rows.
_ROWS = 5
EMPTY = "No other image is open here. Open one in napari, or add files or a folder."


class TargetList(QWidget):
    """Layers, files and folders to choose from.

    Attributes
    ----------
    changed : Signal
        Another choice was made.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._list = QListWidget()
        self._list.setStyleSheet(TICKS)
        self._list.setSpacing(2)
        self._list.setAccessibleName("Images to apply the session to")
        self._list.setToolTip("Tick the images to classify; Space ticks, too")
        self._list.setFixedHeight(_ROWS * (self._list.fontMetrics().height() + 8))
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.itemChanged.connect(lambda _: self.changed.emit())
        files = QPushButton("Add &files...")
        files.setToolTip("Files to classify; a DICOM series or OME-Zarr is a folder")
        files.clicked.connect(self._ask_files)
        folder = QPushButton("Add f&older...")
        folder.setToolTip("Classify every image in a folder")
        folder.clicked.connect(self._ask_folder)
        self._remove = QPushButton("Remove")
        self._remove.setToolTip("Take the selected file or folder off the list")
        self._remove.clicked.connect(self._remove_selected)
        self._list.currentItemChanged.connect(lambda *_: self._follow())
        self._empty = text(EMPTY)
        buttons = QHBoxLayout()
        for button in (files, folder, self._remove):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self._empty, self._list):
            layout.addWidget(part)
        layout.addLayout(buttons)
        self.changed.connect(self._follow)
        self._follow()

    def chosen(self) -> list[Layer | Path]:
        """Return what is ticked."""
        return [
            item.data(Qt.ItemDataRole.UserRole)
            for item in self._items()
            if item.checkState() == Qt.CheckState.Checked
        ]

    def show_layers(self, layers: list[ImageLayer]) -> None:
        """List these layers, before the files; ticks are kept."""
        ticked = {id(target) for target in self.chosen()}
        files = [t for t in self._targets() if isinstance(t, Path)]
        self._list.blockSignals(True)
        self._list.clear()
        for target in (*layers, *files):
            self._append(target, id(target) in ticked)
        self._list.blockSignals(False)
        self.changed.emit()

    def add(self, path: Path) -> None:
        """Add a file or folder, ticked."""
        if path not in self._targets():
            self._append(path, ticked=True)
            self.changed.emit()

    def tick(self, target: Layer | Path, ticked: bool = True) -> None:
        """Tick one of the list."""
        for item in self._items():
            if item.data(Qt.ItemDataRole.UserRole) is target:
                item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)

    def _append(self, target: Layer | Path, ticked: bool) -> None:
        file = isinstance(target, Path)
        item = QListWidgetItem(target.name)
        if file:
            item.setText(f"{target.name}{'/' if target.is_dir() else ''}")
        item.setToolTip(str(target) if file else f"Layer {target.name}")
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setData(Qt.ItemDataRole.UserRole, target)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self._list.addItem(item)

    def _items(self) -> list[QListWidgetItem]:
        return [self._list.item(row) for row in range(self._list.count())]

    def _targets(self) -> list[Any]:
        return [item.data(Qt.ItemDataRole.UserRole) for item in self._items()]

    def _follow(self) -> None:
        """Show what can be done with the list as it is."""
        item = self._list.currentItem()
        target = None if item is None else item.data(Qt.ItemDataRole.UserRole)
        self._remove.setEnabled(isinstance(target, Path))
        self._empty.setVisible(self._list.count() == 0)
        self._list.setVisible(self._list.count() > 0)

    def _ask_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Images to classify")
        for path in paths:
            self.add(Path(path))

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of images to classify")
        if path:
            self.add(Path(path))

    def _remove_selected(self) -> None:
        self._list.takeItem(self._list.currentRow())
        self.changed.emit()
