"""The documentation's Python runs as it is printed, on small files in a folder of its own.

All blocks of a page run one after the other in one namespace. Long training is cut short by the
replacements below; nothing else is changed. A block after the comment ``<!-- not run: why -->`` is
left out.
"""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import napari_clusternet as cn
from napari_clusternet.cli import main

ROOT = Path(__file__).parents[2]
#: Less training, page by page: printed -> run.
SHORTER = {
    "README.md": [('from_preset("quick"', 'from_preset("quick", n_epochs=1, n_clusters=20')],
    "quickstart.md": [('from_preset("quick"', 'from_preset("quick", n_epochs=1, n_clusters=20')],
    "ktextures.md": [("k=6)", "k=6, n_steps=2)")],
    "supervised.md": [('method="unet",', 'method="unet", steps=2,'), ("steps=400", "steps=2")],
    "unsupervised.md": [("n_iterations=200", "n_iterations=2")],
}
#: Code of a window: `tests/gui/test_console_page.py` runs the console's page.
_WINDOW = re.compile(r"\b(viewer|control)\b")
_BLOCK = re.compile(
    r"(?P<before>[^\n]*\n\n?)^```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)


def pages() -> list[Path]:
    """Return the pages with Python to run; what needs a window is left to the tests of windows."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page for page in every if code_of(page)]


def code_of(page: Path) -> list[tuple[int, str]]:
    """Return (line, code) of every block to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: block.start("code")].count("\n") + 1, block["code"])
        for block in _BLOCK.finditer(text)
        if "<!-- not run:" not in block["before"] and not _WINDOW.search(block["code"])
    ]


#: These train a model, or open large samples, and take half a minute.
LONG = {"README.md", "quickstart.md", "tutorial-brain.md", "tutorial-satellite.md"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else (), id=p.name) for p in pages()],
)
def test_blocks_of_python(page: Path, documented: dict[str, Any]) -> None:
    for line, code in code_of(page):
        for printed, run in SHORTER.get(page.name, ()):
            code = code.replace(printed, run)
        # lines of the traceback are those of the page
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), documented)


def test_replacements_still_fit_the_pages() -> None:
    for name, changes in SHORTER.items():
        page = ROOT / name if name == "README.md" else ROOT / "docs" / name
        for printed, _ in changes:
            assert printed in page.read_text(encoding="utf-8"), f"{name}: {printed}"


# ---- the command line ----------------------------------------------------------------------------


def commands() -> list[str]:
    """Return the commands of all pages; patterns in capitals and the demo are left out."""
    found: list[str] = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if line.startswith("napari-clusternet ")]
    return [
        line for line in dict.fromkeys(found)
        if not re.search(r"\b[A-Z]{4,}\b", line) and " demo" not in line
    ]  # fmt: skip


def test_commands_in_the_order_of_the_pages(
    documented: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = commands()
    assert len(lines) > 6
    cn.write_labels("labels.tif", documented["labels"], like=documented["image"])
    for line in lines:
        shorter = line.replace("n_iterations=200", "n_iterations=2")
        shorter = shorter.replace("--preset quick", "--preset quick --epochs 1 --clusters 20")
        # the steps have their own tests: without them, quickly
        assert main([*shlex.split(shorter)[1:], "-q"]) == 0, line
    assert "mean_dice" in capsys.readouterr().out


# ---- docstrings ----------------------------------------------------------------------------------


def examples() -> list[doctest.DocTest]:
    """Return the examples in the docstrings of the API."""
    finder = doctest.DocTestFinder(recurse=False)
    things = [(name, getattr(cn, name)) for name in cn.__all__ if name != "current"]
    return [test for name, thing in things for test in finder.find(thing, name) if test.examples]


#: In docstrings: printed -> run.
LESS = [
    ("steps=500", "steps=2"),
    ('"b_mask.tif"], "scene.tif")', '"b_mask.tif"], "scene.tif", steps=2)'),
]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_examples_of_docstrings(test: doctest.DocTest, documented: dict[str, Any]) -> None:
    for example in test.examples:  # the same code, with less training
        for printed, run in LESS:
            example.source = example.source.replace(printed, run)
    test.globs = documented
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
    assert result.attempted
    assert result.failed == 0
