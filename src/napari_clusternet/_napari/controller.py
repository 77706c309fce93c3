"""`current(viewer)`: the live segmentation of a viewer, for docks and console alike.

Docks only forward to a `Controller` and follow its signals, and so follow what is done from the
console, or from a second copy of the same dock, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import napari
from napari.layers import Labels, Layer
from psygnal import Signal

from napari_clusternet._napari.classes import ClassList
from napari_clusternet._napari.drawing import ContextKeeper
from napari_clusternet._napari.inspecting import Inspecting
from napari_clusternet._napari.learning import Learning
from napari_clusternet._napari.recovering import Recovering
from napari_clusternet._napari.runner import Runner
from napari_clusternet._napari.scenes import Scenes
from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet._napari.segmenting import Segmenting
from napari_clusternet._napari.transfer import Transfer
from napari_clusternet._napari.unsupervising import Unsupervising
from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

_CONTROLLERS: WeakKeyDictionary[Any, Controller] = WeakKeyDictionary()


def current(viewer: Any = None) -> Controller:
    """Return the live controller of a viewer, made on first use.

    Parameters
    ----------
    viewer : napari.Viewer, optional
        By default the viewer that is open.

    Returns
    -------
    Controller
        The same object for the docks, the console and scripts.

    Raises
    ------
    InputError
        If there is no viewer.
    """
    viewer = napari.current_viewer() if viewer is None else viewer
    if viewer is None:
        invalid("viewer", viewer, "no viewer is open", "Open one with napari.Viewer()")
    viewer = getattr(viewer, "__wrapped__", viewer)  # the console and docks may get a proxy
    if viewer not in _CONTROLLERS:
        _CONTROLLERS[viewer] = Controller(viewer)
    return _CONTROLLERS[viewer]


class Controller(Learning, Segmenting, Scenes, Inspecting, Transfer, Unsupervising, Recovering):
    """Everything that the docks do, as methods.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer; use `current` to get its controller.

    Attributes
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    classes : ClassList
        Names and colours of the classes, one list for all images.
    runner : Runner
        Long work beside the window.
    segmentations : list of Segmentation
        One for each image that is being segmented.
    model : ClusterNet or None
        The features learned or loaded last.
    selected : tuple of int
        The clusters selected for inspection, of the active image.
    closed : bool
        Whether the viewer is gone.
    active_changed : Signal
        Another image became the active one, or none is.
    session_changed : Signal(Segmentation)
        A session was opened or changed: strokes, clusters, labels, message.
    model_changed : Signal
        Features were learned or loaded.
    selection_changed : Signal
        Other clusters are selected.
    refining_changed : Signal
        Refining of an image began or ended; see `Segmentation.is_refining`.
    """

    active_changed = Signal()
    session_changed = Signal(Segmentation)
    model_changed = Signal()
    selection_changed = Signal()
    refining_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.classes = ClassList()
        self.runner = Runner()
        self.segmentations: list[Segmentation] = []
        self.model: ClusterNet | None = None
        self.selected: tuple[int, ...] = ()
        self.closed = False
        self._active: Segmentation | None = None
        self.classes.changed.connect(self._paint_classes)
        viewer.layers.events.removed.connect(self._layer_removed)
        self._context = ContextKeeper(viewer)
        viewer.layers.selection.events.active.connect(self._layer_selected)
        self._start_inspecting()
        self._start_scenes()
        self._start_keeping()
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        if window is not None:
            window.destroyed.connect(lambda *_: self.close())

    # ---- what is live ----------------------------------------------------------------------------

    @property
    def active(self) -> Segmentation | None:
        """The image that is being segmented: the one whose layer was selected last."""
        return self._active

    @active.setter
    def active(self, segmentation: Segmentation | None) -> None:
        if segmentation is not self._active:
            self._active = segmentation
            self.select(())
            self.active_changed.emit()

    @property
    def session(self) -> Session | None:
        """The active image's session; whatever is done to it is shown."""
        return None if self.active is None else self.active.session

    @property
    def image(self) -> Image | None:
        """The active image."""
        return None if self.active is None else self.active.image

    @property
    def strokes_layer(self) -> Labels | None:
        """The active image's strokes."""
        return None if self.active is None else self.active.strokes_layer

    @property
    def labels_layer(self) -> Labels | None:
        """The active image's result."""
        return None if self.active is None else self.active.labels_layer

    def need_session(self) -> Session:
        """Return the active session, or say how to get one.

        Returns
        -------
        Session
            The active one.

        Raises
        ------
        InputError
            If there is none.
        """
        if self.session is None:
            invalid("session", None, "no image is being segmented", "Press Start in Classify first")
        return self.session

    # ---- what happens in the viewer --------------------------------------------------------------

    def _layer_removed(self, event: Any) -> None:
        layer = event.value
        for segmentation in tuple(self.segmentations):
            if layer is segmentation.labels_layer:
                segmentation.labels_layer = None  # comes back with the next change
            elif layer is segmentation.certainty_layer:
                segmentation.certainty_layer = None
            elif layer is segmentation.strokes_layer or layer in segmentation.image_layers:
                self.drop(segmentation, f"its layer {layer.name!r} was removed")
        self._forget_layer(layer)
        self._forget_scene(layer)
        if isinstance(layer, Labels):
            self.autosave.unwatch(layer)
        self._forget_regions(layer)

    def _layer_selected(self, event: Any) -> None:
        found = self.segmentation_of(event.value)
        if found is not None:
            self.active = found

    def segmentation_of(self, layer: Layer | None) -> Segmentation | None:
        """Return the segmentation that a layer belongs to, if any.

        Parameters
        ----------
        layer : Layer or None
            An image, strokes, result or certainty layer.

        Returns
        -------
        Segmentation or None
            The one it belongs to.
        """
        for segmentation in self.segmentations:
            if layer is not None and (
                layer in segmentation.image_layers
                or layer is segmentation.strokes_layer
                or layer is segmentation.labels_layer
                or layer is segmentation.certainty_layer
            ):
                return segmentation
        return None

    def _paint_classes(self) -> None:
        for segmentation in self.segmentations:
            segmentation.paint_classes()
        self._paint_scenes()

    def layers(self, chosen: Sequence[Layer] | Layer | None) -> tuple[Layer, ...]:
        """Return layers as a tuple; by default the selected image layers, or the lowest one.

        Parameters
        ----------
        chosen : Layer, sequence of Layer or None
            What was asked for.

        Returns
        -------
        tuple of Layer
            At least one.
        """
        if chosen is not None:
            return (chosen,) if isinstance(chosen, Layer) else tuple(chosen)
        images = self.image_layers
        selected = [layer for layer in images if layer in self.viewer.layers.selection]
        if not images:
            invalid("layers", None, "there is no image layer", "Open an image first")
        return tuple(selected or images[:1])

    def close(self) -> None:
        """Stop all work and follow the viewer no more; called when its window closes."""
        if self.closed:
            return
        self.closed = True
        self.runner.close()
        self._stop_inspecting()
        self._stop_scenes()
        self._stop_keeping()
        for segmentation in self.segmentations:
            segmentation.stop()
        self.segmentations.clear()
        self._active = None
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self._context.stop()
        self.viewer.layers.selection.events.active.disconnect(self._layer_selected)
        _CONTROLLERS.pop(self.viewer, None)
