"""Clusters as a session left them, found for other rows: every split and merge, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.clustering import Assigner
from napari_clusternet.history import Divide

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]


@dataclass(eq=False)
class _Node:
    """A cluster for some time: with children once it was divided or dissolved."""

    id: int
    nearest: Assigner | None = None
    children: list[_Node] = field(default_factory=list)


class ClusterIds:
    """Gives rows the cluster ids of a session.

    Divides form a tree over each first cluster (merges tie trees together), and a row only meets
    those on its way, each with its centroids made ready once.

    Parameters
    ----------
    base : numpy.ndarray of float32, shape (k, n_features)
        Centroids of the first clustering, ids 1 to k.
    divides : sequence of Divide
        What was split and merged since, in order.
    """

    def __init__(self, base: npt.NDArray[np.float32], divides: Sequence[Divide]) -> None:
        self._first = Assigner(base)
        self._roots = [_Node(i + 1) for i in range(len(base))]
        now = {node.id: node for node in self._roots}
        for divide in divides:
            node = now.pop(divide.source, None)
            if node is None:  # no row ever comes to it
                continue
            for target in divide.ids:
                now.setdefault(target, _Node(target))
            node.children = [now[target] for target in divide.ids]
            node.nearest = Assigner(divide.centroids)

    def __call__(self, rows: npt.NDArray[np.floating]) -> IntArray:
        """Return the ids, int64 of shape (n,), of rows (n, n_features)."""
        ids = self._first(rows).astype(np.int64) + 1
        divided = [node for node in self._roots if node.children]
        if not divided:
            return ids
        # the rows of every cluster side by side, so that each is looked up once
        order = np.argsort(ids.astype(np.uint16), kind="stable")  # of 16 bits: a radix sort
        ends = np.searchsorted(ids[order], np.arange(1, len(self._roots) + 2))
        for node in divided:
            there = order[ends[node.id - 1] : ends[node.id]]
            if there.size:
                ids[there] = _follow(node, rows[there])
        return ids


def _follow(root: _Node, rows: npt.NDArray[np.floating]) -> IntArray:
    """Return the ids that rows of one cluster have in the end."""
    found = np.empty(len(rows), np.int64)
    todo = [(root, np.arange(len(rows)))]
    while todo:
        node, there = todo.pop()
        if len(node.children) < 2 or node.nearest is None:
            if node.children:
                todo.append((node.children[0], there))
            else:
                found[there] = node.id
            continue
        parts = node.nearest(rows[there])
        for part, child in enumerate(node.children):
            own = there[parts == part]
            if own.size:
                todo.append((child, own))
    return found
