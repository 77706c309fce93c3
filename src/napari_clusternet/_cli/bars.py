"""Progress on the terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, TextIO

from napari_clusternet.progress import Progress


class ProgressBars:
    """A callback that shows one bar a stage; where there is no terminal, one line a stage.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    stream : text stream, optional
        Where to show it; standard error by default.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> ProgressBars:
        """Return itself; the bars are closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar that is open."""
        self._close()

    def __call__(self, step: Progress) -> None:
        """Show one step."""
        if self._quiet:
            return
        if step.stage != self._stage:
            self._close()
            self._open(step)
        if self._bar is not None:
            self._bar.total = step.total or None
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in step.metrics.items()}, refresh=False)
            self._bar.update(step.done - self._bar.n)

    def _open(self, step: Progress) -> None:
        self._stage = step.stage
        if not self._stream.isatty():
            print(f"{step.stage} ...", file=self._stream, flush=True)
            return
        from tqdm import tqdm

        self._bar = tqdm(total=step.total or None, desc=step.stage, file=self._stream)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._stage = None, ""
