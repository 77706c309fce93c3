"""Keeps the strokes that are being painted in small files, in case the program crashes."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer

from napari_clusternet._napari.timers import stop_timer
from napari_clusternet._napari.unsaved import SUFFIX, Place, remove
from napari_clusternet._napari.worker import Post
from napari_clusternet.config import AUTOSAVE
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.session_image import describe_image
from napari_clusternet.stroke_file import Strokes

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clusternet.image import Image

logger = logging.getLogger(__name__)

#: Name of the threads that write.
THREAD_NAME = "napari-clusternet autosave"
#: How long closing the viewer waits for a file that is being written, seconds.
CLOSING_WAIT = 1.0


@dataclass
class _Watched:
    """One strokes layer, and what of it is in its file."""

    layer: Labels
    about: Callable[[], dict[str, Any]]
    file: str
    image: Image | None = None
    record: dict[str, Any] | None = None  # of the image, once it is known
    followed: bool = True
    version: int = 1
    kept: int = 0
    checksum: int = 0  # of the strokes at `kept`: some events come without a change
    supersedes: list[Path] = field(default_factory=list)

    @property
    def due(self) -> bool:
        return self.kept != self.version


class Autosave:
    """Writes changed strokes in a thread, a moment after they changed.

    The window's thread only notes that something changed; arrays are read where they are, so a
    stroke that is painted meanwhile may be in the file in part, and is in the next one whole.
    """

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._made = 0
        self._place: Place | None = None
        self._timer: QTimer | None = None
        self._thread: threading.Thread | None = None
        self._post: Post | None = None
        self._told = False
        self._closed = False

    # ---- what is watched -------------------------------------------------------------------------

    def watch(
        self,
        layer: Labels,
        about: Callable[[], dict[str, Any]],
        image: Image | None = None,
        supersedes: Path | None = None,
    ) -> None:
        """Keep a layer's strokes from now on.

        Parameters
        ----------
        layer : napari.layers.Labels
            The strokes.
        about : callable
            Returns what is written beside them, as JSON can hold it; called in the window's
            thread.
        image : Image, optional
            What they are painted on; described in the file under ``"image"``.
        supersedes : pathlib.Path, optional
            A file of an earlier program that is removed once the strokes are kept here.
        """
        entry = self._of(layer)
        if entry is None:
            plain = re.sub(r"\W+", "-", layer.name).strip("-")[:40] or "strokes"
            entry = _Watched(layer, about, f"{plain}-{self._made}{SUFFIX}")
            self._made += 1
            self._watched.append(entry)
            for event in _events(layer):
                event.connect(self._changed)
        entry.about = about
        if image is not entry.image:
            entry.image, entry.record = image, None
        if supersedes is not None:
            entry.supersedes.append(supersedes)
        self._note(entry)

    def version(self, layer: Labels) -> int:
        """Return a number that grows with every change of a layer's strokes; for `saved`."""
        entry = self._of(layer)
        return 0 if entry is None else entry.version

    def saved(self, layer: Labels, version: int) -> None:
        """Forget a layer's strokes, as they were at `version`: they are elsewhere now."""
        entry = self._of(layer)
        if entry is not None and entry.version == version:
            if entry.due:
                entry.kept, entry.checksum = version, 0
            self._remove(entry)

    def unwatch(self, layer: Labels) -> None:
        """Follow a layer no more; what was kept of it stays until the viewer is closed."""
        entry = self._of(layer)
        if entry is not None:
            self._leave(entry)
            if entry.due:
                self._arm()
            else:  # it would keep the layer and its session in memory
                self._watched.remove(entry)

    def close(self, left_open: bool = False) -> None:
        """Follow nothing any more.

        Parameters
        ----------
        left_open : bool
            Whether the program ends with its window open: then what is kept stays, to be offered
            at the next start. Else it is removed.
        """
        self._closed = True
        if self._timer is not None:
            stop_timer(self._timer)
        for entry in self._watched:
            self._leave(entry)
        if self._thread is not None:
            self._thread.join(CLOSING_WAIT)
        if self._place is not None and not left_open:
            self._place.remove()

    def _of(self, layer: Labels) -> _Watched | None:
        return next((e for e in self._watched if e.followed and e.layer is layer), None)

    def _leave(self, entry: _Watched) -> None:
        if entry.followed:
            entry.followed = False
            for event in _events(entry.layer):
                event.disconnect(self._changed)

    # ---- changes ---------------------------------------------------------------------------------

    def _changed(self, event: Any) -> None:
        entry = self._of(event.source)
        if entry is not None:
            self._note(entry)

    def _note(self, entry: _Watched) -> None:
        entry.version += 1
        self._arm()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = QTimer()
            self._timer.setSingleShot(True)
            self._timer.timeout.connect(self.save)
            self._post = Post()
        if not self._closed and not self._timer.isActive():
            self._timer.start(round(1000 * AUTOSAVE.seconds))

    def save(self) -> None:
        """Write what changed, in a thread; at once, without waiting for the moment to pass."""
        if self._closed:
            return
        if self._thread is not None:  # the one before is not done yet
            self._arm()
            return
        jobs = [
            (entry, entry.version, entry.layer.data, entry.about())
            for entry in self._watched
            if entry.due
        ]
        if jobs:
            self._thread = threading.Thread(
                target=self._write, args=(jobs,), name=THREAD_NAME, daemon=True
            )
            self._thread.start()

    def _write(self, jobs: list[Any]) -> None:
        """Write files; in the thread."""
        problem = ""
        for entry, version, data, about in jobs:
            try:
                self._write_one(entry, version, data, about)
            except (ClusterNetError, OSError, MemoryError) as error:
                problem = str(error) or type(error).__name__
            except Exception as error:  # a layer whose array is no array any more, for example
                logger.debug("strokes could not be kept", exc_info=True)
                problem = f"{type(error).__name__}: {error}"
        self._post.posted.emit(lambda: self._written(problem))

    def _write_one(self, entry: _Watched, version: int, data: Any, about: dict[str, Any]) -> None:
        strokes = Strokes.of(data)
        checksum = strokes.checksum
        if not strokes.n_pixels:
            self._remove(entry)
        elif strokes.nbytes > AUTOSAVE.max_file_bytes:
            raise OSError(f"they take {strokes.nbytes >> 20} MB")
        elif checksum != entry.checksum:
            if self._place is None:
                self._place = Place()
            if entry.record is None and entry.image is not None:
                entry.record = describe_image(entry.image)
            record = {} if entry.record is None else {"image": entry.record}
            strokes.save(self._place.folder / entry.file, {**about, **record})
        entry.kept, entry.checksum = version, checksum
        for old in entry.supersedes:
            remove(old)
        entry.supersedes.clear()

    def _written(self, problem: str) -> None:
        self._thread = None
        if problem and not self._told and not self._closed:
            self._told = True
            show_warning(
                f"Strokes are not kept in case of a crash: {problem}. "
                "Save the session from time to time, in Apply and export."
            )
        self._watched = [entry for entry in self._watched if entry.followed or entry.due]
        if any(entry.due for entry in self._watched) and not problem:
            self._arm()

    def _remove(self, entry: _Watched) -> None:
        if self._place is not None:
            (self._place.folder / entry.file).unlink(missing_ok=True)


def _events(layer: Labels) -> tuple[Any, ...]:
    return layer.events.paint, layer.events.set_data, layer.events.data
