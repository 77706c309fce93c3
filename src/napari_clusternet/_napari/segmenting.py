"""Step 2 in the viewer: open a session, paint, undo, ask where to stroke next."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet.api.strokes import segment_steps
from napari_clusternet.classify.base import check_strokes
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.progress import Progress
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clusternet._napari.controller import Controller


#: From so many pixels on, strokes wider than 16 bits are noticeably slow.
SLOW_PIXELS = 4_000_000
#: Places that Suggest goes through.
SUGGESTIONS = 5
#: Size of the mark of a suggested place, pixels.
MARK_PIXELS = 24


class Segmenting:
    """Part of `napari_clusternet._napari.controller.Controller`."""

    _worked_on: Segmentation | None = None
    _marked: Any = None
    _suggested = 0

    def segment(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        features: Any = None,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        strokes: Labels | str | None = None,
        random_state: int = 0,
    ) -> Segmentation:
        """Make an image ready for strokes; the session is opened in the background.

        Parameters
        ----------
        layers : Layer or sequence of Layer, optional
            One image: a layer, or several whose bands are put together; by default the selected
            image layers.
        axes : str, optional
            Order of the layers' axes, where they do not say; see `napari_clusternet.open_image`.
        bands : sequence of int, optional
            The bands to use; all by default.
        features : optional
            See `napari_clusternet.Session`; by default the model learned or loaded last, with the
            filter bank beside it, and without a model ``"auto"``.
        threshold, mode, n_clusters, random_state
            See `napari_clusternet.Session`.
        strokes : napari.layers.Labels or str, optional
            The layer to take strokes from, or "new" for a new one; by default "<image> strokes",
            made if need be.

        Returns
        -------
        Segmentation
            Its strokes layer can be painted at once; its session is None until computed.

        Raises
        ------
        InputError
            If the layers do not make one image.
        StrokeError
            If the strokes layer does not lie on it.
        """
        chosen = self.layers(layers)
        if self.runner.busy:  # said before anything is changed
            show_info(f"{self.runner.title} is still running. Cancel it first, or wait.")
            found = self.made_of(chosen)
            if found is not None:
                return found
        image = image_from_layers(chosen, axes=axes, bands=bands)
        segmentation = self._segmentation(image, chosen, strokes)
        if features is None:
            features = self._default_features(image)

        def steps() -> Generator[Progress, None, Session]:
            import sklearn.tree  # noqa: F401 - here, not at the first stroke

            return (
                yield from Session.open_steps(
                    image, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
                    random_state=random_state,
                )
            )  # fmt: skip

        if not self.runner.busy:
            self._prepare(f"Preparing {segmentation.name}", segmentation, steps, segmentation.open)
        return segmentation

    def run_method(
        self: Controller,
        method: str,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        features: Any = None,
        strokes: Labels | str | None = None,
        random_state: int = 0,
    ) -> Segmentation:
        """Segment an image by another stroke method, in the background; its labels get a layer.

        Parameters
        ----------
        method : str
            A method of kind ``"strokes"`` of `napari_clusternet.methods`.
        layers, axes, bands, features, strokes, random_state
            See `segment`.

        Returns
        -------
        Segmentation
            Its `method_layers` will hold the result.

        Raises
        ------
        InputError
            If the layers do not make one image.
        StrokeError
            If fewer than two classes are stroked.
        """
        chosen = self.layers(layers)
        image = image_from_layers(chosen, axes=axes, bands=bands)
        segmentation = self.made_of(chosen)
        if segmentation is None or segmentation.image.n_bands != image.n_bands:
            segmentation = self._segmentation(image, chosen, strokes)
        elif isinstance(strokes, Labels) and strokes is not segmentation.strokes_layer:
            self.active = segmentation
            self.use_strokes(strokes)
        image = segmentation.image
        painted = check_strokes(segmentation.strokes_layer.data, image)
        features = self._default_features(image) if features is None else features

        def steps() -> Generator[Progress, None, Any]:
            return (
                yield from segment_steps(
                    image, painted, features=features, method=method, random_state=random_state
                )
            )

        self._prepare(
            f"{method} on {segmentation.name}", segmentation, steps,
            lambda labels: segmentation.show_method(method, labels),
        )  # fmt: skip
        return segmentation

    def _prepare(
        self: Controller,
        title: str,
        segmentation: Segmentation,
        steps: Callable[[], Generator[Progress, None, Any]],
        done: Callable[[Any], object],
    ) -> None:
        """Run work on an image, of which nothing is left if the image changes meanwhile."""
        image = segmentation.image

        def stale() -> str:
            if segmentation not in self.segmentations:
                return "its layers were removed or replaced meanwhile"
            return "" if segmentation.image is image else "the image was replaced meanwhile"

        def stopped() -> str:
            reason = stale()
            return f"The result was discarded, because {reason}." if reason else ""

        if self.runner.start(title, steps, done, stale, stopped):
            self._worked_on = segmentation

    def _default_features(self: Controller, image: Image) -> Any:
        model = self.model
        if model is None:
            return SESSION.features
        try:
            model.extractor_.bands.check(image, "the learned model")
            fits = model.extractor_.ndim == image.ndim
        except InputError:
            fits = False
        if not fits:
            show_warning(
                "The learned features are for other bands or dimensions, so they are not used "
                "here. Learn features of this image to use them."
            )
            return SESSION.features
        return (model, "filters")

    def made_of(self: Controller, layers: Sequence[Layer]) -> Segmentation | None:
        """Return the segmentation of exactly these image layers, if there is one."""
        return next((s for s in self.segmentations if s.image_layers == tuple(layers)), None)

    def _segmentation(
        self: Controller, image: Image, layers: Sequence[Layer], strokes: Labels | str | None
    ) -> Segmentation:
        """Return the one of these layers, or a new one; its strokes are kept in any case."""
        if isinstance(strokes, Labels):
            check_strokes(strokes, image, min_classes=0)  # before anything is changed
        found = self.made_of(layers)
        if found is not None:
            if found.image.shape != image.shape:  # other axes: other strokes
                self.drop(found)
                found = None
            else:
                found.image = image
        if found is None:
            found = Segmentation(
                self.viewer, image, layers, self.classes, self.session_changed.emit, strokes
            )
            self.segmentations.append(found)
            for layer in layers:
                layer.events.data.connect(self._image_replaced)
            self._follow_strokes(found)
        elif isinstance(strokes, Labels) and strokes is not found.strokes_layer:
            found.use_strokes(strokes)
            self._follow_strokes(found)
        self.active = found
        found.start_painting(1)
        return found

    def _follow_strokes(self: Controller, segmentation: Segmentation) -> None:
        """Bind the keys of a strokes layer, and say so if painting on it is slow."""
        layer = segmentation.strokes_layer
        self._bind_keys(layer)
        if segmentation.strokes_are_slow and layer.data.size > SLOW_PIXELS:
            show_info(
                f"The strokes in {layer.name!r} are {layer.data.dtype}. Painting is quicker with "
                "uint8: press Make strokes quicker in Classify."
            )

    def _image_replaced(self: Controller, event: Any) -> None:
        segmentation = self.segmentation_of(event.source)
        if segmentation is not None:
            self.drop(segmentation, f"the data of {event.source.name!r} were replaced")

    def drop(self: Controller, segmentation: Segmentation, reason: str = "") -> None:
        """Stop segmenting an image; its layers, strokes included, stay in the viewer."""
        if segmentation not in self.segmentations:
            return
        had_session = segmentation.session is not None
        segmentation.stop()
        self._unmark()
        for layer in segmentation.image_layers:
            layer.events.data.disconnect(self._image_replaced)
        self.segmentations.remove(segmentation)
        if self._worked_on is segmentation and self.runner.busy:
            self.runner.cancel()
        if self.active is segmentation:
            self.active = self.segmentations[-1] if self.segmentations else None
        if reason and had_session:
            message = (
                f"Segmenting {segmentation.name!r} has ended, because {reason}. "
                "Press Start in Classify to begin again; strokes that are still there are kept."
            )
            # later: a closing viewer removes its layers too, and then nobody need be told
            QTimer.singleShot(0, lambda: None if self.closed else show_warning(message))

    # ---- strokes and classes ---------------------------------------------------------------------

    def update(self: Controller) -> Any:
        """Take the strokes as they are now; return the labels. For scripts without a window.

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

    def select_class(self: Controller, class_: int) -> None:
        """Paint strokes of a class from now on; it is added if it is the next one."""
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
        """Show or hide how sure the classes of the active image are."""
        if self.active is not None:
            self.active.show_certainty(visible)

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
        """Put a ring around a pixel, until the session changes."""
        selected = self.viewer.layers.selection.active
        self._unmark()
        self._marked = self.viewer.add_points(
            np.array([pixel], float), name="next stroke", size=MARK_PIXELS, symbol="ring",
            face_color="yellow", border_color="black", **self.active.image.layer_metadata,
        )  # fmt: skip
        self._marked.editable = False
        self.viewer.layers.selection.active = selected
        self.session_changed.connect(self._unmark)

    def _unmark(self: Controller, _: Any = None) -> None:
        mark, self._marked = self._marked, None
        self._suggested = 0 if _ is not None else self._suggested
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
        scene = getattr(self.viewer, "scene", self.viewer)
        scene.camera.center = (0.0, *world)[-3:]
        spacing = min(self.active.image.spacing)
        scene.camera.zoom = max(scene.camera.zoom, 800 / (pixels_wide * spacing))
