"""Sessions, models and labels to and from files; sessions on other images."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from napari.utils.notifications import show_info, show_warning

from napari_clusternet._napari.classes import default_colour
from napari_clusternet._napari.exporting import Exporting
from napari_clusternet._napari.readers import SESSION_SUFFIX, class_names
from napari_clusternet.applying import Job, Outcome, apply_steps, plan
from napari_clusternet.errors import InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layer_data import labels_layer_data, layer_data
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.io.opening import local_path
from napari_clusternet.progress import Progress
from napari_clusternet.session import Session
from napari_clusternet.session_file import load_with_extra, take_snapshot
from napari_clusternet.session_scene import find_scene, missing_scene

if TYPE_CHECKING:
    import os

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet._napari.segmentation import Segmentation

    PathLike = str | os.PathLike[str]

#: Longest message of failed files, in files.
_NAMED = 3


class Transfer(Exporting):
    """Part of `napari_clusternet._napari.controller.Controller`; see `Exporting`."""

    # ---- sessions --------------------------------------------------------------------------------

    def save_session(self: Controller, path: PathLike) -> bool:
        """Save the active session, with the classes' names and colours, to one file.

        Parameters
        ----------
        path : path-like
            ``*.clusternet``; what is there is replaced once the new file is complete.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session, or the suffix is another.
        """
        session, target = self.need_session(), Path(path).expanduser()
        if target.suffix != SESSION_SUFFIX:
            remedy = f"Name it {target.stem or 'session'}{SESSION_SUFFIX}"
            invalid("path", str(path), "not the suffix of a session", remedy)
        snapshot = take_snapshot(session, {"classes": self.classes.as_json()})
        layer = self.active.strokes_layer
        version = self.autosave.version(layer)
        return self._write(
            f"Saving {target.name}", lambda: [snapshot.write(target)],
            lambda: self.autosave.saved(layer, version),
        )  # fmt: skip

    def open_session(
        self: Controller, path: PathLike, layers: Sequence[Layer] | Layer | None = None
    ) -> bool:
        """Open a session: its image, strokes, labels and classes.

        Parameters
        ----------
        path : path-like
            A file written by `save_session` or `Session.save`.
        layers : Layer or sequence of Layer, optional
            The image; by default a layer of the viewer that holds it, else the one in the file or
            where it was, which becomes a new layer. Of a session on a field it is the scene's.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If the layers given do not make one image.
        FileFormatError
            If there is no such file.
        """
        file = local_path(path)
        if layers is not None:
            chosen = self.layers(layers)
            choices = [(_as_image(chosen), chosen)]
        else:
            choices = list(self._images_here())

        def steps() -> Generator[Progress, None, tuple[Session, dict[str, Any], Image]]:
            yield Progress("reading", 0, 1)
            images = [image for image, _ in choices]
            given = images[0] if layers is not None else images
            session, extra = load_with_extra(Session, file, given)
            scene = find_scene(session, given)
            return session, extra, session.image if scene is None else scene

        def done(loaded: tuple[Session, dict[str, Any], Image]) -> None:
            session, extra, image = loaded
            found = next((own for choice, own in choices if choice is image), None)
            if found is None:
                found = (self._add_layer(layer_data(image)),)
            self._show_session(session, extra, found)
            self.transferred.emit([Outcome(file.name, file)])

        return self.runner.start(f"Opening {file.name}", steps, done)

    def _images_here(self: Controller) -> Iterator[tuple[Image, tuple[Layer, ...]]]:
        """Go through the images of the viewer, those that are being segmented first."""
        for segmentation in self.segmentations:
            yield segmentation.image, segmentation.image_layers
        for layers, shown in self._scenes.items():
            yield shown.scene, layers
        for layer in self.viewer.layers:
            if not isinstance(layer, ImageLayer):
                continue
            for axes in ("CYX", "CZYX"):
                with suppress(InputError):
                    yield _as_image((layer,), axes), (layer,)

    def _show_session(
        self: Controller,
        session: Session,
        extra: dict[str, Any],
        layers: tuple[Layer, ...],
    ) -> Segmentation:
        """Bring an opened session into the viewer; strokes painted before stay in their layer."""
        scene = None if session.field is None else session.field.scene
        for old in tuple(self.segmentations):
            if old.image_layers == layers or old.image is session.image:
                self.drop(old)
        self._take_classes(extra)
        names = self.classes.names
        strokes = session.strokes.copy()
        name = f"{layers[0].name if scene is None else session.image.name} strokes"
        layer = next((one for one in self.viewer.layers if one.name == name), None)
        if not isinstance(layer, Labels) or not _equal(layer.data, strokes):
            layer = self._add_layer(labels_layer_data(strokes, session.image, name, names))
        segmentation = self._segmentation(session.image, layers, layer, scene is not None)
        if scene is not None:
            self._open_scene(segmentation, scene)
        segmentation.open(session)
        if session.field is not None and scene is None:
            show_warning(f"{segmentation.name} can be worked on, but not what is around it: "
                         f"{missing_scene(session.field)}. To go on elsewhere, open the scene's "
                         "image in the viewer, then the session again.")  # fmt: skip
        self.autosave.saved(layer, self.autosave.version(layer))
        return segmentation

    def _take_classes(self: Controller, extra: dict[str, Any]) -> None:
        names = class_names(extra)
        if names:
            self.classes.ensure(len(names), list(names.values()))
        for k, item in enumerate(extra.get("classes", []), start=1):
            self.classes.recolour(k, _colour(item.get("colour"), k))

    def _add_layer(self: Controller, data: tuple[Any, dict[str, Any], str]) -> Layer:
        values, keywords, kind = data
        add = self.viewer.add_labels if kind == "labels" else self.viewer.add_image
        return add(values, **keywords)

    # ---- other images ----------------------------------------------------------------------------

    def apply(
        self: Controller,
        targets: Sequence[Layer | Image | PathLike],
        folder: PathLike | None = None,
        suffix: str = "",
        *,
        overwrite: bool = False,
    ) -> bool:
        """Classify other images with the active session, as it is now.

        Parameters
        ----------
        targets : sequence of Layer, Image or path-like
            Image layers, files, or folders of files, of the same bands as the active image.
        folder : path-like, optional
            Where result files go; without it results of layers become layers.
        suffix : str
            Format of the files, such as ``".tif"``; by default that of each source.
        overwrite : bool
            Whether existing files may be replaced.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session or no target, a file needs a folder, or a result exists and
            `overwrite` is False.
        """
        predict = self.need_session().predictor()
        axes = self.active.image.axes
        images = [_as_image((t,), axes) if isinstance(t, Layer) else t for t in targets]
        jobs = plan(images, folder, suffix, overwrite=overwrite)
        names = {k: v for k, v in self.classes.names.items() if k <= self.session.n_classes}
        return self.runner.start(
            f"Applying to {jobs[0].name}" if len(jobs) == 1 else f"Applying to {len(jobs)} images",
            lambda: apply_steps(predict, jobs, names), lambda found: self._applied(jobs, found),
        )  # fmt: skip

    def _applied(self: Controller, jobs: Sequence[Job], outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.labels is not None:
                data = labels_layer_data(
                    outcome.labels, outcome.image, f"{outcome.name} classes", self.classes.names
                )
                layer = self._add_layer(data)
                layer.colormap, layer.opacity = self.classes.colormap(), 0.5
        failed = [outcome for outcome in outcomes if outcome.error]
        if failed:
            named = "; ".join(f"{one.name}: {one.error}" for one in failed[:_NAMED])
            more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
            show_warning(f"{len(failed)} of {len(jobs)} images failed, the rest is done. "
                         f"{named}{more}")  # fmt: skip
        else:
            show_info(f"Applied to {len(jobs)} image{'s' if len(jobs) > 1 else ''}.")
        self.transferred.emit(outcomes)


def _as_image(layers: Sequence[Layer], axes: str = "CYX") -> Image:
    """Return layers as an image; where they do not name their axes, they are taken as `axes`."""
    try:
        return image_from_layers(layers)
    except InputError:
        letters = axes if layers[0].ndim == len(axes) else axes.removeprefix("C")
        if layers[0].ndim != len(letters):
            raise
        return image_from_layers(layers, axes=letters)


def _equal(data: Any, strokes: Any) -> bool:
    return tuple(data.shape) == strokes.shape and bool((data == strokes).all())


def _colour(stored: Any, class_: int) -> tuple[float, float, float]:
    good = isinstance(stored, list) and len(stored) == 3
    if not good or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in stored):
        return default_colour(class_)
    red, green, blue = stored
    return float(red), float(green), float(blue)
