"""The minimum cut of a directed graph, by SciPy's maximum flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.int64]

#: Rounds of taking out what is decided; after some, a cut is quicker than another round.
MAX_ROUNDS = 8


def minimum_cut(cost: IntArray, ends: IntArray, capacity: IntArray) -> BoolArray:
    """Minimise sum_p cost_p x_p + sum_(p,q) capacity_pq (1 - x_p) x_q over x in {0, 1}.

    Parameters
    ----------
    cost : numpy.ndarray of int64, shape (n,)
        Cost of x_p = 1; may be negative.
    ends : numpy.ndarray of int64, shape (2, n_edges)
        p and q of every directed edge.
    capacity : numpy.ndarray of int64, shape (n_edges,)
        0 or more.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        x of a minimum; of several, the one with the fewest ones.
    """
    taken, cost, ends, capacity = _settle(cost, ends, capacity)
    free = np.flatnonzero(taken < 0)
    if free.size:
        place = np.full(len(taken), -1)
        place[free] = np.arange(free.size)
        taken[free] = _maximum_flow_cut(cost[free], place[ends], capacity)
    return np.asarray(taken == 1)


def _settle(cost: IntArray, ends: IntArray, capacity: IntArray) -> tuple[IntArray, ...]:
    """Fix every x_p that is right whatever the others are; return x, -1 if open, and the rest.

    x_p = 0 is right if cost_p >= the capacity of all edges that leave p, x_p = 1 if -cost_p > the
    capacity of all that enter it. The edges of a fixed node become costs of its neighbours.
    """
    n, x, cost = len(cost), np.full(len(cost), -1), cost.copy()
    (first, second), used = ends, capacity > 0
    first, second, capacity = first[used], second[used], capacity[used]
    for _ in range(MAX_ROUNDS):
        out, into = total(first, capacity, n), total(second, capacity, n)
        zero, one = (x < 0) & (cost >= out), (x < 0) & (-cost > into)
        x[zero], x[one] = 0, 1
        if not (zero.any() or one.any()):
            break
        cost += total(second, capacity * zero[first], n)
        cost -= total(first, capacity * one[second], n)
        free = (x[first] < 0) & (x[second] < 0)
        first, second, capacity = first[free], second[free], capacity[free]
    return x, cost, np.stack([first, second]), capacity


def _maximum_flow_cut(cost: IntArray, ends: IntArray, capacity: IntArray) -> BoolArray:
    """Minimise as `minimum_cut`, by the maximum flow from a source (x = 0) to a sink (x = 1)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    n, source, sink = len(cost), len(cost), len(cost) + 1
    up, down = np.flatnonzero(cost > 0), np.flatnonzero(cost < 0)
    rows = np.concatenate([ends[0], np.full(len(up), source), down])
    columns = np.concatenate([ends[1], up, np.full(len(down), sink)])
    values = np.concatenate([capacity, cost[up], -cost[down]]).astype(np.int32)
    at = rows.astype(np.int32), columns.astype(np.int32)  # SciPy 1.14 takes no others for a flow
    graph = csr_array((values, at), shape=(n + 2, n + 2))
    flow = maximum_flow(graph, source, sink).flow
    residual = csr_array((graph - flow).T)  # from an edge's end to its start
    residual.eliminate_zeros()
    reaching = breadth_first_order(residual, sink, return_predecessors=False)
    taken = np.zeros(n + 2, dtype=bool)
    taken[reaching] = True
    return taken[:n]


def total(nodes: IntArray, values: IntArray, n: int) -> IntArray:
    """Sum of `values` per node; exact, as float64 holds integers up to 2^53."""
    return np.bincount(nodes, values, n).astype(np.int64)
