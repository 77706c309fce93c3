"""Running one command: notices and warnings as lines for people, then the command itself."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from typing import TextIO

from napari_clusternet._cli import commands
from napari_clusternet._cli.bars import ProgressBars

_COMMANDS = {
    "apply": commands.apply,
    "demo": commands.demo,
    "fit": commands.fit,
    "info": commands.info,
    "score": commands.score,
    "segment": commands.segment,
    "unsupervised": commands.unsupervised,
}


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=file or sys.stderr)


def run_command(options: argparse.Namespace) -> None:
    """Run the command that `options` names.

    Raises
    ------
    ClusterNetError
        If an argument or file cannot be used.
    """
    log = logging.getLogger("napari_clusternet")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.WARNING if options.quiet else logging.INFO)
    try:
        with warnings.catch_warnings(), ProgressBars(options.quiet) as bars:
            if options.quiet:
                warnings.simplefilter("ignore")
            warnings.showwarning = _show_warning
            _COMMANDS[options.command](options, bars)
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
