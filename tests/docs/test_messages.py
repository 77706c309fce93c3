"""The list of messages finds them all, with remedies, and goes into the page."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", ROOT / "docs" / "make_messages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_call_is_found_with_a_remedy(maker: ModuleType) -> None:
    calls = 0
    for path in maker.SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls += sum(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "invalid"
            for node in ast.walk(tree)
        )
    found = list(maker.messages())
    assert len(found) >= calls > 200
    assert not [message for message in found if not message[2].strip()]


def test_texts_of_expressions(maker: ModuleType) -> None:
    def texts(code: str) -> list[str]:
        return maker.words(ast.parse(code, mode="eval").body, {"problem": ["no pixel"]})

    assert texts("'a' if x else f'b {c} d'") == ["a", "b ... d"]
    assert texts("problem + ' here'") == ["no pixel here"]
    assert texts("other") == ["..."]


def test_the_page_gets_the_table(maker: ModuleType) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    filled = maker.on_page_markdown(page)
    assert maker.MARK not in filled
    assert "| not a number of clusters | Give 1 to 65535 |" in filled
    assert "hooks:" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
