"""A minute of damaged files; `fuzz_files.py` goes through more of them by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_files.py")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux limits")


@pytest.mark.slow
def test_damaged_files_are_refused_or_read_for_a_minute() -> None:
    pytest.importorskip("rasterio")
    pytest.importorskip("nibabel")
    pytest.importorskip("pydicom")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--seconds", "60", "--seed", "1"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failures" in done.stdout
