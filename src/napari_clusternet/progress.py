"""Long work is a generator of `Progress`: it can be shown, paused and stopped between yields."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """One step of a long piece of work.

    Attributes
    ----------
    stage : str
        What is being done, for people ("training", "extracting features").
    done, total : int
        Steps done so far and in all; `total` is 0 when unknown.
    metrics : mapping of str to float
        Figures of this step, such as ``loss`` or ``perplexity``.
    preview : numpy.ndarray of uint16, shape ([Z,] Y, X), or None
        Labels so far, 0 where invalid, to look at; of work that has such at no cost.
    """

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    preview: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        count = f"{self.done}/{self.total}" if self.total else str(self.done)
        return f"{self.stage} {count}" + (f": {figures}" if figures else "")


Callback = Callable[[Progress], object]


def drain(steps: Generator[Progress, None, Result], callback: Callback | None = None) -> Result:
    """Run `steps` to its end, passing each `Progress` to `callback`; return its result.

    An exception raised by `callback` (``KeyboardInterrupt`` included) closes the generator,
    which then keeps what it promised to keep (a checkpoint, finished tiles), and propagates.
    """
    try:
        while True:
            step = next(steps)
            if callback is not None:
                callback(step)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()
