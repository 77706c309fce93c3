"""Fields of a large scene: what is known in one field holds in the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import InputError
from napari_clusternet.features.pretrained_weights import weights_file
from napari_clusternet.field import FIELD_UNIT, field_in_view
from napari_clusternet.image import Image

LEFT, RIGHT = (slice(0, 128), slice(0, 128)), (slice(64, 192), slice(192, 320))


def materials() -> np.ndarray:
    """A scene of three materials: 1 and 2 in stripes everywhere, 3 only at the right."""
    truth = np.zeros((200, 330), np.uint8)
    truth[:] = 1 + (np.arange(330) // 20) % 2
    truth[100:160, 220:300] = 3
    return truth


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return materials()


@pytest.fixture(scope="module")
def scene(truth: np.ndarray) -> Image:
    rng = np.random.default_rng(0)
    colours = np.array([[0, 0], [0, 10], [10, 0], [10, 10]], np.float32)
    data = colours[truth].transpose(2, 0, 1) + rng.normal(size=(2, *truth.shape))
    lazy = da.from_array(data.astype(np.float32), chunks=(2, 64, 64))
    return Image.from_array(lazy, axes="CYX", spacing=(2.0, 3.0), name="city")


def strokes_of(truth: np.ndarray, session: cn.Session, classes: tuple[int, ...]) -> np.ndarray:
    """Strokes of three pixels of some classes, in the session's field."""
    here = truth[session.field.region]
    strokes = session.strokes.copy()
    for value in classes:
        y, x = np.argwhere(here == value)[60]
        strokes[y, x : x + 3] = np.where(here[y, x : x + 3] == value, value, 0)
    return strokes


@pytest.fixture
def left(scene: Image, truth: np.ndarray) -> cn.Session:
    session = cn.Session.on_field(scene, LEFT, features="bands", n_clusters=12)
    session.update(strokes_of(truth, session, (1, 2)))
    return session


def agreement(session: cn.Session, truth: np.ndarray, leave: int = 0) -> float:
    here = truth[session.field.region]
    there = here != leave
    return float((session.labels[there] == here[there]).mean())


def test_a_field_is_an_image_at_its_place(left: cn.Session, scene: Image) -> None:
    assert left.image.shape == (128, 128)
    assert not left.image.is_lazy
    moved = left.move(RIGHT)
    assert moved.field.region == RIGHT
    corner = moved.image.affine @ [0, 0, 1]
    assert corner[:2].tolist() == [64 * 2.0, 192 * 3.0]
    values, _ = scene.read(RIGHT)
    assert np.array_equal(moved.image.read()[0], values)


def test_classes_go_along_and_strokes_of_a_new_one_come_back(
    left: cn.Session, truth: np.ndarray
) -> None:
    assert agreement(left, truth) > 0.99
    right = left.move(RIGHT)
    assert right.strokes.sum() == 0
    assert agreement(right, truth, leave=3) > 0.99
    right.update(strokes_of(truth, right, (3,)))
    assert agreement(right, truth) > 0.99
    assert right.stroke_counts.tolist() == [3, 3, 3]
    back = right.move(LEFT)
    assert np.array_equal(back.strokes, left.strokes)
    assert back.stroke_counts.tolist() == [3, 3, 3]
    assert agreement(back, truth) > 0.99


def test_clusters_are_those_of_the_whole_scene(left: cn.Session, truth: np.ndarray) -> None:
    """Material 3 is not in the first field, and yet the third stroke alone tells it apart."""
    assert 3 not in truth[LEFT]
    right = left.move(RIGHT)
    own = np.unique(right.cluster_map[truth[RIGHT] == 3])
    others = np.unique(right.cluster_map[truth[RIGHT] != 3])
    assert not set(own) & set(others)


def test_the_session_left_stays_as_it_is(left: cn.Session, truth: np.ndarray) -> None:
    labels, clusters = left.labels.copy(), left.cluster_map.copy()
    right = left.move(RIGHT)
    right.update(strokes_of(truth, right, (3,)))
    right.refine()
    right.split(int(right.cluster_map[0, 0]))
    assert np.array_equal(left.labels, labels)
    assert np.array_equal(left.cluster_map, clusters)


def counted(session: cn.Session) -> np.ndarray:
    """Stroked pixels of each cluster and class, counted from the strokes themselves."""
    engine = session._engine
    stroked = np.flatnonzero(engine.strokes)
    counts = np.zeros_like(engine.state.counts)
    where = engine.partition.ids(stroked).astype(int) - 1, engine.strokes[stroked].astype(int) - 1
    np.add.at(counts, where, 1)
    return counts


def test_counts_hold_whatever_is_done(left: cn.Session, truth: np.ndarray) -> None:
    right = left.move(RIGHT)
    rng = np.random.default_rng(1)
    for step in range(25):
        strokes = right.strokes.copy()
        y, x = rng.integers(0, 128, 2)
        strokes[y : y + 4, x : x + 4] = rng.integers(0, 4)
        ids = right.clusters.index
        actions = [
            lambda s=strokes: right.update(s), right.undo, right.redo, right.refine,
            lambda i=ids: right.split(int(i[-1])),
            lambda i=ids: right.merge([int(i[0]), int(i[1])]),
        ]  # fmt: skip
        try:
            actions[rng.integers(len(actions)) if step else 0]()
        except InputError:  # a cluster of one pixel cannot be split
            continue
        assert np.array_equal(counted(right), right._engine.state.counts)
        assert (right._engine.partition.sizes >= right._engine.partition.sizes_inside).all()
        inside = np.bincount(right.cluster_map.reshape(-1))[1:]
        there = right.clusters["pixels"]
        assert there.to_dict() == {i + 1: n for i, n in enumerate(inside) if n}


def test_undo_of_everything_is_the_field_as_it_was_reached(
    left: cn.Session, truth: np.ndarray
) -> None:
    right = left.move(RIGHT)
    labels, clusters, counts = right.labels, right.cluster_map.copy(), counted(right)
    right.update(strokes_of(truth, right, (3,)))
    right.refine()
    while right.can_undo:
        right.undo()
    assert np.array_equal(right.labels, labels)
    assert np.array_equal(right.cluster_map, clusters)
    assert np.array_equal(counted(right), counts[:, : counted(right).shape[1]])


@pytest.mark.parametrize(
    "features",
    [
        "filters",
        pytest.param(
            "pretrained-64",
            marks=pytest.mark.skipif(weights_file() is None, reason="no pretrained weights"),
        ),
    ],
)
def test_pixels_outside_keep_their_features_and_places(scene: Image, features: str) -> None:
    session = cn.Session.on_field(scene, LEFT, features=features, n_clusters=8)
    strokes = np.zeros((128, 128), np.uint8)
    strokes[60, 60:64], strokes[61, 90:94] = 1, 2
    session.update(strokes)
    before = session._engine.matrix
    pixels = np.flatnonzero(strokes)
    other = session.move(RIGHT)._engine
    outside = np.flatnonzero(other.strokes)
    assert (outside >= 128 * 128).all()
    assert np.allclose(other.matrix.take(outside), before.take(pixels), atol=2e-3)
    origin = np.array([part.start for part in RIGHT])
    assert np.array_equal(other.matrix.places(outside) + origin, before.places(pixels))
    if before.maps is not None:
        kept, own = other.matrix.take_maps(outside), before.take_maps(pixels)
        assert np.allclose(kept, own, rtol=2e-3, atol=2e-3)


def test_every_cluster_keeps_pixels_that_tell_what_it_is_like(left: cn.Session) -> None:
    sizes = left.move(RIGHT)._engine.partition.sizes
    assert (sizes[left._engine.partition.sizes > 0] > 0).all()


def test_saved_and_loaded_it_goes_on(
    tmp_path: Path, left: cn.Session, scene: Image, truth: np.ndarray
) -> None:
    right = left.move(RIGHT)
    right.update(strokes_of(truth, right, (3,)))
    loaded = cn.Session.load(right.save(tmp_path / "a.clusternet"))
    for name in ("labels", "strokes", "cluster_map", "certainty"):
        assert np.array_equal(getattr(loaded, name), getattr(right, name)), name
    assert loaded.field.region == right.field.region
    with pytest.raises(InputError, match="scene"):
        loaded.move(LEFT)
    back = loaded.move(LEFT, scene)
    assert np.array_equal(back.strokes, left.strokes)
    assert np.array_equal(back.labels, right.move(LEFT).labels)
    assert np.array_equal(loaded.undo(), right.undo())


def test_the_whole_scene_is_labelled_from_any_field(
    left: cn.Session, scene: Image, truth: np.ndarray
) -> None:
    right = left.move(RIGHT)
    right.update(strokes_of(truth, right, (3,)))
    assert (right.predict(scene) == truth).mean() > 0.99
    assert np.array_equal(right.predict(scene)[RIGHT], right.labels)


def test_a_volume(truth: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(materials()[None, :96, :160], 40, axis=0)
    data = (classes * 10 + rng.normal(size=classes.shape)).astype(np.float32)
    scene = Image.from_array(da.from_array(data), axes="ZYX", spacing=(1, 1, 1))
    first = (slice(0, 32), slice(0, 64), slice(0, 64))
    session = cn.Session.on_field(scene, first, features="bands", n_clusters=6)
    strokes = np.zeros((32, 64, 64), np.uint8)
    strokes[3, 5, 2:8], strokes[3, 5, 22:28] = 1, 2
    session.update(strokes)
    moved = session.move((slice(8, 40), slice(32, 96), slice(96, 160)))
    assert (moved.labels == classes[moved.field.region]).mean() > 0.99


def test_labels_are_made_at_the_resolution_it_learned_at(tmp_path: Path, truth: np.ndarray) -> None:
    big = np.kron(truth, np.ones((4, 4), np.uint8))
    levels = [
        Image.from_array(da.from_array(big[None, ::n, ::n] * 20), axes="CYX", spacing=(n, n))
        for n in (1, 2, 4)
    ]
    scene = replace(levels[0], levels=tuple(levels))
    session = cn.Session.on_field(levels[2], LEFT, features="bands", n_clusters=4)
    session.update(strokes_of(truth, session, (1, 2)))
    assert session.predictor().at_resolution(scene) is levels[2]
    out = cn.apply(session, scene, tmp_path / "out.tif")
    assert cn.open_image(out).shape == truth.shape
    whole = cn.Session(levels[2], "bands", n_clusters=4)
    assert whole.predictor().at_resolution(scene) is scene


@pytest.mark.parametrize(
    ("view", "limit", "expected"),
    [
        ((slice(100, 400), slice(700, 1000)), 10**6, (slice(64, 384), slice(640, 960))),
        ((slice(0, 4000), slice(0, 4000)), 512 * 512, (slice(1728, 2240), slice(1728, 2240))),
        ((slice(3990, 4000), slice(3990, 4000)), 10**6, (slice(3712, 3968), slice(3712, 3968))),
        ((slice(0, 200), slice(0, 4000)), 10**6, (slice(0, 256), slice(64, 3968))),
    ],
)
def test_the_field_is_the_middle_of_the_view(view: object, limit: int, expected: object) -> None:
    scene = Image.from_array(da.zeros((1, 4000, 4000), chunks=1000), axes="CYX")
    region = field_in_view(scene, view, limit)
    assert all(part.start % FIELD_UNIT[2] == 0 for part in region)
    assert region == expected


@pytest.mark.parametrize(
    "region", [(slice(0, 9),), (slice(500, 600), slice(0, 9)), (slice(0, 9, 2), slice(0, 9)), 3]
)
def test_no_region_of_the_scene(scene: Image, left: cn.Session, region: object) -> None:
    with pytest.raises(InputError, match="region"):
        cn.Session.on_field(scene, region, features="bands")
    with pytest.raises(InputError, match="region"):
        left.move(region)


def test_what_cannot_be_a_field(scene: Image) -> None:
    with pytest.raises(InputError, match="features"):
        cn.Session.on_field(scene, LEFT, features=np.zeros((3, *scene.shape)))
    with pytest.raises(InputError, match="not on a field"):
        cn.Session(Image.from_array(np.eye(30)), "bands", n_clusters=2).move(LEFT)
    empty = Image.from_array(np.full((1, 300, 300), np.nan), axes="CYX")
    with pytest.raises(InputError, match="valid"):
        cn.Session.on_field(empty, LEFT, features="bands")
