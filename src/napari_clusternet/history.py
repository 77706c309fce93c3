"""Undo and redo of a session: small tables before and after, and the exact moves between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.partition import Move

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.integer]
    FloatArray = npt.NDArray[np.floating]

#: States of a cluster, in the order of their codes.
STATES = ("unclassified", "classified", "mixed", "inferred", "assigned")
UNCLASSIFIED, CLASSIFIED, MIXED, INFERRED, ASSIGNED = range(len(STATES))


@dataclass(frozen=True)
class Divide:
    """A lasting change of the clusters' geometry, replayed on other images.

    Attributes
    ----------
    source : int
        The cluster that was divided or dissolved.
    ids : tuple of int
        Where its pixels went: several ids after a split, one after a merge.
    centroids : numpy.ndarray of float32, shape (len(ids), n_features)
        Each pixel goes to the id of the nearest.
    """

    source: int
    ids: tuple[int, ...]
    centroids: FloatArray


@dataclass(frozen=True)
class ClusterState:
    """Everything small that a session knows of its clusters; row i is cluster id i + 1.

    Attributes
    ----------
    counts : numpy.ndarray of int, shape (n_ids, n_classes)
        Stroked pixels per class.
    centroids : numpy.ndarray of float32, shape (n_ids, n_features)
        Mean feature vectors.
    assigned : numpy.ndarray of int, shape (n_ids,)
        Class given by hand, 0 for none.
    classes, states : numpy.ndarray of int, shape (n_ids,)
        Class in force (0 none) and index into `STATES`.
    certainty : numpy.ndarray of float32, shape (n_ids,)
        How sure the class is, 0..1.
    threshold : float
        t of section 3.4.
    divides : tuple of Divide
        All splits and merges so far, in order.
    posterior : numpy.ndarray of float32, shape (n_ids, n_classes), or None
        What the classifiers say of the clusters' pixels, given the strokes as they are.
    """

    counts: IntArray
    centroids: FloatArray
    assigned: IntArray
    classes: IntArray
    states: IntArray
    certainty: FloatArray
    threshold: float
    divides: tuple[Divide, ...] = ()
    posterior: FloatArray | None = None

    @classmethod
    def initial(cls, centroids: FloatArray, threshold: float) -> ClusterState:
        """Return the state before the first stroke."""
        n = len(centroids)
        zeros = np.zeros(n, np.int64)
        return cls(
            np.zeros((n, 0), np.int64), centroids, zeros, zeros, zeros,
            np.zeros(n, np.float32), threshold,
        )  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One undoable step.

    Attributes
    ----------
    before, after : ClusterState
        The tables on either side.
    moves : tuple of Move
        Changes of the partition, in order.
    pixels, old, new : numpy.ndarray of int, shape (n,)
        Strokes that changed: flat pixel index, class before, class after.
    """

    before: ClusterState
    after: ClusterState
    moves: tuple[Move, ...]
    pixels: IntArray
    old: IntArray
    new: IntArray

    def reverts_to(self, pixels: IntArray, strokes: IntArray) -> bool:
        """Whether these changed strokes (pixels sorted) are exactly those before the step."""
        return self._matches(pixels, strokes, self.old)

    def leads_to(self, pixels: IntArray, strokes: IntArray) -> bool:
        """Whether these changed strokes (pixels sorted) are exactly those after the step."""
        return self._matches(pixels, strokes, self.new)

    def _matches(self, pixels: IntArray, strokes: IntArray, wanted: IntArray) -> bool:
        same = pixels.size > 0 and np.array_equal(pixels, self.pixels)
        return same and np.array_equal(strokes, wanted)


class History:
    """A bounded list of entries with a position in it.

    Parameters
    ----------
    limit : int
        Entries kept; the oldest is forgotten first.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[Entry] = []
        self.position = 0

    def push(self, entry: Entry) -> None:
        """Add a step; steps that were undone before are forgotten."""
        del self.entries[self.position :]
        self.entries.append(entry)
        del self.entries[: max(0, len(self.entries) - self.limit)]
        self.position = len(self.entries)

    def amend(self, after: ClusterState, moves: Sequence[Move]) -> None:
        """Make further changes part of the last step, if there is one."""
        if self.position:
            last = self.entries[self.position - 1]
            changed = replace(last, after=after, moves=(*last.moves, *moves))
            self.entries[self.position - 1] = changed

    @property
    def previous(self) -> Entry | None:
        """The step that `back` would take back."""
        return self.entries[self.position - 1] if self.position else None

    @property
    def next(self) -> Entry | None:
        """The step that `forward` would apply again."""
        return self.entries[self.position] if self.position < len(self.entries) else None

    def back(self) -> Entry | None:
        """Step back and return the entry to take back, or None at the beginning."""
        entry = self.previous
        self.position -= entry is not None
        return entry

    def forward(self) -> Entry | None:
        """Step forward and return the entry to apply again, or None at the end."""
        entry = self.next
        self.position += entry is not None
        return entry
