"""Every public name is documented; the API says in numpydoc what it takes, returns, raises."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import napari_clusternet as cn

SOURCE = Path(inspect.getfile(cn)).parent
#: Parameters that need no line of their own.
IMPLIED = {"self", "cls"}


def public_definitions() -> Iterator[tuple[str, ast.AST]]:
    """Yield every public module, class and function of the package, by its place."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = str(path.relative_to(SOURCE))
        yield place, tree
        yield from _inside(tree, place)


def _inside(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if (is_function or isinstance(child, ast.ClassDef)) and not child.name.startswith("_"):
            yield f"{place}:{child.lineno} {child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _inside(child, place)


def needs_none(node: ast.AST) -> bool:
    """Whether a definition is documented elsewhere: overloads, setters, stubs of protocols."""
    if isinstance(node, ast.FunctionDef) and [ast.unparse(line) for line in node.body] == ["..."]:
        return True
    decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", [])]
    return any(d == "overload" or d.endswith(".setter") for d in decorators)


def test_every_public_name_has_a_docstring() -> None:
    # methods of Qt, overridden
    qt = {"event", "eventFilter", "closeEvent", "hideEvent", "showEvent", "sizeHint", "cancel",
          "resizeEvent", "keyPressEvent", "paintEvent", "minimumSizeHint"}  # fmt: skip
    missing = [
        place for place, node in public_definitions()
        if not needs_none(node) and not ast.get_docstring(node)
        and not ("_napari" in place and getattr(node, "name", "") in qt)
    ]  # fmt: skip
    assert not missing, "\n".join(missing)


# ---- the API: sections of numpydoc ---------------------------------------------------------------


def api() -> list[tuple[str, Any]]:
    """Return the functions of the API, and the public methods of its classes."""
    found: list[tuple[str, Any]] = []
    for name in cn.__all__:
        if name in ("__version__", "current"):  # `current` needs a viewer's packages
            continue
        thing = getattr(cn, name)
        found.append((name, thing))
        if inspect.isclass(thing):
            found += [
                (f"{name}.{key}", getattr(thing, key)) for key, value in vars(thing).items()
                if not key.startswith("_") and isinstance(value, classmethod | type(lambda: 0))
            ]  # fmt: skip
    return found


def sections(text: str) -> dict[str, str]:
    """Return the sections of a docstring, by title."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section: str) -> set[str]:
    """Return the names that a section of parameters describes."""
    heads = [line for line in section.splitlines() if line[:1].strip()]
    return {
        name.strip().lstrip("*") for line in heads for name in line.partition(" : ")[0].split(",")
    }


def undocumented(thing: Any) -> list[str]:
    """Return what the docstring of a function or class leaves out."""
    parts, signature = sections(inspect.getdoc(thing) or ""), inspect.signature(thing)
    found = documented(parts.get("Parameters", "") + parts.get("Attributes", ""))
    missing = [name for name in signature.parameters if name not in found | IMPLIED]
    returns = signature.return_annotation
    if returns is signature.empty or returns in ("None", None) or inspect.isclass(thing):
        return missing
    return missing + ([] if {"Returns", "Yields"} & set(parts) else [f"returns {returns}"])


@pytest.mark.parametrize(("name", "thing"), api(), ids=[name for name, _ in api()])
def test_api_says_what_it_takes_and_returns(name: str, thing: Any) -> None:
    assert not undocumented(thing)


@pytest.mark.parametrize(
    "name", [name for name, thing in api() if inspect.isfunction(thing) and "." not in name]
)
def test_functions_of_the_api_say_what_they_raise(name: str) -> None:
    assert "Raises" in sections(inspect.getdoc(getattr(cn, name)) or "")


def test_what_is_left_out_is_found() -> None:
    def half(a: int, b: int) -> int:
        """Add.

        Parameters
        ----------
        a : int
            The first.
        """
        return a + b

    assert undocumented(half) == ["b", "returns int"]


def test_console_says_what_it_takes() -> None:
    pytest.importorskip("napari")
    from napari_clusternet._napari.controller import Controller

    methods = inspect.getmembers(Controller, inspect.isfunction)
    public = {name: method for name, method in methods if not name.startswith("_")}
    assert len(public) > 30
    missing = {name: undocumented(method) for name, method in public.items()}
    assert not {name: left for name, left in missing.items() if left}
    assert not undocumented(cn.current)
