"""What docks are made of: sections, rows, sentences; and how they try what may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)

from napari_clusternet._napari.docking import share_place
from napari_clusternet._napari.runner import tell_error
from napari_clusternet.errors import ClusterNetError

if TYPE_CHECKING:
    from magicgui.widgets import Widget


#: Boxes to tick in a list, to be seen on any theme; napari leaves an empty one invisible.
TICKS = """
QListView::item {min-height: 18px}
QListView::indicator {width: 13px; height: 13px; border: 1px solid rgb(135, 140, 150)}
QListView::indicator:checked {background: rgb(0, 105, 200); image: url("theme_dark:/check.svg")}
"""


def attempt(action: Callable[[], object]) -> None:
    """Do it; an error of ours, or of the file system, becomes a notification."""
    try:
        action()
    except (ClusterNetError, OSError) as error:
        tell_error(error)


class Column(QScrollArea):
    """Scrolls up and down what is as wide as itself.

    Unlike Qt's own it knows that sentences are higher where they are narrower: nothing overlaps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self._width = 0

    def eventFilter(self, widget: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Ask anew for the height when the contents or their width change."""
        done = super().eventFilter(widget, event)
        if widget is self.widget() and (
            event.type() == QEvent.Type.LayoutRequest
            or (event.type() == QEvent.Type.Resize and event.size().width() != self._width)
        ):
            self._width = widget.width()
            needed = widget.layout().minimumHeightForWidth(self._width)
            if needed != widget.minimumHeight():
                widget.setMinimumHeight(max(0, needed))
        return done


def scrolled(dock: QWidget, inner: QWidget) -> None:
    """Fill a dock with `inner`, to be scrolled up and down where it is higher than the dock.

    It shares its place in the window with the other docks; see `share_place`.
    """
    area = Column()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    outer = QVBoxLayout(dock)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    share_place(dock)


def stacked(dock: QWidget, *parts: QWidget) -> None:
    """Fill a dock with widgets, one below the other; see `scrolled`."""
    inner = QWidget()
    layout = QVBoxLayout(inner)
    for part in parts:
        layout.addWidget(part)
    layout.addStretch()
    scrolled(dock, inner)


def text(words: str = "") -> QLabel:
    """Return a label for sentences, which may be narrower than its longest word."""
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def section(title: str, *contents: Any) -> QGroupBox:
    """Return a frame with a title around widgets, or (label, widget)."""
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    for content in contents:
        layout.addWidget(_native(content))
    return box


class Fold(QWidget):
    """Widgets below a title; a click on it hides or shows them.

    Parameters
    ----------
    title : str
        The title.
    contents : QWidget
        What is hidden at first.

    Attributes
    ----------
    toggled : Signal(bool)
        The contents were shown or hidden.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, *contents: QWidget) -> None:
        super().__init__()
        self._title, self._open = title, False
        self._button = QPushButton()
        self._button.setAccessibleName(title)
        self._button.setStyleSheet("text-align: left")
        self._button.clicked.connect(lambda: self.expand(not self._open))
        self._inside = QWidget()
        for holder in (self, self._inside):
            QVBoxLayout(holder).setContentsMargins(0, 0, 0, 0)
        for part in (self._button, self._inside):
            self.layout().addWidget(part)
        for content in contents:
            self._inside.layout().addWidget(content)
        self.expand(False)

    def isExpanded(self) -> bool:  # noqa: N802 - as Qt says it
        """Whether the contents are shown."""
        return self._open

    def expand(self, on: bool = True) -> None:
        """Show the contents, or hide them."""
        self._open = on
        # in the text, not an icon: it has the text's colour in every theme
        self._button.setText(f"{'▾' if on else '▸'}  {self._title}")
        self._inside.setVisible(on)
        self.toggled.emit(on)


def folded(title: str, *contents: Any) -> Fold:
    """Return what can be unfolded, with widgets, or (label, widget), in it."""
    return Fold(title, *(_native(content) for content in contents))


def row(*widgets: Widget | QWidget) -> QWidget:
    """Return widgets side by side."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        native = getattr(widget, "native", widget)
        native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout.addWidget(native)
    return holder


def _native(content: Any) -> QWidget:
    if not isinstance(content, tuple):
        return getattr(content, "native", content)
    label, widget = content
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    name = QLabel(label)
    name.setBuddy(widget.native)
    name.setMinimumWidth(name.fontMetrics().horizontalAdvance("Painting on "))
    layout.addWidget(name)
    native = widget.native
    native.setMinimumWidth(60)  # long layer names are shortened, the dock stays narrow
    if isinstance(native, QComboBox):
        native.installEventFilter(Shortening(native))
    native.setSizePolicy(QSizePolicy.Policy.Ignored, native.sizePolicy().verticalPolicy())
    native.setAccessibleName(label)
    layout.addWidget(native, 1)
    widget.holder = holder
    return holder


class Shortening(QObject):
    """Lets a list shorten its choice in the middle where Qt would cut the end off."""

    def eventFilter(self, box: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        if event.type() != QEvent.Type.Paint:
            return False
        option = QStyleOptionComboBox()
        box.initStyleOption(option)
        field = box.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, box
        )
        option.currentText = box.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, field.width() - 4
        )
        painter = QStylePainter(box)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        return True


def swatch(colour: Sequence[float]) -> QIcon:
    """Return a square of a colour (red, green, blue), 0..1, the same in selected rows."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor.fromRgbF(*colour[:3]))
    painter = QPainter(pixmap)
    painter.setPen(QColor("black"))
    painter.drawRect(0, 0, 13, 13)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # no tint: this colour is the layer's
    return icon


def show(widget: Widget, visible: bool) -> None:
    """Show or hide a widget, with its label if it has one."""
    getattr(widget, "holder", widget.native).setVisible(visible)


def enable(widget: Widget, why_not: str, tooltip: str) -> None:
    """Enable a widget, or disable it and say why in its tooltip."""
    widget.enabled = not why_not
    widget.tooltip = why_not or tooltip
