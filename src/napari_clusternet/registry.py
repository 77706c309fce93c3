"""Families of interchangeable parts: one table of names, loaded only when asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from napari_clusternet.errors import invalid


@cache  # a scan of all installed packages takes tens of milliseconds
def _plugins(group: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=group)}


class Registry:
    """A family's table, name -> "module:attribute", with third-party entries beside ours.

    Parameters
    ----------
    family : str
        The family's name; entry points are read from the group ``napari_clusternet.<family>``.
    table : mapping of str to str
        Our own entries. They win over an entry point of the same name.
    """

    def __init__(self, family: str, table: Mapping[str, str]) -> None:
        self.family = family
        self._table = dict(table)

    def _targets(self) -> dict[str, str]:
        return _plugins(f"napari_clusternet.{self.family}") | self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets())

    def __contains__(self, name: object) -> bool:
        return name in self._targets()

    def load(self, name: str, argument: str = "name") -> Any:
        """Import and return the entry called `name`.

        Parameters
        ----------
        name : str
            An entry of the table.
        argument : str
            The argument's name in the caller, for the error message.

        Raises
        ------
        InputError
            If there is no such entry; the message lists the known ones and the closest.
        """
        targets = self._targets()
        if not isinstance(name, str) or name not in targets:
            close = difflib.get_close_matches(str(name), targets, n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            known = ", ".join(sorted(targets))
            invalid(argument, name, f"no such entry in {self.family!r}", f"{hint}Known: {known}")
        module, _, attribute = targets[name].partition(":")
        return getattr(import_module(module), attribute)
