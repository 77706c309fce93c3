"""What the strokes say about any feature vector: class posteriors from a small forest."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]

A = TypeVar("A")
B = TypeVar("B")

#: Extremely randomised trees (Geurts et al. 2006): quick to grow on the few pixels of strokes.
N_TREES = 16
N_THREADS = min(4, os.cpu_count() or 1)
#: Stroked pixels that the trees see, spread evenly over the strokes; more only costs time.
MAX_PIXELS = 3000
#: Fewest pixels of each class among them, if it has so many. Beyond it classes keep their shares:
#: how much people paint of a class says how common it is.
MIN_PER_CLASS = 50


class StrokePosterior:
    """Class probabilities of feature vectors, learned from stroked pixels.

    Parameters
    ----------
    random_state : int
        Seed of the trees.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, features: FloatArray, classes: IntArray) -> StrokePosterior:
        """Learn from stroked pixels.

        Parameters
        ----------
        features : numpy.ndarray of float32, shape (n, n_features)
            Feature vectors of stroked pixels.
        classes : numpy.ndarray of int, shape (n,)
            Their classes, at least two different ones.
        """
        from sklearn.tree import ExtraTreeClassifier

        share = min(1.0, MAX_PIXELS / len(classes))
        members = [np.flatnonzero(classes == c) for c in np.unique(classes)]
        chosen = np.concatenate([_spread(m, max(MIN_PER_CLASS, len(m) * share)) for m in members])
        rows, targets = np.asarray(features[chosen], np.float32), classes[chosen]

        def grow(seed: int) -> ExtraTreeClassifier:
            tree = ExtraTreeClassifier(max_features="sqrt", random_state=seed)
            return tree.fit(rows, targets, check_input=False)

        seeds = np.random.RandomState(self.random_state).randint(2**31 - 1, size=N_TREES)
        self._trees = _in_threads(grow, seeds.tolist())
        return self

    def predict(self, features: FloatArray, n_classes: int) -> FloatArray:
        """Class probabilities (n, n_classes); column c - 1 is class c, 0 for classes unseen."""
        rows = np.asarray(features, np.float32)
        votes = _in_threads(lambda tree: tree.predict_proba(rows, check_input=False), self._trees)
        probabilities = np.zeros((len(features), n_classes), dtype=np.float32)
        probabilities[:, self._trees[0].classes_ - 1] = np.mean(votes, axis=0)
        return probabilities


def _in_threads(function: Callable[[A], B], items: list[A]) -> list[B]:
    """Apply a function that frees the interpreter lock, in order, on a few threads.

    A forest of scikit-learn does so too, but its bookkeeping costs more than these small trees.
    """
    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(function, items))


def _spread(pixels: IntArray, wanted: float) -> IntArray:
    """At most `wanted` of `pixels`, evenly spaced."""
    n = min(len(pixels), round(wanted))
    return pixels[np.arange(n) * len(pixels) // n]
