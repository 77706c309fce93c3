"""The list of classes in the Classify dock: colour, key, name, stroked pixels."""

from __future__ import annotations

from collections.abc import Mapping

from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_clusternet._napari.classes import ClassList
from napari_clusternet._napari.frames import swatch

KEY, NAME, STROKES = range(3)
#: Rows to see without scrolling: at least and at most.
_ROWS = (3, 8)


class ClassTable(QTableWidget):
    """Shows a `ClassList`; renames and recolours in it.

    Double click a name (or press F2) to rename, a colour to change it.

    Parameters
    ----------
    classes : ClassList
        The list.
    parent : QWidget, optional
        Qt's parent.

    Attributes
    ----------
    chosen : Signal(int)
        The user selected a class.
    """

    chosen = Signal(int)

    def __init__(self, classes: ClassList, parent: QWidget | None = None) -> None:
        super().__init__(0, 3, parent)
        self._classes = classes
        self._filling = False
        self._counts: Mapping[int, int] = {}
        self.setHorizontalHeaderLabels(["Key", "Class", "Pixels"])
        self.horizontalHeaderItem(STROKES).setToolTip("Pixels with strokes of the class")
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(KEY, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(STROKES, QHeaderView.ResizeMode.ResizeToContents)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setTabKeyNavigation(False)  # Tab goes on to the next control
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Click a class to paint it, or press its key over the image. Double click the name "
            "or the colour to change it."
        )
        self.setAccessibleName("Classes")
        self.itemChanged.connect(self._renamed)
        self.itemSelectionChanged.connect(self._selected)
        self.cellDoubleClicked.connect(self._double_clicked)

    @property
    def current_class(self) -> int:
        """The selected class; 0 for none."""
        rows = self.selectionModel().selectedRows()
        return rows[0].row() + 1 if rows else 0

    def show_classes(self, counts: Mapping[int, int], selected: int) -> None:
        """Fill the table.

        Parameters
        ----------
        counts : mapping of int to int
            Class -> stroked pixels.
        selected : int
            The class to select; 0 for none.
        """
        if self.state() == QAbstractItemView.State.EditingState:
            return  # what the user is typing stays
        self._filling, self._counts = True, counts
        names, colours = self._classes.names, self._classes.colours
        grown = self.rowCount() != len(names)
        self.setRowCount(len(names))
        for class_, name in names.items():
            self._set(class_, KEY, str(class_) if class_ < 10 else "-", swatch(colours[class_]))
            self._set(class_, NAME, name)
            self._set(class_, STROKES, f"{counts.get(class_, 0):,}")
        if selected:
            self.selectRow(selected - 1)
        else:
            self.clearSelection()
        if grown:
            self._fit_height()
        self._filling = False

    def _set(self, class_: int, column: int, text: str, icon: QIcon | None = None) -> None:
        item = self.item(class_ - 1, column)
        if item is None:
            item = QTableWidgetItem()
            if column != NAME:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            if column == STROKES:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(class_ - 1, column, item)
        if item.text() != text:
            item.setText(text)
        if icon is not None:
            item.setIcon(icon)

    def _fit_height(self) -> None:
        rows = min(max(self.rowCount(), _ROWS[0]), _ROWS[1])
        height = max(self.verticalHeader().defaultSectionSize(), self.fontMetrics().height() + 8)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * height + 4)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Narrow enough for a dock of 300 px."""
        return QSize(120, super().minimumSizeHint().height())

    def rename_current(self) -> None:
        """Edit the selected class's name."""
        if self.current_class:
            self.editItem(self.item(self.current_class - 1, NAME))

    def recolour_current(self) -> None:
        """Ask for the selected class's colour."""
        class_ = self.current_class
        if class_:
            before = QColor.fromRgbF(*self._classes.colours[class_])
            colour = QColorDialog.getColor(before, self, f"Colour of {self._classes.names[class_]}")
            if colour.isValid():
                self._classes.recolour(class_, colour.getRgbF()[:3])

    def _renamed(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != NAME:
            return
        class_, name = item.row() + 1, item.text().strip()
        if name and name != self._classes.names[class_]:
            self._classes.rename(class_, name)
        else:
            self._set(class_, NAME, self._classes.names[class_])

    def _selected(self) -> None:
        if not self._filling and self.current_class:
            self.chosen.emit(self.current_class)

    def _double_clicked(self, _: int, column: int) -> None:
        if column == KEY:
            self.recolour_current()
