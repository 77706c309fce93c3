"""Arrays of any dtype, shape and content, from opening to the written file."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import napari_clusternet as cn
from napari_clusternet.errors import ClusterNetError, InputError
from napari_clusternet.stroke_file import Strokes

DTYPES = ["bool", "u1", "i1", ">u2", "<u2", "i2", ">i4", "u4", "i8", "f2", "<f4", ">f4", "f8"]
AXES = {2: ["YX", "XY"], 3: ["CYX", "YXC", "ZYX", "CXY"], 4: ["CZYX", "ZYXC"]}


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    ndim = draw(st.integers(2, 4))
    array = draw(hnp.arrays(
        np.dtype(draw(st.sampled_from(DTYPES))),
        hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=6 if ndim > 2 else 12),
    ))  # fmt: skip
    return array, draw(st.sampled_from(AXES[ndim]))


@st.composite
def strokes_on(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    dtype = draw(st.sampled_from(["u1", "u2", "i8"]))
    return draw(hnp.arrays(np.dtype(dtype), shape, elements=st.integers(0, 3), fill=st.just(0)))


@settings(max_examples=20)
@given(images(), st.data(), st.sampled_from(["enhanced", "paper"]))
def test_open_segment_write_read(given_image: Any, data: st.DataObject, mode: str) -> None:
    array, axes = given_image
    before = array.copy()
    image = cn.open_image(array, axes=axes)
    strokes = data.draw(strokes_on(image.shape))
    strokes_before = strokes.copy()
    _, valid = image.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # constant bands, fewer clusters than asked
        try:
            labels = cn.segment(image, strokes, features="bands", n_clusters=5, mode=mode)
        except ClusterNetError:
            labels = None
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(strokes, strokes_before)
    stroked = set(strokes[valid & (strokes > 0)].tolist())
    assert (labels is None) == (len(stroked) < 2)  # said, not guessed; else never refused
    if labels is None:
        return
    assert labels.shape == image.shape
    assert labels.dtype == np.uint8
    assert set(np.unique(labels[valid]).tolist()) <= stroked | ({0} if mode == "paper" else set())
    assert not labels[~valid].any()
    with tempfile.TemporaryDirectory() as folder:
        path = cn.write_labels(Path(folder) / "labels.tif", labels, like=image)
        np.testing.assert_array_equal(cn.read_labels(path, like=image), labels)


@given(images())
def test_reading_is_finite_and_says_what_is_valid(given_image: Any) -> None:
    array, axes = given_image
    values, valid = cn.open_image(array, axes=axes).read()
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert not values[:, ~valid].any()
    if array.dtype.kind in "biu":
        assert valid.all()


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(t) for t in (*DTYPES, "c8", "U2", "O", "M8[s]")]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3),
    ),
    st.none() | st.text("CZYXTQ", max_size=5),
)
def test_what_is_no_image_is_refused_by_name(array: np.ndarray, axes: str | None) -> None:
    try:
        image = cn.open_image(array, axes=axes)
    except InputError as error:
        said = str(error)
    else:
        said = "axes="
        assert image.data.ndim in (3, 4)
        assert 0 not in image.data.shape
    assert re.match(r"(array|axes)=", said), said


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(t) for t in ("u1", "u2", "i4", "i8", "bool")]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
        fill=st.just(0),
    )
)
def test_strokes_in_a_file_are_what_was_painted(array: np.ndarray) -> None:
    strokes = Strokes.of(array)
    np.testing.assert_array_equal(strokes.array(), array)
    with tempfile.TemporaryDirectory() as folder:
        strokes.save(Path(folder) / "a", {})
        again, _ = Strokes.load(Path(folder) / "a")
    assert again.checksum == strokes.checksum
    np.testing.assert_array_equal(again.array(), array)


@pytest.mark.slow
@settings(max_examples=1000)
@given(images(), st.data(), st.sampled_from(["enhanced", "paper"]))
def test_open_segment_write_read_a_thousand(
    given_image: Any, data: st.DataObject, mode: str
) -> None:
    test_open_segment_write_read.hypothesis.inner_test(given_image, data, mode)
