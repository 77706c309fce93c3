"""Looking at clusters in the viewer, and changing them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clusternet._napari.controller import Controller


class Inspecting:
    """Part of `napari_clusternet._napari.controller.Controller`."""

    def select(self: Controller, clusters: Sequence[int]) -> None:
        """Select clusters of the active image."""
        self.selected = tuple(clusters)
        self.selection_changed.emit()

    def _forget_layer(self: Controller, layer: Layer) -> None:
        """Forget a layer that was removed."""
