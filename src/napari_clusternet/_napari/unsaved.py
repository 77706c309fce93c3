"""Where the viewer keeps unsaved strokes: a folder for each running viewer, locked while it runs.

A folder whose lock is free belongs to a program that ended without closing its viewer.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

from napari_clusternet.config import AUTOSAVE
from napari_clusternet.io.locks import FileLock, HeldError, locked

logger = logging.getLogger(__name__)

SUFFIX = ".strokes"
#: Files of strokes; those whose names begin with a dot are being written, or were cut off at it.
_WHOLE = f"[!.]*{SUFFIX}"
_LOCK = "lock"


def root() -> Path:
    """Return the user's folder for unsaved strokes; it may not exist yet."""
    return Path(platformdirs.user_data_dir("napari-clusternet", appauthor=False)) / "unsaved"


class Place:
    """The folder of one running viewer.

    Raises
    ------
    OSError
        If it cannot be made, or the file system has no locks.
    """

    def __init__(self) -> None:
        while True:
            self.folder = root() / f"{os.getpid()}-{secrets.token_hex(4)}"
            self.folder.mkdir(parents=True)
            self._lock = FileLock(self.folder / _LOCK)
            try:
                self._lock.acquire()
                return
            except (HeldError, FileNotFoundError):  # somebody looked in, and took it for a relic
                continue

    def remove(self) -> None:
        """Remove the folder: what it holds is not needed any more."""
        for file in self.folder.glob(_WHOLE):
            with suppress(OSError):
                file.unlink()
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def left_behind() -> list[Path]:
    """Return the strokes that programs left that did not end well, newest first.

    Of more than `config.AUTOSAVE.max_files` the oldest are removed.
    """
    found: list[Path] = []
    if not root().is_dir():
        return found
    for folder in root().iterdir():
        with suppress(OSError):
            found += _look_into(folder)
    found.sort(key=_written_at, reverse=True)
    for old in found[AUTOSAVE.max_files :]:
        remove(old)
    return found[: AUTOSAVE.max_files]


def _look_into(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        with locked(folder / _LOCK) as free:
            if not free:
                logger.warning("%s cannot be locked; what it holds is left alone", folder)
                return []
            files = list(folder.glob(_WHOLE))
    except HeldError:
        return []
    if not files:
        shutil.rmtree(folder, ignore_errors=True)
    return files


def remove(file: Path) -> None:
    """Remove strokes that are not needed any more, and their folder if they were its last."""
    with suppress(OSError):
        file.unlink(missing_ok=True)
        _look_into(file.parent)


def painted_at(file: Path) -> str:
    """Return when strokes were painted, for people: the time, of other days the date too."""
    when = time.localtime(_written_at(file))
    today = time.localtime()[:3] == when[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", when)


def _written_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # another program has just removed it
        return 0.0
