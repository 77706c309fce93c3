"""The cluster table and what is shown beside it, on images small enough to work out by hand."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_clusternet.band_means import BandMeans
from napari_clusternet.cluster_views import (
    centroid_map,
    class_profiles,
    inside,
    profiles,
    size_text,
)
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.inspection import places
from napari_clusternet.partition import Partition
from napari_clusternet.progress import drain
from napari_clusternet.session import Session


class Counted:
    """An array that counts the values read from it; lazy in the eyes of `Image`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.read = array, 0
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, key: object) -> np.ndarray:
        values = self.array[key]
        self.read += values.size
        return values


def random_image(shape: tuple[int, ...], seed: int = 0, **keywords: object) -> Image:
    data = np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)
    axes = "CYX" if len(shape) == 3 else "CZYX"
    return Image.from_array(data, axes=axes, **keywords)


def random_partition(shape: tuple[int, ...], n: int) -> Partition:
    ids = np.random.default_rng(1).integers(0, n + 1, shape).astype(np.uint16)
    return Partition(ids)


def by_numpy(image: Image, partition: Partition) -> np.ndarray:
    """Mean of every band, one cluster after the other."""
    rows = []
    for i in range(1, partition.n_ids + 1):
        values = np.asarray(image.data)[:, partition.cluster_map == i].astype(np.float64)
        rows.append(values.mean(axis=1) if values.size else np.full(image.n_bands, np.nan))
    return np.array(rows)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in blocks of 16, so that small images have several."""
    monkeypatch.setattr("napari_clusternet.image.PASS_BLOCK", {2: (16, 16), 3: (16, 16, 16)})


# ---- band means --------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shape", [(3, 50, 40), (2, 20, 18, 33)])
def test_means_are_those_of_numpy_and_of_a_fresh_pass_to_the_last_bit(shape: tuple) -> None:
    image, partition = random_image(shape), random_partition(shape[1:], 12)
    cached = BandMeans(image, partition)
    np.testing.assert_allclose(cached.means(), by_numpy(image, partition), rtol=1e-12)
    rng = np.random.default_rng(2)
    moves = []
    for source, target in [(3, 13), (13, 14), (5, 4), (1, 15)]:
        moves.append(partition.move(source, target, rng.random(partition.size(source)) < 0.4))
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())
    np.testing.assert_allclose(cached.means(), by_numpy(image, partition), rtol=1e-12)
    for move in reversed(moves[2:]):
        partition.undo(move)
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())
    assert len(cached.means()) == 14
    partition.redo(moves[2])
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())


@pytest.mark.usefixtures("small_blocks")
def test_an_id_that_was_taken_back_and_given_again_is_read_again() -> None:
    image, partition = random_image((1, 20, 20)), random_partition((20, 20), 2)
    cached = BandMeans(image, partition)
    cached.means()
    for half in (np.s_[::2], np.s_[1::3]):
        moved = np.zeros(partition.size(1), bool)
        moved[half] = True
        move = partition.move(1, 3, moved)
        np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())
        partition.undo(move)


def test_what_did_not_change_is_not_read_again() -> None:
    image = random_image((2, 30, 30))
    counted = Counted(np.asarray(image.data))
    lazy, partition = image.with_data(counted), random_partition((30, 30), 5)
    # cluster 6 in a corner: three rows of four pixels, of which 4 go to a new cluster
    for i in range(1, 6):
        there = partition.members(i)
        corner = (there // 30 < 3) & (there % 30 < 4)
        partition.move(i, 6, corner)
    cached = BandMeans(lazy, partition)
    cached.means()
    assert counted.read == 2 * 900
    assert cached.pending == 0
    cached.means()
    assert counted.read == 2 * 900
    size = partition.size(6)
    partition.move(6, 7, np.arange(size) < 4)
    assert cached.pending == 2 * size
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())
    assert counted.read <= 2 * 900 + 2 * 12  # the corner's bounding box


def test_invalid_pixels_and_masks_are_treated_as_in_a_whole_pass() -> None:
    image = random_image((2, 12, 12), mask=np.arange(144).reshape(12, 12) % 5 > 0, nodata=7.0)
    image.data[0, 3, :4] = 7.0
    image.data[1, 5, 2] = np.nan
    partition = random_partition((12, 12), 3)
    cached = BandMeans(image, partition)
    cached.means()
    partition.move(2, 4, np.arange(partition.size(2)) % 2 == 0)
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())
    masked = image.with_data(image.data, mask=da.from_array(image.mask, chunks=5))
    again = BandMeans(masked, partition)
    again.means()
    partition.move(1, 5, np.arange(partition.size(1)) % 2 == 0)
    np.testing.assert_array_equal(again.means(), BandMeans(image, partition).means())


def test_without_waiting_changed_clusters_have_no_mean_yet() -> None:
    image, partition = random_image((1, 20, 20)), random_partition((20, 20), 4)
    cached = BandMeans(image, partition)
    assert np.isnan(cached.means(wait=False)).all()
    before = cached.means()
    partition.move(2, 5, np.arange(partition.size(2)) < 9)
    found = cached.means(wait=False)
    assert np.isnan(found[[1, 4]]).all()
    np.testing.assert_array_equal(found[[0, 2, 3]], before[[0, 2, 3]])


def test_a_pass_is_of_the_moment_it_began_and_later_changes_stay_pending() -> None:
    image, partition = random_image((1, 20, 20)), random_partition((20, 20), 4)
    cached = BandMeans(image, partition)
    steps = cached.steps()  # the moment
    partition.move(2, 5, np.arange(partition.size(2)) < 9)
    drain(steps)
    assert cached.pending == partition.size(2) + partition.size(5)
    assert np.isnan(cached.means(wait=False)[[1, 4]]).all()
    np.testing.assert_array_equal(cached.means(), BandMeans(image, partition).means())


# ---- session -----------------------------------------------------------------------------------


def test_the_table_follows_splits_undo_and_merges_exactly() -> None:
    image = random_image((4, 40, 40))
    session = Session(image, "bands", n_clusters=8, mode="paper")
    painted = np.zeros((40, 40), np.uint8)
    painted[3, 3:9], painted[20, 3:9] = 1, 2
    for change in (
        lambda: session.clusters,
        lambda: session.update(painted),
        lambda: session.split([1, 3]),
        lambda: session.merge([2, 4]),
        session.undo,
        session.undo,
        session.redo,
    ):
        change()
        names = [f"mean_band_{i}" for i in range(1, 5)]
        table = session.clusters
        expected = by_numpy(image, Partition(np.array(session.cluster_map)))
        np.testing.assert_allclose(table[names], expected[table.index - 1], rtol=1e-12)
        fresh = Session.clusters.fget  # the same table, with nothing remembered
        del session.inspector
        np.testing.assert_array_equal(fresh(session)[names], table[names])


def test_several_clusters_are_assigned_and_split_in_one_step() -> None:
    session = Session(random_image((2, 20, 20)), "bands", n_clusters=6, mode="paper")
    session.assign([1, 4, 4], 2)
    assert session.clusters.query("`class` == 2").index.tolist() == [1, 4]
    session.undo()
    assert not session.labels.any()
    session.split(np.array([1, 2]))
    assert len(session.clusters) == 8
    session.undo()
    assert len(session.clusters) == 6
    assert not session.can_undo
    for nothing in ([], [1, 99], "1", None, 0):
        with pytest.raises(InputError, match="cluster="):
            session.assign(nothing, 1)


def test_splitting_several_leaves_whole_what_cannot_be_split() -> None:
    array = np.array([[[5.0, 5, 9, 10]]], np.float32)
    session = Session(
        Image.from_array(array, axes="CYX"), array, regions=[[1, 1, 2, 2]], mode="paper"
    )
    session.split([1, 2])
    ids = session.cluster_map[0].tolist()
    assert ids[:2] == [1, 1]
    assert set(ids[2:]) == {2, 3}
    with pytest.raises(InputError, match="same features"):
        session.split([1])


# ---- example places ----------------------------------------------------------------------------


def test_places_are_connected_parts_the_largest_first_in_their_middle() -> None:
    ids = np.ones((20, 20), np.uint16)
    ids[2:5, 2:5] = 2  # 9 pixels around (3, 3)
    ids[9:16, 8:15] = 2  # 49 pixels around (12, 11)
    ids[5, 5] = 2  # touches the first only at a corner
    found = places(Partition(ids), 2)
    assert [place.pixels for place in found] == [49, 9, 1]
    assert [place.position for place in found] == [(12, 11), (3, 3), (5, 5)]
    assert {place.cluster for place in found} == {2}
    assert len(places(Partition(ids), 2, n=2)) == 2


def test_parts_do_not_continue_on_the_next_row_or_slice() -> None:
    # the last pixel of a row is next in memory to the first of the next row, not in the image
    ids = np.ones((3, 4, 5), np.uint16)
    ids[0, 0, 4] = ids[0, 1, 0] = 2
    ids[0, 3, 2] = ids[1, 0, 2] = 2  # last row of a slice, first row of the next
    assert [place.pixels for place in places(Partition(ids), 2)] == [1, 1, 1, 1]
    ids[1:, 0, 2] = 2  # above each other in z
    assert [place.pixels for place in places(Partition(ids), 2)] == [2, 1, 1, 1]


def test_places_of_several_clusters_come_by_size() -> None:
    image = Image.from_array(np.zeros((1, 1, 8), np.float32), axes="CYX")
    session = Session(image, np.arange(8.0)[None, None], regions=[[1, 1, 1, 2, 2, 1, 3, 3]])
    found = session.inspector.places([2, 1, 77])
    assert [(place.cluster, place.pixels) for place in found] == [(1, 3), (2, 2), (1, 1)]
    assert session.inspector.existing([3, 99, 0, 3, 1]) == (3, 1)


# ---- views -------------------------------------------------------------------------------------


def test_the_centroid_map_shows_the_two_longest_directions() -> None:
    # length 10 along (0.6, 0.8), length 1 across it; a third feature is constant
    along, across = np.array([0.6, 0.8, 0]), np.array([-0.8, 0.6, 0])
    places_ = np.array([(-10, 0), (10, 0), (0, -1), (0, 1)], float)
    centroids = 5 + places_ @ np.stack([along, across])
    # signs: the weightiest feature counts positively, so across becomes (0.8, -0.6)
    np.testing.assert_allclose(centroid_map(centroids), places_ * [1, -1], atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1), (2, 5)])
def test_the_centroid_map_of_few_points_or_features(shape: tuple[int, int]) -> None:
    points = np.arange(np.prod(shape), dtype=float).reshape(shape)
    found = centroid_map(points)
    assert found.shape == (shape[0], 2)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-9)  # all on one line


def test_class_profiles_weigh_clusters_by_their_pixels() -> None:
    data = np.array([[[1.0, 1, 1, 5, 8, 9]], [[2, 2, 2, 6, 0, 0]]], np.float32)
    image = Image.from_array(data, axes="CYX", band_names=["a", "b"])
    session = Session(image, data, regions=[[1, 1, 1, 2, 3, 3]], mode="paper")
    session.assign([1, 2], 4)
    # (3 x 1 + 1 x 5) / 4 = 2 and (3 x 2 + 1 x 6) / 4 = 3; cluster 3 has no class
    assert {k: v.tolist() for k, v in class_profiles(session.clusters).items()} == {4: [2.0, 3.0]}
    np.testing.assert_array_equal(profiles(session.clusters), [[1, 2], [5, 6], [8.5, 0]])
    assert class_profiles(session.inspector.table(wait=False))[4].tolist() == [2.0, 3.0]


def test_a_lasso_holds_what_is_inside_it() -> None:
    # a U open to the top: (1.5, 2) lies in the gap
    polygon = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
    points = [(0.5, 2), (1.5, 2), (2.5, 2), (1.5, 0.5), (5, 1), (-1, 1), (1.5, -1)]
    assert inside(points, polygon).tolist() == [True, False, True, True, False, False, False]
    assert not inside(points, polygon[:2]).any()
    assert inside([], polygon).shape == (0,)


@pytest.mark.parametrize(
    ("spacing", "units", "pixels", "text"),
    [
        ((10, 10), "metre", 1, "100 m²"),
        ((10, 10), "metre", 340, "3.4 ha"),  # 340 x 100 m² = 34 000 m²
        ((10, 10), "metre", 12_500, "1.25 km²"),
        ((0.5, 0.5), "metre", 2, "0.5 m²"),
        ((30, 30), "metre", 10_000_000, "9,000 km²"),
        ((1, 1), "kilometer", 7, "7 km²"),
        ((0.5, 2), "micrometer", 3, "3 µm²"),
        ((1, 1), "millimeter", 50, "50 mm²"),
        ((2, 2, 2), "millimeter", 100, "800 mm³"),
        ((3, 1, 1), "millimeter", 4000, "12 ml"),  # 3 mm³ x 4000 = 12 000 mm³
        ((1, 1, 1), "millimeter", 1_520_000, "1.52 l"),
        ((10, 10, 10), "micrometer", 5, "5,000 µm³"),
        ((1, 1), "pixel", 12, "12 px²"),
        ((1, 1, 1), None, 1200, "1,200 px³"),
        ((2, 1), ("second", "metre"), 5, "10 second x metre"),
    ],
)
def test_sizes_are_written_with_the_unit_people_use(
    spacing: tuple[float, ...], units: object, pixels: int, text: str
) -> None:
    axes = "YX" if len(spacing) == 2 else "ZYX"
    zeros = np.zeros((2,) * len(spacing))
    image = Image.from_array(zeros, axes=axes, spacing=spacing, units=units)
    assert size_text(pixels * float(np.prod(image.spacing)), image) == text


def test_square_degrees_are_told_on_the_sphere() -> None:
    # 101 rows of 0.01 degrees from 60 degrees north to 59: middle 59.5
    affine = [[-0.01, 0, 60], [0, 0.01, 10], [0, 0, 1]]
    image = Image.from_array(np.zeros((101, 50)), affine=affine, units="degree")
    # one degree of the sphere is 6371.0088 km x pi / 180 = 111.195 km;
    # 111.195² x cos(59.5 deg) = 12364.3 x 0.507538 = 6275.4 km²
    assert size_text(1.0, image) == "≈ 6,275 km²"
    wide = Image.from_array(np.zeros((101, 50)), spacing=(0.1, 0.1), units="degree")
    assert size_text(0.25, wide) == "0.25 deg²"
