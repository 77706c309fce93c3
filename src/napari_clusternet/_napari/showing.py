"""The layers that show what strokes made of an image, in the colours of the classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.utils.colormaps import Colormap, ensure_colormap

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels, Layer

    from napari_clusternet._napari.classes import ClassList
    from napari_clusternet.image import Image
    from napari_clusternet.session import Session

#: Invalid pixels are 0, below what any other can be, and so let through what is behind them.
_LIMITS = (0.01, 1.0)
_CERTAINTY = Colormap(
    ensure_colormap("viridis").colors, name="certainty", low_color=(0.0, 0.0, 0.0, 0.0)
)


class Showing:
    """Part of `napari_clusternet._napari.segmentation.Segmentation`."""

    viewer: ViewerModel
    image: Image
    name: str
    classes: ClassList
    session: Session | None
    strokes_layer: Labels
    labels_layer: Labels | None
    certainty_layer: ImageLayer | None
    method_layers: dict[str, Labels]
    message: str
    _changed: Callable[[Any], object]

    def _new_labels(self, labels: Any) -> Labels:
        selected = self.viewer.layers.selection.active
        layer = self.viewer.add_labels(
            labels, name=f"{self.name} classes", opacity=0.5, colormap=self.classes.colormap(),
            **self.image.layer_metadata,
        )  # fmt: skip
        layer.features = self._class_table()
        layer.editable = False
        self._place(layer, selected)
        return layer

    def _place(self, layer: Layer, selected: Layer | None) -> None:
        """Move a new layer under the strokes, and select again what was selected."""
        layers = self.viewer.layers
        if self.strokes_layer in layers:
            layers.move(layers.index(layer), layers.index(self.strokes_layer))
        layers.selection.active = selected

    def show_method(self, method: str, labels: Any) -> Labels:
        """Show what another method made of the image."""
        layer = self.method_layers.get(method)
        self.classes.ensure(int(labels.max()))
        if layer is None or layer not in self.viewer.layers:
            selected = self.viewer.layers.selection.active
            layer = self.viewer.add_labels(
                labels, name=f"{self.name} {method}", opacity=0.5,
                colormap=self.classes.colormap(), features=self._class_table(),
                **self.image.layer_metadata,
            )  # fmt: skip
            self.method_layers[method] = layer
            layer.editable = False
            self._place(layer, selected)
        else:
            layer.data = labels
        self.message = f"{method} is done."
        self._changed(self)
        return layer

    def show_certainty(self, visible: bool = True) -> ImageLayer | None:
        """Show or hide how sure the class of every pixel is, 0..1."""
        if self.session is None:
            return None
        layer = self.certainty_layer
        if not visible:
            if layer is not None:
                layer.visible = False
            return layer
        if layer is None or layer not in self.viewer.layers:
            selected = self.viewer.layers.selection.active
            self.certainty_layer = layer = self.viewer.add_image(
                self.session.certainty, name=f"{self.name} certainty", colormap=_CERTAINTY,
                contrast_limits=_LIMITS, opacity=0.7, **self.image.layer_metadata,
            )  # fmt: skip
            self._place(layer, selected)
        else:
            layer.data = self.session.certainty
            layer.visible = True
        return layer

    # ---- classes ---------------------------------------------------------------------------------

    def paint_classes(self) -> None:
        """Give the layers the names and colours of the classes."""
        colormap, table = self.classes.colormap(), self._class_table()
        for layer in (self.strokes_layer, self.labels_layer, *self.method_layers.values()):
            if layer is not None:
                layer.colormap = colormap
                layer.features = table

    def _class_table(self) -> dict[str, list[str]]:
        return {"class": ["none", *self.classes.names.values()]}  # row i is that of label i
