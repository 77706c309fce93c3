"""Strokes that a crash left behind: kept while they are painted, offered at the next start."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari  # noqa: TC002 - the command's viewer is injected by its annotation
from napari.utils.notifications import (
    Notification,
    NotificationSeverity,
    notification_manager,
    show_info,
    show_warning,
)
from qtpy.QtCore import QCoreApplication, QTimer

from napari_clusternet._napari import unsaved
from napari_clusternet._napari.autosave import Autosave
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.image import Image
from napari_clusternet.io.layer_data import labels_layer_data, layer_data
from napari_clusternet.progress import Progress
from napari_clusternet.session_image import choose_image
from napari_clusternet.stroke_file import Strokes

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet._napari.segmentation import Segmentation

    Found = tuple[Path, Strokes, dict[str, Any], Image | None]

#: Milliseconds from the first dock to the offer.
OFFER_AFTER = 500


class Recovering:
    """Part of `napari_clusternet._napari.controller.Controller`.

    Attributes
    ----------
    autosave : Autosave
        Keeps strokes in the user's data folder while they are painted.
    """

    autosave: Autosave

    def _start_keeping(self: Controller) -> None:
        self.autosave = Autosave()
        self._quitting = False
        self._application = QCoreApplication.instance()
        if self._application is not None:
            self._application.aboutToQuit.connect(self._note_quitting)
        files = self.unsaved if getattr(self.viewer, "window", None) is not None else []
        if files:  # once the dock has its place: the window moves what it tells to the corner once
            QTimer.singleShot(OFFER_AFTER, lambda: self._offer(files))

    def _note_quitting(self: Controller) -> None:
        self._quitting = True

    def _stop_keeping(self: Controller) -> None:
        # A window that the user closes is gone before the program begins to end, and napari
        # forgets the one that it is told to close. Any other goes because the program does.
        window = getattr(self.viewer, "window", None)
        program_ends = self._quitting or not threading.main_thread().is_alive()
        self.autosave.close(left_open=program_ends and hasattr(window, "_qt_window"))
        if self._application is not None:
            with suppress(RuntimeError, TypeError):  # Qt may have deleted it
                self._application.aboutToQuit.disconnect(self._note_quitting)

    def _keep_strokes(self: Controller, segmentation: Segmentation) -> None:
        """Keep the strokes of an image from now on."""

        def about() -> dict[str, Any]:
            session = segmentation.session
            settings = {} if session is None else {
                "threshold": session.threshold, "mode": session.mode,
                "random_state": session.random_state,
            }  # fmt: skip
            classes = self.classes.as_json()
            return {"name": segmentation.name, "classes": classes, "settings": settings}

        self.autosave.watch(segmentation.strokes_layer, about, segmentation.image)

    # ---- after a crash ---------------------------------------------------------------------------

    @property
    def unsaved(self: Controller) -> list[Path]:
        """Files of strokes that a program left when it crashed, newest first."""
        return unsaved.left_behind()

    def _offer(self: Controller, files: Sequence[Path]) -> None:
        files = [file for file in files if file.exists()]
        if self.closed or not files:  # recovered meanwhile
            return
        count = "an image" if len(files) == 1 else f"{len(files)} images"
        message = (
            f"Unsaved strokes from {unsaved.painted_at(files[0])}: recover them? The program ended "
            f"unexpectedly while strokes on {count} were not saved. Bring them back now, or any "
            "time by File > IO Utilities > Recover unsaved strokes."
        )
        notification_manager.dispatch(
            Notification(
                message,
                NotificationSeverity.WARNING,
                actions=(("Recover", lambda _: self.recover()),),
            )
        )

    def recover(self: Controller) -> bool:
        """Bring back strokes that were not saved when a program crashed, in the background.

        Each gets a layer, on its image if that is open or can be opened again; press Start in
        Classify to go on. Splits, merges and assignments of clusters by hand are not kept.

        Returns
        -------
        bool
            False if there are none, or something else is running.
        """
        files = self.unsaved
        if not files:
            show_info("There are no unsaved strokes of an earlier program.")
            return False
        choices = list(self._images_here())

        def steps() -> Generator[Progress, None, tuple[list[Found], list[str]]]:
            found, failed = [], []
            for i, file in enumerate(files):
                yield Progress("reading", i, len(files))
                try:
                    found.append(_read(file, [image for image, _ in choices]))
                except (ClusterNetError, OSError) as error:
                    failed.append(str(error))
            return found, failed

        def done(result: tuple[list[Found], list[str]]) -> None:
            layers = [self._show_recovered(found, choices) for found in result[0]]
            if layers:
                show_info(
                    f"Recovered {', '.join(repr(layer.name) for layer in layers)}. "
                    "To go on, choose the image in Classify and press Start."
                )
            if result[1]:
                show_warning(f"Some strokes could not be recovered. {' '.join(result[1])}")

        return self.runner.start("Recovering strokes", steps, done)

    def discard(self: Controller) -> None:
        """Remove the unsaved strokes of earlier programs for good."""
        for file in self.unsaved:
            unsaved.remove(file)

    def _show_recovered(
        self: Controller, found: Found, choices: Sequence[tuple[Image, tuple[Layer, ...]]]
    ) -> Labels:
        file, strokes, about, image = found
        name = str(about.get("name", "image"))
        if image is not None:
            layers = next((own for candidate, own in choices if candidate is image), None)
            name = (layers[0] if layers else self._add_layer(layer_data(image))).name
        self._take_classes({"classes": about.get("classes", [])})
        grid = image if image is not None else _placeholder(strokes, about)
        layer = self._add_layer(
            labels_layer_data(strokes.array(), grid, f"{name} strokes", self.classes.names)
        )
        layer.colormap = self.classes.colormap()
        kept = {key: value for key, value in about.items() if key != "image" or image is None}
        self.autosave.watch(layer, lambda: kept, image, supersedes=file)
        return layer


def _read(file: Path, images: Sequence[Image]) -> Found:
    """Read one file; find its image among those given, or where it was."""
    strokes, about = Strokes.load(file)
    try:
        image = choose_image(file, about["image"], {}, images)
    except (ClusterNetError, OSError, KeyError, TypeError, ValueError):
        image = None  # closed, moved or changed: the strokes are worth showing all the same
    return file, strokes, about, image if image is None or image.shape == strokes.shape else None


def _placeholder(strokes: Strokes, about: dict[str, Any]) -> Image:
    """Return the grid that strokes were painted on, as far as their file describes it."""
    array, axes = strokes.array(), "ZYX"[-len(strokes.shape) :]
    record = about.get("image")
    place = {key: record.get(key) for key in ("affine", "units", "crs")} if record else {}
    try:
        return Image.from_array(array, axes=axes, **place)
    except (ClusterNetError, TypeError, ValueError):
        return Image.from_array(array, axes=axes)


def recover_strokes(viewer: napari.viewer.Viewer) -> None:
    """Bring back strokes that were not saved when the program crashed; a command of the menu."""
    from napari_clusternet._napari.controller import current

    current(viewer).recover()
