"""What the strokes say about any feature vector: class posteriors from a small forest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]

#: Extremely randomised trees (Geurts et al. 2006): quick to grow on the few pixels of strokes.
N_TREES = 16
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
        features : numpy.ndarray, shape (n, n_features)
            Feature vectors of stroked pixels.
        classes : numpy.ndarray of int, shape (n,)
            Their classes, at least two different ones.
        """
        from sklearn.ensemble import ExtraTreesClassifier

        share = min(1.0, MAX_PIXELS / len(classes))
        members = [np.flatnonzero(classes == c) for c in np.unique(classes)]
        chosen = np.concatenate([_spread(m, max(MIN_PER_CLASS, len(m) * share)) for m in members])
        self._forest = ExtraTreesClassifier(
            N_TREES,
            random_state=self.random_state,
            n_jobs=1,  # starting workers costs more than these trees
        ).fit(features[chosen], classes[chosen])
        return self

    def predict(self, features: FloatArray, n_classes: int) -> FloatArray:
        """Class probabilities (n, n_classes); column c - 1 is class c, 0 for classes unseen."""
        probabilities = np.zeros((len(features), n_classes), dtype=np.float32)
        probabilities[:, self._forest.classes_ - 1] = self._forest.predict_proba(features)
        return probabilities


def _spread(pixels: IntArray, wanted: float) -> IntArray:
    """At most `wanted` of `pixels`, evenly spaced."""
    n = min(len(pixels), round(wanted))
    return pixels[np.arange(n) * len(pixels) // n]
