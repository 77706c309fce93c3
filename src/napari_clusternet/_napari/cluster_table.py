"""The table of clusters: columns of arrays, sorted and filtered as arrays, painted cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAbstractItemView, QMenu, QTableView

from napari_clusternet._napari.frames import swatch
from napari_clusternet.cluster_views import size_text
from napari_clusternet.history import STATES

if TYPE_CHECKING:
    import pandas as pd

    from napari_clusternet.image import Image

#: More band columns than these are hidden until asked for in the header's menu.
SHOWN_BANDS = 6
_STATE_TIPS = {
    "classified": "Its strokes are of one class",
    "mixed": "Its strokes are of several classes and cannot be told apart",
    "unclassified": "No stroke says what it is",
    "inferred": "It has no strokes; its class follows from the strokes elsewhere",
    "assigned": "Its class was given by hand",
}


@dataclass(frozen=True)
class Column:
    """One column: `cells` to sort by, `text` to read."""

    title: str
    tip: str
    cells: Any
    text: Callable[[Any], str]
    band: bool = False


#: Columns that the filter by words looks at.
_SEARCHED = ("Cluster", "Class", "State")


def columns_of(table: pd.DataFrame, image: Image, names: Mapping[int, str]) -> list[Column]:
    """Return the columns to show of ``session.clusters``.

    Parameters
    ----------
    table : pandas.DataFrame
        The session's clusters.
    image : Image
        For the units of sizes.
    names : mapping of int to str
        Class -> name.
    """
    classes, states = table["class"].to_numpy(), table["state"].cat.codes.to_numpy()
    named = np.array([names.get(int(c), f"class {c}") if c else "" for c in classes], dtype=object)
    # of a cluster whose strokes agree, the state is what they say
    told = np.array([STATES[code] for code in states], dtype=object)
    told = np.where(states == STATES.index("classified"), named, told)
    what = "Area" if image.ndim == 2 else "Volume"
    columns = [
        Column("Cluster", "Cluster id, in the colour of its class", table.index.to_numpy(), str),
        Column("Class", "The class in force", named, str),
        Column(what, f"{what} on the ground or in the body", table["size"].to_numpy(),
               lambda size: size_text(size, image)),
        Column("State", "What its strokes say: a class, mixed or unclassified; or inferred from "
               "the strokes elsewhere, or assigned by hand", told, str),
        Column("Pixels", "Pixels of the cluster", table["pixels"].to_numpy(), "{:,}".format),
    ]  # fmt: skip
    for name in table.columns:
        values = table[name].to_numpy() if name != "centroid" else None
        if str(name).startswith("strokes_"):
            class_ = names.get(int(name.removeprefix("strokes_")), str(name))
            tip = f"Pixels under strokes of {class_}"
            columns.append(Column(f"Strokes {class_}", tip, values, "{:,}".format))
        elif name in ("purity", "certainty"):
            tip = ("Share of the commonest class among its stroked pixels" if name == "purity"
                   else "How sure its class is")  # fmt: skip
            columns.append(Column(str(name).capitalize(), tip, values, _percent))
        elif str(name).startswith("mean_"):
            band = str(name).removeprefix("mean_")
            tip = f"Mean of {band} over the cluster"
            columns.append(Column(f"Mean {band}", tip, values, _figure, band=True))
    return columns


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.0%}"


def _figure(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


class ClusterModel(QAbstractTableModel):
    """Clusters as rows, in the order they are sorted by.

    Attributes
    ----------
    ids, classes, states : numpy.ndarray of int, shape (n,)
        Cluster id, class and index into `napari_clusternet.history.STATES` of every row.
    columns : list of Column
        What is shown; their arrays are in the order of the table that was set, not of the rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.columns: list[Column] = []
        self.ids = self.classes = self.states = np.zeros(0, int)
        self._order = np.zeros(0, int)
        self._swatches: dict[int, QIcon] = {}
        self._sorted = (0, Qt.SortOrder.AscendingOrder)

    def set_table(
        self, table: pd.DataFrame, columns: list[Column], colours: Mapping[int, Any]
    ) -> None:
        """Show another table; cells only are painted again where its rows are as before."""
        before = self.ids, [column.title for column in self.columns]
        order = self._sorting(columns)
        ids = table.index.to_numpy()[order]
        titles = [column.title for column in columns]
        same = np.array_equal(ids, before[0]) and titles == before[1]
        if not same:
            self.beginResetModel()
        self.columns, self._order, self.ids = columns, order, ids
        self.classes = table["class"].to_numpy()[order]
        self.states = table["state"].cat.codes.to_numpy()[order]
        self._swatches = {class_: swatch(colour) for class_, colour in colours.items()}
        if not same:
            self.endResetModel()
        elif len(ids) and columns:
            self.dataChanged.emit(self.index(0, 0), self.index(len(ids) - 1, len(columns) - 1))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort the rows by a column; what is unknown comes last, equal ones by id."""
        self._sorted = (column, order)
        self.beginResetModel()
        place = np.argsort(self._order)  # back to the order of the columns' arrays
        arrays = [array[place] for array in (self.ids, self.classes, self.states)]
        self._order = self._sorting(self.columns)
        self.ids, self.classes, self.states = (array[self._order] for array in arrays)
        self.endResetModel()

    def _sorting(self, columns: list[Column]) -> Any:
        index, order = self._sorted
        if not columns:
            return np.zeros(0, int)
        if not 0 <= index < len(columns):
            return np.arange(len(columns[0].cells))
        values = columns[index].cells
        if values.dtype == object:
            values = np.unique([text.casefold() for text in values], return_inverse=True)[1]
        descending = order == Qt.SortOrder.DescendingOrder
        return np.argsort(-values.astype(float) if descending else values, kind="stable")

    def texts(self) -> list[str]:
        """Return what each row says, for the filter: its id, class and state."""
        first = [column for column in self.columns if column.title in _SEARCHED]
        shown = [[column.text(value) for value in column.cells[self._order]] for column in first]
        return [" ".join(row).casefold() for row in zip(*shown, strict=True)]

    # ---- what Qt asks for ----------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of clusters."""
        return 0 if parent is not None and parent.isValid() else len(self.ids)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Titles and their tooltips."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.columns[section].tip
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return the text of a cell, the colour of a cluster, what a state means."""
        row, column = index.row(), self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(column.cells[self._order[row]])
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self._swatches.get(int(self.classes[row]), QIcon())
        if role == Qt.ItemDataRole.TextAlignmentRole and column.cells.dtype != object:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole and column.title == "State":
            return _STATE_TIPS[STATES[self.states[row]]]
        if role == Qt.ItemDataRole.ToolTipRole:  # long names are elided
            return f"{column.title}: {column.text(column.cells[self._order[row]])}"
        return None


class ClusterFilter(QSortFilterProxyModel):
    """Leaves out rows; sorting is the source's, which has arrays to sort."""

    def __init__(self, model: ClusterModel) -> None:
        super().__init__()
        self._keep: Any = np.zeros(0, bool)
        self._text, self._class, self._state = "", -1, -1
        self.setDynamicSortFilter(False)
        model.modelAboutToBeReset.connect(self._all)
        self.setSourceModel(model)

    def set_filter(self, text: str, class_: int, state: int) -> None:
        """Show rows with all words of `text`, of a class and of a state; -1 for any."""
        self._text, self._class, self._state = text.casefold(), class_, state
        self.refilter()

    def refilter(self) -> None:
        """Apply the filter to the rows as they are now."""
        model = self.sourceModel()
        keep = np.ones(len(model.ids), bool)
        if self._class >= 0:
            keep &= model.classes == self._class
        if self._state >= 0:
            keep &= model.states == self._state
        words = self._text.split()
        if words:
            keep &= np.array([all(w in row for w in words) for row in model.texts()], bool)
        if not np.array_equal(keep, self._keep):
            self._keep = keep
            self.invalidateFilter()

    @property
    def rows(self) -> Any:
        """Rows of the source that are shown, in order."""
        return np.flatnonzero(self._keep)

    def _all(self) -> None:
        self._keep = np.zeros(0, bool)

    def filterAcceptsRow(self, row: int, _: QModelIndex) -> bool:  # noqa: N802
        """Whether a row is shown; all are, until the filter has seen them."""
        return row >= len(self._keep) or bool(self._keep[row])

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort the source."""
        self.sourceModel().sort(column, order)
        self.refilter()


class ClusterTable(QTableView):
    """Table of clusters whose rows can be selected from within and without.

    Attributes
    ----------
    chosen : Signal(tuple)
        The user selected other clusters (their ids).
    keys : dict of (key, whether Shift is held) to callable
        What keys do while the table has the focus.
    """

    chosen = Signal(tuple)

    def __init__(self) -> None:
        super().__init__()
        self.clusters = ClusterModel()
        self.shown = ClusterFilter(self.clusters)
        self.keys: dict[tuple[Any, bool], Callable[[], object]] = {}
        self._selected: tuple[int, ...] = ()
        self._following = False
        self._hidden: dict[str, bool] = {}
        self.setModel(self.shown)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)  # Tab goes on to the next widget
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        header = self.horizontalHeader()
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(
            lambda place: self.header_menu().exec(header.mapToGlobal(place))
        )
        header.setMinimumSectionSize(48)
        header.setResizeContentsPrecision(20)
        self.selectionModel().selectionChanged.connect(self._choose)
        self.clusters.modelReset.connect(self._restore)

    def set_table(
        self, table: pd.DataFrame, columns: list[Column], colours: Mapping[int, Any]
    ) -> None:
        """Show another table; selection, sorting, filter and scroll position stay."""
        titles = [column.title for column in self.clusters.columns]
        place = self.verticalScrollBar().value()
        self.clusters.set_table(table, columns, colours)
        self._restore()
        self.verticalScrollBar().setValue(place)
        if titles != [column.title for column in columns]:
            self._arrange()

    def set_filter(self, text: str, class_: int, state: int) -> None:
        """Show only some rows; see `ClusterFilter`."""
        self._following = True  # rows that go away are not deselected by the user
        self.shown.set_filter(text, class_, state)
        self._following = False
        self._restore()

    def select(self, clusters: tuple[int, ...]) -> None:
        """Select rows, as far as they are shown, and scroll to them."""
        if clusters != self._selected:
            self._selected = clusters
            rows = self._restore()
            if len(rows):
                self.scrollTo(self.shown.index(int(rows[0]), 0))

    def _restore(self) -> Any:
        """Bring the selected rows in line; return them."""
        self._following = True
        self.shown.refilter()
        rows = np.flatnonzero(np.isin(self.clusters.ids[self.shown.rows], self._selected))
        selection = QItemSelection()
        last = self.shown.columnCount() - 1
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            if len(run) and last >= 0:
                top, bottom = self.shown.index(int(run[0]), 0), self.shown.index(int(run[-1]), last)
                selection.select(top, bottom)
        flag = QItemSelectionModel.SelectionFlag
        self.selectionModel().select(selection, flag.ClearAndSelect | flag.Rows)
        self._following = False
        return rows

    def _choose(self, *_: Any) -> None:
        if self._following:
            return
        ranges = [np.arange(r.top(), r.bottom() + 1) for r in self.selectionModel().selection()]
        rows = np.unique(np.concatenate([np.zeros(0, int), *ranges]))
        self._selected = tuple(self.clusters.ids[self.shown.rows[rows]].tolist())
        self.chosen.emit(self._selected)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Do what `keys` says, or what tables do."""
        shift = event.modifiers() == Qt.KeyboardModifier.ShiftModifier
        plain = shift or event.modifiers() == Qt.KeyboardModifier.NoModifier
        action = self.keys.get((event.key(), shift)) if plain else None
        if action is None:
            super().keyPressEvent(event)
        else:
            action()

    # ---- columns -------------------------------------------------------------------------------

    def header_menu(self) -> QMenu:
        """Return a menu of all columns to show or hide."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for i, column in enumerate(self.clusters.columns):
            action = menu.addAction(column.title)
            action.setCheckable(True)
            action.setChecked(not self.isColumnHidden(i))
            action.toggled.connect(lambda on, i=i: self._show_column(i, on))
        return menu

    def _show_column(self, i: int, shown: bool) -> None:
        self._hidden[self.clusters.columns[i].title] = not shown
        self._arrange()

    def _arrange(self) -> None:
        """Hide what is hidden, and give each column the width of its title and first cells."""
        bands = sum(column.band for column in self.clusters.columns)
        seen = 0
        for i, column in enumerate(self.clusters.columns):
            seen += column.band
            too_many = bands > SHOWN_BANDS and column.band and seen > SHOWN_BANDS
            self.setColumnHidden(i, self._hidden.get(column.title, too_many))
        self.resizeColumnsToContents()
        widest = self.fontMetrics().averageCharWidth() * 18  # long names are elided
        for i in range(len(self.clusters.columns)):
            if not self.isColumnHidden(i):
                self.setColumnWidth(i, min(self.columnWidth(i), widest))
