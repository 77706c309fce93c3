"""Whether what a session file holds can be a session: checked before anything is built on it.

Types, ranges and sizes only. That the numbers are those that were written is what the checksums
of `napari_clusternet.io.model_files` are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.features.matrix import FeatureMatrix, Outside
from napari_clusternet.history import STATES, ClusterState, Divide, Entry
from napari_clusternet.partition import MAX_CLUSTER_ID, Move, Partition

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.tiles import Region

#: Classes and random seeds are below these.
_MAX_CLASSES, _MAX_SEED = 65536, 2**32


def check_matrix(matrix: FeatureMatrix, partition: Partition, base: npt.NDArray[Any]) -> None:
    """Check that features fit the clusters.

    Raises
    ------
    ValueError
        If they do not.
    """
    _need(matrix.rows.ndim == 2 and matrix.rows.dtype.kind == "f", "features that are no table")
    _need(matrix.valid.dtype == np.bool_, "a mask that is no mask")
    n_rows = int(matrix.valid.sum()) + matrix.n_outside
    _need(len(matrix.rows) == n_rows, "features of other pixels")
    n_pixels = matrix.valid.size + matrix.n_outside
    _need(partition.n_pixels == n_pixels, "clusters of other pixels outside")
    if matrix.outside is not None:
        outside = partition.ids(np.arange(matrix.valid.size, n_pixels))
        _need(bool((outside > 0).all()), "pixels outside that are in no cluster")
        both = (matrix.maps is None) == (matrix.outside.maps is None)
        _need(both, "maps of some pixels only")
    _need(np.array_equal(matrix.valid, partition.cluster_map > 0), "clusters of other pixels")
    _array(base, "f", (len(base), matrix.n_features), "starting centroids")
    _need(len(base) >= 1, "no starting centroids")


def check_field(region: Region, shape: tuple[int, ...], scene: Any) -> None:
    """Check the place of a field whose image has a `shape`, and what is said of its scene.

    Raises
    ------
    ValueError
        If they are not what they should be.
    """
    _need(tuple(part.stop - part.start for part in region) == shape, "a field of another size")
    far = 1 << (60 // len(shape))
    _need(all(part.start >= 0 and part.stop <= far for part in region), "a field out of reach")
    known = isinstance(scene, dict) and isinstance(scene.get("shape"), list)
    _need(scene is None or known, "a scene that is none")


def check_outside(outside: Outside, ndim: int) -> None:
    """Check pixels outside a field's image.

    Raises
    ------
    ValueError
        If they are not what they should be.
    """
    n = len(outside.places)
    far = 1 << (60 // ndim)  # so that the places of a scene can be numbered
    _array(outside.places, "i", (n, ndim), "places", low=-far, high=far)
    _need(np.ndim(outside.rows) == 2 and len(outside.rows) == n, "features of pixels outside")
    _need(np.asarray(outside.rows).dtype.kind == "f", "features that are no numbers")
    if outside.maps is not None:
        _need(np.ndim(outside.maps) == 2 and len(outside.maps) == n, "maps of pixels outside")


def check_state(state: Any, n_features: int) -> int:
    """Check the tables of the clusters; return how many cluster ids they have.

    Raises
    ------
    ValueError
        If they contradict each other, or hold what no session holds.
    """
    _need(isinstance(state, ClusterState), "tables that are none")
    n = len(state.centroids)
    _array(state.centroids, "f", (n, n_features), "centroids")
    _need(np.ndim(state.counts) == 2 and state.counts.shape[1] < _MAX_CLASSES, "stroke counts")
    _array(state.counts, "i", (n, state.counts.shape[1]), "stroke counts", low=0)
    _array(state.assigned, "iu", (n,), "assigned classes", low=0, high=_MAX_CLASSES)
    _array(state.classes, "iu", (n,), "classes", low=0, high=_MAX_CLASSES)
    _array(state.states, "iu", (n,), "states", low=0, high=len(STATES))
    _array(state.certainty, "f", (n,), "certainty", low=0)
    if state.posterior is not None:
        _array(state.posterior, "f", state.counts.shape, "probabilities", low=0)
    _need(isinstance(state.threshold, float) and 0 < state.threshold < 1, "threshold")
    _need(isinstance(state.divides, tuple), "splits")
    for divide in state.divides:
        _need(isinstance(divide, Divide) and isinstance(divide.ids, tuple), "a split")
        _need(all(_is_id(i, n) for i in (divide.source, *divide.ids)), "a split of no cluster")
        _array(divide.centroids, "f", (len(divide.ids), n_features), "a split's centroids")
    return n


def check_strokes(strokes: npt.NDArray[Any], state: Any, partition: Partition) -> None:
    """Check that strokes lie on the clusters as the tables count them.

    Raises
    ------
    ValueError
        If they do not.
    """
    _array(strokes, "u", (partition.n_pixels,), "strokes")
    stroked = np.flatnonzero(strokes)
    ids, classes = partition.ids(stroked).astype(np.int64), strokes[stroked].astype(np.int64)
    counts = np.zeros_like(state.counts)
    _need(counts.shape[:1] == (partition.n_ids,), "tables of other clusters")
    _need(counts.shape[1] >= classes.max(initial=0) and bool((ids > 0).all()), "strokes elsewhere")
    np.add.at(counts, (ids - 1, classes - 1), 1)
    _need(np.array_equal(counts, state.counts), "strokes that were counted otherwise")


def check_history(entries: Sequence[Any], position: int, partition: Partition) -> None:
    """Check that every step can be taken back, and applied again, from where the session is.

    Raises
    ------
    ValueError
        If one cannot.
    """
    _need(type(position) is int and 0 <= position <= len(entries), "a position in no history")
    n_features = entries[0].before.centroids.shape[1] if entries else 0
    ids = [_check_entry(entry, n_features, partition.n_pixels) for entry in entries]
    sizes = partition.sizes.tolist()
    for entry, (before, after) in zip(entries[:position][::-1], ids[:position][::-1], strict=True):
        _need(len(sizes) == after, "steps that do not follow each other")
        _take_back(entry.moves, sizes)
        _need(len(sizes) == before, "a step with other clusters")
    sizes = partition.sizes.tolist()
    for entry, (before, after) in zip(entries[position:], ids[position:], strict=True):
        _need(len(sizes) == before, "steps that do not follow each other")
        _apply(entry.moves, sizes)
        _need(len(sizes) == after, "a step with other clusters")


def _check_entry(entry: Any, n_features: int, n_pixels: int) -> tuple[int, int]:
    _need(isinstance(entry, Entry) and isinstance(entry.moves, tuple), "a step that is none")
    before, after = (check_state(state, n_features) for state in (entry.before, entry.after))
    n = len(entry.pixels)
    _array(entry.pixels, "iu", (n,), "a step's pixels", low=0, high=n_pixels)
    _need(bool((np.diff(entry.pixels.astype(np.int64)) > 0).all()), "a step's pixels out of order")
    for classes, state in ((entry.old, entry.before), (entry.new, entry.after)):
        _array(classes, "u", (n,), "a step's strokes", low=0, high=state.counts.shape[1] + 1)
    for move in entry.moves:
        _need(isinstance(move, Move) and isinstance(move.created, bool), "a move that is none")
        _need(all(_is_id(i, MAX_CLUSTER_ID) for i in (move.source, move.target)), "a move's ids")
        _need(move.source != move.target, "a move to where it was")
        _array(move.pixels, "iu", (len(move.pixels),), "a move's pixels", low=0, high=n_pixels)
        _array(move.moved, "b", (len(move.pixels),), "a move's flags")
    return before, after


def _counted(moves: Sequence[Move]) -> Iterator[tuple[Move, int, int, int]]:
    for move in moves:
        yield move, move.source - 1, move.target - 1, int(move.moved.sum())


def _take_back(moves: Sequence[Move], sizes: list[int]) -> None:
    """Take moves back on the clusters' sizes alone."""
    for move, source, target, gone in _counted(moves[::-1]):
        _need(max(source, target) < len(sizes), "a move of no cluster")
        _need(sizes[source] == len(move.pixels) - gone and sizes[target] >= gone, "a move's size")
        sizes[source] += gone
        sizes[target] -= gone
        if move.created:
            _need(target == len(sizes) - 1 and sizes.pop() == 0, "a new cluster that was not new")


def _apply(moves: Sequence[Move], sizes: list[int]) -> None:
    """Apply moves on the clusters' sizes alone."""
    for move, source, target, gone in _counted(moves):
        if move.created:
            _need(target == len(sizes), "a new cluster that is not new")
            sizes.append(0)
        _need(max(source, target) < len(sizes), "a move of no cluster")
        _need(sizes[source] == len(move.pixels), "a move's size")
        sizes[source] -= gone
        sizes[target] += gone


def check_seed(seed: Any) -> int:
    """Return a random seed, or raise ValueError."""
    _need(type(seed) is int and 0 <= seed < _MAX_SEED, f"random_state {seed!r}")
    return int(seed)


def _is_id(value: Any, n: int) -> bool:
    return type(value) is int and 1 <= value <= n


def _array(
    values: Any,
    kinds: str,
    shape: tuple[int, ...],
    what: str,
    low: float = -np.inf,
    high: float = np.inf,
) -> None:
    """Check an array's kind of dtype, its shape, and low <= values < high, finite."""
    fits = isinstance(values, np.ndarray) and values.dtype.kind in kinds and values.shape == shape
    _need(fits, what)
    if values.size and values.dtype.kind != "b":
        inside = values.min() >= low and values.max() < high
        _need(bool(inside) and (values.dtype.kind != "f" or bool(np.isfinite(values).all())), what)


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
