"""Step 2 in the viewer: open a session, paint, undo, ask where to stroke next."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import InputError, StrokeError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.progress import Progress
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_clusternet._napari.controller import Controller


class Segmenting:
    """Part of `napari_clusternet._napari.controller.Controller`."""

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
        strokes: Labels | None = None,
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
        strokes : napari.layers.Labels, optional
            The layer to take strokes from; by default "<image> strokes", made if need be.

        Returns
        -------
        Segmentation
            Its strokes layer can be painted at once; its session is None until computed.

        Raises
        ------
        InputError
            If the layers do not make one image.
        """
        chosen = self.layers(layers)
        image = image_from_layers(chosen, axes=axes, bands=bands)
        if features is None:
            features = self._default_features(image)
        if self.runner.busy:  # said before anything is changed
            show_info(f"{self.runner.title} is still running. Cancel it first, or wait.")
            return self._segmentation(image, chosen, strokes)
        segmentation = self._segmentation(image, chosen, strokes)

        def steps() -> Generator[Progress, None, Session]:
            import sklearn.tree  # noqa: F401 - here, not at the first stroke

            return (
                yield from Session.open_steps(
                    image, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
                    random_state=random_state,
                )
            )  # fmt: skip

        self.runner.start(
            f"Preparing {segmentation.name}", steps, segmentation.open,
            lambda: self._why_stale(segmentation, image),
        )  # fmt: skip
        return segmentation

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

    def _segmentation(
        self: Controller, image: Image, layers: Sequence[Layer], strokes: Labels | None
    ) -> Segmentation:
        """Return the one of these layers, or a new one; its strokes are kept in any case."""
        found = next((s for s in self.segmentations if s.image_layers == tuple(layers)), None)
        if found is not None:
            found.image = image
            if strokes is not None:
                self.use_strokes(strokes)
        else:
            found = Segmentation(
                self.viewer, image, layers, self.classes, self.session_changed.emit
            )
            self.segmentations.append(found)
            for layer in layers:
                layer.events.data.connect(self._image_replaced)
            self._bind_keys(found.strokes_layer)
            if strokes is not None:
                self.active = found
                self.use_strokes(strokes)
        self.active = found
        found.start_painting(1)
        return found

    def _why_stale(self: Controller, segmentation: Segmentation, image: Image) -> str:
        if segmentation not in self.segmentations:
            return "its layers were removed or replaced meanwhile"
        return "" if segmentation.image is image else "the image was replaced meanwhile"

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
        for layer in segmentation.image_layers:
            layer.events.data.disconnect(self._image_replaced)
        self.segmentations.remove(segmentation)
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
        """Take the strokes as they are now; return the labels. For scripts without a window."""
        session = self.need_session()
        self.active.update()
        return session.labels

    def use_strokes(self: Controller, layer: Labels) -> None:
        """Take the strokes of the active image from another Labels layer.

        Raises
        ------
        StrokeError
            If it has not the image's shape.
        """
        if self.active is None:
            invalid("layer", layer.name, "no image is being segmented", "Press Start first")
        if not self.active.fits(layer):
            shapes = f"it is {np.shape(layer.data)}, the image {self.active.image.shape}"
            invalid("strokes", layer.name, shapes, "Choose a layer of the image's shape",
                    error=StrokeError)  # fmt: skip
        self.active.use_strokes(layer)
        self._bind_keys(layer)
        self.active_changed.emit()

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
        layer.bind_key("0", lambda strokes: setattr(strokes, "mode", "erase"), overwrite=True)

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
        """Move the camera to where the next stroke helps most; return its pixel ([z,] y, x)."""
        session = self.need_session()
        self._suggested = getattr(self, "_suggested", -1) + 1
        found = session.suggest(5)
        if not found:
            show_info("Every cluster's class is certain; no stroke is needed.")
            return None
        place = found[self._suggested % len(found)].position
        self.look_at(place)
        return place

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
