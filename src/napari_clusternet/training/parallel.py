"""Several processes that train one model, each on its part of every batch (torch.distributed).

All processes draw the same random numbers and take the same decisions; they share the network's
passes, forward and backward. Gradients are summed before every step, so that a step is that of the
whole batch, but for BatchNorm, which sees only the process's own part of it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and tells what is going on."""
        return self.rank == 0

    def part(self, n: int) -> range:
        """Return the indices of this process's part of `n` things."""
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def all_of(self, own: T) -> list[T]:
        """Return what every process gave, in the order of their ranks."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, own)
        return found

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by the sum of all processes'; one that has none counts as 0."""
        if self.size == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        flat = torch.cat([
            (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in wanted
        ])  # fmt: skip
        distributed.all_reduce(flat)
        start = 0
        for p in wanted:
            p.grad = flat[start : start + p.numel()].reshape(p.shape)
            start += p.numel()

    def add_figures(self, own: Mapping[str, float]) -> dict[str, float]:
        """Return the sum of all processes' figures, by name."""
        totals: dict[str, float] = {}
        for figures in self.all_of(dict(own)):
            for name, value in figures.items():
                totals[name] = totals.get(name, 0.0) + value
        return totals


def group() -> Group:
    """Return the processes that train together: those of `torch.distributed`, if it was begun."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Group()
    return Group(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def joined() -> Generator[Group, None, None]:
    """Join the processes that ``torchrun`` started, if it did, until the end of the block.

    With a graphics card for every process they exchange gradients by NCCL, else by Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or group().size > 1:
        yield group()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_cards = torch.cuda.is_available() and torch.cuda.device_count() > local
    if on_cards:
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if on_cards else "gloo")
    try:
        yield group()
    finally:
        distributed.destroy_process_group()


def in_order(parts: Sequence[Mapping[int, T]]) -> list[T]:
    """Return what the processes made of numbered things, in the order of the numbers."""
    whole = {number: value for part in parts for number, value in part.items()}
    return [whole[number] for number in sorted(whole)]
