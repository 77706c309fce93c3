"""Whether a computation's layers were removed, or their pixels replaced, while it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class Watched:
    """Layers as they are when something begins; a new name makes no difference.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where they live.
    layers : sequence of Layer
        The layers.
    """

    def __init__(self, viewer: ViewerModel, layers: Sequence[Layer]) -> None:
        self._viewer = viewer
        self._seen = [(layer, _pixels(layer)) for layer in layers]

    def why_gone(self) -> str:
        """Return what happened to them, or ""."""
        for layer, pixels in self._seen:
            if layer not in self._viewer.layers:
                return f"the layer {layer.name!r} was removed meanwhile"
            if _pixels(layer) is not pixels:
                return f"the pixels of the layer {layer.name!r} were replaced meanwhile"
        return ""


def _pixels(layer: Layer) -> Any:
    return layer.data[0] if layer.multiscale else layer.data
