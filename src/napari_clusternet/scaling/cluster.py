"""Tasks on a `distributed.Client`: checked before work starts, one model load a worker."""

from __future__ import annotations

import logging
import pickle
import platform
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_clusternet.errors import InputError, invalid, missing_extra
from napari_clusternet.scaling.runners import Job, Runner

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

#: Packages whose major and minor version must be the client's, or labels might differ.
_PACKAGES = ("napari-clusternet", "numpy", "torch", "zarr", "dask", "distributed")
#: Tasks kept ready for each place that computes, so that none waits for the next.
_AHEAD = 2


def client_of(client: Any) -> tuple[Any, bool]:
    """Return a `distributed.Client`, made from an address if need be, and whether it was made.

    Raises
    ------
    MissingExtraError
        If `distributed` is not installed.
    InputError
        If no scheduler answers at the address, or `client` is something else.
    """
    if find_spec("distributed") is None:
        missing_extra("distributed", "distributed", "A cluster")
    import distributed

    make: Any = distributed.Client  # untyped
    if isinstance(client, make):
        return client, False
    if not isinstance(client, str):
        invalid("client", client, "no client", "Give a distributed.Client or 'tcp://host:port'")
    try:
        return make(client, timeout="10s"), True
    except (OSError, ValueError) as error:
        problem = f"no scheduler answers there ({' '.join(str(error).split())})"
        invalid("client", client, problem, "Start one with: dask scheduler")


@contextmanager
def cluster_runner(work: Job, client: Any, device: str) -> Iterator[Runner]:
    """Yield what runs tasks on a cluster; its workers are checked first.

    Raises
    ------
    InputError
        If there is no worker, versions differ, or a worker cannot see the source or the output.
    """
    check_versions(client)
    logger.info("dashboard: %s", client.dashboard_link)
    plugin = _plugin(work, device)
    try:
        client.register_plugin(plugin)
    except Exception as error:
        _unregister(client, plugin.name)
        raise InputError(
            f"client={_address(client)!r}: a worker is not ready "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Workers need the same "
            f"package and session, and must see the source and the output under the same paths"
        ) from error
    runner = _Cluster(client, plugin.name)
    try:
        yield runner
    finally:
        runner.close()
        _unregister(client, plugin.name)


def check_versions(client: Client) -> None:
    """Compare Python and packages of all workers with those here.

    Raises
    ------
    InputError
        Naming the workers that differ, and how; or if there is no worker.
    """
    address = _address(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        invalid("client", address, "no worker is there", f"Start one: dask worker {address}")
    asked: list[tuple[str, Any, tuple[str, ...]]] = [("python", platform.python_version, ())]
    asked += [(package, version, (package,)) for package in _PACKAGES]
    wrong = []
    for name, ask, arguments in asked:
        own = ask(*arguments)
        for worker, found in client.run(ask, *arguments, on_error="return").items():
            if isinstance(found, Exception):
                wrong.append(f"worker {worker} has no {name}")
            elif _release(name, found) != _release(name, own):
                wrong.append(f"worker {worker} has {name} {found}, here is {own}")
    if wrong:
        more = f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        problem = "; ".join(wrong[:6]) + more
        invalid("client", address, problem, "Install the same versions everywhere")


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler else "?"


def _release(name: str, text: str) -> str:
    """Return what must be equal: all of our own version, major and minor of the others."""
    return text if name == "napari-clusternet" else ".".join(text.split(".")[:2])


def _plugin(work: Job, device: str) -> Any:
    """Return a worker plugin that loads the model once in each worker, now or when it joins."""
    from distributed import WorkerPlugin

    content = pickle.dumps(work.on("cpu"))
    digest, token = work.digest(), work.token

    class Loaded(WorkerPlugin):
        name = f"clusternet-{token}"

        def setup(self, worker: Any) -> None:
            loaded: Any = self
            loaded.work = load(content, digest, device)

    return Loaded()


def load(content: bytes, digest: str, device: str) -> Job:
    """Load, in a worker, what the client sent, and check that it can be worked on here.

    Raises
    ------
    RuntimeError
        If the session has become another on the way, or the output is not to be seen from here.
    """
    work: Job = pickle.loads(content)  # noqa: S301 - from the client, whose code runs here
    if work.digest() != digest:
        raise RuntimeError("the session's model is not the client's")
    work.check()
    return work.on(device)


def _run(name: str, task: Any) -> Any:
    from distributed import get_worker

    plugin: Any = get_worker().plugins[name]
    return plugin.work.run(task)


class _Cluster:
    """Workers of a cluster; see `Runner`."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        gpus = sum(worker["resources"].get("GPU", 0) for worker in workers)
        places = gpus or sum(worker["nthreads"] for worker in workers)
        self.slots = _AHEAD * max(1, int(places))
        # where workers declare GPUs, only they compute, each on as many tiles as it has
        options = {"resources": {"GPU": 1}} if gpus else {}
        self._pool = client.get_executor(pure=False, retries=0, **options)

    def submit(self, task: Any) -> Future[Any]:
        future: Future[Any] = self._pool.submit(_run, self._name, task)
        return future

    def mend(self) -> None:
        if self._client.status != "running":
            raise InputError(
                f"client={self._client!r}: the scheduler is gone. What is done is kept: run again"
            )

    def close(self) -> None:
        self._pool.shutdown(wait=False)


def _unregister(client: Any, name: str) -> None:
    try:
        client.unregister_worker_plugin(name)
    except Exception as error:  # the cluster may be gone
        logger.debug("plugin %s: %s", name, error)
