"""The layer that shows clusters on the canvas: some of them, all of them, or all others dimmed."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_clusternet._napari.segmentation import Segmentation
    from napari_clusternet.session import Session

#: Selected clusters are shown in this: no class has it, and few images do.
HIGHLIGHT = (1.0, 0.0, 1.0, 1.0)
#: What covers the other clusters where some are isolated.
DIM = (0.0, 0.0, 0.0, 1.0)
_CLEAR = (0.0, 0.0, 0.0, 0.0)
_OPACITY = 0.75


class _FewColours(DirectLabelColormap):
    """Colours of a few labels, looked up at once.

    napari asks for the colour of each of the 65536 ids that a 16-bit layer may hold, one by one in
    Python; that would be most of the time from a selection to its highlight.
    """

    def _map_without_cache(self, values: Any) -> Any:
        table = np.empty((np.iinfo(np.uint16).max + 1, 4), np.float32)
        table[:] = self.default_color
        for label, colour in self.color_dict.items():
            if label is not None:
                table[label] = colour
        return table[values]


class ClusterLayer:
    """Shows the clusters of one image in a Labels layer on the session's own cluster map.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layer goes.
    segmentation : Segmentation
        Whose clusters are shown.

    Attributes
    ----------
    layer : napari.layers.Labels or None
        None until there is something to show, and after the user removed it.
    """

    def __init__(self, viewer: ViewerModel, segmentation: Segmentation) -> None:
        self._viewer, self._segmentation = viewer, segmentation
        self.layer: Labels | None = None
        self._session: Session | None = None
        self._version = -1
        self._all_colours: Any = None
        self._for_selection = False

    def show(self, selected: Collection[int], isolate: bool) -> None:
        """Show the selected clusters brightly, or everything else dimmed; without any, hide."""
        if not selected:
            self._clear()
            return
        layer = self._ready()
        others, own = (DIM, _CLEAR) if isolate else (_CLEAR, HIGHLIGHT)
        colours: dict[int | None, Any] = {None: others, 0: others}
        layer.colormap = _FewColours(color_dict=colours | dict.fromkeys(selected, own))
        if not layer.visible:  # setting it draws the layer anew, even if it was visible
            self._for_selection = layer.visible = True

    def show_all(self, visible: bool) -> None:
        """Show all clusters in distinct colours, or none; a selection goes before."""
        if visible:
            layer = self._ready()
            layer.visible, self._for_selection = True, False
        elif self.layer is not None:
            self.layer.visible = False

    def _clear(self) -> None:
        """Show no selection: all clusters if the user made the layer visible, else nothing."""
        if self.layer is not None:
            if self._for_selection:
                self.layer.visible, self._for_selection = False, False
            if self.layer.colormap is not self._all_colours:
                self.layer.colormap = self._all_colours

    def follow(self) -> bool:
        """Bring the layer up to date; return whether pixels changed clusters since the last call.

        The map is the session's own array, so that nothing is copied; only what is on the screen
        has to be drawn again.
        """
        session = self._segmentation.session
        if session is None:
            return False
        version = session.inspector.version
        changed = session is not self._session or version != self._version
        if self.layer is not None and session is not self._session:
            self.layer.data = session.cluster_map
        elif self.layer is not None and changed:
            self.layer.refresh()
        self._session, self._version = session, version
        return changed

    def forget(self, layer: Any) -> None:
        """Forget the layer if it is this one; it was removed."""
        if layer is self.layer:
            self.layer = None

    def _ready(self) -> Labels:
        if self.layer is None:
            self.layer = self._new_layer(self._segmentation.session)
            self._all_colours = self.layer.colormap
            self._for_selection = True
        self.follow()
        return self.layer

    def _new_layer(self, session: Session) -> Labels:
        layers = self._viewer.layers
        selected = layers.selection.active
        layer = Labels(
            session.cluster_map, name=f"{self._segmentation.name} clusters", opacity=_OPACITY,
            **self._segmentation.image.layer_metadata,
        )  # fmt: skip
        layer.editable = False
        strokes = self._segmentation.strokes_layer
        layers.insert(layers.index(strokes) if strokes in layers else len(layers), layer)
        layers.selection.active = selected  # painting goes on
        return layer
