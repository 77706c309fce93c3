"""What every stroke method in the table must do, and what strokes must be."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.api.strokes import make_stroke_method
from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.classify.base import check_strokes
from napari_clusternet.errors import StrokeError
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.image import Image
from napari_clusternet.progress import Progress, drain
from napari_clusternet.session import Session


def two_halves(ndim: int) -> tuple[Image, np.ndarray, np.ndarray]:
    """Return an image of a dark and a bright half, strokes, and the truth; a corner is NaN."""
    shape = (30, 34) if ndim == 2 else (9, 14, 16)
    truth = np.ones(shape, np.uint8)
    truth[..., shape[-1] // 2 :] = 2
    values = truth * 100.0 + np.random.default_rng(0).normal(0, 3, shape)
    values[..., :2, :2] = np.nan
    truth[..., :2, :2] = 0
    strokes = np.zeros(shape, np.uint8)
    strokes[..., 5:8, 2:5] = 1
    strokes[..., 5:8, -5:-2] = 2
    axes = "YX" if ndim == 2 else "ZYX"
    return Image.from_array(values.astype(np.float32), axes=axes), strokes, truth


#: Methods that train a network take minutes here; their unit tests have short versions of these.
NETWORKS = {"sparse_unet", "two_view", "dfc_scribbles"}
#: A tenth of the published training does for what these tests ask.
BRIEF = {"dfc_scribbles": {"n_iterations": 100}}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in NETWORKS else [])
        for name in STROKE_METHODS
    ]
)
def method(request):
    shared = {"open_session": Session.open_steps, "n_clusters": 60}
    return make_stroke_method(request.param, shared, **BRIEF.get(request.param, {}))


@pytest.mark.parametrize("ndim", [2, 3])
def test_obvious_image(method, ndim):
    if ndim not in method.ndims:
        pytest.skip(f"{method.name} does not handle {ndim} axes")
    image, strokes, truth = two_halves(ndim)
    before = strokes.copy(), image.data.copy()
    extractor = EXTRACTORS.load("bands").fit(image)
    seen: list[Progress] = []
    labels = drain(method.segment_steps(image, strokes, extractor, random_state=0), seen.append)
    if method.name in NETWORKS:  # what they find is smooth: a few pixels at edges differ
        np.testing.assert_array_equal(labels == 0, truth == 0)
        assert (labels == truth).mean() > 0.85
    else:
        np.testing.assert_array_equal(labels, truth)  # 0 exactly where the image is NaN
    assert labels.dtype == np.uint8
    assert seen
    np.testing.assert_array_equal(strokes, before[0])
    np.testing.assert_array_equal(image.data, before[1])


def test_same_seed_same_labels_and_any_class_ids(method):
    image, strokes, truth = two_halves(2)
    strokes = strokes.astype(np.uint16) * 150  # classes 150 and 300
    # networks see the bands, as published
    extractor = EXTRACTORS.load("bands" if method.name in NETWORKS else "filters").fit(image)
    first, second = (drain(method.segment_steps(image, strokes, extractor, 4)) for _ in "ab")
    np.testing.assert_array_equal(first, second)
    assert set(np.unique(first)) == {0, 150, 300}
    assert first.dtype == np.uint16
    least = 0.8 if method.name in NETWORKS else 0.9
    assert (first == truth.astype(np.uint16) * 150).mean() > least


def test_declares_what_users_see(method):
    assert method.name in STROKE_METHODS
    assert method.summary
    assert set(method.ndims) <= {2, 3}
    assert method.uses in {"features", "bands"}


def test_is_stopped_between_two_steps(method):
    image, strokes, _ = two_halves(2)
    steps = method.segment_steps(image, strokes, EXTRACTORS.load("bands").fit(image), 0)
    assert isinstance(next(steps), Progress)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


@pytest.mark.parametrize("n_bands", [1, 5])
@pytest.mark.parametrize("hole", [False, True])
def test_three_classes_any_bands_and_islands(method, n_bands, hole):
    """Three stripes; with a hole, an island of valid pixels without a stroke lies inside it."""
    shape = (32, 36)
    truth = np.broadcast_to(np.arange(36) // 12 + 1, shape)
    noise = np.random.default_rng(1).normal(0, 2, (n_bands, *shape))
    values = (truth * 50.0 + noise).astype(np.float32)
    if hole:
        values[:, 20:29, 2:11] = np.nan
        values[:, 23:26, 5:8] = 50.0
    strokes = np.zeros(shape, np.uint8)
    strokes[4:8, 2:34] = truth[4:8, 2:34]
    strokes[:, [11, 12, 23, 24]] = 0
    image = Image.from_array(values, axes="CYX")
    labels = drain(method.segment_steps(image, strokes, EXTRACTORS.load("bands").fit(image), 0))
    valid = np.isfinite(values[0])
    assert (labels[~valid] == 0).all()
    assert (labels[valid] > 0).all()
    assert (labels == truth)[valid].mean() > (0.8 if method.name in NETWORKS else 0.97)


def test_nothing_to_tell_classes_by(method):
    """A constant image: any labels will do, but labels there are, of the stroked classes."""
    image, strokes, _ = two_halves(2)
    flat = Image.from_array(np.full(image.shape, 7.0, np.float32))
    with pytest.warns(UserWarning, match="constant"):
        extractor = EXTRACTORS.load("bands").fit(flat)
    labels = drain(method.segment_steps(flat, strokes, extractor, 0))
    assert set(np.unique(labels)) <= {1, 2}


IMAGE, STROKES, _ = two_halves(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda s: s * 0, "nothing is stroked", id="row10"),
        pytest.param(lambda s: s * (s == 1), "only class 1, and need at least two", id="row11"),
        pytest.param(lambda s: np.pad([[1, 2]], ((0, 29), (0, 32))), "invalid pixels", id="row12"),
        pytest.param(lambda s: -s.astype(int), "lowest value is -2", id="row13-negative"),
        pytest.param(lambda s: s / 2, "not whole numbers", id="row13-float"),
        pytest.param(lambda s: s * np.nan, "not whole numbers", id="row13-nan"),
        pytest.param(lambda s: s.astype(int) * 40000, "highest value is 80000", id="row13-large"),
        pytest.param(lambda s: s.astype(str), "not numbers", id="row13-text"),
        pytest.param(lambda s: s[:-1], r"has shape \(30, 34\)", id="row14-shape"),
        pytest.param(lambda s: s[None], r"has shape \(30, 34\)", id="row14-band-axis"),
    ],
)
def test_bad_strokes_are_named(change, message):
    with pytest.raises(StrokeError, match=f"strokes=.*{message}"):
        check_strokes(change(STROKES), IMAGE)


@pytest.mark.parametrize(
    ("factor", "dtype", "expected"),
    [(1, np.int64, np.uint8), (1, np.float64, np.uint8), (200, np.int64, np.uint16)],
)
def test_good_strokes_become_narrow(factor, dtype, expected):
    given = STROKES.astype(dtype) * factor
    checked = check_strokes(given, IMAGE)
    assert checked.dtype == expected
    np.testing.assert_array_equal(checked, given)
    assert not np.shares_memory(checked, given)


def test_strokes_on_invalid_pixels_are_dropped():
    strokes = STROKES.copy()
    strokes[0, 0] = 3
    assert check_strokes(strokes, IMAGE).max() == 2


def test_nothing_need_be_stroked_if_the_caller_says_so():
    assert not check_strokes(STROKES * 0, IMAGE, min_classes=0).any()


def test_layers_must_lie_where_the_image_lies():
    layers = pytest.importorskip("napari.layers")
    image = Image.from_array(IMAGE.data[0], spacing=(2.0, 0.5), name="scene")
    placed = layers.Labels(STROKES, scale=(2.0, 0.5))
    np.testing.assert_array_equal(check_strokes(placed, image), STROKES)
    with pytest.raises(StrokeError, match=r"layer 'here' is at .*'scene'.*layer_metadata"):
        check_strokes(layers.Labels(STROKES, name="here"), image)
