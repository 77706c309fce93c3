"""The table of equations names tests and methods that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import napari_clusternet as cn

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")


def test_every_test_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 50
    missing = []
    for file, test in named:
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        if not path.exists() or (test and test not in found):
            missing.append(f"{file}::{test}")
    assert not missing


def test_every_method_has_a_line() -> None:
    rows = "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert not [method.name for method in cn.methods() if f"`{method.name}`" not in rows]
