"""Gaussian mixture: a worked EM step, scikit-learn as referee."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Referee

from napari_clusternet.clustering import GaussianMixture
from napari_clusternet.errors import InputError

K, D = 5, 6


@pytest.fixture(scope="module")
def rows():
    """Five overlapping groups of unequal spread, 100 from the origin; more than one chunk."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, K, 10_000)
    spread = rng.uniform(0.3, 2, (K, D))[group]
    return 100 + rng.normal(0, 2, (K, D))[group] + spread * rng.normal(0, 1, (10_000, D))


@pytest.fixture(scope="module")
def start(rows):
    return np.full(K, 1 / K), rows[:K].copy(), np.ones((K, D)) * rows.var(axis=0)


@pytest.fixture(scope="module")
def fitted(rows, start):
    model = GaussianMixture(K, init=start, sample_size=None, tol=1e-6, max_iter=60)
    likelihood = [step.metrics["likelihood"] for step in model.fit_steps(rows)]
    return model, likelihood


@pytest.fixture(scope="module")
def referee(rows, start):
    weights, means, covariances = start
    return Referee(
        K,
        covariance_type="diag",
        weights_init=weights,
        means_init=means,
        precisions_init=1 / covariances,
        tol=1e-6,
        max_iter=60,
    ).fit(rows)


def test_one_step_by_hand():
    # means 0 and 2, variances 1, weights 1/2: of the rows 0, 1, 2 the middle one is shared
    # equally; row 0 belongs to the first by p = 1 / (1 + exp(-2)) (squared gaps 0 and 4)
    p = 1 / (1 + np.exp(-2))
    count = p + 0.5 + (1 - p)  # 1.5 for each component, by symmetry
    mean = (0.5 * 1 + (1 - p) * 2) / count
    variance = (0.5 * 1 + (1 - p) * 4) / count - mean**2
    start = ([0.5, 0.5], [[0.0], [2.0]], [[1.0], [1.0]])
    model = GaussianMixture(2, init=start, reg_covar=0).partial_fit([[0.0], [1.0], [2.0]])
    np.testing.assert_allclose(model.weights_, [0.5, 0.5])
    np.testing.assert_allclose(model.means_, [[mean], [2 - mean]])
    np.testing.assert_allclose(model.covariances_, [[variance], [variance]])
    normal = np.exp(-0.5 * np.square([[0, 2], [1, 1], [2, 0]])) / np.sqrt(2 * np.pi)
    assert model.lower_bound_ == pytest.approx(np.log(normal.mean(axis=1)).mean())
    assert model.n_iter_ == 1


def test_fit_equals_scikit_learn(fitted, referee):
    model, _ = fitted
    assert model.n_iter_ == referee.n_iter_
    assert model.converged_ == referee.converged_
    assert model.lower_bound_ == pytest.approx(referee.lower_bound_, rel=1e-9)
    np.testing.assert_allclose(model.weights_, referee.weights_, rtol=1e-6)
    np.testing.assert_allclose(model.means_, referee.means_, rtol=1e-6)
    np.testing.assert_allclose(model.covariances_, referee.covariances_, rtol=1e-6)


def test_what_it_says_of_rows_equals_scikit_learn(fitted, referee, rows):
    model, _ = fitted
    np.testing.assert_allclose(model.score_samples(rows), referee.score_samples(rows), atol=1e-6)
    assert model.score(rows) == pytest.approx(referee.score(rows))
    np.testing.assert_allclose(model.predict_proba(rows), referee.predict_proba(rows), atol=1e-6)
    np.testing.assert_array_equal(model.predict(rows), referee.predict(rows))


def test_likelihood_never_falls(fitted):
    _, likelihood = fitted
    assert len(likelihood) > 5
    assert (np.diff(likelihood) >= -1e-9).all()


def test_responsibilities_sum_to_one(fitted, rows):
    share = fitted[0].predict_proba(rows)
    assert share.shape == (10_000, K)
    assert share.dtype == np.float32
    assert share.min() >= 0
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-5)


def test_rows_far_from_every_component_keep_finite_densities(fitted):
    far = np.full((3, D), 1e6)
    assert np.isfinite(fitted[0].score_samples(far)).all()
    np.testing.assert_allclose(fitted[0].predict_proba(far).sum(axis=1), 1)


def test_partial_fit_continues_a_fit(rows, start, referee):
    model = GaussianMixture(K, init=start)
    for _ in range(referee.n_iter_):
        model.partial_fit(rows)
    np.testing.assert_allclose(model.means_, referee.means_, rtol=1e-6)


def test_sampled_fit_reaches_the_likelihood_of_all_rows(rows):
    quick = GaussianMixture(K, random_state=0).fit(rows)  # 320 of 10000 rows, then one pass
    full = GaussianMixture(K, random_state=0, sample_size=None).fit(rows)
    assert quick.score(rows) > full.score(rows) - 0.1


def test_names_shared_with_k_means(fitted):
    model, _ = fitted
    np.testing.assert_allclose(model.cluster_centers_, model.means_, rtol=1e-6)
    assert model.cluster_centers_.dtype == np.float32
    assert not hasattr(GaussianMixture(), "cluster_centers_")


def test_start_from_means_alone(rows, start):
    # groups of the rows nearest to each mean give weights and variances
    model = GaussianMixture(K, init=start[1], sample_size=None, max_iter=1).fit(rows)
    nearest = np.square(rows[:, None] - start[1]).sum(axis=2).argmin(axis=1)
    groups = [rows[nearest == j] for j in range(K)]
    first = (
        np.array([len(g) for g in groups]) / len(rows),
        np.array([g.mean(axis=0) for g in groups]),
        np.array([g.var(axis=0) for g in groups]) + 1e-6,
    )
    want = GaussianMixture(K, init=first, sample_size=None, max_iter=1).fit(rows)
    np.testing.assert_allclose(model.means_, want.means_, rtol=1e-6)
    np.testing.assert_allclose(model.covariances_, want.covariances_, rtol=1e-4)


def test_constant_feature_keeps_the_least_variance(rows):
    flat = rows.copy()
    flat[:, 2] = 3
    model = GaussianMixture(K, random_state=0).fit(flat)
    np.testing.assert_allclose(model.covariances_[:, 2], 1e-6, rtol=1e-3)
    assert np.isfinite(model.score(flat))


def test_a_component_without_rows_keeps_its_place():
    start = ([0.5, 0.5], [[0.0], [1e6]], [[1.0], [1.0]])
    model = GaussianMixture(2, init=start).partial_fit([[-1.0], [1.0]])
    np.testing.assert_allclose(model.weights_, [1, 0])
    np.testing.assert_allclose(model.means_, [[0], [1e6]])
    assert model.predict([[0.5]]).tolist() == [0]
    np.testing.assert_allclose(model.predict_proba([[0.5]]), [[1, 0]])


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (([1.0], [[0.0]]), "not three arrays"),
        (([0.5, 0.5], [[0.0]], [[1.0], [1.0]]), "means are not finite of shape"),
        (([0.5, 0.5], [[0.0], [1.0]], [[1.0], [0.0]]), "negative weights or variances"),
        (([0.5, 0.5], [[0.0], [np.nan]], [[1.0], [1.0]]), "means are not finite"),
        (np.zeros((3, 1)), "expected 2 means"),
    ],
)
def test_bad_starts_are_refused(init, message):
    with pytest.raises(InputError, match=message):
        GaussianMixture(2, init=init).fit([[0.0], [1.0], [2.0]])


def test_other_covariances_are_refused():
    with pytest.raises(InputError, match=r"covariance_type='full'.*Use 'diag'"):
        GaussianMixture(2, covariance_type="full").fit([[0.0], [1.0]])
