"""What every clusterer of the table must do; a new entry is tested by being listed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from napari_clusternet.clustering import CLUSTERERS, make_clusterer
from napari_clusternet.errors import InputError
from napari_clusternet.progress import Progress

K, D = 4, 3


@pytest.fixture(params=sorted(CLUSTERERS))
def name(request):
    return request.param


@pytest.fixture
def rows():
    """Four groups of 100 rows, 20 apart with standard deviation 1: any clusterer finds them."""
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0, 0], [20, 0, 0], [0, 20, 0], [0, 0, 20]], np.float32)
    return np.repeat(middles, 100, axis=0) + rng.standard_normal((400, D), dtype=np.float32)


def make(name, k=K, **options):
    options = {"random_state": 0, "device": "cpu"} | options
    return make_clusterer(name, k, **options)


def groups_of(labels):
    """The labels of each group of 100 rows, as sets."""
    return [set(part.tolist()) for part in np.split(labels, 4)]


def test_finds_separate_groups(name, rows):
    model = make(name)
    assert model.fit(rows) is model
    labels = model.predict(rows)
    assert labels.shape == (400,)
    assert labels.dtype == np.int32
    groups = groups_of(labels)
    assert all(len(group) == 1 for group in groups)
    assert set.union(*groups) == {0, 1, 2, 3}
    assert model.cluster_centers_.shape == (K, D)
    assert model.cluster_centers_.dtype == np.float32
    assert model.n_features_in_ == D
    assert model.n_iter_ >= 1
    # a group's centre is the mean of its rows, and its label names that centre
    for g in range(4):
        mean = rows[100 * g : 100 * g + 100].mean(axis=0)
        np.testing.assert_allclose(model.cluster_centers_[groups[g].pop()], mean, atol=1e-3)


def test_inertia_is_the_squared_spread(name, rows):
    # both definitions, hard and expected, agree where groups do not overlap
    want = sum(np.square(part - part.mean(axis=0)).sum() for part in np.split(rows, 4))
    assert make(name).fit(rows).inertia_ == pytest.approx(want, rel=1e-3)


def test_fit_predict_equals_predict_after_fit(name, rows):
    model = make(name)
    np.testing.assert_array_equal(model.fit_predict(rows), model.predict(rows))


def test_clone_and_params(name):
    model = make(name, 7, tol=0.5)
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert copy.get_params()["tol"] == 0.5
    assert copy.set_params(max_iter=3).max_iter == 3


@pytest.mark.parametrize("sample_size", ["auto", None])
def test_same_seed_same_result_to_the_bit(name, sample_size):
    rows = np.random.default_rng(1).standard_normal((3000, 5), dtype=np.float32)
    first = make(name, 12, sample_size=sample_size).fit(rows)
    elsewhere = np.concatenate([np.zeros((1, 5), np.float32), rows])[1:]  # another alignment
    again = make(name, 12, sample_size=sample_size).fit(elsewhere)
    np.testing.assert_array_equal(first.cluster_centers_, again.cluster_centers_)
    np.testing.assert_array_equal(first.predict(rows), again.predict(rows))
    other = make(name, 12, sample_size=sample_size, random_state=1).fit(rows)
    assert not np.array_equal(first.cluster_centers_, other.cluster_centers_)


def test_predict_before_fit(name, rows):
    with pytest.raises(NotFittedError):
        make(name).predict(rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_refuses_values_float32_cannot_hold(name, rows, bad):
    spoilt = rows.astype(np.float64)
    spoilt[123, 1] = bad
    with pytest.raises(InputError, match="row 123"):
        make(name).fit(spoilt)
    with pytest.raises(InputError, match="row 123"):
        make(name).partial_fit(spoilt)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_predict_refuses_values_that_are_not_finite(name, rows, bad):
    spoilt = rows.copy()
    spoilt[321, 0] = bad
    with pytest.raises(InputError, match="row 321"):
        make(name).fit(rows).predict(spoilt)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(5),
        np.zeros((2, 3, 4)),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.zeros((9, 3), complex),
        np.full((9, 3), "a"),
    ],
    ids=["1-D", "3-D", "no rows", "no columns", "complex", "text"],
)
def test_refuses_what_is_no_table_of_points(name, bad):
    with pytest.raises(InputError, match="X="):
        make(name).fit(bad)


@pytest.mark.parametrize("k", [0, -1, 2.5, "8", True, None])
def test_refuses_impossible_numbers_of_clusters(name, rows, k):
    with pytest.raises(InputError, match=r"n_clusters=|n_components="):
        make(name, k).fit(rows)


def test_refuses_another_width(name, rows):
    model = make(name).fit(rows)
    before = model.cluster_centers_.copy()
    with pytest.raises(InputError, match="expected 3 columns"):
        model.predict(rows[:, :2])
    with pytest.raises(InputError, match="expected 3 columns"):
        model.partial_fit(rows[:, :2])
    np.testing.assert_array_equal(model.cluster_centers_, before)
    assert model.n_features_in_ == D


def test_unknown_options_name_the_argument(name, rows):
    with pytest.raises(InputError, match="sample_size='some'"):
        make(name, sample_size="some").fit(rows)
    with pytest.raises(InputError, match="init='magic'"):
        make(name, init="magic").fit(rows)
    with pytest.raises(InputError, match="random_state='dice'"):
        make(name, random_state="dice").fit(rows)


def test_identical_points_are_one_cluster(name):
    same = np.full((50, D), 7.5, np.float32)
    with pytest.warns(UserWarning, match="only 1 distinct"):
        model = make(name).fit(same)
    np.testing.assert_allclose(model.cluster_centers_, [[7.5, 7.5, 7.5]])
    np.testing.assert_array_equal(model.predict(same), np.zeros(50))


def test_more_clusters_than_points(name):
    few = np.array([[0, 0, 0], [1, 0, 0], [0, 5, 0]], np.float32)
    with pytest.warns(UserWarning, match=r"=10: .* only 3 distinct"):
        model = make(name, 10).fit(few)
    assert model.cluster_centers_.shape == (3, D)
    assert len(set(model.predict(few).tolist())) == 3  # each point its own cluster


def test_one_cluster_is_the_mean(name, rows):
    model = make(name, 1).fit(rows[:64])
    np.testing.assert_allclose(model.cluster_centers_[0], rows[:64].mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32, np.uint8])
def test_any_real_dtype_is_as_its_cast_to_float32(name, rows, dtype):
    cast = np.abs(rows).astype(dtype)
    want = make(name).fit(cast.astype(np.float32))
    got = make(name).fit(cast)
    np.testing.assert_allclose(got.cluster_centers_, want.cluster_centers_, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(got.predict(cast), want.predict(cast.astype(np.float32)))


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a[::-1].copy()[::-1]],
    ids=["fortran", "strided", "reversed"],
)
def test_any_memory_layout(name, rows, layout):
    want = make(name).fit(rows)
    got = make(name).fit(layout(rows))
    np.testing.assert_allclose(got.cluster_centers_, want.cluster_centers_, rtol=1e-5, atol=1e-5)


def test_input_is_left_alone(name, rows):
    rows.flags.writeable = False
    before = rows.tobytes()
    make(name).fit(rows).partial_fit(rows).predict(rows)
    assert rows.tobytes() == before


def test_partial_fit_starts_where_it_stands(name, rows):
    model = make(name).fit(rows)
    before = model.cluster_centers_.copy()
    moved = rows + np.float32(2)
    assert model.partial_fit(moved) is model
    # groups keep their names, and each centre follows its rows by 2 in every feature
    np.testing.assert_allclose(model.cluster_centers_, before + 2, atol=1e-2)
    np.testing.assert_array_equal(model.predict(moved), make(name).fit(rows).predict(rows))


def test_partial_fit_on_nothing_starts_from_the_batch(name, rows):
    model = make(name)
    for _ in range(5):
        model.partial_fit(rows)
    assert model.n_iter_ == 5
    assert all(len(group) == 1 for group in groups_of(model.predict(rows)))


def test_partial_fit_keeps_the_number_of_clusters(name, rows):
    model = make(name).fit(rows)
    model.partial_fit(rows[:100])  # a batch of one group only
    assert model.cluster_centers_.shape == (K, D)
    model.partial_fit(np.ones((2, D), np.float32))  # fewer rows than clusters
    assert model.cluster_centers_.shape == (K, D)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.predict(rows).max() < K


def test_fit_steps_report_progress_and_can_be_stopped(name, rows):
    model = make(name, sample_size=None)
    steps = model.fit_steps(rows)
    first = next(steps)
    assert isinstance(first, Progress)
    assert first.done == 1
    assert first.total >= 1
    assert first.metrics
    steps.close()
    assert model.fit(rows).predict(rows).shape == (400,)  # stopping left it usable


def test_unknown_clusterer_lists_the_known():
    with pytest.raises(InputError, match=r"Did you mean 'kmeans'\? Known: .*gmm"):
        make_clusterer("kmean", 3)
