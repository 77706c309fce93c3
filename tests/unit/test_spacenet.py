"""F1 of objects, worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.cli import main
from napari_clusternet.errors import InputError
from napari_clusternet.metrics import spacenet_f1
from napari_clusternet.object_metrics import (
    ObjectScore,
    match_objects,
    object_overlaps,
    score_overlaps,
)


def box(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A map of objects 1, 2, ... at (top, bottom, left, right)."""
    objects = np.zeros(shape, np.uint16)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        objects[top:bottom, left:right] = number
    return objects


def test_overlap_by_hand() -> None:
    truth = box((20, 40), (0, 10, 0, 10))  # 100 px
    found = box((20, 40), (0, 10, 2, 12), (12, 14, 0, 5))
    # common 10 x 8 = 80, together 100 + 100 - 80 = 120
    np.testing.assert_allclose(object_overlaps(found, truth), [[80 / 120], [0.0]])


def test_truth_under_80_pixels_is_not_asked_for() -> None:
    truth = box((30, 40), (0, 8, 0, 10), (10, 20, 0, 10), (22, 29, 0, 10))  # 80, 100, 70 px
    assert object_overlaps(truth, truth).shape == (3, 2)
    # a prediction of the 70 px object has nothing left to match: it is a false positive
    score = spacenet_f1([truth], [truth])
    assert score == ObjectScore(2, 1, 0)
    assert score.f1 == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_overlap_must_be_more_than_half() -> None:
    assert match_objects([[0.5]]) == [-1]
    assert match_objects([[0.51]]) == [0]


def test_predictions_choose_in_order_and_a_truth_is_taken_once() -> None:
    overlaps = [[0.6, 0.0], [0.9, 0.55], [0.8, 0.0]]
    # the first takes truth 0 though the second fits it better; the second takes truth 1; the
    # third finds truth 0 gone
    assert match_objects(overlaps) == [0, 1, -1]
    assert score_overlaps(overlaps) == ObjectScore(2, 1, 0)


def test_counts_are_summed_over_images_before_f1() -> None:
    truth_a = box((40, 40), (0, 10, 0, 10), (0, 10, 20, 30), (20, 30, 0, 10))
    truth_b = box((40, 40), (5, 25, 5, 25))
    found_a = box((40, 40), (0, 10, 0, 10))  # 1 of 3
    found_b = box((40, 40), (5, 25, 5, 25), (30, 40, 30, 40))  # 1 of 1, and one invented
    score = spacenet_f1([found_a, found_b], [truth_a, truth_b])
    assert score == ObjectScore(2, 1, 2)
    # 2 * 2 / (2 * 2 + 1 + 2) = 4 / 7; the mean of the images' F1, (1/2 + 2/3) / 2, would be .583
    assert score.f1 == pytest.approx(4 / 7)
    assert score.precision == pytest.approx(2 / 3)
    assert score.recall == pytest.approx(2 / 4)


def test_nothing_found_and_nothing_to_find() -> None:
    empty, one = box((20, 20)), box((20, 20), (0, 10, 0, 10))
    assert spacenet_f1([empty], [one]) == ObjectScore(0, 0, 1)
    assert spacenet_f1([one], [empty]) == ObjectScore(0, 1, 0)
    assert spacenet_f1([empty], [empty]).f1 == 0.0


def test_polygons_give_the_same_score_as_maps() -> None:
    pytest.importorskip("shapely")
    pytest.importorskip("rasterio")
    from napari_clusternet.polygons import iou_matrix, polygonize

    truth = box((40, 40), (0, 10, 0, 10), (0, 10, 20, 30), (20, 30, 0, 10))
    found = box((40, 40), (0, 10, 1, 11), (4, 14, 24, 34), (22, 32, 0, 10))
    polygons = iou_matrix(polygonize(found).geometry, polygonize(truth).geometry)
    np.testing.assert_allclose(polygons, object_overlaps(found, truth))


def test_objects_may_be_numbered_anyhow_and_in_3d() -> None:
    truth = np.zeros((6, 10, 10), np.int64)
    truth[1:4, 2:8, 2:8] = 7  # 108 voxels
    assert spacenet_f1([truth * 100], [truth]) == ObjectScore(1, 0, 0)


def test_bad_maps_are_named() -> None:
    one = box((20, 20), (0, 10, 0, 10))
    with pytest.raises(InputError, match="one map of objects for each image"):
        spacenet_f1([one], [one, one])
    with pytest.raises(InputError, match=r"predictions=.*shape"):
        spacenet_f1([one[1:]], [one])
    with pytest.raises(InputError, match="not a map of objects"):
        spacenet_f1(one, one)  # one map where a list of maps belongs
    with pytest.raises(InputError, match=r"truths=.*not a map"):
        spacenet_f1([one], [one / 2])


def test_the_command_scores_the_connected_parts_of_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.full((40, 40), 2, np.uint8)
    truth[5:15, 5:15] = truth[20:30, 20:30] = 1
    labels = truth.copy()
    labels[20:30, 20:30] = 2  # one of two is missed: F1 = 2 / (2 + 1)
    for name, values in (("labels.tif", labels), ("truth.tif", truth)):
        cn.write_labels(tmp_path / name, values)
    paths = [str(tmp_path / name) for name in ("labels.tif", "truth.tif")]
    assert main(["score", *paths, "--objects", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"]["f1"] == pytest.approx(2 / 3)
    assert main(["score", *paths, "--objects", "1"]) == 0
    assert "F1 0.667" in capsys.readouterr().out
    assert main(["score", *paths]) == 0
    assert "objects" not in capsys.readouterr().out
