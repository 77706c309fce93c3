"""The demo: the samples, their strokes, the files it writes and the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import napari_clusternet as cn
from napari_clusternet.data import SAMPLES, load_sample
from napari_clusternet.errors import InputError
from napari_clusternet.gallery import (
    CLASS_COLOURS,
    Panel,
    Row,
    coloured,
    drawn_over,
    gallery,
    speckled,
    stretched,
)

#: Format -> the package that opens it.
NEEDS = {"mni152": "nibabel", "rmnp": "rasterio"}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_fits_together(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    sample = load_sample(name)
    image = sample.open()
    assert sample.strokes.shape == image.shape
    present = np.unique(sample.strokes)
    np.testing.assert_array_equal(present, np.arange(len(sample.class_names) + 1))
    assert np.mean(sample.strokes > 0) < 0.05  # sparse, as a user's strokes are
    assert image.units == (sample.unit or "degree",) * image.ndim
    _, valid = image.read()
    assert valid[sample.strokes > 0].all()
    if sample.truth is not None:
        stroked = sample.strokes > 0
        np.testing.assert_array_equal(sample.strokes[stroked], sample.truth[stroked])


def test_an_unknown_sample_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'mars'.*indian-pines"):
        load_sample("mars")


def test_stretching_spans_the_percentiles() -> None:
    # 0..100: the 2nd and 98th percentiles are 2 and 98; 50 lies half way
    values = np.arange(101, dtype=float).reshape(1, 1, 101)
    picture = stretched(values, (0,))
    assert picture.shape == (1, 101, 3)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 100].tolist() == [255, 255, 255]
    assert picture[0, 50].tolist() == [127, 127, 127]


def test_colours_repeat_past_the_last_and_zero_is_black() -> None:
    n = len(CLASS_COLOURS) - 1
    picture = coloured(np.array([[0, 1, n, n + 1]]))
    np.testing.assert_array_equal(picture[0], CLASS_COLOURS[[0, 1, n, 1]])
    assert speckled(np.array([[0]]))[0, 0].tolist() == [0, 0, 0]


def test_strokes_cover_a_dimmed_picture() -> None:
    picture = np.full((1, 2, 3), 90, np.uint8)
    over = drawn_over(picture, np.array([[0, 2]]))
    assert over[0].tolist() == [[30, 30, 30], CLASS_COLOURS[2].tolist()]


def test_a_gallery_holds_every_panel() -> None:
    red = np.zeros((49, 49, 3), np.uint8)
    red[..., 0] = 255
    picture = np.asarray(gallery([Row("one", [Panel("a", red), Panel("b", red)], ["x"])] * 2))
    # 49 pixels are enlarged six times, to 294; 2 rows of 2 panels
    assert (picture == (255, 0, 0)).all(axis=-1).sum() == 4 * 294 * 294


@pytest.mark.slow
def test_the_demo_writes_labels_with_metadata_and_one_picture(tmp_path: Path) -> None:
    pytest.importorskip("nibabel", reason="the extra medical is not installed")
    from napari_clusternet.demo import run_demo

    report = run_demo(tmp_path)
    scene, volume = report.outcomes
    assert cn.open_image(scene.labels).spacing == (20, 20)
    assert cn.open_image(volume.labels).spacing == (2, 2, 2)
    assert cn.read_labels(volume.labels).shape == (94, 116, 98)
    # far above chance (1/16 and 1/3), below what the method reaches
    assert scene.dice > 0.5
    assert volume.dice > 0.7
    with Pillow.open(report.picture) as picture:
        assert picture.width > 5 * 290
    assert str(report).count("\n") == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "demo.png", "indian-pines-labels.tif", "mni152-labels.nii.gz",
    ]  # fmt: skip
