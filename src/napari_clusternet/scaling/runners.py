"""Where tasks run: threads of this process, processes of this machine, or a dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import Extractor

if TYPE_CHECKING:
    from distributed import Client

#: The job of this process, where it is a worker.
_job: list[Job] = []


class Job(Protocol):
    """What workers are sent once, and then asked for task by task; it can be pickled.

    Attributes
    ----------
    token : str
        What it is called on a cluster.
    extractor : Extractor
        What knows the device.
    """

    @property
    def token(self) -> str: ...  # noqa: D102

    @property
    def extractor(self) -> Extractor: ...  # noqa: D102

    def on(self, device: str) -> Job:
        """Return the same job with networks on another device."""

    def digest(self) -> str:
        """Return what must be equal here and in every worker."""

    def check(self) -> None:
        """Raise an error if the job cannot be done from here."""

    def run(self, task: Any) -> Any:
        """Do one task."""


class Runner(Protocol):
    """Runs tasks; tells when it has to be mended.

    Attributes
    ----------
    slots : int
        Tasks to have under way at a time.
    """

    slots: int

    def submit(self, task: Any) -> Future[Any]:
        """Start a task; its result is what `Job.run` returns."""

    def mend(self) -> None:
        """Replace what broke."""

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""


class _Threads:
    """Threads of this process; see `Runner`."""

    def __init__(self, work: Job, n: int) -> None:
        self.slots = n
        self._job = work
        self._pool = ThreadPoolExecutor(n, thread_name_prefix="clusternet-apply")

    def submit(self, task: Any) -> Future[Any]:
        return self._pool.submit(self._job.run, task)

    def mend(self) -> None:
        pass

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Processes:
    """Processes of this machine, which share its cores evenly; see `Runner`."""

    def __init__(self, work: Job, n: int) -> None:
        self.slots = n
        # networks travel by way of the CPU and come back to the device they were on
        device = _device_of(work)
        self._start = (pickle.dumps(work.on("cpu")), device, max(1, _n_cores() // n))
        self._pool = self._fresh()
        try:
            self._pool.submit(os.getpid).result()
        except BrokenExecutor:
            self.close()
            invalid(
                "workers", n, "processes cannot start here",
                "In a script, call it under if __name__ == '__main__': or use workers=0",
            )  # fmt: skip

    def _fresh(self) -> Executor:
        return ProcessPoolExecutor(
            self.slots, multiprocessing.get_context("spawn"), _begin, self._start
        )

    def submit(self, task: Any) -> Future[Any]:
        return self._pool.submit(_run, task)

    def mend(self) -> None:
        self.close()
        self._pool = self._fresh()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def open_runner(
    work: Job, client: Client | str | None, workers: int, device: str = "auto"
) -> Iterator[Runner]:
    """Yield what runs tasks: on a cluster, in processes of this machine, or in this process.

    Parameters
    ----------
    work : Job
    client : distributed.Client or str or None
        The cluster, or its scheduler's address.
    workers : int
        Without a cluster: processes, 0 for this one.
    device : str
        Where workers of a cluster compute.
    """
    with ExitStack() as stack:
        if client is None:
            yield stack.enter_context(local_runner(work, workers))
            return
        from napari_clusternet.scaling.cluster import client_of, cluster_runner

        connected, made = client_of(client)
        if made:
            stack.enter_context(connected)
        yield stack.enter_context(cluster_runner(work, connected, device))


@contextmanager
def local_runner(work: Job, workers: int) -> Iterator[Runner]:
    """Yield what runs tasks on this machine.

    Parameters
    ----------
    work : Work
    workers : int
        Processes; 0 for this one, where one task reads while another computes.
    """
    runner: Runner = _Processes(work, workers) if workers else _Threads(work, 2)
    try:
        yield runner
    finally:
        runner.close()


def _device_of(work: Job) -> str:
    extractor: Any = work.extractor
    for part in getattr(extractor, "parts", (extractor,)):
        if hasattr(part, "device"):
            return str(part.device.name)
    return "cpu"


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(content: bytes, device: str, n_threads: int) -> None:
    """Prepare a worker process: its share of the cores, the model, and an end with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    import torch

    torch.set_num_threads(n_threads)
    # made by the parent process, which this one trusts as itself
    _job[:] = [pickle.loads(content).on(device)]  # noqa: S301


def _end_with_parent() -> None:
    """Leave when the parent is gone: one that was killed can tell nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Any) -> Any:
    return _job[0].run(task)
