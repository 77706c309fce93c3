"""k-means of the bands and step 2: the session's own answers, and clusters without strokes."""

from __future__ import annotations

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.classify.rgb_kmeans import RGBKMeans, class_of_nearest
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.progress import drain

# five grey values in columns; strokes on the first and the last only
VALUES = np.repeat([0.0, 1.0, 2.0, 8.0, 10.0], 6)[None] * np.ones((12, 1))
STROKES = np.zeros(VALUES.shape, np.uint8)
STROKES[4, 1:4], STROKES[4, -4:-1] = 1, 2


def segment(mode: str) -> np.ndarray:
    return cn.segment(
        VALUES.astype(np.float32), STROKES, method="rgb_kmeans", mode=mode, n_clusters=5
    )


def test_paper_mode_leaves_clusters_without_strokes_unclassified():
    np.testing.assert_array_equal(segment("paper")[0], np.repeat([1, 0, 0, 0, 2], 6))


def test_enhanced_mode_asks_the_nearest_centroid():
    # 1 and 2 are nearer to 0 (class 1), 8 is nearer to 10 (class 2)
    np.testing.assert_array_equal(segment("enhanced")[0], np.repeat([1, 1, 1, 2, 2], 6))


def test_it_is_the_session_on_the_bands():
    rng = np.random.default_rng(0)
    image = Image.from_array(rng.normal(size=(3, 24, 30)).astype(np.float32), axes="CYX")
    strokes = np.zeros((24, 30), np.uint8)
    strokes[3, :], strokes[15, :] = 1, 2  # mixed clusters: they are split
    session = cn.Session(image, "bands", mode="paper", n_clusters=12, random_state=5)
    labels = cn.segment(
        image, strokes, method="rgb_kmeans", mode="paper", n_clusters=12, random_state=5
    )
    np.testing.assert_array_equal(labels, session.update(strokes))
    assert len(session.clusters) > 12


def test_nearest_class_by_hand():
    centroids = np.array([[0.0, 0], [4, 0], [5, 0], [0, 9]])
    np.testing.assert_array_equal(class_of_nearest(centroids, np.array([3, 0, 7, 0])), [3, 7, 7, 3])


def test_it_says_what_it_lacks():
    image = Image.from_array(VALUES)
    with pytest.raises(InputError, match=r"open_session=None.*segment"):
        drain(RGBKMeans().segment_steps(image, STROKES, None, 0))
