"""Lets triton load where Mesa's software OpenGL is in the program, without ending it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

#: What this process has loaded (Linux).
_LOADED = Path("/proc/self/maps")


def load_triton() -> None:
    """Load triton where torch's own way of loading it would end the program.

    Torch with CUDA loads triton when the first optimizer is made. Triton brings an LLVM whose
    names anybody may replace, and Mesa's llvmpipe, once it has drawn a window, has put those of
    another LLVM before all others: triton's then calls the wrong one, and that is a segmentation
    fault. Loaded with ``RTLD_DEEPBIND`` it keeps to its own. Where there is no triton, or no
    other LLVM yet, nothing is done.
    """
    if "triton" not in sys.modules and _installed() and _another_llvm():
        _load_apart()


@cache  # looked for in all folders of packages
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache  # what is broken need not be tried again
def _load_apart() -> None:
    deep = getattr(os, "RTLD_DEEPBIND", None)  # glibc has it
    if deep is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | deep)
    try:
        importlib.import_module("triton")
    except Exception:  # torch does without it
        logger.debug("triton cannot be loaded", exc_info=True)
    finally:
        sys.setdlopenflags(flags)


def _another_llvm() -> bool:
    """Whether this process has loaded an LLVM that other libraries see."""
    try:
        return "/libLLVM" in _LOADED.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
