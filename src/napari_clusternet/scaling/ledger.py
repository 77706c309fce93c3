"""The ledger: which tasks of a run are done, beside the output, so that a run can be resumed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_clusternet.errors import FileFormatError, InputError, invalid
from napari_clusternet.io.atomic import remove
from napari_clusternet.io.locks import HeldError, locked
from napari_clusternet.scaling.plan import VERSION, Plan

#: Ending of the folder that holds unfinished work, after the name of the output.
PARTIAL = ".partial"


class Ledger:
    """Finished tasks of one run, each on disk before it counts.

    Make one with `open_ledger`. The folder ``<output>.partial`` holds ``plan.json``, the ledger
    ``done.jsonl`` (one line a task with the checksum of its labels, forced to the disk line by
    line), the results so far, and the lock.

    Parameters
    ----------
    folder : pathlib.Path
    plan : Plan
        Of the run; the one it was started with, if it is resumed.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self._file = folder / "done.jsonl"
        self.done: dict[int, int] = {}
        self.published: list[int] | None = None
        _cut_torn_line(self._file)
        for line in self._file.read_text().splitlines():
            self._take(json.loads(line))
        self._stream = self._file.open("ab")

    @property
    def store(self) -> Path:
        """The folder with the results so far."""
        return self.folder / self.plan.store

    def record(self, task: int, checksum: int) -> None:
        """Note that a task's labels are on disk.

        Raises
        ------
        OSError
            If the system refuses to write (disk full).
        """
        self._write({"task": task, "crc": checksum})

    def forget(self, task: int) -> None:
        """Note that a task must be done again."""
        self._write({"task": task, "crc": None})

    def record_result(self, result: Path) -> None:
        """Note that `result`, complete and checked, is about to get its final name."""
        status = result.stat()
        self._write({"result": [status.st_dev, status.st_ino]})

    def is_published(self, destination: Path) -> bool:
        """Whether what `record_result` was told of has its final name already."""
        if self.published is None or not destination.exists():
            return False
        status = destination.stat()
        return self.published == [status.st_dev, status.st_ino]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _write(self, line: dict[str, Any]) -> None:
        start = self._stream.tell()
        try:
            self._stream.write(f"{json.dumps(line)}\n".encode())
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError:
            # what did not fit must not stand before the next line
            self._stream = self._reopened(start)
            raise
        self._take(line)

    def _reopened(self, size: int) -> Any:
        with suppress(OSError):
            self._stream.close()
        os.truncate(self._file, size)
        return self._file.open("ab")

    def _take(self, line: dict[str, Any]) -> None:
        if "result" in line:
            self.published = line["result"]
        elif line["crc"] is None:
            self.done.pop(line["task"], None)
        else:
            self.done[line["task"]] = line["crc"]


@contextmanager
def open_ledger(destination: Path, wanted: Plan, *, overwrite: bool = False) -> Iterator[Ledger]:
    """Hold the ledger of an output: a new one, or that of an unfinished run.

    Parameters
    ----------
    destination : pathlib.Path
        The output.
    wanted : Plan
        What a new run would do.
    overwrite : bool
        Whether an unfinished run of another session or source may be thrown away.

    Yields
    ------
    Ledger

    Raises
    ------
    InputError
        If the unfinished run is of another session or source; what changed is named.
    FileFormatError
        If another process is writing the output; it is named.
    """
    folder = destination.with_name(destination.name + PARTIAL)
    try:
        # beside the folder, which goes at the end
        with locked(destination.with_name(f".{destination.name}.lock")):
            folder.mkdir(exist_ok=True)
            ledger = Ledger(folder, _agreed(folder, wanted, overwrite))
            try:
                yield ledger
            finally:
                ledger.close()
    except HeldError as error:
        invalid(
            "destination", str(destination), f"{error.holder} is writing it",
            "Wait until it has finished, or choose another name", error=FileFormatError,
        )  # fmt: skip


def _agreed(folder: Path, wanted: Plan, overwrite: bool) -> Plan:
    """Return the plan in force: that of the unfinished run in `folder`, or `wanted`, written."""
    file = folder / "plan.json"
    if file.is_file():
        stored, changed = _stored(file, wanted)
        if stored is not None and not changed:
            return stored
        if not overwrite:
            invalid(
                "destination", str(folder), "an unfinished run is there, but " + "; ".join(changed),
                "Give the same session and source to go on, or start over with overwrite=True",
                error=InputError,
            )  # fmt: skip
    for left in folder.iterdir():
        remove(left)
    (folder / "done.jsonl").touch()
    write_durably(file, json.dumps(wanted.to_json()).encode())
    return wanted


def _stored(file: Path, wanted: Plan) -> tuple[Plan | None, list[str]]:
    try:
        record = json.loads(file.read_bytes())
        if record.get("layout") != VERSION:
            return None, [f"its ledger has version {record.get('layout')!r}, not {VERSION}"]
        stored = Plan.from_json(record)
    except (ValueError, TypeError, AttributeError) as error:
        return None, [f"its ledger cannot be read ({' '.join(str(error).split())})"]
    if Path(stored.store).name != stored.store:
        return None, [f"its ledger names a store elsewhere: {stored.store!r}"]
    return stored, stored.differences(wanted)


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file so that it has the old content or the new, whatever happens."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def checksum(labels: Any) -> int:
    """CRC of labels, whatever their byte layout."""
    return zlib.crc32(np.ascontiguousarray(labels).data)


def _cut_torn_line(file: Path) -> None:
    """Cut off a last line that was not written to its end."""
    file.touch()
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(file, whole)
