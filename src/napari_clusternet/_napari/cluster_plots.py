"""Plots of clusters: their band profiles, and a map of all centroids to pick from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QColor

from napari_clusternet._napari.cluster_layer import HIGHLIGHT
from napari_clusternet.cluster_views import inside

#: Selected clusters whose profiles are drawn; more would hide each other.
MAX_PROFILES = 25
#: Smallest and largest point of the map, screen pixels.
_POINTS = (4.0, 16.0)
_UNCLASSIFIED = (0.6, 0.6, 0.6)
#: Titles of bands on the axis, at most.
_TICKS = 6
#: Fewer bands make no line to see, and are drawn as points.
FEWEST_BANDS = 3
Colour = tuple[float, float, float]


def _colour(colour: Sequence[float], alpha: float = 1.0) -> QColor:
    red, green, blue = colour[:3]
    return QColor.fromRgbF(red, green, blue, alpha)


class Plot(pg.PlotWidget):
    """A plot in the colours of the window."""

    def __init__(self, title: str, theme: str, view: pg.ViewBox | None = None) -> None:
        super().__init__(viewBox=view, background=None)
        self.setAccessibleName(title)
        self.setFixedHeight(self.fontMetrics().height() * 15)
        self.getPlotItem().hideButtons()
        self.set_theme(theme)

    def set_theme(self, name: str) -> None:
        """Take the text colour of a napari theme."""
        text = QColor(*get_theme(name).text.as_rgb_tuple()[:3])
        for axis in ("left", "bottom"):
            self.getAxis(axis).setPen(text)
            self.getAxis(axis).setTextPen(text)
            self.getAxis(axis).enableAutoSIPrefix(False)  # no "band (x0.001)"


def short_titles(bands: Sequence[str]) -> list[str]:
    """Return band names without what all numbered ones begin with: band_1, band_2 are 1, 2."""
    found = [re.fullmatch(r"(.*[ _-])(\d+)", band) for band in bands]
    alike = len(bands) > 1 and all(found) and len({match[1] for match in found if match}) == 1
    return [match[2] for match in found if match] if alike else list(bands)


class ProfilePlot(Plot):
    """Band means of the selected clusters (thin) against those of the classes (thick, dashed)."""

    _titles: Sequence[str] = ()

    def __init__(self, theme: str) -> None:
        super().__init__("Band profiles of the selected clusters and of the classes", theme)
        self.setLabel("left", "mean")
        self.setMouseEnabled(x=False, y=False)
        self.setMenuEnabled(False)

    def show_profiles(
        self,
        bands: Sequence[str],
        classes: Mapping[int, Any],
        clusters: Sequence[tuple[int, int, Any]],
        colours: Mapping[int, Colour],
    ) -> None:
        """Draw profiles.

        Parameters
        ----------
        bands : sequence of str
            Names of the bands.
        classes : mapping of int to array, shape (n_bands,)
            Class -> its profile.
        clusters : sequence of (cluster, class, profile)
            The selected ones.
        colours : mapping of int to (red, green, blue)
            Class -> its colour.
        """
        self.clear()
        x = np.arange(len(bands))
        symbol = "o" if len(bands) < FEWEST_BANDS else None
        for class_, profile in classes.items():
            colour = _colour(colours.get(class_, _UNCLASSIFIED))
            pen = pg.mkPen(colour, width=3, style=Qt.PenStyle.DashLine)
            self.plot(x, profile, pen=pen, symbol=symbol and "s", symbolBrush=colour, symbolSize=12)
        for _, class_, profile in clusters[:MAX_PROFILES]:
            colour = _colour(colours.get(class_, _UNCLASSIFIED))
            self.plot(x, profile, pen=pg.mkPen(colour, width=1.5), symbol=symbol,
                      symbolBrush=colour, symbolPen=_colour(HIGHLIGHT), symbolSize=8)  # fmt: skip
        self._titles = short_titles(bands)
        self.setLabel("bottom", "band")
        room = 0.5 if len(bands) <= _TICKS else 0.02 * len(bands)  # for the outer titles
        self.setXRange(-room, len(bands) - 1 + room, padding=0)
        self._show_titles()

    def _show_titles(self) -> None:
        """Write the titles of as many bands as there is room for."""
        titles, metrics = self._titles, self.fontMetrics()
        widest = max((metrics.horizontalAdvance(title) for title in titles), default=1) + 12
        fitting = max(1, min(_TICKS, (self.width() - 60) // widest))
        step = max(1, -(-len(titles) // fitting))
        self.getAxis("bottom").setTicks([[(i, titles[i]) for i in range(0, len(titles), step)]])

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Choose anew which titles fit."""
        super().resizeEvent(event)
        if self._titles:
            self._show_titles()


class _LassoBox(pg.ViewBox):
    """A view in which dragging draws a lasso, if it is switched on or Shift is held."""

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.lasso = False
        self.drawn: Any = None  # called with (corners, whether Shift is held)
        self._corners: list[tuple[float, float]] = []
        self._line = pg.PlotCurveItem(pen=pg.mkPen(_colour(HIGHLIGHT), width=1.5))
        self.addItem(self._line, ignoreBounds=True)

    def mouseDragEvent(self, event: Any, axis: int | None = None) -> None:  # noqa: N802
        """Draw the lasso; otherwise move the view."""
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        wanted = event.button() == Qt.MouseButton.LeftButton and (self.lasso or shift)
        if axis is not None or not (wanted or self._corners):
            super().mouseDragEvent(event, axis)
            return
        event.accept()
        if event.isStart():
            first = self.mapToView(event.buttonDownPos())
            self._corners = [(first.x(), first.y())]
        place = self.mapToView(event.pos())
        self._corners.append((place.x(), place.y()))
        self._line.setData(*np.array([*self._corners, self._corners[0]]).T)
        if event.isFinish():
            corners, self._corners = self._corners, []
            self._line.setData([], [])
            self.drawn(corners, shift and not self.lasso)


class CentroidMap(Plot):
    """All clusters by their centroids: similar ones lie together.

    Attributes
    ----------
    picked : Signal(tuple, bool)
        The user chose clusters with a click or a lasso; whether they are added to the selection.
    """

    picked = Signal(tuple, bool)

    def __init__(self, theme: str) -> None:
        self._box = _LassoBox()
        super().__init__("Map of all clusters; similar ones lie together", theme, self._box)
        self._box.drawn = self._lassoed
        self._ids = np.zeros(0, int)
        self._places = np.zeros((0, 2))
        self._sizes = np.zeros(0)
        self._points = pg.ScatterPlotItem(pen=None, hoverable=True, tip=self._tip)
        ring = pg.mkPen(_colour(HIGHLIGHT), width=2)
        self._rings = pg.ScatterPlotItem(pen=ring, brush=None)
        self._points.sigClicked.connect(self._clicked)
        self._rings.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        for item in (self._points, self._rings):
            self.addItem(item)
        for axis in ("left", "bottom"):
            self.getAxis(axis).setStyle(showValues=False)
        self.setLabel("bottom", "1st component")
        self.setLabel("left", "2nd component")

    @property
    def lasso(self) -> bool:
        """Whether dragging draws a lasso."""
        return self._box.lasso

    @lasso.setter
    def lasso(self, on: bool) -> None:
        self._box.lasso = on
        self.setCursor(Qt.CursorShape.CrossCursor if on else Qt.CursorShape.ArrowCursor)

    def set_clusters(
        self, ids: Any, places: Any, pixels: Any, classes: Any, colours: Mapping[int, Colour]
    ) -> None:
        """Show clusters.

        Parameters
        ----------
        ids, pixels, classes : array of int, shape (n,)
            Cluster id, size and class.
        places : array, shape (n, 2)
            See `napari_clusternet.cluster_views.centroid_map`.
        colours : mapping of int to (red, green, blue)
            Class -> its colour.
        """
        small, large = _POINTS
        share = np.sqrt(pixels / max(1, pixels.max(initial=1)))  # areas go with pixels
        self._ids, self._places, self._sizes = ids, places, small + (large - small) * share
        brushes = {c: pg.mkBrush(_colour(colours.get(c, _UNCLASSIFIED), 0.8))
                   for c in np.unique(classes).tolist()}  # fmt: skip
        self._points.setData(
            x=places[:, 0], y=places[:, 1], size=self._sizes, data=ids,
            brush=[brushes[c] for c in classes.tolist()],
        )  # fmt: skip

    def select(self, clusters: Sequence[int]) -> None:
        """Ring the selected clusters."""
        there = np.isin(self._ids, clusters)
        self._rings.setData(
            x=self._places[there, 0], y=self._places[there, 1], size=self._sizes[there] + 6
        )

    def screen_position(self, cluster: int) -> QPointF:
        """Return where a cluster's point is, in pixels of this widget's viewport."""
        place = self._places[int(np.flatnonzero(self._ids == cluster)[0])]
        scene = self._box.mapViewToScene(QPointF(*place))
        return QPointF(self.mapFromScene(scene))

    def _tip(self, x: float, y: float, data: Any) -> str:
        return f"cluster {int(data)}"

    def _clicked(self, _: Any, points: Sequence[Any], event: Any) -> None:
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self.picked.emit((int(points[0].data()),), shift)

    def _lassoed(self, corners: Sequence[tuple[float, float]], add: bool) -> None:
        found = self._ids[inside(self._places, corners)]
        self.picked.emit(tuple(found.tolist()), add)
