"""What the strokes say about any pixel: class probabilities of a few classifiers together.

No single classifier is best on all images: trees on the filter bank where there are many bands,
trees on a pretrained network's maps on photographs, a linear one where strokes are few. Their
probabilities are averaged, each weighed by how well it tells strokes that it has not seen.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.integer]
    Groups = Mapping[str, FloatArray]

A = TypeVar("A")
B = TypeVar("B")

N_THREADS = min(4, os.cpu_count() or 1)
#: Stroked pixels to learn from, spread evenly over the strokes; more only costs time.
MAX_PIXELS = 3000
#: As many while the user waits.
QUICK_STROKED = 700
#: Fewest pixels of each class among them, if it has so many. Beyond it classes keep their shares:
#: how much people paint of a class says how common it is.
MIN_PER_CLASS = 50
#: Trees of a forest while the user waits for the next stroke's answer, in cross-validation, else.
QUICK_TREES, FOLD_TREES, TREES = 12, 16, 48
#: Features of many that a tree looks at for a cut: few strong ones are among hundreds.
MANY_FEATURES = 0.3
#: Strokes that half the classes must have for weights to be learned; else all weigh the same.
STROKES_TO_WEIGH, FOLDS = 3, 3
#: How much a larger loss takes from a classifier's weight.
STEEPNESS = 3.0
#: Standardised features are cut off here: far from all strokes a line leads anywhere.
FAR = 10.0
#: Decision values to log odds of the support vector machine.
SHARPNESS = 2.0


@dataclass(frozen=True)
class Member:
    """One classifier: `kind` learns from the features of `group`.

    One `on_trial` takes part only where cross-validation has given it a weight.
    """

    kind: str
    group: str
    on_trial: bool = False


WITH_MAPS = (
    Member("many trees", "all"), Member("forest", "own+place"), Member("trees", "maps"),
    Member("linear", "all"), Member("kernel", "own+place"), Member("near", "place", on_trial=True),
)  # fmt: skip
WITHOUT_MAPS = (
    Member("many trees", "own"), Member("forest", "own+place"), Member("trees", "own+place"),
    Member("linear", "own"), Member("kernel", "own+place"), Member("near", "place", on_trial=True),
)  # fmt: skip
#: What learns once more from unstroked pixels.
LEARNER_WITH_MAPS = (Member("many trees", "all"),)
LEARNER_WITHOUT_MAPS = (Member("many trees", "own"),)
QUICK_WITH_MAPS = (Member("trees", "all"),)
QUICK_WITHOUT_MAPS = (Member("trees", "own"),)


class StrokePosterior:
    """Class probabilities of pixels, learned from stroked pixels.

    Parameters
    ----------
    members : sequence of Member
        The classifiers.
    n_trees : int
        Trees of each forest.
    random_state : int
        Seed of the trees.
    """

    def __init__(
        self, members: Sequence[Member], n_trees: int = TREES, random_state: int = 0
    ) -> None:
        self.members, self.n_trees, self.random_state = tuple(members), n_trees, random_state
        settled = np.array([not member.on_trial for member in self.members])
        self.weights: npt.NDArray[np.floating] = settled / settled.sum()

    @property
    def groups(self) -> set[str]:
        """Names of the groups of features that the classifiers look at."""
        return {member.group for member in self.members}

    def fit(self, groups: Groups, classes: IntArray) -> StrokePosterior:
        """Learn from stroked pixels.

        Parameters
        ----------
        groups : mapping of str to numpy.ndarray of float32, shape (n, n_features)
            Groups of features of the stroked pixels; see `napari_clusternet.classify.evidence`.
        classes : numpy.ndarray of int, shape (n,)
            Their classes, at least two different ones.
        """
        for _ in self.fit_steps(groups, classes):
            pass
        return self

    def fit_steps(self, groups: Groups, classes: IntArray) -> Generator[None, None, None]:
        """As `fit`, but comes back after every classifier."""
        self._models = []
        for member, weight in zip(self.members, self.weights, strict=True):
            make = _KINDS[member.kind] if weight else _nothing
            self._models.append(
                make(groups[member.group], classes, self.n_trees, self.random_state)
            )
            yield

    def weigh_steps(
        self, groups: Groups, classes: IntArray, strokes: IntArray
    ) -> Generator[None, None, None]:
        """Learn the classifiers' weights: ``exp(-STEEPNESS * loss)``, summing to 1.

        The loss is the mean over classes of the negative log probability of the true class, where
        whole strokes were left out in turn: pixels of one stroke are alike, so half a stroke says
        little about the other half. Classes of fewer than three strokes are always learned from and
        do not count; if most are so, the weights stay as they are. Comes back after every
        classifier.

        Parameters
        ----------
        groups, classes
            As in `fit`.
        strokes : numpy.ndarray of int, shape (n,)
            Number of the stroke of every pixel.
        """
        fold = _folds(classes, strokes)
        if fold is None:
            return
        values, losses = np.unique(classes[fold >= 0]), []
        for member in self.members:
            rows, make = groups[member.group], _KINDS[member.kind]
            found = np.zeros(len(classes), np.float32)
            for k in range(FOLDS):
                out = fold == k
                model = make(rows[~out], classes[~out], FOLD_TREES, self.random_state)
                columns = np.searchsorted(model.classes, classes[out])
                found[out] = model(rows[out])[np.arange(int(out.sum())), columns]
                yield
            loss = -np.log(np.maximum(found, 0.02))
            losses.append(float(np.mean([loss[classes == value].mean() for value in values])))
        weights = np.exp(STEEPNESS * (min(losses) - np.array(losses)))
        self.weights = weights / weights.sum()

    def predict(self, groups: Groups, n_classes: int) -> FloatArray:
        """Class probabilities (n, n_classes); column c - 1 is class c, 0 for classes unseen."""
        n = len(next(iter(groups.values())))
        probabilities = np.zeros((n, n_classes), dtype=np.float32)
        for member, model, weight in zip(self.members, self._models, self.weights, strict=True):
            if model is not None:
                found = np.float32(weight) * model(groups[member.group])
                probabilities[:, model.classes - 1] += found
        return probabilities


class _Trees:
    """Extremely randomised trees (Geurts et al. 2006): quick to grow on the pixels of strokes."""

    def __init__(
        self, rows: FloatArray, classes: IntArray, n: int, seed: int, share: float | str = "sqrt"
    ) -> None:
        from sklearn.tree import ExtraTreeClassifier

        def grow(seed: int) -> ExtraTreeClassifier:
            tree = ExtraTreeClassifier(max_features=share, random_state=seed)
            return tree.fit(rows, classes, check_input=False)

        rows = np.ascontiguousarray(rows, np.float32)
        seeds = np.random.RandomState(seed).randint(2**31 - 1, size=n)
        self._trees = _in_threads(grow, seeds.tolist())
        self.classes: IntArray = self._trees[0].classes_

    def __call__(self, rows: FloatArray) -> FloatArray:
        rows = np.ascontiguousarray(rows, np.float32)
        votes = _in_threads(lambda tree: tree.predict_proba(rows, check_input=False), self._trees)
        means: FloatArray = np.mean(votes, axis=0, dtype=np.float32)
        return means


class _ManyTrees(_Trees):
    def __init__(self, rows: FloatArray, classes: IntArray, n: int, seed: int) -> None:
        super().__init__(rows, classes, n, seed, MANY_FEATURES)


class _Forest(_Trees):
    """A random forest (Breiman 2001): trees on resampled pixels, with the best cuts."""

    def __init__(self, rows: FloatArray, classes: IntArray, n: int, seed: int) -> None:
        from sklearn.tree import DecisionTreeClassifier

        rows = np.ascontiguousarray(rows, np.float32)
        values = np.unique(classes)

        def grow(seed: int) -> DecisionTreeClassifier:
            rng = np.random.RandomState(seed)
            chosen = rng.randint(len(rows), size=len(rows))
            chosen[: len(values)] = [rng.choice(np.flatnonzero(classes == v)) for v in values]
            tree = DecisionTreeClassifier(max_features="sqrt", random_state=seed)
            return tree.fit(rows[chosen], classes[chosen], check_input=False)

        seeds = np.random.RandomState(seed).randint(2**31 - 1, size=n)
        self._trees = _in_threads(grow, seeds.tolist())
        self.classes = values


class _Linear:
    """Logistic regression on standardised features, with strong shrinkage."""

    def __init__(self, rows: FloatArray, classes: IntArray, n: int, seed: int) -> None:
        del n, seed
        self._mean, self._scale = rows.mean(axis=0), 1 / (rows.std(axis=0) + 1e-6)
        self._model = self._train(self._normal(rows), classes)
        self.classes: IntArray = self._model.classes_

    def _train(self, rows: FloatArray, classes: IntArray) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():  # as far as it came is good enough
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=0.01, max_iter=200).fit(rows, classes)

    def _normal(self, rows: FloatArray) -> FloatArray:
        normal: FloatArray = np.clip((rows - self._mean) * self._scale, -FAR, FAR)
        return normal

    def __call__(self, rows: FloatArray) -> FloatArray:
        result: FloatArray = self._model.predict_proba(self._normal(rows)).astype(np.float32)
        return result


class _Kernel(_Linear):
    """A support vector machine with a wide Gaussian kernel."""

    narrowness = 0.3

    def _train(self, rows: FloatArray, classes: IntArray) -> Any:
        from sklearn.svm import SVC

        return SVC(C=10, gamma=self.narrowness / rows.shape[1]).fit(rows, classes)

    def __call__(self, rows: FloatArray) -> FloatArray:
        values = SHARPNESS * self._model.decision_function(self._normal(rows))
        if values.ndim == 1:
            values = np.stack([-values, values], axis=1)
        values = np.exp(values - values.max(axis=1, keepdims=True))
        result: FloatArray = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
        return result


class _Near(_Kernel):
    """The same with a narrow kernel: what lies near a stroke is like it."""

    narrowness = 3.0


def _nothing(*_: object) -> None:
    """Stand for a classifier without weight."""


_KINDS: dict[str, Callable[[FloatArray, IntArray, int, int], Any]] = {
    "trees": _Trees, "many trees": _ManyTrees, "forest": _Forest,
    "linear": _Linear, "kernel": _Kernel, "near": _Near,
}  # fmt: skip


def _folds(classes: IntArray, strokes: IntArray) -> IntArray | None:
    """Deal each class's strokes out to the folds; None if most classes have too few.

    Those that have too few have fold -1: they are never left out.
    """
    fold = np.full(len(classes), -1, np.int64)
    counts = []
    for value in np.unique(classes):
        there = classes == value
        names, number = np.unique(strokes[there], return_inverse=True)
        counts.append(len(names))
        if len(names) >= STROKES_TO_WEIGH:
            fold[there] = number % FOLDS
    return fold if np.median(counts) >= STROKES_TO_WEIGH else None


def _in_threads(function: Callable[[A], B], items: list[A]) -> list[B]:
    """Apply a function that frees the interpreter lock, in order, on a few threads.

    A forest of scikit-learn does so too, but its bookkeeping costs more than these small trees.
    """
    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(function, items))
