"""One image of the viewer, its strokes, its session and the layers that show them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer

from napari_clusternet._napari.classes import ClassList
from napari_clusternet._napari.strokes import StrokeWatcher
from napari_clusternet.image import Image
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

#: Brush size of a new strokes layer, pixels.
BRUSH = 6


class Segmentation:
    """Strokes go from their layer to the session; its labels come back to theirs.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layers live.
    image : Image
        What is segmented.
    image_layers : sequence of Layer
        The layers it was made of.
    classes : ClassList
        Names and colours, shared by all images.
    changed : callable
        Called with this segmentation after every change of its session or message.

    Attributes
    ----------
    session : Session or None
        None until its features and clusters are computed.
    strokes_layer : napari.layers.Labels
        Where the user paints.
    labels_layer : napari.layers.Labels or None
        The result.
    certainty_layer : napari.layers.Image or None
        How sure the result is, once asked for.
    message : str
        What the user should do next, in a sentence; may be empty.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        image_layers: Sequence[Layer],
        classes: ClassList,
        changed: Callable[[Segmentation], object],
    ) -> None:
        self.viewer, self.image, self.image_layers = viewer, image, tuple(image_layers)
        self.classes = classes
        self.session: Session | None = None
        self.labels_layer: Labels | None = None
        self.certainty_layer: ImageLayer | None = None
        self.message = ""
        self._changed = changed
        self._leave: Callable[[], None] = lambda: None
        self._watcher: StrokeWatcher | None = None
        self.strokes_layer: Labels = self._find_strokes() or self._new_strokes()
        self._watch()

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image_layers[0].name if self.image_layers else self.image.name

    # ---- strokes ---------------------------------------------------------------------------------

    def _find_strokes(self) -> Labels | None:
        """Find a layer called "<image> strokes" that fits, such as a sample brings."""
        wanted = f"{self.name} strokes"
        for layer in self.viewer.layers:
            if isinstance(layer, Labels) and layer.name == wanted and self.fits(layer):
                return layer
        return None

    def fits(self, layer: Labels) -> bool:
        """Whether a Labels layer has this image's shape and can be painted."""
        return not layer.multiscale and tuple(layer.data.shape) == self.image.shape

    def _new_strokes(self) -> Labels:
        data = np.zeros(self.image.shape, np.uint8)
        return self.viewer.add_labels(
            data, name=f"{self.name} strokes", **self.image.layer_metadata
        )

    def use_strokes(self, layer: Labels) -> None:
        """Take another layer's strokes from now on."""
        self.stop_watching()
        self.strokes_layer = layer
        self._watch()
        self.update()

    def _watch(self) -> None:
        layer = self.strokes_layer
        names = layer.metadata.get("class_names", ())
        self.classes.ensure(max(2, int(np.max(layer.data, initial=0)), len(names)), names)
        self.paint_classes()
        self._watcher = StrokeWatcher(layer, self.update)

    def stop_watching(self) -> None:
        """Follow the strokes layer no more."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def update(self) -> None:
        """Take the strokes as they are now; what listens to the session is told."""
        if self.session is None:
            return
        strokes = self.strokes_layer.data
        if np.array_equal(strokes, self.session.strokes):
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.session.follow(strokes)
        self.message = _advice(self.session, [str(w.message) for w in caught])
        self._changed(self)

    # ---- session ---------------------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """Show a session, and give it the strokes painted so far."""
        self.close_session()
        self.session = session
        self._leave = session.subscribe(self._show)
        if self.strokes_layer.data.any():
            self.update()
        self._show(session)
        self.message = _advice(session, [])
        self._changed(self)

    def close_session(self) -> None:
        """Forget the session; its layers stay."""
        self._leave()
        self._leave = lambda: None
        self.session = None

    def _show(self, session: Session) -> None:
        """Bring the layers up to date, whoever changed the session."""
        self.classes.ensure(session.n_classes)
        self._show_strokes(session)
        if self.labels_layer is None or self.labels_layer not in self.viewer.layers:
            self.labels_layer = self._new_labels(session.labels)
        else:
            self.labels_layer.data = session.labels
        if self.certainty_layer is not None and self.certainty_layer.visible:
            self.show_certainty()
        self._changed(self)

    def _show_strokes(self, session: Session) -> None:
        """After undo or redo: paint what changed, so that the layer's own undo knows of it."""
        layer = self.strokes_layer
        there = np.flatnonzero(layer.data.reshape(-1) != session.strokes.reshape(-1))
        # strokes on invalid pixels count for nothing, but stay where the user painted them
        there = there[session.cluster_map.reshape(-1)[there] > 0]
        if there.size and layer in self.viewer.layers:
            where = np.unravel_index(there, session.strokes.shape)
            layer.data_setitem(where, session.strokes[where].astype(layer.data.dtype))

    def _new_labels(self, labels: Any) -> Labels:
        selected = self.viewer.layers.selection.active
        layer = self.viewer.add_labels(
            labels, name=f"{self.name} classes", opacity=0.5, colormap=self.classes.colormap(),
            **self.image.layer_metadata,
        )  # fmt: skip
        layer.editable = False
        place = self.viewer.layers.index(self.strokes_layer)
        self.viewer.layers.move(self.viewer.layers.index(layer), place)
        self.viewer.layers.selection.active = selected
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
                self.session.certainty, name=f"{self.name} certainty", colormap="viridis",
                contrast_limits=(0, 1), opacity=0.7, **self.image.layer_metadata,
            )  # fmt: skip
            self.viewer.layers.selection.active = selected
        else:
            layer.data = self.session.certainty
            layer.visible = True
        return layer

    # ---- classes ---------------------------------------------------------------------------------

    def paint_classes(self) -> None:
        """Give the layers the names and colours of the classes."""
        colormap = self.classes.colormap()
        names = ["none", *self.classes.names.values()]
        for layer in (self.strokes_layer, self.labels_layer):
            if layer is not None:
                layer.colormap = colormap
                layer.features = {"class": names}

    def start_painting(self, class_: int) -> None:
        """Select the strokes layer and its brush, with a class."""
        layer = self.strokes_layer
        if layer in self.viewer.layers:
            self.viewer.layers.selection.active = layer
            layer.selected_label = class_
            layer.brush_size = BRUSH if layer.mode == "pan_zoom" else layer.brush_size
            layer.mode = "paint"

    def stop(self) -> None:
        """Follow neither strokes nor session any more; the layers stay as they are."""
        self.stop_watching()
        self.close_session()


def _advice(session: Session, warned: Sequence[str]) -> str:
    """Say what to do next, in a sentence."""
    used = int((np.bincount(session.strokes.reshape(-1), minlength=2)[1:] > 0).sum())
    if used == 0:
        return "Paint a stroke of each class on the image."
    if used == 1:
        return "Paint a stroke of a second class too."
    return " ".join(warned)
