"""Where docks go: those of this plugin lie on one another as tabs, each as high as the window.

napari's menu opens a second dock below the first, which is then too low to be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

if TYPE_CHECKING:
    import napari

#: Marks the docks of this plugin, and has the captions of their tabs.
_CAPTION = "napari-clusternet tab"
#: Name of a dock in napari's window; that of its menu, which so finds it again.
_TITLE = "{} (ClusterNet)"


class _Placing(QObject):
    """Waits for its dock to be put into a window."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock, self._timer = dock, QTimer(self)  # which ends with the dock
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._place)

    def eventFilter(self, dock: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        if event.type() == QEvent.Type.ParentChange and isinstance(dock.parent(), QDockWidget):
            self._timer.start(0)  # once napari has put it where it wants it
        return False

    def _place(self) -> None:
        frame = self._dock.parent()
        window = frame.parent() if isinstance(frame, QDockWidget) else None
        if not isinstance(window, QMainWindow) or frame.isFloating():
            return
        area = window.dockWidgetArea(frame)
        others = [
            other for other in window.findChildren(QDockWidget)
            if other is not frame and not other.isFloating() and not other.isHidden()
            and area == window.dockWidgetArea(other) != Qt.DockWidgetArea.NoDockWidgetArea
            and _caption(other)
        ]  # fmt: skip
        if others and others[0] not in window.tabifiedDockWidgets(frame):
            window.tabifyDockWidget(others[-1], frame)
            for tab in (*others, frame):  # five tabs with whole names could not be read
                tab.setWindowTitle(_caption(tab))
            frame.show()
            frame.raise_()


def _caption(frame: QDockWidget) -> str:
    """Return the caption of the tab of a dock of this plugin; "" if it is another's."""
    captions = (widget.property(_CAPTION) for widget in frame.findChildren(QWidget))
    return next((str(caption) for caption in captions if caption), "")


def share_place(dock: QWidget) -> None:
    """Let a dock lie on the others of this plugin, as a tab, where napari puts it beside them.

    Parameters
    ----------
    dock : QWidget
        Its `tab` is the caption of its tab.
    """
    dock.setProperty(_CAPTION, dock.tab)
    dock.installEventFilter(_Placing(dock))


def open_dock(viewer: napari.viewer.Viewer, kind: type[QWidget], title: str) -> Any:
    """Show a dock, the one that is open if there is one.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose window.
    kind : type
        The dock's class.
    title : str
        Its name in the menu.

    Returns
    -------
    QWidget
        The dock.
    """
    open_ones = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, kind)]
    if open_ones:
        frame = open_ones[0].parent()
        frame.show()
        frame.raise_()
        return open_ones[0]
    dock = kind(viewer)
    viewer.window.add_dock_widget(dock, name=_TITLE.format(title), tabify=True)
    return dock
