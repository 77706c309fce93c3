"""Rows 10 to 15 of the fault checklist: strokes that cannot be meant."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import InputError, StrokeError
from napari_clusternet.image import Image

SHAPE = (20, 16)


def picture(**options: object) -> Image:
    data = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    return Image.from_array(data, axes="CYX", **options)


def two_classes() -> np.ndarray:
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[3, 2:9], strokes[12, 4:14] = 1, 2
    return strokes


def test_row_10_no_strokes() -> None:
    with pytest.raises(StrokeError, match=r"strokes=.*at least two classes"):
        cn.segment(picture(), np.zeros(SHAPE, np.uint8))


def test_row_10_a_session_takes_all_strokes_back() -> None:
    session = cn.Session(picture(), features="bands", n_clusters=5)
    session.update(two_classes())
    assert not session.update(np.zeros(SHAPE, np.uint8)).any()


def test_row_11_one_class_only() -> None:
    with pytest.raises(StrokeError, match="need at least two"):
        cn.segment(picture(), (two_classes() == 1).astype(int))


def test_row_11_a_session_keeps_the_first_class_and_says_so() -> None:
    session = cn.Session(picture(), features="bands", n_clusters=5)
    with pytest.warns(UserWarning, match="need at least two"):
        labels = session.update(two_classes() * (two_classes() == 1))
    assert set(np.unique(labels)) <= {0, 1}
    assert session.strokes.sum() == 7


def test_row_12_only_on_nodata() -> None:
    data = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    data[0, two_classes() > 0] = np.nan
    with pytest.raises(StrokeError, match="valid"):
        cn.segment(data, two_classes(), axes="CYX")


def test_row_12_partly_on_nodata_the_rest_counts() -> None:
    data = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    data[0, 3, 2:5] = np.nan
    session = cn.Session(Image.from_array(data, axes="CYX"), features="bands", n_clusters=5)
    session.update(two_classes())
    assert session.clusters["strokes_1"].sum() == 4  # 7 painted, 3 of them on nodata
    assert not session.strokes[3, 2:5].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [(-1, "-1"), (0.5, "whole numbers"), (70_000, "70000"), (np.nan, "whole numbers")],
)
def test_row_13_values_that_are_no_classes(change: float, message: str) -> None:
    strokes = two_classes().astype(float if isinstance(change, float) else int)
    strokes[0, 0] = change
    session = cn.Session(picture(), features="bands", n_clusters=5)
    session.update(two_classes())
    before = session.labels.copy(), session.strokes.copy()
    for refuse in (lambda: cn.segment(picture(), strokes), lambda: session.update(strokes)):
        with pytest.raises(StrokeError, match=message):
            refuse()
    np.testing.assert_array_equal(session.labels, before[0])
    np.testing.assert_array_equal(session.strokes, before[1])


def test_row_14_another_shape() -> None:
    with pytest.raises(StrokeError, match=r"shape \(20, 16\)"):
        cn.segment(picture(), two_classes().T)


def test_row_14_a_layer_elsewhere_is_refused_and_one_in_place_accepted() -> None:
    layers = pytest.importorskip("napari.layers")
    image = picture(spacing=(2, 3))
    with pytest.raises(StrokeError, match=r"affine|scale|world"):
        cn.segment(image, layers.Labels(two_classes()))
    placed = layers.Labels(two_classes(), scale=(2, 3))
    np.testing.assert_array_equal(
        cn.segment(image, placed, features="bands", n_clusters=5),
        cn.segment(image, two_classes(), features="bands", n_clusters=5),
    )


def test_row_15_image_replaced_after_training() -> None:
    session = cn.Session(picture(), features="bands", n_clusters=5)
    session.update(two_classes())
    bigger = np.zeros((2, 30, 30), np.float32)
    assert session.predict(Image.from_array(bigger, axes="CYX")).shape == (30, 30)
    fewer = Image.from_array(bigger[:1], axes="CYX")
    with pytest.raises(InputError, match=r"1 bands \['band_1'\].*2 bands \['band_1', 'band_2'\]"):
        session.predict(fewer)


def test_features_without_an_extractor_say_nothing_of_other_images() -> None:
    data = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    session = cn.Session(picture(), features=data, n_clusters=5)
    with pytest.raises(InputError, match="features="):
        session.predict(SimpleNamespace())
