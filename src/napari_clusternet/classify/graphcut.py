"""Labels of least energy on a graph: maximum flow for two classes, alpha-expansion for more.

The energy of labels l is E(l) = sum_p U[l_p, p] + sum_(p,q) w_pq [l_p != l_q] (Boykov & Jolly
2001). All terms are integers here, because SciPy's maximum flow takes no others; so what is said
to be exact is exact for the rounded terms.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.classify.cut import MAX_ROUNDS, minimum_cut, total
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.floating]

#: Integer units per unit of energy.
SCALE = 1000
#: Largest single term, so that sums of a few stay inside the 32 bits of a capacity.
MAX_TERM = 1 << 26
#: Passes over all classes; expansion settles in two to four.
MAX_PASSES = 8


@dataclass(frozen=True, eq=False)
class PottsEnergy:
    """Unary and pairwise terms, as integers.

    Attributes
    ----------
    unary : numpy.ndarray of int64, shape (n_classes, n)
        Cost of each class at each node.
    ends : numpy.ndarray of int64, shape (2, n_edges)
        The two nodes of every edge; an edge may be there more than once.
    weights : numpy.ndarray of int64, shape (n_edges,)
        Cost of unequal classes at the ends of an edge, 0 or more.
    """

    unary: IntArray
    ends: IntArray
    weights: IntArray

    @classmethod
    def rounded(cls, unary: FloatArray, ends: IntArray, weights: FloatArray) -> PottsEnergy:
        """Round terms given as floats to multiples of 1 / `SCALE`."""
        parts = (np.clip(np.rint(x * SCALE), -MAX_TERM, MAX_TERM) for x in (unary, weights))
        whole, pair = (part.astype(np.int64) for part in parts)
        return cls(whole, ends, pair)

    def of(self, labels: IntArray) -> int:
        """Energy of labels (n,), each 0 .. n_classes - 1, in integer units."""
        first, second = self.ends
        data = int(self.unary[labels, np.arange(len(labels))].sum())
        return data + int(self.weights[labels[first] != labels[second]].sum())

    def decide(self, labels: IntArray) -> IntArray:
        """Find nodes whose class is the best whatever the rest is; the minimum stays the same.

        Class a is right for a node, whatever its neighbours are, if U[a] + (sum of its weights)
        <= U[b] for all b. A decided node's edges then become unary terms of its neighbours, which
        may decide those. On images most nodes are decided, and the cuts work on the rest.

        Parameters
        ----------
        labels : numpy.ndarray of int, shape (n,)
            Given class of a node (a seed), or -1.

        Returns
        -------
        numpy.ndarray of int64, shape (n,)
            Class of a decided node, or -1.
        """
        labels, unary = labels.copy(), self.unary.copy()
        n = len(labels)
        first, second, weights = *self.ends, self.weights
        for _ in range(MAX_ROUNDS):
            # edges of decided nodes turn into costs of every other class at the free end
            for here, there in ((first, second), (second, first)):
                turned = (labels[here] >= 0) & (labels[there] < 0)
                _charge(unary, there[turned], labels[here[turned]], weights[turned])
            free = (labels[first] < 0) & (labels[second] < 0)
            first, second, weights = first[free], second[free], weights[free]
            bound = np.bincount(first, weights, n) + np.bincount(second, weights, n)
            open_ = np.flatnonzero(labels < 0)
            costs = np.sort(unary[:, open_], axis=0)
            sure = open_[costs[0] + bound[open_] <= costs[1]]
            if not sure.size:
                break
            labels[sure] = unary[:, sure].argmin(axis=0)
        return labels

    def restricted(self, labels: IntArray, nodes: IntArray) -> PottsEnergy:
        """Energy of `nodes` alone, all others held at `labels`; equal to a constant."""
        place = np.full(len(labels), -1)
        place[nodes] = np.arange(len(nodes))
        unary = self.unary[:, nodes].copy()
        first, second = self.ends
        for here, there in ((first, second), (second, first)):
            border = (place[here] < 0) & (place[there] >= 0)
            _charge(unary, place[there[border]], labels[here[border]], self.weights[border])
        inner = (place[first] >= 0) & (place[second] >= 0)
        return PottsEnergy(unary, place[self.ends[:, inner]], self.weights[inner])

    def expand(self, labels: IntArray, alpha: int) -> IntArray:
        """Best labels that differ from `labels` by more nodes of class `alpha` (Boykov 2001)."""
        n, nodes = len(labels), np.arange(len(labels))
        cost = self.unary[alpha] - self.unary[labels, nodes]  # of taking alpha
        first, second = self.ends
        stay = self.weights * (labels[first] != labels[second])
        left = self.weights * (labels[first] != alpha)  # second takes alpha, first does not
        right = self.weights * (labels[second] != alpha)
        # x = 1 takes alpha: stay + (right - stay) x_first - right x_second
        #                    + (left + right - stay) (1 - x_first) x_second
        cost = cost + total(first, right - stay, n) - total(second, right, n)
        taken = minimum_cut(cost, self.ends, left + right - stay)
        moved = np.where(taken, alpha, labels)
        return moved if self.of(moved) < self.of(labels) else labels


def minimise(
    energy: PottsEnergy, seeds: IntArray, tilings: Sequence[IntArray] = ()
) -> Generator[Progress, None, IntArray]:
    """Find labels of least energy; yields `Progress` with the energy after every move.

    Two classes on one graph: a minimum. More: a local minimum of alpha-expansion, at most twice
    the least (Boykov et al. 2001). With tilings, a move looks at one tile with all others held:
    the energy still never rises, and no cut is larger than a tile.

    Parameters
    ----------
    energy : PottsEnergy
        The terms.
    seeds : numpy.ndarray of int64, shape (n,)
        Class of a node that must keep it, else -1.
    tilings : sequence of numpy.ndarray of int, shape (n,)
        Tile of every node, one array a tiling, taken in turn. One tile by default.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
    """
    decided = energy.decide(seeds)
    free = np.flatnonzero(decided < 0)
    labels = np.where(decided < 0, energy.unary.argmin(axis=0), decided)
    part = energy.restricted(labels, free)
    labels[free] = part.unary.argmin(axis=0)
    yield Progress("cutting the graph", 0, 0, {"energy": energy.of(labels) / SCALE})
    done = 0
    for number in range(MAX_PASSES if free.size else 0):
        before = labels[free].copy()
        tiles = tilings[number % len(tilings)][free] if tilings else np.zeros(free.size, int)
        for nodes in _groups(tiles):
            tile = part.restricted(labels[free], nodes)
            for moved in _moves(tile, labels[free[nodes]]):
                labels[free[nodes]] = moved
                done += 1
                yield Progress("cutting the graph", done, 0, {"energy": energy.of(labels) / SCALE})
        exact = not tilings and len(energy.unary) == 2
        if exact or (np.array_equal(before, labels[free]) and number + 1 >= len(tilings)):
            break
    return labels


def _moves(energy: PottsEnergy, labels: IntArray) -> Generator[IntArray, None, None]:
    """Yield labels after each expansion move; for two classes, the one move that is a minimum."""
    if len(energy.unary) == 2:
        best = energy.expand(np.zeros_like(labels), 1)
        yield best if energy.of(best) < energy.of(labels) else labels
        return
    for alpha in range(len(energy.unary)):
        labels = energy.expand(labels, alpha)
        yield labels


def _charge(unary: IntArray, nodes: IntArray, label: IntArray, weight: IntArray) -> None:
    """Add, in place, the cost of differing from neighbours of known label."""
    n = unary.shape[1]
    unary += total(nodes, weight, n)
    for value in range(len(unary)):
        same = label == value
        unary[value] -= total(nodes[same], weight[same], n)


def _groups(tiles: IntArray) -> list[IntArray]:
    """Return the indices of the members of every tile, tiles in ascending order."""
    order = np.argsort(tiles, kind="stable")
    starts = np.flatnonzero(np.diff(tiles[order])) + 1
    return np.split(order, starts)
