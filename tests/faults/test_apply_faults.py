"""`apply` killed, its workers killed, its disk full: what follows is as if nothing had happened."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.scaling import plan as planning
from napari_clusternet.scaling.apply import apply, apply_steps
from napari_clusternet.scaling.ledger import open_ledger
from napari_clusternet.scaling.plan import make_plan
from napari_clusternet.scaling.running import UnfinishedError, run_steps

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNK", {2: (32, 32)})


def scene(crs: str | None = None) -> Image:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 150, 171)).astype(np.float32)
    data[:, :, 90:] += 2
    return Image.from_array(data, axes="CYX", crs=crs)


@pytest.fixture(scope="module")
def image() -> Image:
    return scene()


@pytest.fixture(scope="module")
def session(image: Image) -> cn.Session:
    session = cn.Session(image, "bands", n_clusters=12)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[3, :40], strokes[3, -40:] = 1, 2
    session.update(strokes)
    return session


def partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def tree(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


# --- the process is killed ----------------------------------------------------------------------

#: Runs `apply` in forks that it kills at random times, and then to its end; a fork of a process
#: of one thread needs no new import of torch.
KILLER = """
    import json, os, random, shutil, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_apply_faults import partial, scene, tree
    import numpy as np
    import napari_clusternet as cn
    from napari_clusternet.scaling import plan as planning
    from napari_clusternet.scaling.apply import apply
    planning.CHUNK = {2: (32, 32)}
    path, kills = Path(sys.argv[2]), int(sys.argv[3])
    image = scene("EPSG:32621")
    session = cn.Session(image, "bands", n_clusters=12)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[3, :40], strokes[3, -40:] = 1, 2
    session.update(strokes)

    def fork():
        child = os.fork()
        if child == 0:
            try:
                apply(session, image, path)
            finally:
                os._exit(0)
        return child

    def clear():
        shutil.rmtree(partial(path), ignore_errors=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    for _ in range(2):  # the second run is not slowed by imports any more
        clear()
        apply(session, image, path)
        whole = tree(path)
        clear()
        start = time.time()
        os.waitpid(fork(), 0)
        seconds = time.time() - start
    rng, found, stopped = random.Random(0), [], 0
    while len(found) < kills:
        clear()
        child = fork()
        time.sleep(rng.uniform(0.05, 0.95) * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if path.exists():
            found.append(tree(path) == whole)
            continue
        stopped += 1
        apply(session, image, path)
        found.append(tree(path) == whole and not partial(path).exists())
    print(json.dumps({"identical": sum(found), "stopped": stopped}))
"""


def killed(folder: Path, name: str, kills: int) -> dict[str, int]:
    command = [sys.executable, "-c", textwrap.dedent(KILLER), str(Path(__file__).parent)]
    run = subprocess.run(
        [*command, str(folder / name), str(kills)], capture_output=True, text=True, timeout=600,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    report: dict[str, int] = json.loads(run.stdout)
    return report


@pytest.mark.slow
@LINUX
def test_a_killed_run_resumes_with_identical_bytes(tmp_path: Path) -> None:
    report = killed(tmp_path, "out.zarr", 3)
    assert report["identical"] == 3
    assert report["stopped"] >= 1


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_twenty_kills_at_random_times(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rasterio")
    report = killed(tmp_path, name, 20)
    assert report["identical"] == 20
    assert report["stopped"] >= 10


def test_a_half_written_chunk_of_a_killed_run_is_not_left_in_the_output(
    tmp_path: Path, session: cn.Session, image: Image
) -> None:
    apply(session, image, tmp_path / "whole.zarr")
    path = tmp_path / "out.zarr"
    steps = apply_steps(session, image, path)
    for step in steps:
        if step.done:  # two may end at once
            break
    steps.close()
    (store,) = partial(path).glob("*.zarr")
    chunk = next(file for file in (store / "0" / "c").rglob("*") if file.is_file())
    chunk.with_name("0.4f1ae1.partial").write_bytes(b"half")  # what zarr writes before it renames
    apply(session, image, path)
    assert tree(path) == tree(tmp_path / "whole.zarr")


# --- workers die --------------------------------------------------------------------------------


class Deadly:
    """A runner whose processes die whenever a certain task runs; see `Runner`."""

    slots = 3

    def __init__(self, run: Callable[[int], tuple[int, int]], deadly: int, times: int) -> None:
        self.run, self.deadly, self.times = run, deadly, times
        self.mended = 0
        self.under_way: list[tuple[Future[Any], int]] = []

    def submit(self, task: int) -> Future[tuple[int, int]]:
        future: Future[tuple[int, int]] = Future()
        self.under_way.append((future, task))
        if task == self.deadly and self.times:
            self.times -= 1
            for other, _ in self.under_way:  # one pool: all that is under way is lost
                if not other.done():
                    other.set_exception(BrokenProcessPool("a process died"))
        elif task != 0 or self.mended:  # at first, task 0 is still under way when 1 comes
            future.set_result(self.run(task))
        return future

    def mend(self) -> None:
        self.mended += 1
        self.under_way.clear()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("times", "failed"), [(1, False), (3, False), (99, True)])
def test_the_task_that_kills_processes_is_found(
    session: cn.Session, image: Image, tmp_path: Path, times: int, failed: bool
) -> None:
    plan = make_plan(session.predictor(), image, None)
    with open_ledger(tmp_path / "out.zarr", plan) as ledger:
        runner = Deadly(lambda task: (task, 0), deadly=1, times=times)
        if failed:
            with pytest.raises(UnfinishedError, match=r"1 of 9 tiles failed: .* x 64:128 \(its pr"):
                list(run_steps(runner, ledger, retries=2))
            # once among others, then 1 + 2 times alone
            assert runner.mended == 4
        else:
            list(run_steps(runner, ledger, retries=2))
            assert runner.mended == times
        assert sorted(ledger.done) == [i for i in range(9) if i != 1 or not failed]


@pytest.fixture
def workers_see_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules spawned processes can import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    sys.modules.pop("deadly_features", None)


DEADLY = """
    import os, time
    from dataclasses import dataclass
    from pathlib import Path

    @dataclass(frozen=True, eq=False)
    class Features:
        own: object
        alive: str
        bands = property(lambda self: self.own.bands)
        ndim = property(lambda self: self.own.ndim)
        n_features = property(lambda self: self.own.n_features)
        halo = property(lambda self: self.own.halo)
        multiple = property(lambda self: self.own.multiple)

        def __call__(self, values, valid):
            time.sleep(0.1)
            if (values == 666).any() and not Path(self.alive).exists():
                os._exit(1)
            return self.own(values, valid)
"""


def deadly(folder: Path, image: Image, session: cn.Session) -> tuple[Image, Any, Path]:
    """Return an image and a session that kill every process that classifies a certain tile."""
    (folder / "deadly_features.py").write_text(textwrap.dedent(DEADLY))
    import deadly_features

    data, alive = np.asarray(image.data).copy(), folder / "alive"
    data[0, 70, 70] = 666
    predictor = session.predictor()

    class Wrapped:
        def predictor(self) -> Any:
            from dataclasses import replace

            features = deadly_features.Features(predictor.extractor, str(alive))
            return replace(predictor, extractor=features)

    return image.with_data(data), Wrapped(), alive


@pytest.mark.slow
def test_two_processes_give_the_session_s_labels_and_survive_deaths(
    session: cn.Session, image: Image, workers_see_tests: Path
) -> None:
    picture, other, alive = deadly(workers_see_tests, image, session)
    path = workers_see_tests / "out.zarr"
    # y 64:128, x 64:128 kills whoever computes it: the others are done, and it is named
    with pytest.raises(UnfinishedError, match=r"y 64:128, x 64:128 \(its process died"):
        apply(other, picture, path, workers=2, retries=1)
    assert not path.exists()
    assert len((partial(path) / "done.jsonl").read_text().splitlines()) == 8
    alive.touch()
    steps = apply_steps(other, picture, path, workers=2)
    next(steps)
    for process in multiprocessing.active_children()[:1]:
        os.kill(int(process.pid or 0), signal.SIGKILL)
    for _ in steps:
        pass
    expected = session.predict(picture)
    np.testing.assert_array_equal(cn.read_labels(path), expected)
    assert not multiprocessing.active_children()


# --- a cluster ----------------------------------------------------------------------------------


@pytest.fixture
def cluster(workers_see_tests: Path) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as made, distributed.Client(made) as client:
        yield client


@pytest.mark.slow
def test_a_cluster_of_two_workers(
    session: cn.Session, image: Image, workers_see_tests: Path, cluster: Any
) -> None:
    path = workers_see_tests / "out.zarr"
    apply(session, image, path, cluster)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    # by address, with a file as source, in a TIFF
    source = workers_see_tests / "scene.npy"
    np.save(source, np.asarray(image.data))
    lazy = cn.open_image(source, axes="CYX")
    apply(session, lazy, workers_see_tests / "out.tif", cluster.scheduler.address)
    np.testing.assert_array_equal(cn.read_labels(workers_see_tests / "out.tif"), session.labels)
    # a killed worker: its nanny starts another, which loads the model when it joins
    picture, other, alive = deadly(workers_see_tests, image, session)
    alive.touch()
    path = workers_see_tests / "killed.zarr"
    steps = apply_steps(other, picture, path, cluster)
    pids = list(cluster.run(os.getpid).values())
    killed = False
    for step in steps:
        if step.done >= 1 and not killed:
            os.kill(pids[0], signal.SIGKILL)
            killed = True
    assert killed
    np.testing.assert_array_equal(cn.read_labels(path), session.predict(picture))


@pytest.mark.slow
def test_a_cluster_is_checked_before_work(
    session: cn.Session, image: Image, workers_see_tests: Path, cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from napari_clusternet.scaling import work

    path = workers_see_tests / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(work.Work, "digest", lambda self: "another")
        with pytest.raises(InputError, match="the session's model is not the client's"):
            apply(session, image, path, cluster)
    assert not path.exists()
    apply(session, image, path, cluster)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


class Elsewhere:
    """A client whose second worker has another package and no torch."""

    status = "running"

    class scheduler:  # noqa: N801 - as `distributed` calls it
        address = "tcp://10.0.0.1:8786"

    def __init__(self, n_workers: int) -> None:
        self.workers = [f"tcp://10.0.0.2:{i}" for i in range(n_workers)]

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict.fromkeys(self.workers)}

    def run(self, ask: Callable[..., str], *package: str, on_error: str) -> dict[str, Any]:
        answers: dict[str, Any] = dict.fromkeys(self.workers, ask(*package))
        if package == ("napari-clusternet",):
            answers[self.workers[1]] += ".dev7"
        if package == ("torch",):
            answers[self.workers[1]] = ModuleNotFoundError("torch")
        if package == ("numpy",):  # a later patch of the same release is no other release
            answers[self.workers[1]] += "9"
        return answers


def test_workers_with_other_versions_are_named() -> None:
    pytest.importorskip("distributed")
    from napari_clusternet.scaling.cluster import check_versions

    with pytest.raises(InputError, match="no worker is there") as none:
        check_versions(Elsewhere(0))  # type: ignore[arg-type]
    assert "dask worker tcp://10.0.0.1:8786" in str(none.value)
    with pytest.raises(
        InputError, match=r"worker tcp://10\.0\.0\.2:1 has napari-clusternet"
    ) as two:
        check_versions(Elsewhere(2))  # type: ignore[arg-type]
    assert f"here is {cn.__version__}; worker tcp://10.0.0.2:1 has no torch. " in str(two.value)
    assert "2:0 " not in str(two.value)
    assert "numpy" not in str(two.value)


def test_an_address_without_scheduler_is_named(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"client='nonsense': no scheduler answers there"):
        apply(session, image, tmp_path / "out.zarr", "nonsense")
    assert not (tmp_path / "out.zarr").exists()


# --- the disk is full ---------------------------------------------------------------------------


def run_out_after(patch: pytest.MonkeyPatch, writes: int) -> None:
    """Make the disk full after so many pieces of a store were written."""
    from zarr.storage import _local

    own, left = _local._put, [writes]

    def put(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(*arguments, **options)

    patch.setattr(_local, "_put", put)


def full_then_resumed(session: Any, image: Image, path: Path, writes: int) -> bool:
    """Run out of space, then go on; return whether space ran out at all."""
    full = False
    with pytest.MonkeyPatch.context() as patch:
        run_out_after(patch, writes)
        try:
            apply(session, image, path)
        except OSError as error:
            full = error.errno == errno.ENOSPC and not path.exists()
    if full:
        apply(session, image, path)
    return full


@pytest.mark.parametrize("writes", [0, 3, 7, 11])
def test_a_full_disk_at_any_time(
    session: cn.Session, image: Image, tmp_path: Path, writes: int
) -> None:
    whole = tree(apply(session, image, tmp_path / "whole.zarr"))
    # 2 files of metadata, then 9 of labels and the group's attributes
    assert full_then_resumed(session, image, tmp_path / "out.zarr", writes)
    assert tree(tmp_path / "out.zarr") == whole


@pytest.mark.slow
def test_a_full_disk_at_twenty_random_times(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    whole = tree(apply(session, image, tmp_path / "whole.zarr"))
    rng, full = np.random.default_rng(0), 0
    for i, writes in enumerate(rng.integers(0, 12, 20)):
        full += full_then_resumed(session, image, tmp_path / f"{i}.zarr", int(writes))
        assert tree(tmp_path / f"{i}.zarr") == whole
    assert full >= 10


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_a_small_disk_that_grows(
    session: cn.Session, image: Image, tmp_path: Path, name: str
) -> None:
    """A file system of our own, where GDAL's writes fail too."""
    pytest.importorskip("rasterio")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        georeferenced = scene("EPSG:32621")
        sizes, full = [16, 24, 32, 48, 64, 96, 128, 192, 1024], 0
        for size in sizes:
            grow = ["mount", "-o", f"remount,size={size}k", str(disk)]
            subprocess.run(grow, check=True, capture_output=True)
            try:
                apply(session, georeferenced, disk / name)
                break
            except OSError:
                full += 1
                assert not (disk / name).exists()
        assert full >= 1
        np.testing.assert_array_equal(cn.read_labels(disk / name), session.labels)
        assert [p.name for p in disk.iterdir()] == [name]
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", "-l", str(disk)], check=True)
