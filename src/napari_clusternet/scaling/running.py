"""Going through the tasks: retries, what is named when it fails, progress with the time left."""

from __future__ import annotations

import errno
import time
from collections import Counter, deque
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait

from napari_clusternet.errors import ClusterNetError
from napari_clusternet.progress import Progress
from napari_clusternet.scaling.ledger import Ledger
from napari_clusternet.scaling.runners import Runner

#: Seconds after which progress is told even if no task has finished.
_BEAT = 0.5
#: Nothing else can be written after these.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Failed tasks named one by one in a message.
_NAMED = 5
_DIED = "its process died: it was killed, or memory ran out"


class UnfinishedError(ClusterNetError, RuntimeError):
    """Some pieces of the work failed however often they were tried; the rest is kept."""


def run_steps(runner: Runner, ledger: Ledger, retries: int) -> Generator[Progress, None, None]:
    """Do every task that is not done yet.

    A task that fails is tried again after the others. Where a process dies, the tasks that were
    under way are tried one at a time, so that the one that kills processes is found.

    Yields
    ------
    Progress
        Tasks done, those of earlier runs included; ``seconds left`` among its metrics.

    Raises
    ------
    UnfinishedError
        If tasks failed; each is named with its last error. All others are done.
    OSError
        If the disk is full. What is done is kept.
    """
    tasks = _Tasks(runner, ledger, retries)
    clock = _Clock(len(ledger.done), len(ledger.plan))
    try:
        yield clock.progress(len(ledger.done))
        while tasks.submit():
            tasks.collect(_BEAT)
            yield clock.progress(len(ledger.done))
    finally:
        tasks.stop()
    if tasks.failures:
        raise UnfinishedError(_report(ledger, tasks.failures))


class _Tasks:
    """The tasks of a run: waiting, under way, suspect, failed."""

    def __init__(self, runner: Runner, ledger: Ledger, retries: int) -> None:
        self._runner, self._ledger, self._retries = runner, ledger, retries
        self._waiting = deque(i for i in range(len(ledger.plan)) if i not in ledger.done)
        self._suspects: deque[int] = deque()
        self._running: dict[Future[tuple[int, int]], int] = {}
        self._tries: Counter[int] = Counter()
        self.failures: dict[int, str] = {}

    def submit(self) -> bool:
        """Start what may be started; return whether anything is under way."""
        if self._suspects:
            if not self._running:
                self._start(self._suspects.popleft())
            return True
        while self._waiting and len(self._running) < self._runner.slots:
            self._start(self._waiting.popleft())
        return bool(self._running)

    def _start(self, task: int) -> None:
        self._running[self._runner.submit(task)] = task

    def collect(self, seconds: float) -> None:
        """Wait for tasks to end and take their results."""
        alone = len(self._running) == 1
        ended = wait(self._running, seconds, FIRST_COMPLETED).done
        died = []
        for future in ended:
            task = self._running.pop(future)
            try:
                self._ledger.record(*future.result())
            except (BrokenExecutor, CancelledError):
                died.append(task)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _DISK_FULL:
                    raise
                self._failed(task, str(error) or type(error).__name__, self._waiting)
        if died:
            self._mend(died, alone)

    def _mend(self, died: list[int], alone: bool) -> None:
        died += self._running.values()  # they will all say the same
        self._running.clear()
        self._runner.mend()
        if alone and len(died) == 1:
            self._failed(died[0], _DIED, self._suspects)
        else:
            self._suspects.extend(died)

    def _failed(self, task: int, reason: str, queue: deque[int]) -> None:
        self._tries[task] += 1
        if self._tries[task] > self._retries:
            self.failures[task] = " ".join(reason.split())
        else:
            queue.append(task)

    def stop(self) -> None:
        """Let what has begun come to its end, and keep it."""
        self._runner.close()
        for future in self._running:
            if future.done() and not future.cancelled() and future.exception() is None:
                try:
                    self._ledger.record(*future.result())
                except OSError:  # a full disk: it will be done again
                    break
        self._running.clear()


class _Clock:
    """How long it will go on at the pace so far."""

    def __init__(self, before: int, total: int) -> None:
        self._start, self._before, self._total = time.monotonic(), before, total

    def progress(self, done: int) -> Progress:
        new, metrics = done - self._before, {}
        if new:
            pace = (time.monotonic() - self._start) / new
            metrics["seconds left"] = pace * (self._total - done)
        return Progress("classifying", done, self._total, metrics)


def _report(ledger: Ledger, failures: dict[int, str]) -> str:
    plan = ledger.plan
    named = [f"{plan.name(task)} ({reason})" for task, reason in list(failures.items())[:_NAMED]]
    more = f"; and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    return (
        f"{len(failures)} of {len(plan)} tiles failed: {'; '.join(named)}{more}. "
        f"The others are kept in {str(ledger.folder)!r}: run again to go on with what is missing"
    )
