"""Importing the package is cheap, and everything it promises is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_clusternet as cn

HEAVY = ("torch", "napari", "qtpy", "PyQt6", "PySide6", "magicgui", "dask", "sklearn", "pandas")


def _loaded_after(code: str) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _loaded_after("import napari_clusternet").isdisjoint(HEAVY)


def test_the_command_line_starts_without_torch_or_qt() -> None:
    code = "from napari_clusternet.cli import build_parser; build_parser()"
    assert _loaded_after(code).isdisjoint(HEAVY)


def test_using_a_name_loads_its_module_only_then() -> None:
    loaded = _loaded_after("import napari_clusternet as cn; cn.Image")
    assert "numpy" in loaded
    assert loaded.isdisjoint({"torch", "napari", "qtpy"})


@pytest.mark.parametrize("name", cn.__all__)
def test_every_public_name_exists(name: str) -> None:
    if name == "current":
        pytest.importorskip("napari")
    assert getattr(cn, name) is not None


def test_dir_lists_the_public_names() -> None:
    assert dir(cn) == sorted(cn.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'clusternet_'"):
        _ = cn.clusternet_
