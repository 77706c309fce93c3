"""The parameters of a method in words, for forms and help texts: from its class alone."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from inspect import getdoc
from typing import Any

_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
_ENTRY = re.compile(r"^(\w[\w, ]*?)(?: : (.*))?$")
_SEE = re.compile(r"^See `([\w.]+)`\.$")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method.

    Attributes
    ----------
    name : str
        What to pass it as.
    default : object
        Its value where none is passed.
    kind : str
        Its type as the documentation says it, such as ``"int"``; may be empty.
    text : str
        What the documentation says of it, in one line; may be empty.
    choices : tuple of str
        The words it may be; empty where it is no word.
    """

    name: str
    default: Any
    kind: str = ""
    text: str = ""
    choices: tuple[str, ...] = ()


def describe_parameters(method: type) -> tuple[Parameter, ...]:
    """Return the parameters of a method that is a dataclass, in the order of its documentation.

    Parameters
    ----------
    method : type
        A dataclass whose docstring is written as numpydoc asks. ``See `Other`.`` stands for the
        text of another class of the same module.

    Returns
    -------
    tuple of Parameter
        Parameters that the documentation leaves out come last.
    """
    texts = _documented(method)
    found = []
    for item in fields(method):
        if item.init:
            default = item.default if item.default_factory is MISSING else item.default_factory()
            kind, text = texts.get(item.name, ("", ""))
            found.append(Parameter(item.name, default, kind, text, _choices(kind)))
    order = list(texts)
    return tuple(
        sorted(found, key=lambda p: order.index(p.name) if p.name in texts else len(texts))
    )


def _documented(method: Any) -> dict[str, tuple[str, str]]:
    """Return (type, text) of every parameter in a class's docstring, references followed.

    What the class itself leaves out its bases say.
    """
    found: dict[str, tuple[str, str]] = {}
    for names, kind, text in _entries(_section(getdoc(method) or "", "Parameters")):
        see = _SEE.match(text)
        others = _documented(_named(see[1], method)) if see else {}
        for name in names.split(","):
            found[name.strip()] = others.get(name.strip(), (kind, text))
    for base in getattr(method, "__mro__", ())[1:]:
        found |= {name: said for name, said in _documented(base).items() if name not in found}
    return found


def _named(name: str, beside: Any) -> Any:
    """Return what a docstring's reference names: beside the class, or anywhere in the package."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module or beside.__module__), attribute)


def _section(doc: str, title: str) -> str:
    """Return what stands under a heading of a docstring, up to the next one."""
    headings = list(_HEADING.finditer(doc))
    for i, heading in enumerate(headings):
        if heading[1] == title:
            end = headings[i + 1].start() if i + 1 < len(headings) else len(doc)
            return doc[heading.end() : end].strip("\n")
    return ""


def _entries(section: str) -> list[tuple[str, str, str]]:
    """Return (names, type, text) of every entry of a section."""
    entries: list[tuple[str, str, list[str]]] = []
    for line in section.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            entries.append((entry[1], entry[2] or "", []))
        elif line[:1].strip():  # **parameters and the like
            entries.append(("", "", []))
        elif entries:
            entries[-1][2].append(line.strip())
    return [(names, _plain(kind), _plain(" ".join(lines))) for names, kind, lines in entries]


def _plain(text: str) -> str:
    words = text.replace("``", "").strip()
    return words if _SEE.match(words) else words.replace("`", "")


def _choices(kind: str) -> tuple[str, ...]:
    listed = re.search(r"\{(.*?)\}", kind)
    return tuple(re.findall(r'"([^"]*)"', listed[1])) if listed else ()
