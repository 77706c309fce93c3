"""Gaussian mixture with diagonal covariances, by expectation maximisation in chunks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from napari_clusternet.clustering._expectation import (
    Densities,
    Mixture,
    expectation,
    maximization,
)
from napari_clusternet.clustering._mixture_start import first_mixture
from napari_clusternet.clustering._rows import (
    check_count,
    check_rows,
    draw,
    generator,
    refuse_nonfinite,
    sample_length,
)
from napari_clusternet.device import select_device
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Progress, drain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from napari_clusternet.clustering._rows import FloatArray, Rows


class GaussianMixture(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Mixture of Gaussians with diagonal covariances: soft clusters of unequal spread.

    An alternative to k-means for pseudo-labels (ClusterNet paper, future work). Where there are
    fewer distinct rows than `n_components`, there are fewer components, and a warning says so.

    Parameters
    ----------
    n_components : int
        Number of components, k.
    covariance_type : {"diag"}
        Kind of covariance.
    max_iter : int
        Most EM iterations.
    tol : float
        Stop when the mean log likelihood of a row rises by less than this.
    reg_covar : float
        Added to every variance.
    init : "kmeans", means of shape (k, d), or (weights, means, covariances)
        Where to start; the shapes of the three are (k,), (k, d), (k, d).
    sample_size : "auto", int or None
        Rows to learn from before polishing; "auto" is 64 a component, None is all.
    polish : int
        EM iterations over all rows after those on a sample.
    random_state : None, int or numpy.random.Generator
        Seed. The same seed, rows and device give the same result to the bit.
    device : str
        "auto", "cpu", or another torch device.

    Attributes
    ----------
    weights_ : array of shape (k,), float64
        Share of each component.
    means_, covariances_ : arrays of shape (k, d), float64
        Mean and variance of each component and feature.
    lower_bound_ : float
        Mean log likelihood of a row, before the last iteration, of the rows it looked at.
    n_iter_ : int
        EM iterations run, polishing included.
    converged_ : bool
        Whether `tol` was reached before polishing.
    inertia_ : float
        Expected sum of squared distances of all rows to the component means.
    n_features_in_ : int
        Features, d.
    """

    size_parameter = "n_components"

    def __init__(
        self,
        n_components: int = 8,
        *,
        covariance_type: str = "diag",
        max_iter: int = 100,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        init: Any = "kmeans",
        sample_size: int | str | None = "auto",
        polish: int = 1,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.init = init
        self.sample_size = sample_size
        self.polish = polish
        self.random_state = random_state
        self.device = device

    @property
    def cluster_centers_(self) -> FloatArray:
        """Means as float32, under the name that k-means gives its centroids."""
        if not hasattr(self, "means_"):
            raise AttributeError("cluster_centers_")
        centers: FloatArray = self.means_.astype(np.float32)
        return centers

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Fit the mixture to `X`.

        Parameters
        ----------
        X : array of shape (n, d)
            Finite rows, of any real dtype; converted block by block.
        y : None
            Ignored.

        Raises
        ------
        InputError
            If `X` is not a finite table or a parameter cannot be used.
        """
        return drain(self.fit_steps(X))

    def fit_steps(self, X: Any) -> Generator[Progress, None, Self]:  # noqa: N803
        """Do what `fit` does, yielding a `Progress` with the likelihood after every iteration."""
        rows, rng, device = self._start(X)
        sample = draw(rows, sample_length(self.sample_size, len(rows), self.n_components), rng)
        mixture = self._first(sample, rng, device)
        polish = self.polish if len(sample) < len(rows) else 0
        total = self.max_iter + polish
        self.converged_, before = False, -np.inf
        for turn in range(1, self.max_iter + 1):
            mixture, likelihood = self._step(sample, mixture, device, len(rows))
            self.n_iter_ = turn
            yield Progress("Gaussian mixture", turn, total, {"likelihood": likelihood})
            self.converged_ = likelihood - before < self.tol
            if self.converged_:
                break
            before = likelihood
        for turn in range(self.max_iter + 1, total + 1):
            mixture, likelihood = self._step(rows, mixture, device, len(rows))
            self.n_iter_ += 1
            yield Progress("Gaussian mixture, all rows", turn, total, {"likelihood": likelihood})
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Run one EM iteration on `X` from the current parameters: a warm start.

        Parameters
        ----------
        X : array of shape (n, d)
            Finite rows.
        y : None
            Ignored.

        Raises
        ------
        InputError
            If `X` is not a finite table of the fitted width.
        """
        fitted = hasattr(self, "means_")
        rows, rng, device = self._start(X, self.n_features_in_ if fitted else None)
        if not fitted:
            sample = draw(rows, sample_length("auto", len(rows), self.n_components), rng)
            mixture = self._first(sample, rng, device)
            self.n_iter_, self.converged_ = 0, False
        else:
            mixture = self._mixture()
        self._step(rows, mixture, device, len(rows))
        self.n_iter_ += 1
        return self

    def _start(
        self,
        X: Any,  # noqa: N803
        n_features: int | None = None,
    ) -> tuple[Rows, np.random.Generator, str]:
        check_count("n_components", self.n_components)
        check_count("max_iter", self.max_iter)
        check_count("polish", self.polish, 0)
        if self.covariance_type != "diag":
            invalid("covariance_type", self.covariance_type, "not offered", "Use 'diag'")
        rows = check_rows(X, n_features)
        refuse_nonfinite(rows)
        self.n_features_in_ = rows.shape[1]
        return rows, generator(self.random_state), select_device(self.device).name

    def _step(
        self, rows: Rows, mixture: Mixture, device: str, n_rows: int
    ) -> tuple[Mixture, float]:
        """One EM iteration, kept in the attributes; return it and the likelihood before it."""
        counts, moments, total = expectation(rows, mixture, device)
        mixture = maximization(counts, moments, mixture, self.reg_covar)
        self.weights_, self.means_ = mixture.weights, mixture.means
        self.covariances_, self.lower_bound_ = mixture.covariances, total / len(rows)
        spread = (mixture.covariances - self.reg_covar).sum(axis=1)
        self.inertia_ = float(mixture.weights @ spread) * n_rows
        return mixture, self.lower_bound_

    def _first(self, rows: Rows, rng: np.random.Generator, device: str) -> Mixture:
        mixture = first_mixture(rows, self.n_components, self.init, self.reg_covar, rng, device)
        count = len(mixture.weights)
        if count < self.n_components:
            warnings.warn(
                f"n_components={self.n_components}: the rows have only {count} distinct groups, "
                f"so there are {count} components. Ask for fewer or give more varied rows",
                UserWarning,
                stacklevel=5,
            )
        return mixture

    def _mixture(self) -> Mixture:
        check_is_fitted(self, "means_")
        return Mixture(self.weights_, self.means_, self.covariances_)

    def predict(self, X: Any) -> npt.NDArray[np.int32]:  # noqa: N803
        """Return the likeliest component of each row of `X` (n, d), int32 of shape (n,)."""
        return self._each_row(X, (), np.int32, lambda scores, _: scores.cpu().numpy().argmax(1))

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return each row's probability of each component, float32 of shape (n, k)."""

        def share(scores: Any, likelihood: Any) -> Any:
            return (scores - likelihood[:, None]).exp_().cpu().numpy()

        return self._each_row(X, (len(self._mixture().weights),), np.float32, share)

    def score_samples(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the log likelihood of each row of `X`, shape (n,)."""
        return self._each_row(X, (), np.float64, lambda _, likelihood: likelihood.cpu().numpy())

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Return the mean log likelihood of the rows of `X`."""
        return float(self.score_samples(X).mean())

    def fit_predict(self, X: Any, y: Any = None) -> npt.NDArray[np.int32]:  # noqa: N803
        """Return the likeliest component of each row of `X` after fitting to it."""
        return self.fit(X).predict(X)

    def _each_row(
        self,
        X: Any,  # noqa: N803
        width: tuple[int, ...],
        dtype: npt.DTypeLike,
        value: Callable[[Any, Any], Any],
    ) -> npt.NDArray[Any]:
        mixture = self._mixture()
        rows = check_rows(X, self.n_features_in_)
        out = np.empty((len(rows), *width), dtype)
        densities = Densities(rows, mixture, select_device(self.device).name)

        def take(part: slice, both: Any, scores: Any, likelihood: Any) -> None:
            out[part] = value(scores, likelihood)

        densities.run(lambda chunk: densities.each(chunk, take), lambda _: None)
        return out
