"""Strokes in the viewer: classes to paint, undo, threshold, where to stroke next."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info

from napari_clusternet._napari.cluster_layer import HIGHLIGHT
from napari_clusternet._napari.drawing import camera_of
from napari_clusternet.config import SESSION
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet._napari.segmentation import Segmentation

#: From so many pixels on, strokes wider than 16 bits are noticeably slow.
SLOW_PIXELS = 4_000_000
#: Places that Suggest goes through.
SUGGESTIONS = 5
#: Size of the mark of a suggested place, pixels.
MARK_PIXELS = 24


class Stroking:
    """Part of `napari_clusternet._napari.controller.Controller`."""

    _marked: Any = None
    _marked_strokes: dict[int, int] = {}  # noqa: RUF012 - replaced, never changed
    _suggested = 0

    def update(self: Controller) -> Any:
        """Take the strokes as they are now; return the labels. For scripts without a window.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels.

        Raises
        ------
        InputError
            If there is no session yet.
        StrokeError
            If the strokes do not fit the image.
        """
        session = self.need_session()
        self.active.update()
        return session.labels

    def use_strokes(self: Controller, layer: Labels) -> None:
        """Take the strokes of the active image from another Labels layer.

        Parameters
        ----------
        layer : napari.layers.Labels
            Strokes of the image's shape, at its place.

        Raises
        ------
        InputError
            If no image is being segmented.
        StrokeError
            If it does not lie on the image, or holds what is no class.
        """
        if self.active is None:
            invalid("layer", layer.name, "no image is being segmented", "Press Start first")
        self.active.use_strokes(layer)
        self._follow_strokes(self.active)
        self.active_changed.emit()

    def quicken_strokes(self: Controller) -> None:
        """Store the active image's strokes in 8 bits (16 past class 255): painting is quicker.

        The values stay; the layer's own undo begins anew.
        """
        if self.active is not None:
            self.active.quicken_strokes()

    @property
    def threshold(self: Controller) -> float:
        """Share of a cluster's stroked pixels above which a class counts; live.

        See `napari_clusternet.Session.threshold`.
        """
        return SESSION.threshold if self.session is None else self.session.threshold

    @threshold.setter
    def threshold(self: Controller, value: float) -> None:
        session = self.need_session()
        if value != session.threshold:
            with warnings.catch_warnings():  # what it warns of stands in the message anyway
                warnings.simplefilter("ignore")
                session.threshold = value

    def _follow_strokes(self: Controller, segmentation: Segmentation) -> None:
        """Bind the keys of a strokes layer, and say so if painting on it is slow."""
        layer = segmentation.strokes_layer
        self._bind_keys(layer)
        self._keep_strokes(segmentation)
        if segmentation.strokes_are_slow and layer.data.size > SLOW_PIXELS:
            show_info(
                f"The strokes in {layer.name!r} are {layer.data.dtype}. Painting is quicker with "
                "uint8: press Make strokes quicker in Classify."
            )

    def select_class(self: Controller, class_: int) -> None:
        """Paint strokes of a class from now on; it is added if it is the next one.

        Parameters
        ----------
        class_ : int
            1, 2, ...
        """
        if class_ == len(self.classes) + 1:
            self.classes.add()
        if 1 <= class_ <= len(self.classes) and self.active is not None:
            self.active.start_painting(class_)

    def _bind_keys(self: Controller, layer: Labels) -> None:
        """1..9 choose a class while the strokes layer is selected; 0 erases."""
        for number in range(1, 10):
            layer.bind_key(
                str(number), lambda _, class_=number: self.select_class(class_), overwrite=True
            )
        layer.bind_key("0", lambda _: self.erase(), overwrite=True)

    def erase(self: Controller) -> None:
        """Erase strokes from now on, until a class is selected."""
        if self.active is not None:
            self.active.start_painting(0)

    def show_certainty(self: Controller, visible: bool = True) -> None:
        """Show or hide how sure the classes of the active image are.

        Parameters
        ----------
        visible : bool
            Whether to show it.
        """
        if self.active is not None:
            self.active.show_certainty(visible)
            self.session_changed.emit(self.active)

    def undo(self: Controller) -> None:
        """Take the last change back, strokes and clusters included."""
        self.need_session().undo()

    def redo(self: Controller) -> None:
        """Apply the last undone change again."""
        self.need_session().redo()

    def suggest(self: Controller) -> tuple[int, ...] | None:
        """Move the camera to where the next stroke helps most, and mark it.

        Called again, it goes on to the next best place; the mark goes with the next stroke.

        Returns
        -------
        tuple of int or None
            The pixel ([z,] y, x); None if every cluster's class is certain.

        Raises
        ------
        InputError
            If there is no session yet.
        """
        session = self.need_session()
        if not (session.stroke_counts > 0).any():
            show_info("Paint a stroke of each class first; suggestions build on them.")
            return None
        found = session.suggest(SUGGESTIONS)
        if not found:
            show_info("Every cluster's class is certain; no stroke is needed.")
            return None
        place = found[self._suggested % len(found)].position
        self._suggested += 1
        self.look_at(place)
        self._mark_place(place)
        return place

    def _mark_place(self: Controller, pixel: Sequence[int]) -> None:
        """Put a ring around a pixel, until there are other strokes."""
        selected = self.viewer.layers.selection.active
        self._unmark()
        image = self.active.image
        place = image.layer_metadata
        # in the world: under an affine napari draws points of a size in the world, but takes
        # their extent, which Home shows, in pixels
        self._marked = self.viewer.add_points(
            np.array([self.active.strokes_layer.data_to_world(pixel)]), name="next stroke",
            size=MARK_PIXELS * min(image.spacing), face_color=np.zeros((1, 4)),
            border_color=np.array([HIGHLIGHT]), border_width=0.06, units=place["units"],
            axis_labels=place["axis_labels"],
        )  # fmt: skip
        self._marked.editable = False
        self._marked_strokes = self.active.stroke_counts()
        self.viewer.layers.selection.active = selected
        self.session_changed.connect(self._unmark)

    def _unmark(self: Controller, changed: Segmentation | None = None) -> None:
        if changed is not None:
            if changed.stroke_counts() == self._marked_strokes:
                return  # refined, or clusters were changed: the place stays of interest
            self._suggested = 0
        mark, self._marked = self._marked, None
        if mark is not None:
            self.session_changed.disconnect(self._unmark)
            if mark in self.viewer.layers:
                self.viewer.layers.remove(mark)

    def look_at(self: Controller, pixel: Sequence[int], pixels_wide: int = 120) -> None:
        """Move the camera to a pixel ([z,] y, x) of the active image, close enough to paint.

        Parameters
        ----------
        pixel : sequence of int
            Index into the image.
        pixels_wide : int
            Pixels to see across the canvas, unless it is already closer.
        """
        layer = self.active.strokes_layer
        world = layer.data_to_world(pixel)
        displayed = list(self.viewer.dims.displayed)
        for axis in range(len(world)):
            own = self.viewer.dims.ndim - len(world) + axis
            if own not in displayed:
                self.viewer.dims.set_point(own, world[axis])
        camera = camera_of(self.viewer)
        camera.center = (0.0, *world)[-3:]
        spacing = min(self.active.image.spacing)
        camera.zoom = max(camera.zoom, 800 / (pixels_wide * spacing))
