"""Step 2 on the real samples, against their truth; files in, files out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.data.samples import load_sample
from napari_clusternet.metrics import evaluate

if TYPE_CHECKING:
    from pathlib import Path


def dice(labels: np.ndarray, truth: np.ndarray) -> float:
    return evaluate(labels, truth, min_pixels=150).mean_dice


@pytest.mark.slow
def test_25_bands_enhanced_beats_paper_and_finds_the_fields() -> None:
    sample = load_sample("indian-pines")
    image = sample.open()
    enhanced, paper = (
        dice(cn.segment(image, sample.strokes, features="filters", mode=mode), sample.truth)
        for mode in ("enhanced", "paper")
    )
    assert enhanced > 0.8  # 16 classes, 6 strokes each; chance is near 0.06
    assert enhanced > paper


@pytest.mark.parametrize("clusterer", ["kmeans", "gmm"])
def test_a_volume_by_either_clusterer(clusterer: str) -> None:
    sample = load_sample("mni152")
    image = sample.open()
    middle = (slice(30, 50),)
    part = cn.Image.from_array(
        np.asarray(image.data)[(slice(None), *middle)], axes="CZYX", nodata=0, spacing=(2, 2, 2)
    )
    session = cn.Session(part, features="filters", n_clusters=60, clusterer=clusterer)
    labels = session.update(sample.strokes[middle])
    assert dice(labels, sample.truth[middle]) > 0.7
    assert not labels[~np.asarray(part.read()[1])].any()


def test_from_file_to_file_the_grid_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    sample = load_sample("rmnp")
    image = cn.open_image(sample.image)
    labels = cn.segment(image, sample.strokes, n_clusters=200)
    cn.write_labels(tmp_path / "labels.tif", labels, like=image)
    again = cn.open_image(tmp_path / "labels.tif")
    assert again.crs == image.crs == "EPSG:4326"
    np.testing.assert_array_equal(again.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(again.data)[0], labels)


def test_strokes_at_work_agree_with_one_call() -> None:
    # strokes given one class after the other end in the same labels as all at once do, where
    # no split happened on the way
    sample = load_sample("sentinel2")
    image = sample.open()
    session = cn.Session(image, features="bands", n_clusters=300)
    for last in range(2, int(sample.strokes.max()) + 1):
        session.update(np.where(sample.strokes <= last, sample.strokes, 0))
    at_once = cn.Session(image, features="bands", n_clusters=300)
    at_once.update(sample.strokes)
    assert (session.labels == at_once.labels).mean() > 0.95
    session.undo()
    assert session.strokes.max() == sample.strokes.max() - 1
