"""What all tests share: where development data are, and when the window tests can run."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before torch starts its threads: spinning ones starve each other where cores are shared.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

GUI = Path(__file__).parent / "gui"
# The same examples every time; CLUSTERNET_HYPOTHESIS=search looks for new ones.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=40)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("CLUSTERNET_HYPOTHESIS", "fixed"))

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


def _is_local(address: Any) -> bool:
    """Whether an address is this machine; files (Unix sockets) are."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse every connection that leaves this machine, and fail the test that tried."""
    tried: list[str] = []

    def guarded(method: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            # a datagram socket sends nothing when it connects; programs ask their address so
            if self.type == socket.SOCK_DGRAM or _is_local(address):
                return method(self, address)
            tried.append(str(address))
            raise OSError(f"the tests use no network, and this would connect to {address}")

        return call

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        digits = name is not None and not any(c.isalpha() for c in name)
        if name is None or digits or _is_local((name,)) or name == socket.getfqdn():
            return look_up(host, *rest, **more)
        tried.append(name)
        raise OSError(f"the tests use no network, and this would look up {name}")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield tried
    if tried:
        pytest.fail(f"would have used the network: {', '.join(tried)}")
