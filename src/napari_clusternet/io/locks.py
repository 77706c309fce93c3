"""One writer at a time: a lock that the system frees when its holder dies, however it dies."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Byte of the file that Windows locks; what stands before it can still be read.
_LOCKED_BYTE = 1 << 20
#: What a system says where somebody else holds the lock.
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class HeldError(Exception):
    """Somebody else holds the lock; ``holder`` says who, as far as is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """A lock file that names its holder.

    The system's own locks are used, so that a lock never outlives its process: after a crash the
    file is still there, but free.

    Parameters
    ----------
    path : pathlib.Path
        The lock file; made and removed by the holder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        HeldError
            If somebody else holds it, in this process or another.
        OSError
            If the file cannot be made, or the file system has no locks.
        """
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(handle)
                # its last holder may have removed the file meanwhile: then another one counts
                fresh = _is_file(handle, self.path)
            except OSError as error:
                os.close(handle)
                if error.errno in _HELD:
                    raise HeldError(_read_holder(self.path)) from None
                raise
            if fresh:
                self._handle = handle
                with suppress(OSError):  # a full disk: the lock holds without the name too
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            else:
                os.close(handle)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(handle)
            with suppress(OSError):
                self.path.unlink()
            return
        with suppress(OSError):
            self.path.unlink()
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock `path`; yield whether the file system has locks at all.

    Raises
    ------
    HeldError
        If somebody else holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError:  # some network file systems have none; a folder may take no new file
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:200].strip() or "another process"
    except OSError:
        return "another process"
