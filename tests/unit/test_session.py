"""Step 2 on images small enough to work out by hand; features are given as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError, StrokeError
from napari_clusternet.image import Image
from napari_clusternet.session import Session


def line(values: list[float], **options: object) -> Session:
    """A session on a one-row image whose only feature is `values`."""
    array = np.array(values, dtype=np.float32)[None, None]
    image = Image.from_array(array, axes="CYX")
    return Session(image, features=array, random_state=0, **options)


def strokes(session: Session, **classes: list[int]) -> np.ndarray:
    """Strokes of a one-row image: c1=[0, 2] paints pixels 0 and 2 with class 1."""
    painted = np.zeros(session.image.shape, np.uint8)
    for name, pixels in classes.items():
        painted[0, pixels] = int(name[1:])
    return painted


# Two clusters, {0, 0, 1, 1} and {10, 10, 11, 11}.
VALUES = [0.0, 0, 1, 1, 10, 10, 11, 11]


def test_paper_cases_one_and_two_classify_whole_clusters() -> None:
    session = line(VALUES, n_clusters=2, mode="paper")
    labels = session.update(strokes(session, c1=[0], c2=[5]))
    assert labels.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]
    assert labels.dtype == np.uint8


def test_paper_leaves_clusters_without_strokes_unclassified() -> None:
    session = line(VALUES, n_clusters=2, mode="paper")
    assert session.update(strokes(session, c1=[0])).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_case_three_splits_the_cluster_at_its_strokes() -> None:
    # strokes of class 1 on a value 0 and of class 2 on a value 1, both in the first cluster:
    # r = .5 each, above t; new centroids 0 and 1 part {0, 0} from {1, 1}; the other stays
    session = line(VALUES, n_clusters=2, mode="paper")
    labels = session.update(strokes(session, c1=[0], c2=[2, 4]))
    assert labels.tolist() == [[1, 1, 2, 2, 2, 2, 2, 2]]
    assert len(session.clusters) == 3
    ids = session.cluster_map[0]
    assert len(set(ids[:2])) == len(set(ids[2:4])) == len(set(ids[4:])) == 1


def test_a_minority_below_the_threshold_does_not_split() -> None:
    session = line([0.0, 0, 0, 0, 1, 10], n_clusters=2, mode="paper")
    # four strokes of class 1 and one of class 2: r2 = .2 < .3
    labels = session.update(strokes(session, c1=[0, 1, 2, 3], c2=[4]))
    assert labels.tolist() == [[1, 1, 1, 1, 1, 0]]
    session.threshold = 0.1  # now it counts: the cluster splits between 0 and 1
    assert session.labels.tolist() == [[1, 1, 1, 1, 2, 0]]
    session.undo()
    assert session.threshold == 0.3
    assert session.labels.tolist() == [[1, 1, 1, 1, 1, 0]]


def test_three_classes_split_one_cluster_in_three() -> None:
    session = line([0.0, 0, 5, 5, 9, 9], n_clusters=1, mode="paper", threshold=0.2)
    labels = session.update(strokes(session, c1=[0], c2=[2], c3=[4]))
    assert labels.tolist() == [[1, 1, 2, 2, 3, 3]]
    assert len(session.clusters) == 3


def test_splitting_ends_when_strokes_disagree_on_equal_features() -> None:
    session = line([3.0] * 6 + [8.0] * 2, n_clusters=2, mode="paper")
    labels = session.update(strokes(session, c1=[0, 1], c2=[2, 3]))
    assert labels.tolist() == [[0] * 8]
    assert session.clusters["state"].tolist().count("mixed") == 1


def test_splitting_ends_on_random_strokes() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 40, 40)).astype(np.float32)
    painted = rng.integers(0, 4, size=(40, 40)).astype(np.uint8)
    session = Session(Image.from_array(features, axes="CYX"), features=features, mode="paper",
                      n_clusters=5)  # fmt: skip
    labels = session.update(painted)
    # distinct features can always be told apart: one class alone is above t in every cluster
    table = session.clusters
    assert "mixed" not in set(table["state"])
    assert table["pixels"].sum() == 1600
    for cluster in table.index:
        counts = np.bincount(painted[session.cluster_map == cluster], minlength=4)[1:]
        assert (
            counts.tolist() == table.loc[cluster, ["strokes_1", "strokes_2", "strokes_3"]].tolist()
        )
        above = np.flatnonzero(counts > session.threshold * counts.sum()) + 1
        assert len(above) == min(1, counts.sum())
        assert set(labels[session.cluster_map == cluster]) == set(above.tolist() or [0])


def test_only_the_touched_cluster_changes() -> None:
    session = line([0.0, 0, 1, 1, 10, 10, 20, 20], n_clusters=3, mode="paper")
    session.update(strokes(session, c1=[0], c2=[4]))
    before = session.clusters
    session.update(strokes(session, c1=[0], c2=[4, 6]))
    after = session.clusters
    changed = [i for i in after.index if after.loc[i, "class"] != before.loc[i, "class"]]
    assert changed == [session.cluster_map[0, 6]]


def test_enhanced_gives_every_valid_pixel_a_class_and_says_how_sure() -> None:
    values = np.array(VALUES * 3, dtype=np.float32).reshape(1, 3, 8)
    values[0, 1, 0] = np.nan
    image = Image.from_array(values, axes="CYX")
    session = Session(image, features=values, n_clusters=4)
    painted = np.zeros((3, 8), np.uint8)
    painted[0, 0], painted[0, 7] = 1, 2
    labels = session.update(painted)
    assert labels[1, 0] == 0
    valid = np.ones((3, 8), bool)
    valid[1, 0] = False
    assert (labels[valid] > 0).all()
    assert labels[2].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    certainty = session.certainty
    assert certainty.dtype == np.float32
    assert certainty[1, 0] == 0
    assert ((certainty[valid] > 0.5) & (certainty[valid] <= 1)).all()


def test_undo_and_redo_restore_everything_exactly() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4, 30, 20)).astype(np.float32)
    session = Session(Image.from_array(features, axes="CYX"), features=features, n_clusters=12)

    def snapshot() -> list[np.ndarray]:
        return [session.labels.copy(), session.cluster_map.copy(), session.certainty,
                session.strokes.copy(), session.centroids.copy(),
                session.clusters.drop(columns="centroid").to_numpy(str)]  # fmt: skip

    painted = np.zeros((30, 20), np.uint8)
    states = [snapshot()]
    steps = [
        lambda: painted.__setitem__((slice(2, 6), 3), 1),
        lambda: painted.__setitem__((slice(10, 25), 8), 2),
        lambda: painted.__setitem__((slice(3, 12), slice(5, 9)), 3),
        lambda: painted.__setitem__((slice(2, 6), 3), 0),
    ]
    for step in steps:
        step()
        session.update(painted.copy())
        states.append(snapshot())
    for edit in (lambda: session.split(2), lambda: session.merge([1, 3, 5]),
                 lambda: session.assign(4, 2)):  # fmt: skip
        edit()
        states.append(snapshot())
    for state in states[-2::-1]:
        session.undo()
        for now, then in zip(snapshot(), state, strict=True):
            np.testing.assert_array_equal(now, then)
    session.undo()  # at the beginning: nothing happens
    for state in states[1:]:
        session.redo()
        for now, then in zip(snapshot(), state, strict=True):
            np.testing.assert_array_equal(now, then)


def test_results_given_out_do_not_change_later() -> None:
    session = line(VALUES, n_clusters=2, mode="paper")
    first = session.update(strokes(session, c1=[0]))
    kept = first.copy()
    session.update(strokes(session, c1=[0], c2=[5]))
    np.testing.assert_array_equal(first, kept)
    with pytest.raises(ValueError, match="read-only"):
        session.labels[0, 0] = 3


def test_assign_wins_over_strokes_until_taken_back() -> None:
    session = line(VALUES, n_clusters=2, mode="paper")
    session.update(strokes(session, c1=[0], c2=[5]))
    cluster = int(session.cluster_map[0, 0])
    assert session.assign(cluster, 2).tolist() == [[2] * 8]
    assert session.clusters.loc[cluster, "state"] == "assigned"
    assert session.assign(cluster, 0).tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]


def test_merge_joins_pixels_counts_and_centroids() -> None:
    session = line(VALUES, n_clusters=2, mode="paper")
    session.update(strokes(session, c1=[0, 1, 2], c2=[5]))
    session.merge(session.clusters.index.tolist())
    table = session.clusters
    assert table.index.tolist() == [1]
    assert table.loc[1, ["pixels", "strokes_1", "strokes_2"]].tolist() == [8, 3, 1]
    assert table.loc[1, "purity"] == 0.75
    # mean of VALUES: (0 + 0 + 1 + 1 + 10 + 10 + 11 + 11) / 8
    assert table.loc[1, "centroid"] == pytest.approx([5.5])


def test_split_follows_the_largest_variance() -> None:
    session = line(VALUES, n_clusters=1, mode="paper")
    session.split(1)
    ids = session.cluster_map[0]
    assert len(set(ids[:4])) == len(set(ids[4:])) == 1
    assert ids[0] != ids[4]


def test_table_has_area_and_band_means_in_real_units() -> None:
    array = np.array([[[0.0, 2, 10, 14]], [[5, 5, 7, 7]]], dtype=np.float32)
    image = Image.from_array(array, axes="CYX", spacing=(3, 2), band_names=["red", "nir"])
    session = Session(image, features=array[:1], n_clusters=2, mode="paper")
    table = session.clusters.sort_values("mean_red")
    assert table["size"].tolist() == [12.0, 12.0]  # two pixels of 3 x 2
    assert table["mean_red"].tolist() == [1.0, 12.0]
    assert table["mean_nir"].tolist() == [5.0, 7.0]


def test_suggest_points_into_the_cluster_with_most_doubt() -> None:
    # paper mode: no stroke, no certainty; the biggest cluster without strokes comes first
    session = line([0.0, 0, 10, 10, 10, 10, 20, 20, 20], n_clusters=3, mode="paper")
    session.update(strokes(session, c1=[6]))
    first, second = session.suggest(5)
    assert (first.cluster, first.score) == (session.cluster_map[0, 2], 4.0)
    assert session.cluster_map[first.position] == first.cluster
    assert (second.cluster, second.score) == (session.cluster_map[0, 0], 2.0)


def test_predict_replays_splits_and_merges_on_another_image() -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(size=(3, 40, 30)).astype(np.float32)
    image = Image.from_array(data, axes="CYX")
    session = Session(image, features="bands", n_clusters=6, mode="paper")
    painted = np.zeros((40, 30), np.uint8)
    painted[5:15, 5], painted[20:35, 9], painted[7, 8:20] = 1, 2, 3
    session.update(painted)
    session.split(1)
    session.merge([2, 4])
    np.testing.assert_array_equal(session.predict(image), session.labels)


def test_same_seed_same_result() -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(3, 32, 32)).astype(np.float32)
    image = Image.from_array(data, axes="CYX")
    painted = np.zeros((32, 32), np.uint8)
    painted[3:9, 4], painted[20, 5:25] = 1, 2
    results = []
    for _ in range(2):
        session = Session(image, features="filters", n_clusters=20, random_state=5)
        session.update(painted)
        results.append((session.labels, session.cluster_map, session.certainty))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_volumes_and_uint16_classes() -> None:
    rng = np.random.default_rng(4)
    data = rng.normal(size=(1, 6, 10, 12)).astype(np.float32)
    image = Image.from_array(data, axes="CZYX", spacing=(5, 1, 1), units="millimeter")
    session = Session(image, features=data, n_clusters=8, mode="paper")
    painted = np.zeros((6, 10, 12), np.uint16)
    painted[2, 3, 3:6], painted[4, 8, 2:9] = 1, 300
    labels = session.update(painted)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) <= {0, 1, 300}
    assert session.clusters["size"].sum() == pytest.approx(6 * 10 * 12 * 5)


def test_a_failing_step_leaves_the_session_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    session = line(VALUES, n_clusters=2)
    session.update(strokes(session, c1=[0], c2=[5]))
    before = (session.labels.copy(), session.cluster_map.copy(), session.strokes.copy())

    def fail(*_: object) -> None:
        raise MemoryError("no memory for the forest")

    monkeypatch.setattr("napari_clusternet.cluster_posterior.ClusterPosterior.quick", fail)
    with pytest.raises(MemoryError):
        session.update(strokes(session, c1=[0, 4], c2=[2, 5]))
    for now, then in zip(
        (session.labels, session.cluster_map, session.strokes), before, strict=True
    ):
        np.testing.assert_array_equal(now, then)
    monkeypatch.undo()
    session.undo()
    assert not session.strokes.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold=0.0"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"mode": "fast"}, "mode='fast'"),
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"n_clusters": 70_000}, "n_clusters=70000"),
        ({"clusterer": "kmean"}, "Did you mean 'kmeans'"),
        ({"features": "filter"}, "Did you mean 'filters'"),
        ({"features": np.zeros((2, 3, 3))}, "features=ndarray"),
    ],
)
def test_bad_options_name_the_argument(options: dict[str, object], message: str) -> None:
    array = np.random.default_rng(0).random((2, 4, 5))
    with pytest.raises(InputError, match=message):
        Session(Image.from_array(array, axes="CYX"), **{"features": "bands", **options})


@pytest.mark.parametrize("cluster", [0, 99, "a", -1])
def test_unknown_clusters_are_named(cluster: object) -> None:
    session = line(VALUES, n_clusters=2)
    with pytest.raises(InputError, match="cluster="):
        session.assign(cluster, 1)  # type: ignore[arg-type]


def test_strokes_of_another_shape_are_refused() -> None:
    session = line(VALUES, n_clusters=2)
    with pytest.raises(StrokeError, match=r"has shape \(1, 8\)"):
        session.update(np.zeros((8, 1), np.uint8))


def test_an_editor_that_undoes_a_stroke_gets_its_clusters_back() -> None:
    rng = np.random.default_rng(0)
    image = Image.from_array(rng.integers(0, 255, (3, 40, 40), dtype=np.uint8), axes="CYX")
    session = Session(image, features="bands", n_clusters=4)
    first = np.zeros(image.shape, np.uint8)
    first[2, 2:30], first[30, 2:30] = 1, 2
    session.follow(first)
    before, labels = session.cluster_map.copy(), session.labels.copy()
    second = first.copy()
    second[10:14, 5:35], second[20:24, 5:35] = 1, 2
    session.follow(second)
    after = session.cluster_map.copy()
    assert len(np.unique(after)) > len(np.unique(before))  # mixed clusters were split
    session.follow(first)  # what an editor shows after its own undo
    np.testing.assert_array_equal(session.cluster_map, before)
    np.testing.assert_array_equal(session.labels, labels)
    assert session.can_redo
    session.follow(second)
    np.testing.assert_array_equal(session.cluster_map, after)
    assert not session.can_redo


def test_listeners_hear_of_every_change_until_they_leave() -> None:
    image = Image.from_array(np.arange(100.0).reshape(10, 10), axes="YX")
    session = Session(image, features="bands", n_clusters=5)
    heard: list[int] = []
    leave = session.subscribe(lambda s: heard.append(len(s.clusters)))
    session.assign(1, 2)
    session.merge([1, 2])
    session.undo()
    leave()
    session.redo()
    assert heard == [5, 4, 5]


def test_regions_of_another_method_become_clusters() -> None:
    # four quadrants, numbered with gaps; pixels of region 0 are a cluster too
    image = Image.from_array(np.arange(64.0).reshape(8, 8), axes="YX")
    regions = np.kron([[0, 7], [9, 40]], np.ones((4, 4), int))
    session = Session(image, features="bands", regions=regions)
    np.testing.assert_array_equal(session.cluster_map, np.kron([[1, 2], [3, 4]], np.ones((4, 4))))
    strokes = np.zeros((8, 8), np.uint8)
    strokes[0, 0], strokes[7, 7] = 1, 2
    labels = session.update(strokes)
    assert (labels[:4, :4] == 1).all()
    assert (labels[4:, 4:] == 2).all()


def test_regions_that_do_not_fit_are_refused() -> None:
    image = Image.from_array(np.arange(64.0).reshape(8, 8), axes="YX")
    with pytest.raises(InputError, match=r"regions=.*shape \(8, 8\)"):
        Session(image, features="bands", regions=np.ones((4, 4), int))
