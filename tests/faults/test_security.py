"""A stranger's file runs no code, reads nothing outside itself, and calls nobody (rows 17, 21)."""

from __future__ import annotations

import ast
import os
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.config import FILES
from napari_clusternet.errors import ClusterNetError, FileFormatError
from napari_clusternet.io.labels import read_labels, write_labels
from napari_clusternet.io.model_files import load_model
from napari_clusternet.networks.weight_files import read_state_dict
from napari_clusternet.session_file import KIND
from napari_clusternet.stroke_file import Strokes

SOURCE = Path(cn.__file__).parent
PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)

#: Modules that run code from data, or talk to other machines.
FORBIDDEN = {
    "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml", "runpy", "code",
    "urllib", "http", "requests", "ftplib", "smtplib", "aiohttp", "httpx", "pooch", "subprocess",
    "huggingface_hub", "webbrowser", "tarfile", "zipfile",
}  # fmt: skip
#: Calls that run text as code, or programs.
RUNNERS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
#: `socket` is there for this machine's name, `pickle` to send work to processes of one's own.
ALLOWED = {"socket": {"io/locks.py"}, "pickle": {"scaling"}}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for file in sorted(SOURCE.rglob("*.py")):
        name = file.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(file.read_text())):
            yield name, node


def test_row_17_no_code_from_data_and_no_network_in_the_source() -> None:
    found = []
    for file, node in nodes():
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in {name.partition(".")[0] for name in names}:
            allowed = ALLOWED.get(name)
            beyond = allowed is not None and not any(file.startswith(place) for place in allowed)
            if name in FORBIDDEN or beyond:
                found.append(f"{file}:{node.lineno} imports {name}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in RUNNERS:
            found.append(f"{file}:{node.lineno} calls {ast.unparse(node.func)}")
    assert found == []


def _keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def test_row_17_loaders_that_could_unpickle_are_told_not_to() -> None:
    found = []
    for file, node in nodes():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = ast.unparse(node.func)
        if called == "torch.load" and _keyword(node, "weights_only") is not True:
            found.append(f"{file}:{node.lineno}")
        pickles = _keyword(node, "allow_pickle") not in (None, False)  # False is numpy's default
        if called.endswith((".load", ".read_array")) and pickles:
            found.append(f"{file}:{node.lineno}")
    assert found == []


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    "load",
    [
        cn.Session.load, cn.ClusterNet.load, Strokes.load, cn.open_image, read_labels,
        read_state_dict, lambda path: load_model(path, kind=KIND),
    ],
    ids=["session", "model", "strokes", "image", "labels", "weights", "safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.npy"])
def test_row_17_no_loader_unpickles(tmp_path: Path, load: Any, name: str) -> None:
    path, touched = tmp_path / name, tmp_path / "touched"
    path.write_bytes(pickle.dumps(Payload(touched)))
    before = path.read_bytes()
    with pytest.raises(ClusterNetError, match=name.replace(".", r"\.")):
        load(path)
    assert not touched.exists()
    assert path.read_bytes() == before


def test_row_17_weights_with_a_payload_inside_a_real_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, touched = tmp_path / "a.pth", tmp_path / "touched"
    torch.save({"w": torch.zeros(2), "x": Payload(touched)}, path)
    with pytest.raises(ClusterNetError, match=r"a\.pth"):
        read_state_dict(path)
    assert not touched.exists()


@pytest.mark.parametrize(
    "name", ["a.zip", "a.zarr.zip", "a.tar", "a.clusternet", "a.tif", "a.zarr"]
)
def test_row_21_archives_are_never_unpacked(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / name
    if "tar" in name:
        (tmp_path / "x").write_text("x")
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "x", arcname="../../slipped")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../slipped", "x")
            archive.writestr("zarr.json", "{}")
    before = sorted(tmp_path.rglob("*"))
    for load in (cn.open_image, cn.Session.load, cn.ClusterNet.load, read_labels):
        with pytest.raises(FileFormatError):
            load(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_row_21_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious.tif").write_bytes(b"precious")
    (tmp_path / "labels.tif").symlink_to(tmp_path / "precious.tif")
    write_labels(tmp_path / "labels.tif", PIXELS)
    assert (tmp_path / "precious.tif").read_bytes() == b"precious"
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif"), PIXELS)


def test_row_21_what_follows_a_link_out_of_a_store_is_not_shown(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    (tmp_path / "secret").write_bytes(bytes(range(64)))
    store = tmp_path / "a.zarr"
    array = zarr.create_array(
        str(store), shape=(8, 8), chunks=(8, 8), dtype="uint8", compressors=None
    )
    array[...] = PIXELS + 1
    chunk = store / "c" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(FileFormatError, match="outside the store"):
        cn.open_image(store).read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_does_not_keep_the_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    os.mkfifo(tmp_path / "a.clusternet")
    for load in (cn.open_image, cn.Session.load, cn.ClusterNet.load, read_labels):
        for path in tmp_path.iterdir():
            with pytest.raises(ClusterNetError):
                load(path)


def test_limits_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_labels(tmp_path / "a.nii.gz", PIXELS)
    monkeypatch.setattr(FILES, "max_axis", 7)
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz.*shape .*at most 7"):
        cn.open_image(path)
    monkeypatch.setattr(FILES, "max_axis", 8)
    assert cn.open_image(path).shape[-2:] == (8, 8)


def test_the_suite_refuses_the_network(no_network: list[str]) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # an address for documentation
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("example.invalid", 80), timeout=1)
    assert no_network == ["('192.0.2.1', 80)", "example.invalid"]
    no_network.clear()
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname(), timeout=5).close()
    server.close()
    assert no_network == []
