"""Full disks, little memory, killed processes, two writers: rows 31, 33, 35, 36.

What was there before stays byte for byte, and nothing is left under a final name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image
from napari_clusternet.io.atomic import atomic_path
from napari_clusternet.io.labels import read_labels, write_labels
from napari_clusternet.io.locks import FileLock, HeldError

pytest.importorskip("fcntl", reason="needs POSIX")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux limits")
PIXELS = np.random.default_rng(0).integers(1, 9, (64, 80)).astype(np.uint8)


def child(code: str, *arguments: Any, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip


def session() -> cn.Session:
    data = np.random.default_rng(0).normal(size=(2, 40, 50)).astype(np.float32)
    session = cn.Session(Image.from_array(data, axes="CYX"), features="bands", n_clusters=6)
    strokes = np.zeros((40, 50), np.uint8)
    strokes[3, 2:20], strokes[30, 10:30] = 1, 2
    session.update(strokes)
    return session


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- row 31: the disk is full -------------------------------------------------------------------

FILL = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_resources import contents, session
    from napari_clusternet.io.exports import write_certainty, write_table
    from napari_clusternet.io.model_files import save_model
    import numpy as np
    folder = Path(sys.argv[2])
    one = session()
    noise = np.random.default_rng(0).normal(size=50_000)
    ways = {
        "a.clusternet": one.save,
        "m.safetensors": lambda path: save_model(path, {"w": noise}, {}),
        "t.csv": lambda path: write_table(path, one.clusters, {}),
    }
    for name, write in ways.items():
        write(folder / name)
    before = contents(folder)
    for name, write in ways.items():
        size = (folder / name).stat().st_size
        for short in (100, 1000, 10_000, 80_000):
            if short >= size:
                continue
            resource.setrlimit(resource.RLIMIT_FSIZE, (size - short, resource.RLIM_INFINITY))
            try:
                write(folder / name)
            except OSError as error:
                assert str(folder / name) in str(error), error
                assert "unchanged" in str(error), error
                print("refused", name, short)
            else:
                print("written", name, short)
            assert contents(folder) == before, name
"""


@LINUX
def test_row_31_sessions_models_and_tables_keep_the_old_file(tmp_path: Path) -> None:
    done = child(FILL, Path(__file__).parent, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 7, done.stdout
    assert all(line.startswith("refused") for line in lines), done.stdout


# --- row 33: memory -----------------------------------------------------------------------------

LITTLE_MEMORY = """
    import resource, sys
    import torch
    from napari_clusternet.cli import main
    from napari_clusternet.io.opening import all_formats
    import napari_clusternet.session, napari_clusternet.extraction, napari_clusternet.api.strokes
    import napari_clusternet.features.filters, sklearn.tree, skimage, tifffile
    all_formats()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
    sys.exit(main(["segment", "-q", *sys.argv[1:]]))
"""


@LINUX
def test_row_33_too_little_memory_is_said_in_a_line(tmp_path: Path) -> None:
    scene = np.lib.format.open_memmap(
        tmp_path / "scene.npy", mode="w+", dtype=np.uint8, shape=(3, 6000, 6000)
    )
    scene[:, :50, :50] = 7  # the rest is a hole in the file
    strokes = np.zeros((6000, 6000), np.uint8)
    strokes[5, 5:20], strokes[4000, 300:400] = 1, 2
    write_labels(tmp_path / "strokes.tif", strokes)
    write_labels(tmp_path / "labels.tif", PIXELS)
    before = {name: contents(tmp_path)[name] for name in ("strokes.tif", "labels.tif")}
    done = child(
        LITTLE_MEMORY, tmp_path / "scene.npy", tmp_path / "strokes.tif", "--axes", "CYX",
        "-o", tmp_path / "labels.tif", "--features", "bands",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "not enough memory" in done.stderr
    after = contents(tmp_path)
    assert sorted(after) == ["labels.tif", "scene.npy", "strokes.tif"]
    assert all(after[name] == before[name] for name in before)


# --- row 35: killed while it writes -------------------------------------------------------------

#: Runs in a process of its own, which forks writers that go on until they are killed.
KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_resources import WAYS
    folder, kind, times = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    name, versions, write, read = WAYS[kind]()
    target = folder / name
    contents = []
    for version in versions:
        start = time.perf_counter()
        write(version, target)
        took = time.perf_counter() - start
        contents.append(read(target))
    assert contents[0] != contents[1]
    random.seed(0)
    interrupted = 0
    for _ in range(times):
        writer = os.fork()
        if writer == 0:
            while True:
                for version in versions:
                    write(version, target)
        time.sleep(random.uniform(0.2, 3) * took)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert read(target) in contents
        left = [path for path in folder.iterdir() if path != target]
        interrupted += bool(left)
        assert len(left) <= 2, left  # a temporary and its lock, which the next writer removes
        assert all(path.name.startswith(".clusternet-") for path in left), left
    write(versions[0], target)
    assert [path.name for path in folder.iterdir()] == [name], list(folder.iterdir())
    print(times, interrupted)
"""


def _sessions() -> Any:
    one, two = session(), session()
    two.split(1)
    return "a.clusternet", (one, two), lambda s, path: s.save(path), _file


def _models() -> Any:
    from napari_clusternet.io.model_files import load_model, save_model

    def read(path: Path) -> Any:
        load_model(path)
        return path.read_bytes()

    noise = np.random.default_rng(0).normal(size=(2, 100_000))
    return "m.safetensors", noise, lambda w, path: save_model(path, {"w": w}, {}), read


def _labels(name: str) -> Any:
    shape = (16, 64, 80) if "nii" in name else (256, 320)
    maps = np.random.default_rng(0).integers(0, 9, (2, *shape)).astype(np.uint8)
    options = {"crs": "EPSG:32621"} if name.startswith("g") else {}
    like = Image.from_array(maps[0], axes="ZYX"[-len(shape) :], units="metre", **options)
    return (
        name,
        maps,
        lambda m, path: write_labels(path, m, like),
        lambda p: read_labels(p).tobytes(),
    )


def _file(path: Path) -> bytes:
    cn.Session.load(path)
    return path.read_bytes()


WAYS = {
    "session": _sessions,
    "model": _models,
    "tiff": lambda: _labels("a.tif"),
    "geotiff": lambda: _labels("g.tif"),
    "nifti": lambda: _labels("a.nii.gz"),
    "zarr": lambda: _labels("a.zarr"),
}


def killed(folder: Path, kind: str, times: int) -> None:
    done = child(KILLED, Path(__file__).parent, folder, kind, times, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, interrupted = map(int, done.stdout.split())
    assert tried == times
    assert interrupted > times // 4, "too few were killed in the middle to show anything"


@pytest.mark.slow
@LINUX
def test_row_35_killed_while_saving_a_session(tmp_path: Path) -> None:
    killed(tmp_path, "session", 20)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kind", list(WAYS))
def test_row_35_killed_a_hundred_times(tmp_path: Path, kind: str) -> None:
    killed(tmp_path, kind, 100)


#: Trains in forked processes that are killed; then to the end, and once without interruption.
TRAINING = """
    import os, random, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_step1_resume import SMALL, assert_same, scene
    from napari_clusternet.clusternet import ClusterNet
    from napari_clusternet.io.model_files import load_model
    from napari_clusternet.training.checkpoints import KIND
    path, times = Path(sys.argv[2]) / "run", int(sys.argv[3])
    options = {**SMALL, "n_epochs": 4}
    random.seed(0)
    seen, began = 0, time.monotonic()
    first = os.fork()
    if first == 0:
        for _ in ClusterNet(**options).fit_steps(scene()):
            pass
        os._exit(0)
    os.waitpid(first, 0)
    took = time.monotonic() - began
    for _ in range(times):
        training = os.fork()
        if training == 0:
            for _ in ClusterNet(**options).fit_steps(scene(), checkpoint=path):
                pass
            time.sleep(60)
        time.sleep(random.uniform(0.2, 1) * took)
        os.kill(training, signal.SIGKILL)
        os.waitpid(training, 0)
        if path.exists():
            load_model(path, kind=KIND)  # whole, whenever it was killed
            seen += 1
        left = [other for other in path.parent.iterdir() if other != path]
        assert len(left) <= 2, left
    resumed = ClusterNet(**options).fit(scene(), checkpoint=path)
    assert list(path.parent.iterdir()) == [path]
    assert_same(resumed, ClusterNet(**options).fit(scene()))
    print(times, seen)
"""


@LINUX
@pytest.mark.slow
def test_row_35_training_killed_while_it_writes_checkpoints(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "integration"
    done = child(TRAINING, folder, tmp_path, 20, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, seen = map(int, done.stdout.split())
    assert tried == 20
    assert seen > 5


# --- row 36: two writers ------------------------------------------------------------------------

SECOND = """
    import sys, time
    from pathlib import Path
    from napari_clusternet.io.atomic import atomic_path
    with atomic_path(sys.argv[1]) as temporary:
        temporary.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
"""


def test_row_36_two_processes_one_output(tmp_path: Path) -> None:
    target = write_labels(tmp_path / "a.tif", PIXELS)
    before = target.read_bytes()
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SECOND), str(target)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        with pytest.raises(FileFormatError, match=rf"a\.tif.*process {other.pid} on .* is writing"):
            write_labels(target, PIXELS * 2)
        assert target.read_bytes() == before
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate()
    assert len(list(tmp_path.iterdir())) == 3  # the lock and the half file of who was killed
    write_labels(target, PIXELS * 2)
    assert list(tmp_path.iterdir()) == [target]
    np.testing.assert_array_equal(read_labels(target), PIXELS * 2)


def test_row_36_two_writers_in_one_process(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"first")
        with (
            pytest.raises(FileFormatError, match=f"process {os.getpid()}"),
            atomic_path(tmp_path / "a.bin"),
        ):
            pytest.fail("the body must not run")
        with atomic_path(tmp_path / "b.bin") as another:  # beside it is no harm
            another.write_bytes(b"other")
    assert contents(tmp_path) == {"a.bin": b"first", "b.bin": b"other"}


def test_row_36_a_lock_is_free_after_release_and_names_its_holder(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    one.acquire()
    with pytest.raises(HeldError, match=f"process {os.getpid()} on "):
        two.acquire()
    one.release()
    two.acquire()
    two.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_lock_can_still_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FileLock) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    np.testing.assert_array_equal(read_labels(write_labels(tmp_path / "a.tif", PIXELS)), PIXELS)


# --- row 37: a source that fails half-way -------------------------------------------------------


def half_way(name: str) -> Image:
    """An image whose last quarter cannot be read."""
    import dask.array as da

    def block(block_info: Any = None) -> Any:
        if block_info[None]["chunk-location"][1] == 3:
            raise OSError(5, "Input/output error", "scene.raw")
        return np.random.default_rng(0).normal(size=(2, 16, 64)).astype(np.float32)

    chunks = ((2,), (16,) * 4, (64,))
    data = da.map_blocks(block, dtype=np.float32, chunks=chunks, meta=np.zeros((0, 0, 0)))
    return Image.from_array(data, axes="CYX", name=name)


def test_row_37_a_store_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    from napari_clusternet.applying import Job, apply_steps
    from napari_clusternet.progress import drain

    one = session()
    good = Image.from_array(np.random.default_rng(1).normal(size=(2, 64, 64)), axes="CYX")
    jobs = [Job("bad", half_way("bad"), tmp_path / "bad.tif"),
            Job("good", good, tmp_path / "good.tif")]  # fmt: skip
    outcomes = drain(apply_steps(one.predictor(), jobs, {}))
    assert "Input/output error" in outcomes[0].error
    assert not outcomes[1].error
    assert [path.name for path in tmp_path.iterdir()] == ["good.tif"]
    with pytest.raises(OSError, match="Input/output error"):
        cn.Session(half_way("bad"), features="bands", n_clusters=4)


# --- row 38: interrupted ------------------------------------------------------------------------

INTERRUPTED = """
    import os, signal, sys
    from napari_clusternet import applying
    from napari_clusternet.cli import main
    from napari_clusternet.io import tiff
    write = tiff.TiffFormat.write_labels
    def interrupt(self, path, *rest):
        write(self, path, *rest)
        os.kill(os.getpid(), signal.SIGINT)
    # a shell's background jobs ignore it, and so do their children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tiff.TiffFormat.write_labels = interrupt
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_row_38_interrupted_while_writing(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", np.random.default_rng(0).normal(size=(40, 50)))
    strokes = np.zeros((40, 50), np.uint8)
    strokes[3, 2:20], strokes[30, 10:30] = 1, 2
    write_labels(tmp_path / "strokes.tif", strokes)
    write_labels(tmp_path / "labels.tif", PIXELS)
    before = contents(tmp_path)
    done = child(
        INTERRUPTED, "segment", "-q", tmp_path / "scene.npy", tmp_path / "strokes.tif",
        "-o", tmp_path / "labels.tif", "--features", "bands", "--clusters", 4,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "napari-clusternet: interrupted"
    assert contents(tmp_path) == before
