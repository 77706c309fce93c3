"""Clusters: a table of them, their profiles and a map, and what can be done to them by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_clusternet._napari.cluster_plots import FEWEST_BANDS, CentroidMap, ProfilePlot
from napari_clusternet._napari.cluster_table import ClusterTable, columns_of
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.frames import attempt, folded, stacked, swatch, text
from napari_clusternet._napari.ties import Ties
from napari_clusternet.cluster_views import centroid_map, class_profiles, profiles, size_text
from napari_clusternet.history import STATES

if TYPE_CHECKING:
    import napari
    import pandas as pd

    from napari_clusternet.session import Session

#: Milliseconds from a change to the table's update: one update for several changes in a row.
DELAY = 80
NO_SESSION = "No clusters yet. Open an image, press Start in Classify, and they are listed here."
HOW = (
    "Select rows, or double-click the image (while painting, hold Space). "
    "Shift adds to the selection."
)
LINES = "Thin: the selected clusters. Dashed: the classes."
POINTS = "Circles: the selected clusters. Squares: the classes."
_ANY = -1


class ClustersDock(QWidget):
    """Forwards to `current(viewer)`; holds nothing but how the table is filtered.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    tab = "Clusters"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._control = current(viewer)
        self._table: pd.DataFrame | None = None
        self._session: weakref.ref[Session] | None = None  # a hidden dock keeps none in memory
        self._stale = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY)
        self._timer.timeout.connect(self.refresh)
        self._build()
        self._ties = Ties(self)
        for signal, slot in (
            (self._control.session_changed, self._wake),
            (self._control.active_changed, self._wake),
            (self._control.classes.changed, self._wake),
            (self._control.selection_changed, self._show_selection),
            (self._control.viewer.events.theme, self._set_theme),
        ):
            self._ties.tie(signal, slot)
        self.refresh()

    # ---- parts ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.message = QLabel(NO_SESSION)
        self.message.setWordWrap(True)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.table = ClusterTable()
        self.table.setFixedHeight(self.fontMetrics().height() * 20)
        self.table.setAccessibleName("Clusters")
        self.table.chosen.connect(self._select)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(
            lambda place: self._popup(self.table.viewport().mapToGlobal(place))
        )
        stacked(
            self,
            self.message,
            self._buttons(),
            self._filters(),
            self.table,
            self.summary,
            *self._plots(),
        )

    def _buttons(self) -> QWidget:
        control = self._control
        self.assign = QPushButton("&Assign to")
        self._classes_menu = QMenu(self.assign)
        self._classes_menu.aboutToShow.connect(lambda: self._fill_classes(self._classes_menu))
        self.assign.setMenu(self._classes_menu)
        self.next = QPushButton("&Next place")
        self.split = QPushButton("&Split")
        self.merge = QPushButton("&Merge")
        self.isolate = QPushButton("&Isolate")
        self.isolate.setCheckable(True)
        self.show_all = CheckBox(text="Show all", tooltip="All clusters in distinct colours")
        # clicks, not toggles: what comes from the console must not be sent back
        for button, action in (
            (self.next, control.show_place), (self.split, control.split),
            (self.merge, control.merge), (self.isolate, control.isolate),
        ):  # fmt: skip
            button.clicked.connect(lambda _=False, action=action: self._try(action))
        self.show_all.changed.connect(lambda on: self._try(control.show_clusters, on))
        self.table.keys = {
            (Qt.Key.Key_N, False): lambda: self._try(control.show_place),
            (Qt.Key.Key_N, True): lambda: self._try(control.show_place, -1),
            (Qt.Key.Key_Escape, False): lambda: self._try(control.select, ()),
        }
        parts = [self.assign, self.split, self.merge, self.next, self.isolate]
        return _grid([*parts, self.show_all.native], 3)

    def _filters(self) -> QWidget:
        self.text = LineEdit(tooltip="Show only clusters whose id, class or state has these words")
        self.text.native.setPlaceholderText("Filter by id, class or state")
        self.text.native.setClearButtonEnabled(True)
        self.of_class = ComboBox(choices=[("any class", _ANY)], tooltip="Show one class only")
        self.of_state = ComboBox(
            choices=[("any state", _ANY)] + [(name, i) for i, name in enumerate(STATES)],
            tooltip="Show one state only",
        )
        for widget in (self.text, self.of_class, self.of_state):
            widget.native.setAccessibleName(widget.tooltip)
            widget.changed.connect(self._filter)
        box = _grid([self.of_class.native, self.of_state.native], 2)
        box.layout().addWidget(self.text.native, 1, 0, 1, 2)
        return box

    def _plots(self) -> tuple[QWidget, ...]:
        theme = self._control.viewer.theme
        self.profiles, self.map = ProfilePlot(theme), CentroidMap(theme)
        self.map.picked.connect(self._pick)
        self.map.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.map.customContextMenuRequested.connect(
            lambda place: self._popup(self.map.mapToGlobal(place))
        )
        self.lasso = QPushButton("&Lasso")
        self.lasso.setCheckable(True)
        self.lasso.setToolTip("Draw around clusters to select them; or hold Shift and drag")
        self.lasso.toggled.connect(lambda on: setattr(self.map, "lasso", on))
        self.reset_view = QPushButton("Show &whole map")
        self.reset_view.clicked.connect(lambda: self.map.autoRange())
        self.how, self.key = text(LINES), text("")
        self.profile_section = folded(
            "Band profiles", self.profiles,
            self.how, self.key,
        )  # fmt: skip
        self.map_section = folded(
            "Map of all clusters",
            text("Similar clusters lie together. Click one, or draw a lasso, then assign."),
            _grid([self.lasso, self.reset_view], 2), self.map,
        )  # fmt: skip
        for section in (self.profile_section, self.map_section):
            section.toggled.connect(lambda _: self._draw_plots())
        return self.profile_section, self.map_section

    # ---- following -----------------------------------------------------------------------------

    def _wake(self, *_: Any) -> None:
        self._stale = True
        if self.isVisible():
            self._timer.start()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Catch up with what happened while the dock was hidden."""
        super().showEvent(event)
        if self._stale:
            self._timer.start(0)

    def refresh(self) -> None:
        """Show the clusters as they are now."""
        self._timer.stop()
        self._timer.setInterval(DELAY)
        control = self._control
        self._stale = False
        self._session = None if control.session is None else weakref.ref(control.session)
        if control.session is None:
            self._table = None
            self.message.setText(NO_SESSION)
        else:
            self._table = control.cluster_table()
            self.message.setText(HOW)
            columns = columns_of(self._table, control.image, control.classes.names)
            self.table.set_table(self._table, columns, control.classes.colours)
            self._fill_filter()
        for part in (self.table, self.profile_section, self.map_section, self.summary):
            part.setVisible(control.session is not None)
        self._show_selection()
        self._draw_plots()

    def _show_selection(self) -> None:
        """Follow the controller's selection."""
        if self._current:
            self.table.select(self._control.selected)
            self.map.select(self._control.selected)
            self._draw_profiles()
        self._enable()

    @property
    def _current(self) -> bool:
        """Whether the table is that of the session that is active now."""
        shown = None if self._session is None else self._session()
        return self._table is not None and shown is self._control.session

    def _enable(self) -> None:
        n, session = len(self._control.selected), self._control.session
        none = "" if n else "Select clusters first, in the table or by a double click on the image"
        few = none or ("" if n > 1 else "Select two or more clusters")
        where = "in the direction in which they differ most"
        for button, why_not, tip in (
            (self.assign, none, "Give the selected clusters a class by hand"),
            (self.next, none, "Move to the next example of the selected clusters (N; back: "
             "Shift+N)"),
            (self.split, none, f"Split each selected cluster in two, {where}"),
            (self.merge, few, "Make one cluster of the selected ones"),
            (self.isolate, none, "Dim everything but the selected clusters"),
        ):  # fmt: skip
            button.setEnabled(not why_not)
            button.setToolTip(why_not or tip)
        self.isolate.setChecked(self._control.isolated)
        for part in (self.show_all, self.text, self.of_class, self.of_state):
            part.enabled = session is not None
        self.summary.setText(self._counts())

    def _counts(self) -> str:
        if not self._current:
            return ""
        text = f"{len(self._table)} clusters"
        shown = self.table.shown.rowCount()
        if shown < len(self._table):
            text += f", {shown} shown"
        selected = self._control.selected
        if selected:
            size = self._table["size"].reindex(list(selected)).sum()
            text += f"; {len(selected)} selected: {size_text(float(size), self._control.image)}"
        return text

    # ---- plots ---------------------------------------------------------------------------------

    def _draw_plots(self) -> None:
        if not (self._current and self.map_section.isExpanded()):
            self._draw_profiles()
            return
        table, control = self._table, self._control
        places = centroid_map([*table["centroid"]])
        self.map.set_clusters(
            table.index.to_numpy(), places, table["pixels"].to_numpy(),
            table["class"].to_numpy(), control.classes.colours,
        )  # fmt: skip
        self.map.select(control.selected)
        self._draw_profiles()

    def _draw_profiles(self) -> None:
        if not (self._current and self.profile_section.isExpanded()):
            return
        table, control = self._table, self._control
        rows = table.index.get_indexer(list(control.selected))
        means, classes = profiles(table), table["class"].to_numpy()
        selected = [(int(table.index[i]), int(classes[i]), means[i]) for i in rows if i >= 0]
        of_classes = class_profiles(table)
        self.profiles.show_profiles(
            control.image.band_names, of_classes, selected, control.classes.colours
        )
        self.how.setText(LINES if len(control.image.band_names) >= FEWEST_BANDS else POINTS)
        self.key.setText(_key(of_classes, control.classes))

    def _set_theme(self, event: Any) -> None:
        for plot in (self.profiles, self.map):
            plot.set_theme(self._control.viewer.theme)

    # ---- what the user does --------------------------------------------------------------------

    def _try(self, action: Callable[..., object], *arguments: Any) -> None:
        attempt(partial(action, *arguments))
        self._enable()

    def _select(self, clusters: tuple[int, ...]) -> None:
        self._try(self._control.select, clusters)

    def _pick(self, clusters: tuple[int, ...], add: bool) -> None:
        before = self._control.selected if add else ()
        self._select(tuple(dict.fromkeys((*before, *clusters))))

    def _fill_classes(self, menu: QMenu) -> None:
        """One action a class, with its colour, one for a new class, one to take it back."""
        control = self._control
        menu.clear()

        def add(text: str, class_: Callable[[], int]) -> Any:
            action = menu.addAction(text)
            action.triggered.connect(lambda: self._try(lambda: control.assign(None, class_())))
            return action

        for class_, name in control.classes.names.items():
            text = f"&{class_} {name}" if class_ < 10 else name
            add(text, lambda class_=class_: class_).setIcon(swatch(control.classes.colours[class_]))
        menu.addSeparator()
        add("A new &class", lambda: control.classes.add())
        add("As its &strokes say", lambda: 0)

    def context_menu(self) -> QMenu:
        """Return the menu of what can be done to the selected clusters."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        classes = menu.addMenu("Assign to")
        self._fill_classes(classes)
        classes.setEnabled(self.assign.isEnabled())
        for button in (self.split, self.merge, self.isolate, self.next):
            action = menu.addAction(button.text())
            action.setEnabled(button.isEnabled())
            action.triggered.connect(button.click)
        return menu

    def _popup(self, place: Any) -> None:
        self.context_menu().popup(place)

    def _fill_filter(self) -> None:
        choices = [("any class", _ANY), ("no class", 0)]
        choices += [(name, class_) for class_, name in self._control.classes.names.items()]
        if [choice[1] for choice in choices] != list(self.of_class.choices) or any(
            self.of_class.native.itemText(i) != name for i, (name, _) in enumerate(choices)
        ):
            self.of_class.choices = choices

    def _filter(self, _: Any = None) -> None:
        self.table.set_filter(self.text.value, self.of_class.value, self.of_state.value)
        self.summary.setText(self._counts())


def _grid(parts: list[QWidget], n_columns: int) -> QWidget:
    box = QWidget()
    box.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    layout = QGridLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for i, part in enumerate(parts):
        part.setMinimumWidth(0)
        part.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout.addWidget(part, *divmod(i, n_columns))
    return box


def _key(classes: Any, names: Any) -> str:
    """Return the names of some classes in their colours, as rich text."""
    parts = []
    for class_ in classes:
        red, green, blue = (round(value * 255) for value in names.colours.get(class_, (0.6,) * 3))
        name = names.names.get(class_, f"class {class_}")
        name = name.replace("&", "&amp;").replace("<", "&lt;")
        parts.append(f'<span style="color: rgb({red},{green},{blue})">■</span>&nbsp;{name}')
    return " &nbsp; ".join(parts)
