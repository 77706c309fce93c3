"""Write a file or folder so that its name holds the old content or the new, never neither."""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_clusternet.errors import ClusterNetError, FileFormatError, invalid
from napari_clusternet.io.locks import HeldError, locked

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
#: Ending of a folder that waits for its successor, where two cannot be exchanged in one step.
_OLD = ".old"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to, and put it in place on success.

    The body writes a file or a folder (such as a zarr store) at the yielded path, and may check
    it there. When the body ends well, the result is fsynced and renamed over `path`. When it
    raises, the temporary is removed and `path` stays as it was. What a writer of `path` that was
    killed left behind is removed by the next one.

    Parameters
    ----------
    path : path-like
        The final name. Its folder must exist.

    Yields
    ------
    pathlib.Path
        A name in the same folder that does not exist yet, with the same suffix.

    Raises
    ------
    FileFormatError
        If the folder is missing, the target is read-only or of the other kind (file, folder), or
        somebody else is writing it; the message then names the process.
    OSError
        If the system refuses to write (disk full, no permission); the message names `path`.
    """
    target = Path(path)
    check_target(target)
    with _only_writer(target) as prefix, _put(target, prefix) as temporary:
        yield temporary


@contextmanager
def _only_writer(target: Path) -> Iterator[str]:
    """Keep other writers of `target` away; yield the beginning of its temporaries' names."""
    prefix = f".clusternet-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"
    try:
        with locked(target.with_name(f"{prefix}lock")) as alone:
            if alone:
                _remove_left(target, prefix)
            yield prefix
    except HeldError as error:
        invalid(
            "path", str(target), f"{error.holder} is writing it",
            "Wait until it is written, or choose another name", error=FileFormatError,
        )  # fmt: skip


def _remove_left(target: Path, prefix: str) -> None:
    """Remove what a killed writer left, unless it is the only copy of what was there."""
    for left in target.parent.glob(f"{prefix}*"):
        if not left.name.endswith("-lock") and (left.suffix != _OLD or target.exists()):
            remove(left)


@contextmanager
def _put(target: Path, prefix: str) -> Iterator[Path]:
    temporary = target.with_name(f"{prefix}{secrets.token_hex(6)}{_suffix(target)}")
    try:
        yield temporary
        put_in_place(temporary, target)
    except OSError as error:
        if isinstance(error, ClusterNetError):
            raise
        reason = error.strerror or str(error)
        message = (
            f"could not write {str(target)!r}: {reason}. What was there before is unchanged; "
            f"free space or choose another folder, and write again"
        )
        raise (OSError(error.errno, message) if error.errno else OSError(message)) from error
    finally:
        remove(temporary)


def put_in_place(result: Path, target: Path) -> None:
    """Give a complete file or folder its final name, after it was forced to the disk.

    Parameters
    ----------
    result : pathlib.Path
        On the same file system as `target`. Where both are folders that are exchanged in one
        step, it then holds what was there before.
    target : pathlib.Path
        The final name.

    Raises
    ------
    FileFormatError
        If `target` is of the other kind (file, folder).
    OSError
        If the system refuses.
    """
    _sync(result)
    _put_in_place(result, target)
    _sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file or folder if it exists; never follow a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def check_target(target: Path) -> None:
    """Check that a name may be written.

    Raises
    ------
    FileFormatError
        If its folder is missing, or it is read-only.
    """
    if not target.parent.is_dir():
        invalid(
            "path", str(target), f"there is no folder {str(target.parent)!r}", "Create it first",
            error=FileFormatError,
        )  # fmt: skip
    # Renaming replaces even a read-only file; whoever set it read-only meant to keep it.
    if target.exists() and not target.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        invalid(
            "path", str(target), "it is read-only", "Choose another name, or make it writable",
            error=FileFormatError,
        )  # fmt: skip


def _suffix(target: Path) -> str:
    """Return the suffix writers choose a format by: the last, or the last two as in ``.nii.gz``."""
    last = target.suffixes[-2:]
    double = len(last) == 2 and (last[1].lower() == ".gz" or last[0].lower() == ".ome")
    return "".join(last) if double else target.suffix


def _sync(path: Path) -> None:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # a folder cannot be opened elsewhere
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse to sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(temporary: Path, target: Path) -> None:
    if target.exists() and target.is_dir() != temporary.is_dir():
        kinds = ("folder", "file") if target.is_dir() else ("file", "folder")
        invalid(
            "path", str(target), f"it is a {kinds[0]}, the result is a {kinds[1]}",
            "Choose another name, or remove it first", error=FileFormatError,
        )  # fmt: skip
    if not (target.is_dir() and temporary.is_dir()):
        os.replace(temporary, target)
        return
    if not _exchange(temporary, target):
        # Without an exchange in one step: the old folder keeps a name until the new is there.
        old = temporary.with_name(temporary.name + _OLD)
        os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            os.rename(old, target)
            raise
        remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux ``renameat2``); return whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    done: int = renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return done == 0
