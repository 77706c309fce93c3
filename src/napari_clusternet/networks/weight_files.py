"""Weights that a user brings: a state dict from a file that cannot run code."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from napari_clusternet.errors import FileFormatError, invalid

SUFFIXES = (".pt", ".pth", ".safetensors")


def read_state_dict(
    path: str | os.PathLike[str], argument: str = "weights"
) -> dict[str, torch.Tensor]:
    """Read a flat state dict, name -> tensor, onto the CPU.

    Parameters
    ----------
    path : path-like
        ``*.safetensors``, or what ``torch.save(model.state_dict(), path)`` wrote (``*.pt``,
        ``*.pth``). The latter is read with ``weights_only=True``: nothing in it is executed.
    argument : str
        The argument's name in the caller, for the error message.

    Raises
    ------
    FileFormatError
        If there is no such file, its suffix is another, it is damaged, or it holds anything but
        tensors by name.
    """
    file = Path(path).expanduser()
    remedy = "Give a state dict: torch.save(model.state_dict(), path), or a safetensors file"
    if file.suffix.lower() not in SUFFIXES:
        invalid(argument, str(path), f"not a file of weights ({', '.join(SUFFIXES)})", remedy,
                error=FileFormatError)  # fmt: skip
    if not file.is_file():
        invalid(argument, str(path), "there is no such file", remedy, error=FileFormatError)
    try:
        if file.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what is raised on damage changes from release to release
        reason = str(error).strip().partition("\n")[0]
        raise FileFormatError(
            f"{argument}={str(path)!r}: cannot be read as weights "
            f"({type(error).__name__}: {reason[:120]}). {remedy}"
        ) from error
    tensors = isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    )
    if not tensors:
        invalid(argument, str(path), f"it holds a {type(found).__name__}, not tensors by name",
                remedy, error=FileFormatError)  # fmt: skip
    return dict(found)
