"""Triton is loaded apart from Mesa's LLVM, once that is there, and never else."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from napari_clusternet import triton_loading
from napari_clusternet.device import select_device

LINE = "7f00-7f01 r-xp 00000000 fe:00 1  /usr/lib/x86_64-linux-gnu/{}\n"
pytestmark = pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="needs glibc")


def forget() -> None:
    triton_loading._installed.cache_clear()
    triton_loading._load_apart.cache_clear()


def pretend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, triton: str | None
) -> None:
    """Make a process with a library loaded, and a triton that can be imported, or none."""
    (tmp_path / "maps").write_text(LINE.format("libc.so.6") + LINE.format(library))
    monkeypatch.setattr(triton_loading, "_LOADED", tmp_path / "maps")
    if triton is not None:
        (tmp_path / "triton.py").write_text(triton)
        monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    forget()


@pytest.fixture(autouse=True)
def _afterwards(monkeypatch: pytest.MonkeyPatch) -> object:
    flags = sys.getdlopenflags()
    yield
    assert sys.getdlopenflags() == flags
    sys.modules.pop("triton", None)  # the real one, if there is one, comes back after this
    forget()


@pytest.mark.parametrize("library", ["libLLVM-15.so.1", "libLLVM.so.19.1"])
def test_loaded_apart_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    pretend(tmp_path, monkeypatch, library, "import sys\nflags = sys.getdlopenflags()\n")
    select_device("cpu")
    assert sys.modules["triton"].flags == sys.getdlopenflags() | os.RTLD_DEEPBIND


def test_loaded_apart_when_the_window_is_drawn_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "libGL.so.1", "import sys\nflags = sys.getdlopenflags()\n")
    select_device("cpu")
    assert "triton" not in sys.modules
    (tmp_path / "maps").write_text(LINE.format("libLLVM-15.so.1"))
    select_device("cpu")
    assert sys.modules["triton"].flags == sys.getdlopenflags() | os.RTLD_DEEPBIND


@pytest.mark.parametrize("triton", ["raise RuntimeError('broken')", None])
def test_a_triton_that_is_broken_or_missing_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, triton: str | None
) -> None:
    pretend(tmp_path, monkeypatch, "libLLVM-15.so.1", triton)
    if triton is None:
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "triton" else find(name)
        )
    assert select_device("cpu").name == "cpu"
    assert "triton" not in sys.modules
