"""What every clusterer checks and draws from its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[Any]
    FloatArray = npt.NDArray[np.float32]

#: Rows looked at together where the whole array would need a copy.
CHUNK = 8192

#: Rows a cluster that a sample holds.
ROWS_PER_CLUSTER = 64


def check_count(argument: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int of at least `least`, or raise naming `argument`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        invalid(argument, value, "not usable as a count", f"Give a whole number from {least} up")
    return int(value)


def check_rows(X: Any, n_features: int | None = None, argument: str = "X") -> Rows:  # noqa: N803
    """Return `X` as a real array of shape (n, d), without a copy.

    Raises
    ------
    InputError
        If it is not two-dimensional, empty, not real numbers or of another width.
    """
    rows = np.asarray(X)
    if rows.dtype.kind not in "fiub":
        invalid(argument, rows, "not real numbers", "Give floating-point or integer values")
    if rows.ndim != 2 or 0 in rows.shape:
        remedy = "Give one row a point: shape (n, d), n and d at least 1"
        invalid(argument, rows, "not a table of points", remedy)
    if n_features is not None and rows.shape[1] != n_features:
        invalid(argument, rows, f"expected {n_features} columns", "Give the features of the fit")
    return rows


def refuse_nonfinite(rows: Rows, argument: str = "X") -> None:
    """Raise `InputError` naming the first row that float32 cannot hold."""
    limit = np.finfo(np.float32).max
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK]
        total = block.sum(dtype=np.float64)
        if np.isfinite(total) and abs(total) < limit and rows.dtype != np.float64:
            continue
        bad = ~(np.isfinite(block) & (np.abs(block) < limit)).all(axis=1)
        if bad.any():
            raise_nonfinite(rows, start + int(bad.argmax()), argument)


def raise_nonfinite(rows: Rows, row: int, argument: str = "X") -> None:
    """Raise the error for a row that is not finite.

    Raises
    ------
    InputError
        Always.
    """
    problem = f"NaN, infinite or too large for float32 in row {row}"
    invalid(argument, rows, problem, "Leave out masked pixels and rescale extreme values")


def generator(random_state: Any) -> np.random.Generator:
    """Return a numpy generator from None, a seed, a `Generator` or a legacy `RandomState`."""
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        invalid("random_state", random_state, "not a seed", "Give None, an int or a Generator")


def sample_length(sample_size: int | str | None, n_rows: int, n_clusters: int) -> int:
    """Return how many rows a fit looks at first: `n_rows` means all of them."""
    if sample_size is None:
        return n_rows
    if isinstance(sample_size, str):
        if sample_size != "auto":
            invalid("sample_size", sample_size, "unknown", "Use 'auto', None or a number of rows")
        return min(n_rows, ROWS_PER_CLUSTER * n_clusters)
    return min(n_rows, check_count("sample_size", sample_size, n_clusters))


def draw(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Return `size` different rows in their order (all of them, uncopied, if there are no more)."""
    if size >= len(rows):
        return rows
    return rows[np.sort(rng.choice(len(rows), size, replace=False, shuffle=False))]


def mean_variance(rows: Rows) -> float:
    """Return the mean over features of the variance, chunk by chunk in float64."""
    shift = rows[0].astype(np.float64)
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK] - shift
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    variance = squares / len(rows) - (total / len(rows)) ** 2
    return float(variance.mean())
