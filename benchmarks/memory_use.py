"""Where a program's memory is: in live objects, or free and kept by glibc's malloc."""

from __future__ import annotations

import collections
import ctypes
import gc
import resource
import sys
from pathlib import Path
from typing import Any

MB = 2**20


class _Malloc(ctypes.Structure):
    """What glibc's `mallinfo2` returns (2.33 or newer)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                     "uordblks", "fordblks", "keepcost")
    ]  # fmt: skip


def resident() -> float:
    """Return the resident memory now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MB


class MemoryUse:
    """Tells growth of live objects from free memory that glibc keeps.

    Objects are compared with those of the first report: what grows for ever is there by name.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL("libc.so.6")
        self._libc.mallinfo2.restype = _Malloc
        self._first: collections.Counter[str] = collections.Counter()

    def report(self) -> str:
        """Return lines: resident memory, what of it is in use or free, objects that grew.

        Free memory is handed back to the system on the way, to see how much that is.
        """
        gc.collect()
        malloc, before = self._libc.mallinfo2(), resident()
        self._libc.malloc_trim(0)
        counts = self._count()
        self._first = self._first or counts
        grown = (counts - self._first).most_common(8)
        return (
            f"    memory {before:.0f} MB, {resident():.0f} without what malloc gave back; "
            f"malloc: {(malloc.uordblks + malloc.hblkhd) / MB:.0f} in use, "
            f"{malloc.fordblks / MB:.0f} free; {sys.getallocatedblocks()} small blocks of Python, "
            f"{counts.total()} objects\n"
            f"    grown: {', '.join(f'{name} +{n}' for name, n in grown) or 'nothing'}"
        )

    def _count(self) -> collections.Counter[str]:
        kinds: list[Any] = [type(thing) for thing in gc.get_objects()]
        return collections.Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
