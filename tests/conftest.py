"""What all tests share: where development data are, and when the window tests can run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Before torch starts its threads: spinning ones starve each other where cores are shared.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

GUI = Path(__file__).parent / "gui"
#: Set where the window tests must run: a skipped one then fails.
REQUIRE_GUI = bool(os.environ.get("CLUSTERNET_REQUIRE_GUI"))


def _gui_missing() -> str | None:
    """Return why no window can be opened here, or None."""
    for package in ("napari", "qtpy", "PyQt6", "pytestqt"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    display = os.environ.get("DISPLAY") or shutil.which("Xvfb")
    if sys.platform.startswith("linux") and not display:
        return "there is no display and no Xvfb"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in tests/gui, and skip it with a reason where it cannot run."""
    missing = _gui_missing()
    for item in items:
        if GUI in item.path.parents:
            item.add_marker(pytest.mark.gui)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skipped window test into a failure where they are required."""
    report = yield
    if REQUIRE_GUI and report.skipped and item.get_closest_marker("gui"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CLUSTERNET_REQUIRE_GUI is set, but: {reason}"
    return report


@pytest.fixture(scope="session")
def development_data() -> Path:
    """Folder of the data for development, named by CLUSTERNET_DATA; skips where there is none."""
    folder = os.environ.get("CLUSTERNET_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLUSTERNET_DATA names no folder")
    return Path(folder).resolve()
