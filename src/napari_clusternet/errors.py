"""Errors a user can act on: each names the argument, the value received and the remedy."""

from __future__ import annotations

import os
from typing import Any, NoReturn


class ClusterNetError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(ClusterNetError, ValueError):
    """An argument, array or image that cannot be used as given."""


class StrokeError(InputError):
    """Strokes that cannot be used: wrong shape, values, or too few classes."""


class FileFormatError(ClusterNetError, OSError):
    """A file that is damaged, refused for safety, or of an unknown format."""


class MissingExtraError(ClusterNetError, ImportError):
    """An optional dependency is needed; the message names the extra that brings it."""


def describe(value: Any, limit: int = 80) -> str:
    """Return a short, single-line description of `value` for an error message.

    Arrays are described by dtype and shape, never by content; of names and paths more is shown.
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{type(value).__name__} of dtype {value.dtype}, shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    if isinstance(value, str | os.PathLike):
        limit *= 4
    return text if len(text) <= limit else text[: limit - 3] + "..."


def invalid(
    argument: str,
    value: Any,
    problem: str,
    remedy: str,
    *,
    error: type[ClusterNetError] = InputError,
) -> NoReturn:
    """Raise `error` naming the argument, the value received, the problem and the remedy.

    Raises
    ------
    ClusterNetError
        Always; of the class given by `error`.
    """
    raise error(f"{argument}={describe(value)}: {problem}. {remedy}")


def missing_extra(package: str, extra: str, purpose: str) -> NoReturn:
    """Raise `MissingExtraError` naming the extra that installs `package`.

    Raises
    ------
    MissingExtraError
        Always.
    """
    raise MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed. "
        f'Install it with: pip install "napari-clusternet[{extra}]"'
    )
