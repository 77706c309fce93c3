"""The table of faults in docs/reliability.md names tests that exist, for every row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| (.+) \|$", re.MULTILINE)


def functions(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_has_tests_and_they_exist() -> None:
    rows = {int(number): cell for number, cell in ROW.findall(PAGE.read_text())}
    assert list(rows) == list(range(1, 44))
    missing = []
    for number, cell in rows.items():
        named = 0
        for part in cell.split("; "):
            file, *tests = re.findall(r"`([^`]+)`", part)
            known = functions(file)
            named += len(tests)
            missing += [f"{number}: {file}::{test}" for test in tests if test not in known]
        assert named, number
    assert missing == []
