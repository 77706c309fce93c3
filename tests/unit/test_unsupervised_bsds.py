"""The benchmark's metric on segmentations small enough to count."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bsds():
    path = Path(__file__).parents[2] / "benchmarks" / "bsds.py"
    if not path.exists():
        pytest.skip("benchmarks/ is not part of this copy")
    spec = importlib.util.spec_from_file_location("bsds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_best_iou_of_each_segment(bsds):
    truth = np.array([[1, 1, 1, 2], [1, 1, 1, 2]])
    regions = np.array([[7, 7, 0, 0], [7, 7, 0, 0]])
    # segment 1 (6 px): region 7 shares 4 of 6, region 0 shares 2 of 8; segment 2 (2 px): 2 of 4
    np.testing.assert_allclose(bsds.segment_ious(regions, truth), [4 / 6, 2 / 4])
    np.testing.assert_allclose(bsds.segment_ious(truth, truth), [1, 1])


def test_segments_of_all_images_are_pooled(bsds):
    # image 1: annotators with 3 segments and with 1; image 2: one annotator with 2
    images = [[[0.2, 0.4, 0.6], [0.5]], [[1.0, 0.0]]]
    scores = bsds.pooled(images)
    assert scores["All"] == pytest.approx((0.2 + 0.4 + 0.6 + 0.5 + 1.0 + 0.0) / 6)
    assert scores["Fine"] == pytest.approx((0.2 + 0.4 + 0.6 + 1.0 + 0.0) / 5)
    assert scores["Coarse"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert scores["Mean"] == pytest.approx(np.mean([scores[n] for n in ("All", "Fine", "Coarse")]))


def test_connected_pieces(bsds):
    regions = np.array([[1, 1, 2], [2, 1, 1], [1, 2, 1]])
    # 1 falls into the winding piece and the lower left corner (corners do not touch); 2 into three
    assert len(np.unique(bsds.connected(regions))) == 5


def test_small_image_is_scored_at_full_size(bsds):
    from PIL import Image

    array = np.zeros((9, 12, 3), np.uint8)
    array[:, 6:] = 255
    regions = bsds.find_regions(Image.fromarray(array), "kmeans", {"n_clusters": 2}, 0, 2)
    assert regions.shape == (9, 12)
    truth = (np.arange(12) >= 6) * np.ones((9, 1))
    np.testing.assert_allclose(bsds.segment_ious(regions, truth), [1, 1])


def test_truths_of_the_data_set(bsds, development_data):
    folder = development_data / "bsds500_val"
    if not folder.is_dir():
        pytest.skip("bsds500_val is not there")
    truths = bsds.read_truths(folder / "groundTruth" / "101085.mat")
    assert 3 <= len(truths) <= 10
    assert {truth.shape for truth in truths} == {(481, 321)}
