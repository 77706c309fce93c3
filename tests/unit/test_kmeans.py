"""k-means: worked examples, scikit-learn as referee, exactness across layouts and engines."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sklearn.cluster import KMeans as Referee

from napari_clusternet.clustering import KMeans, assign, k_means, lloyd_step
from napari_clusternet.clustering._passes import Centers, cpu_pass
from napari_clusternet.clustering._seeding import seed_centers, update_centers
from napari_clusternet.clustering.lloyd import accelerator_assign, accelerator_pass
from napari_clusternet.errors import InputError


@pytest.fixture(scope="module")
def blobs():
    """30 overlapping groups in 12 dimensions, 20000 rows: more than two chunks of 8192."""
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 3, (30, 12))
    rows = middles[rng.integers(0, 30, 20_000)] + rng.normal(0, 1, (20_000, 12))
    return rows.astype(np.float32)


def test_labels_are_there_unless_polishing_moved_the_centroids(blobs):
    quick = KMeans(40, max_iter=5, polish=0, random_state=0).fit(blobs)
    np.testing.assert_array_equal(quick.labels_, quick.predict(blobs))
    squared = np.square(blobs - quick.cluster_centers_[quick.labels_]).sum(dtype=np.float64)
    assert quick.inertia_ == pytest.approx(squared, rel=1e-5)
    assert not hasattr(quick.set_params(polish=1).fit(blobs), "labels_")


def test_lloyd_step_by_hand():
    # centroids 0 and 10 on a line: 1 and 4 go to 0 (4 < 6), 6 and 12 to 10
    # sums 5 and 18, inertia 1 + 16 + 16 + 4 = 37
    labels, sums, counts, inertia = lloyd_step([[1.0], [4.0], [6.0], [12.0]], [[0.0], [10.0]])
    assert labels.tolist() == [0, 0, 1, 1]
    assert labels.dtype == np.int32
    np.testing.assert_allclose(sums, [[5], [18]])
    assert counts.tolist() == [2, 2]
    assert inertia == pytest.approx(37)


def test_exact_lloyd_by_hand():
    # from 0 and 1: {0} and {1, 5, 6} -> means 0 and 4 -> {0, 1} and {5, 6} -> means 0.5 and 5.5
    # inertia 4 * 0.25 = 1; a third iteration changes no label, which ends the fit
    rows = np.array([[0.0], [1.0], [5.0], [6.0]])
    model = KMeans(2, init=np.array([[0.0], [1.0]]), sample_size=None, tol=0).fit(rows)
    np.testing.assert_allclose(model.cluster_centers_, [[0.5], [5.5]])
    assert model.labels_.tolist() == [0, 0, 1, 1]
    assert model.inertia_ == pytest.approx(1)
    assert model.n_iter_ == 3


def test_partial_fit_is_one_iteration_by_hand():
    model = KMeans(2, init=np.array([[0.0], [10.0]]))
    model.partial_fit([[1.0], [3.0], [9.0]])  # means 2 and 9
    np.testing.assert_allclose(model.cluster_centers_, [[2], [9]])
    assert model.inertia_ == pytest.approx(1 + 9 + 1)  # before the move, about 0 and 10
    model.partial_fit([[5.0], [6.0]])  # 5 is 3 from 2; 6 is 3 from 9
    np.testing.assert_allclose(model.cluster_centers_, [[5], [6]])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("max_iter", [1, 5, 300])
def test_exact_lloyd_equals_scikit_learn(blobs, max_iter):
    start = blobs[:30].copy()
    ours = KMeans(30, init=start, sample_size=None, max_iter=max_iter).fit(blobs)
    theirs = Referee(30, init=start, n_init=1, algorithm="lloyd", max_iter=max_iter).fit(blobs)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)
    assert np.mean(ours.labels_ == theirs.labels_) > 0.999
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-2)
    np.testing.assert_array_equal(ours.labels_, ours.predict(blobs))


def test_sample_and_polish_comes_close_to_all_rows(blobs):
    start = blobs[:30].copy()
    exact = KMeans(30, init=start, sample_size=None).fit(blobs)
    quick = KMeans(30, init=start, random_state=0).fit(blobs)
    assert quick.inertia_ < 1.05 * exact.inertia_
    assert not hasattr(quick, "labels_")
    # the inertia given is that of the last pass's labels: at most a little above the true one
    _, distance = assign(blobs, quick.cluster_centers_, return_distance=True)
    true = np.square(distance, dtype=np.float64).sum()
    assert true <= quick.inertia_ * (1 + 1e-5)
    assert quick.inertia_ < 1.01 * true


def test_inertia_falls_with_every_iteration(blobs):
    steps = KMeans(30, init="random", sample_size=None, random_state=0).fit_steps(blobs)
    inertia = [step.metrics["inertia"] for step in steps]
    assert len(inertia) > 3
    assert (np.diff(inertia) <= 1e-5 * inertia[0]).all()


def test_plus_plus_starts_better_than_random(blobs):
    def start(init):
        centers = [seed_centers(blobs, 30, init, np.random.default_rng(s)) for s in range(5)]
        return np.mean([lloyd_step(blobs, c)[3] for c in centers])

    assert start("k-means++") < 0.9 * start("random")


def test_assign_is_the_brute_force_answer(blobs):
    centers = blobs[:50]
    gaps = np.square(blobs[:500, None].astype(float) - centers[None].astype(float)).sum(axis=2)
    labels, distance = assign(blobs[:500], centers, return_distance=True)
    np.testing.assert_array_equal(labels, gaps.argmin(axis=1))
    np.testing.assert_allclose(distance[50:], np.sqrt(gaps.min(axis=1))[50:], rtol=1e-4)
    np.testing.assert_allclose(distance[:50], 0, atol=1e-2)  # each of these is a centroid


def test_assign_takes_the_first_of_equals():
    assert assign([[0.0], [5.0]], [[1.0], [-1.0], [1.0]]).tolist() == [0, 0]


def test_assign_far_from_the_origin():
    # squares of 30000 leave float32 a resolution of 64: only distances about the mean see 1 apart
    rows = np.float32(30_000) + np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    assert assign(rows, rows).tolist() == [0, 1, 2, 3]


def test_assign_writes_into_out(blobs):
    out = np.full(len(blobs), 65535, np.uint16)
    assert assign(blobs, blobs[:300], out=out) is out
    np.testing.assert_array_equal(out, assign(blobs, blobs[:300]))


@pytest.mark.parametrize(
    "out", [np.empty(19_999, np.int32), np.empty(20_000, np.uint8), np.empty(20_000), [0] * 20_000]
)
def test_assign_refuses_an_out_that_cannot_hold_the_labels(blobs, out):
    with pytest.raises(InputError, match=r"out=.*holds 299"):
        assign(blobs, blobs[:300], out=out)


def test_any_number_of_threads_gives_the_same_bits(blobs):
    one = lloyd_step(blobs, blobs[:40], n_threads=1)
    many = lloyd_step(blobs, blobs[:40], n_threads=5)
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])
    assert one[3] == many[3]


def test_threads_are_given_back(blobs):
    import torch

    before, alive = torch.get_num_threads(), threading.active_count()
    assign(blobs, blobs[:10], n_threads=3)
    spoilt = blobs.copy()
    spoilt[-1, -1] = np.nan
    with pytest.raises(InputError, match="row 19999"):
        assign(spoilt, blobs[:10], n_threads=3)
    assert torch.get_num_threads() == before
    assert threading.active_count() == alive


def test_float16_is_converted_block_by_block(blobs):
    import tracemalloc

    rows = np.tile(blobs, (10, 1)).astype(np.float16)  # 4.8 MB; as float32 9.6 MB
    out = np.empty(len(rows), np.uint16)
    assign(rows[:10], blobs[:30])  # loads what it needs first
    tracemalloc.start()
    assign(rows, blobs[:30], out=out, n_threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    np.testing.assert_array_equal(out, assign(rows.astype(np.float32), blobs[:30]))


def test_accelerator_code_equals_cpu_code(blobs):
    ready = Centers(blobs[:40].copy())
    here, there = cpu_pass(blobs, ready), accelerator_pass(blobs, ready, "cpu")
    np.testing.assert_array_equal(there.labels, here.labels)
    np.testing.assert_array_equal(there.counts, here.counts)
    np.testing.assert_allclose(there.sums, here.sums, rtol=1e-4, atol=0.1)
    np.testing.assert_allclose(there.within, here.within, rtol=1e-4)
    labels, distance = np.empty(len(blobs), np.int32), np.empty(len(blobs), np.float32)
    accelerator_assign(blobs.astype(np.float64), ready, "cpu", labels, distance)
    wanted = assign(blobs, ready.values, return_distance=True)
    np.testing.assert_array_equal(labels, wanted[0])
    np.testing.assert_allclose(distance[40:], wanted[1][40:], rtol=1e-3)
    spoilt = blobs.copy()
    spoilt[7, 0] = np.inf
    with pytest.raises(InputError, match="row 7"):
        accelerator_pass(spoilt, ready, "cpu")


def test_an_empty_cluster_splits_the_largest():
    # all rows are nearest to centroid 0; nothing is near 1 and 2
    rows = np.concatenate([np.full((60, 1), -1.0), np.full((40, 1), 1.0)]).astype(np.float32)
    centers = np.array([[0.0], [50.0], [90.0]], np.float32)
    found = cpu_pass(rows, Centers(centers))
    assert found.counts.tolist() == [100, 0, 0]
    moved = update_centers(found, centers, np.random.default_rng(0))
    assert np.abs(moved - -0.2).max() < 1  # all three now stand about the mean, -0.2
    assert len(np.unique(moved)) == 3
    model = KMeans(2, init=centers[:2], sample_size=None, random_state=0).fit(rows)
    np.testing.assert_allclose(np.sort(model.cluster_centers_[:, 0]), [-1, 1], rtol=1e-6)


def test_duplicated_start_still_uses_every_centroid(blobs):
    start = np.repeat(blobs[:10], 3, axis=0)
    model = KMeans(30, init=start, sample_size=None, random_state=0).fit(blobs)
    assert set(model.labels_.tolist()) == set(range(30))


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_fewer_distinct_rows_than_clusters(init):
    rows = np.repeat(np.arange(5, dtype=np.float32)[:, None], 100, axis=0)
    with pytest.warns(UserWarning, match="only 5 distinct groups"):
        model = KMeans(8, init=init, random_state=0).fit(rows)
    np.testing.assert_allclose(np.sort(model.cluster_centers_[:, 0]), np.arange(5), atol=1e-5)
    assert model.inertia_ == pytest.approx(0, abs=1e-6)


def test_start_of_another_shape_is_refused(blobs):
    with pytest.raises(InputError, match="expected 30 centroids"):
        KMeans(30, init=blobs[:29]).fit(blobs)
    with pytest.raises(InputError, match="expected 12 columns"):
        KMeans(30, init=blobs[:30, :5]).fit(blobs)
    with pytest.raises(InputError, match=r"init=.*row 3"):
        KMeans(30, init=np.where(np.arange(30)[:, None] == 3, np.nan, blobs[:30])).fit(blobs)


def test_function_gives_what_the_estimator_gives(blobs):
    centers, labels, inertia = k_means(blobs, 10, random_state=3)
    model = KMeans(10, random_state=3).fit(blobs)
    np.testing.assert_array_equal(centers, model.cluster_centers_)
    np.testing.assert_array_equal(labels, model.predict(blobs))
    assert inertia == model.inertia_


def test_a_sampled_fit_forgets_the_labels_of_an_exact_one(blobs):
    model = KMeans(10, sample_size=None, random_state=0).fit(blobs)
    assert model.labels_.shape == (20_000,)
    assert not hasattr(model.set_params(sample_size=1000).fit(blobs), "labels_")
