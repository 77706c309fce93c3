"""What docks are made of: sections, rows, sentences; and how they try what may fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_clusternet._napari.runner import tell_error
from napari_clusternet.errors import ClusterNetError

if TYPE_CHECKING:
    from magicgui.widgets import Widget


def attempt(action: Callable[[], object]) -> None:
    """Do it; an error of ours, or of the file system, becomes a notification."""
    try:
        action()
    except (ClusterNetError, OSError) as error:
        tell_error(error)


def scrolled(dock: QWidget, inner: QWidget) -> None:
    """Fill a dock with `inner`, to be scrolled up and down where it is higher than the dock."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    outer = QVBoxLayout(dock)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)


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


def folded(title: str, *contents: Any) -> QCollapsible:
    """Return what can be unfolded, with widgets, or (label, widget), in it."""
    fold = QCollapsible(title, expandedIcon="▼", collapsedIcon="▶")
    for content in contents:
        fold.addWidget(_native(content))
    fold.collapse(animate=False)
    return fold


def row(*widgets: Widget) -> QWidget:
    """Return widgets side by side."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        widget.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout.addWidget(widget.native)
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
    native.setMinimumWidth(60)  # long layer names are cut in the list, not the dock
    native.setSizePolicy(QSizePolicy.Policy.Ignored, native.sizePolicy().verticalPolicy())
    native.setAccessibleName(label)
    layout.addWidget(native, 1)
    widget.holder = holder
    return holder


def show(widget: Widget, visible: bool) -> None:
    """Show or hide a widget, with its label if it has one."""
    getattr(widget, "holder", widget.native).setVisible(visible)


def enable(widget: Widget, why_not: str, tooltip: str) -> None:
    """Enable a widget, or disable it and say why in its tooltip."""
    widget.enabled = not why_not
    widget.tooltip = why_not or tooltip
