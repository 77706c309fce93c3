"""Images too large to be worked on as a whole: field by field, where the camera looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_clusternet._napari.drawing import camera_of
from napari_clusternet._napari.preferences import preferences
from napari_clusternet._napari.scene_layer import SceneLabels, SceneLayer
from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet._napari.timers import stop_timer
from napari_clusternet.errors import invalid
from napari_clusternet.field import crop, field_in_view
from napari_clusternet.session import Session
from napari_clusternet.session_scene import missing_scene

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet.image import Image
    from napari_clusternet.tiles import Region

#: Images of more pixels are segmented field by field.
WHOLE_PIXELS = 1 << 25
#: Milliseconds from the camera's last move until what it shows is filled in.
SETTLE_MS = 200


class Scenes:
    """Part of `napari_clusternet._napari.controller.Controller`."""

    def _start_scenes(self: Controller) -> None:
        self._scenes: dict[tuple[Layer, ...], SceneLayer] = {}
        self._settled = QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE_MS)
        self._settled.timeout.connect(self._look_around)
        self.session_changed.connect(self._fill_scenes)
        self.refining_changed.connect(self._fill_scenes)
        camera = camera_of(self.viewer)
        self._camera_events = (camera.events.center, camera.events.zoom)
        for event in self._camera_events:
            event.connect(self._camera_moved)

    def _stop_scenes(self: Controller) -> None:
        stop_timer(self._settled)
        self.session_changed.disconnect(self._fill_scenes)
        self.refining_changed.disconnect(self._fill_scenes)
        for event in self._camera_events:
            event.disconnect(self._camera_moved)
        for scene in self._scenes.values():
            scene.stop()
        self._scenes.clear()

    # ---- fields ----------------------------------------------------------------------------------

    @staticmethod
    def is_large(image: Image) -> bool:
        """Whether an image is segmented field by field.

        Parameters
        ----------
        image : Image
            Any image.

        Returns
        -------
        bool
            Whether it has more than 32 million pixels.
        """
        return int(np.prod(image.shape)) > WHOLE_PIXELS

    def _segment_field(
        self: Controller, image: Image, layers: tuple[Layer, ...],
        strokes: Labels | str | None, options: dict[str, Any],
    ) -> Segmentation:  # fmt: skip
        """Make what is in view of a large image ready for strokes; see `segment`."""
        if options.pop("regions") is not None:
            invalid("regions", "given", "the image is segmented field by field",
                    "Crop the image to use regions")  # fmt: skip
        level = layers[0].data_level if image.levels else 0
        scene = image.levels[level] if image.levels else image  # the resolution that is seen
        region = self._field_in_view(scene)
        found = self.made_of(layers)
        if found is not None:
            self.drop(found)
        self._leave_scene(layers)
        segmentation = self._segmentation(crop(scene, region), layers, strokes, is_field=True)

        def open_it(session: Session) -> None:
            self._open_scene(segmentation, scene)
            segmentation.open(session)
            if level:
                coarser = round(image.shape[-1] / scene.shape[-1])
                show_info(
                    f"{segmentation.name} is worked on as it is in view, {coarser} times "
                    "coarser than the image. For finer classes zoom in, then Start anew."
                )

        self._prepare(
            f"Preparing {segmentation.name}", segmentation,
            lambda: Session.on_field_steps(scene, region, **options), open_it,
        )  # fmt: skip
        return segmentation

    def go_on_here(self: Controller) -> bool:
        """Go on with the active scene's session in the part of it that is in view now.

        Clusters, classes and strokes go along; see `napari_clusternet.Session.move`. The strokes
        layer of the field that is left stays in the viewer, its classes are in the scene's layer.

        Returns
        -------
        bool
            False if something else is running, or this is the part that is worked on already.

        Raises
        ------
        InputError
            If no field of a scene is being segmented.
        """
        session, left = self.need_session(), self.active
        if session.field is None or left is None:
            invalid("session", left and left.name, "not on a field of a scene",
                    "Start on an image of more than 32 megapixels")  # fmt: skip
        scene = session.field.scene
        if scene is None:
            invalid("session", left.name, missing_scene(session.field),
                    "Open the scene's image in the viewer, then the session again")  # fmt: skip
        region = self._field_in_view(scene)
        if region == session.field.region:
            show_info("This is the part that is being worked on.")
            return False
        version, steps = session.version, session.move_steps(region)

        def arrive(other: Session) -> None:
            if session.version != version:  # strokes came meanwhile: they are to go along
                self.go_on_here()
                return
            self._arrive(left, other)

        return self.runner.start(
            "Moving on", lambda: steps, arrive,
            lambda: "" if left in self.segmentations else "its layers were removed meanwhile",
        )  # fmt: skip

    def _arrive(self: Controller, left: Segmentation, session: Session) -> None:
        """Show a session on another field than before."""
        layers, before = left.image_layers, left.session
        labels = self._scenes.get(layers)
        if labels is not None and before is not None and before.field is not None:
            labels.labels.put(before.field.region, before.labels)
        shown = left.labels_layer
        self.drop(left)
        if shown is not None and shown in self.viewer.layers:
            self.viewer.layers.remove(shown)
        segmentation = self._segmentation(session.image, layers, None, is_field=True)
        painted = segmentation.strokes_layer
        known = session.strokes  # with those of fields that overlap this one
        if known.any():
            data = np.where(known > 0, known, painted.data)
            painted.data = data.astype(np.promote_types(known.dtype, np.uint8))
        segmentation.open(session)

    def _field_in_view(self: Controller, scene: Image) -> Region:
        """Return what is in view of a scene, as far as the preferences let it be worked on."""
        limit = round(preferences().field_megapixels * 1e6)
        return field_in_view(scene, self._in_view(scene), limit)

    def _in_view(self: Controller, scene: Image) -> Region:
        """Return what the canvas shows of a scene, in its pixels; all of it without a window."""
        try:
            canvas = self.viewer.window._qt_viewer.canvas.size  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError):  # another napari may have it elsewhere
            return tuple(slice(0, size) for size in scene.shape)
        camera = camera_of(self.viewer)
        half = np.array(canvas) / camera.zoom / 2
        corners = np.tile(np.array(self.viewer.dims.point, dtype=float)[-scene.ndim :], (4, 1))
        signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
        corners[:, -2:] = np.array(camera.center)[-2:] + signs * half
        to_pixels = np.linalg.inv(scene.affine)
        pixels = corners @ to_pixels[:-1, :-1].T + to_pixels[:-1, -1]
        low = np.clip(np.floor(pixels.min(axis=0)), 0, np.array(scene.shape) - 1).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0)), low + 1, scene.shape).astype(int)
        return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))

    # ---- beyond the field ------------------------------------------------------------------------

    def scene_layer(self: Controller) -> Labels | None:
        """Return the layer with the classes of the active scene beyond the field.

        Returns
        -------
        napari.layers.Labels or None
            None where no large scene is being segmented.
        """
        found = None if self.active is None else self._scenes.get(self.active.image_layers)
        return None if found is None else found.layer

    def _open_scene(self: Controller, segmentation: Segmentation, scene: Image) -> None:
        """Show the classes of a scene; if those of its layers are there already, keep them."""
        layers = segmentation.image_layers
        known = self._scenes.get(layers)
        if known is not None and known.scene.shape == scene.shape:
            return
        self._leave_scene(layers)
        labels = SceneLabels(scene.shape)
        selected = self.viewer.layers.selection.active
        layer = self.viewer.add_labels(
            labels.layer_data, name=f"{layers[0].name} classes", opacity=0.5,
            colormap=self.classes.colormap(), **scene.layer_metadata,
        )  # fmt: skip
        layer.editable = False
        strokes = self.viewer.layers.index(segmentation.strokes_layer)
        self.viewer.layers.move(self.viewer.layers.index(layer), strokes)
        self.viewer.layers.selection.active = selected
        self._scenes[layers] = SceneLayer(scene, layer, labels)
        self._camera_moved()

    def _leave_scene(self: Controller, layers: tuple[Layer, ...]) -> None:
        """Fill in no more; the layer goes."""
        scene = self._scenes.pop(layers, None)
        if scene is not None:
            scene.stop()
            if scene.layer in self.viewer.layers:
                self.viewer.layers.remove(scene.layer)

    def _forget_scene(self: Controller, layer: Layer) -> None:
        """Fill in no more, because a layer of it was removed."""
        for layers, scene in tuple(self._scenes.items()):
            if layer is scene.layer or layer in layers:
                scene.stop()
                del self._scenes[layers]

    def _paint_scenes(self: Controller) -> None:
        for scene in self._scenes.values():
            scene.layer.colormap = self.classes.colormap()

    def _camera_moved(self: Controller, _: Any = None) -> None:
        if self._scenes:
            for scene in self._scenes.values():
                scene.hold()
            self._settled.start()

    def _look_around(self: Controller) -> None:
        for segmentation in self.segmentations:
            scene = self._scenes.get(segmentation.image_layers)
            if scene is not None and segmentation.image_layers[0].visible:
                scene.look(self._in_view(scene.scene))

    def _fill_scenes(self: Controller, _: Any = None) -> None:
        """Fill in what the sessions say by now, unless they are about to say more."""
        for segmentation in self.segmentations:
            scene, session = self._scenes.get(segmentation.image_layers), segmentation.session
            if scene is None or session is None:
                continue
            if segmentation.refiner is not None and segmentation.refiner.busy:
                scene.hold()
            elif (session.stroke_counts > 0).any():
                scene.follow(session)
