"""Live curves of a training: loss, and clusters in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_clusternet.progress import Progress

#: Height of a plot, pixels.
_HEIGHT = 120
#: Colours told apart by those who do not see all colours.
_LOSS, _USAGE = "#e69f00", "#56b4e9"


class Curves(QWidget):
    """Two small plots over the steps done, following a list of `Progress`."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._plots: dict[str, pg.PlotWidget] = {}
        self._loss = self._add(
            layout, "Loss, step by step", _LOSS, "Falls while something is learned"
        )
        self._usage = self._add(
            layout, "Clusters in use, step by step", _USAGE,
            "How many clusters share the pixels out; a collapse to few means that training failed",
        )  # fmt: skip

    def _add(self, layout: QVBoxLayout, title: str, colour: str, tooltip: str) -> pg.PlotDataItem:
        plot = pg.PlotWidget()
        plot.setFixedHeight(_HEIGHT)
        plot.setToolTip(tooltip)
        plot.setAccessibleName(title)
        plot.setBackground(None)
        item = plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        item.setMouseEnabled(False, False)
        item.getAxis("left").setWidth(38)
        layout.addWidget(plot)
        self._plots[title] = plot
        return plot.plot(pen=pg.mkPen(colour, width=2))

    def paint(self, ink: str) -> None:
        """Write titles and axes in a colour, "#rrggbb"."""
        for title, plot in self._plots.items():
            item = plot.getPlotItem()
            item.setTitle(title, size="9pt", color=ink)
            for name in ("left", "bottom"):
                item.getAxis(name).setPen(ink)
                item.getAxis(name).setTextPen(ink)

    def show_steps(self, steps: Sequence[Progress]) -> None:
        """Draw the curves anew."""
        figures = ("loss", "perplexity")
        curves = (self._loss, self._usage)
        for curve, figure, plot in zip(curves, figures, self._plots.values(), strict=True):
            known = [step for step in steps if figure in step.metrics]
            plot.setVisible(bool(known))  # clusters are counted at the end of the first epoch
            values = [step.metrics[figure] for step in known]
            curve.setData([step.done for step in known], values)
            if curve is self._usage and values:  # from 0: a collapse is seen as one
                plot.setYRange(0, max(values), padding=0.1)
