"""One image of the viewer, its strokes, its session and the layers that show them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer

from napari_clusternet._napari.classes import ClassList
from napari_clusternet._napari.refining import Refiner
from napari_clusternet._napari.showing import Showing
from napari_clusternet._napari.strokes import StrokeWatcher
from napari_clusternet.classify.base import changed_strokes, check_strokes
from napari_clusternet.image import Image
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

#: Brush size of a new strokes layer, pixels.
BRUSH = 6
#: napari's own, for layers that nobody has set otherwise.
NAPARI_BRUSH = 10
#: What to do once there is a result.
GO_ON = "Paint where the result is wrong. Suggest a place goes to where a stroke helps most."


class Segmentation(Showing):
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
    refining : callable
        Called when refining begins or ends.
    strokes : napari.layers.Labels or str, optional
        Where the user paints: a layer, or "new" for a new one; by default "<image> strokes",
        made if need be.
    is_field : bool
        Whether the image is but a field of what the layers show.

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
    method_layers : dict of str to napari.layers.Labels
        Results of other methods, by the method's name.
    regions : numpy.ndarray or None
        The regions that its clusters began as, where it was asked for that.
    refiner : Refiner or None
        What refines the session between strokes.
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
        refining: Callable[[], object],
        strokes: Labels | str | None = None,
        is_field: bool = False,
    ) -> None:
        self.is_field = is_field
        self.viewer, self.image, self.image_layers = viewer, image, tuple(image_layers)
        self.classes = classes
        self.session: Session | None = None
        self.labels_layer: Labels | None = None
        self.certainty_layer: ImageLayer | None = None
        self.method_layers: dict[str, Labels] = {}
        self.regions: Any = None
        self.message = ""
        self._taking = self._moved = False
        self._changed, self._refining = changed, refining
        self._leave: Callable[[], None] = lambda: None
        self._watcher: StrokeWatcher | None = None
        self.refiner: Refiner | None = None
        if strokes is None:
            strokes = self._find_strokes() or "new"
        self.strokes_layer: Labels = self._new_strokes() if isinstance(strokes, str) else strokes
        self._watch()

    @property
    def name(self) -> str:
        """The image's name; that of a field says where it is."""
        if self.is_field or not self.image_layers:
            return self.image.name
        return self.image_layers[0].name

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
        """Take another layer's strokes from now on.

        Raises
        ------
        StrokeError
            If it does not lie on the image, or holds what is no class; the layer before stays.
        """
        check_strokes(layer, self.image, min_classes=0)
        self.stop_watching()
        self.strokes_layer = layer
        self._watch()
        self.update()

    @property
    def strokes_are_slow(self) -> bool:
        """Whether painting would be quicker on `quicken_strokes`'s data."""
        data = self.strokes_layer.data
        return not isinstance(data, np.ndarray) or data.dtype not in (np.uint8, np.uint16)

    def quicken_strokes(self) -> None:
        """Store the strokes in 8 or 16 bits in memory; the layer's undo begins anew."""
        layer = self.strokes_layer
        layer.data = check_strokes(layer.data, self.image, min_classes=0)
        self._changed(self)

    def _watch(self) -> None:
        layer = self.strokes_layer
        names = layer.metadata.get("class_names", ())
        colours = layer.metadata.get("class_colours", ())
        n = max(2, int(np.max(layer.data, initial=0)), len(names), len(colours))
        self.classes.ensure(n, names, colours)
        self.paint_classes()
        self._watcher = StrokeWatcher(layer, self.update, self._painting)

    def stop_watching(self) -> None:
        """Follow the strokes layer no more."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def update(self) -> None:
        """Take the strokes as they are now; what listens to the session is told.

        Raises
        ------
        StrokeError
            If they do not fit the image any more; the session stays as it was.
        """
        if self.session is None:
            self._changed(self)
            return
        self._taking, self._moved = True, False
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.session.follow(self.strokes_layer.data)
            if self.refiner is not None:
                if self._moved:
                    self.refiner.schedule()
                else:  # a look at another plane of a volume comes here too
                    self.refiner.go_on()
        except Exception:
            self.message = "The strokes could not be taken; see the notification."
            raise
        finally:
            self._taking = False
        advice = _advice(self.session, [str(w.message) for w in caught])
        if advice != self.message:
            self.message = advice
            self._changed(self)

    def _painting(self) -> None:
        if self.refiner is not None:
            self.refiner.hold()

    @property
    def is_refining(self) -> bool:
        """Whether the classes are being worked out anew, and may change once more."""
        return self.refiner is not None and self.refiner.working

    def stroke_counts(self) -> dict[int, int]:
        """Class -> stroked pixels."""
        if self.session is not None:
            counts = self.session.stroke_counts
        elif self.fits(self.strokes_layer):
            data = np.asarray(self.strokes_layer.data)
            counts = np.bincount(data[data > 0], minlength=1)[1:]
        else:
            counts = np.zeros(0, int)
        return dict(enumerate(counts.tolist(), start=1))

    # ---- session ---------------------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """Show a session, and give it the strokes painted so far."""
        self.close_session()
        self.session = session
        self.refiner = Refiner(session, self._refining)
        self._leave = session.subscribe(self._show)
        self.message = _advice(session, [])
        try:
            self.update()
        finally:  # strokes that could not be taken stay where the user painted them
            self._show_results(session)

    def close_session(self) -> None:
        """Forget the session; its layers stay."""
        self._leave()
        self._leave = lambda: None
        if self.refiner is not None:
            self.refiner.stop()
        self.session = self.refiner = None

    def _show(self, session: Session) -> None:
        """Bring the layers up to date, whoever changed the session."""
        self._moved = True
        if not self._taking:
            self._show_strokes(session)
            self.message = _advice(session, [])
        self._show_results(session)

    def _show_results(self, session: Session) -> None:
        self.classes.ensure(session.n_classes)
        layer = self.labels_layer
        if layer is None or layer not in self.viewer.layers:
            self.labels_layer = self._new_labels(session.labels)
        elif not np.shares_memory(layer.data, session.labels):
            layer.data = session.labels
        if self.certainty_layer is not None and self.certainty_layer.visible:
            self.show_certainty()
        self._changed(self)

    def _show_strokes(self, session: Session) -> None:
        """After undo or redo: change the strokes layer, by its own undo or redo if that does it.

        Else the change is painted, so that the layer's undo knows of it.
        """
        layer = self.strokes_layer
        there = self._unlike(session)
        if there.size == 0 or layer not in self.viewer.layers:
            return
        for step, back in ((layer.undo, layer.redo), (layer.redo, layer.undo)):
            step()
            now = self._unlike(session)
            if now.size == 0:
                return
            if not np.array_equal(now, there):
                back()
        where = np.unravel_index(there, session.strokes.shape)
        layer.data_setitem(where, session.strokes[where].astype(layer.data.dtype))

    def _unlike(self, session: Session) -> Any:
        """Flat indices of valid pixels whose stroke is another in the layer than in the session.

        Strokes on invalid pixels count for nothing, but stay where the user painted them.
        """
        layer = self.strokes_layer
        if not self.fits(layer):
            return np.zeros(0, np.int64)
        pixels, _ = changed_strokes(layer.data, self.image, session.strokes.reshape(-1))
        return pixels[session.cluster_map.reshape(-1)[pixels] > 0]

    # ---- painting --------------------------------------------------------------------------------

    def start_painting(self, class_: int) -> None:
        """Select the strokes layer and its brush, with a class; 0 takes the eraser."""
        layer = self.strokes_layer
        if layer in self.viewer.layers:
            layer.visible = True
            self.viewer.layers.selection.active = layer
            if layer.mode == "pan_zoom" and layer.brush_size == NAPARI_BRUSH:
                layer.brush_size = BRUSH
            if class_:
                layer.selected_label = class_
            layer.mode = "paint" if class_ else "erase"

    def stop(self) -> None:
        """Follow neither strokes nor session any more; the layers stay as they are."""
        self.stop_watching()
        self.close_session()


def _advice(session: Session, warned: Sequence[str]) -> str:
    """Say what to do next, in a sentence."""
    used = int((session.stroke_counts > 0).sum())
    if used == 0:
        return "Paint a stroke of each class on the image."
    if used == 1:
        return "Paint a stroke of a second class too."
    return " ".join(warned) or GO_ON
