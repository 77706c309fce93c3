"""Strokes as runs: exactly what was painted comes back, and damaged files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_clusternet.errors import FileFormatError
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.stroke_file import KIND, Strokes


def test_runs_by_hand() -> None:
    # flat: 0 0 2 | 2 2 0 | 1 0 0: class 2 from place 2 on, three pixels; class 1 at place 6
    array = np.array([[0, 0, 2], [2, 2, 0], [1, 0, 0]], np.uint8)
    strokes = Strokes.of(array)
    assert strokes.starts.tolist() == [2, 6]
    assert strokes.lengths.tolist() == [3, 1]
    assert strokes.values.tolist() == [2, 1]
    assert strokes.n_pixels == 4
    np.testing.assert_array_equal(strokes.array(), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, bool])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (1, 1), (700, 900)])
def test_what_is_saved_comes_back(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    array = (rng.integers(0, 4, shape) * (rng.random(shape) < 0.3)).astype(dtype)
    Strokes.of(array).save(tmp_path / "a", {"name": "ü"})
    strokes, about = Strokes.load(tmp_path / "a")
    assert about == {"name": "ü"}
    np.testing.assert_array_equal(strokes.array(), array)


def test_values_that_are_no_classes_are_kept_too() -> None:
    array = np.array([[0, -3, 70_000]])
    np.testing.assert_array_equal(Strokes.of(array).array(), array)
    assert Strokes.of(np.array([[300, 0]])).values.dtype == np.uint16


def test_nothing_painted_and_views() -> None:
    assert Strokes.of(np.zeros((4, 4))).n_pixels == 0
    array = np.arange(12).reshape(3, 4).T
    np.testing.assert_array_equal(Strokes.of(array).array(), array)


def test_a_brush_stroke_on_25_megapixels_is_small() -> None:
    array = np.zeros((5000, 5000), np.uint8)
    array[100:112, 50:4000] = 1  # 12 runs of 9 bytes
    assert Strokes.of(array).nbytes == 12 * 9


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"starts": np.array([2, 9], np.uint32)}, "outside"),
        ({"starts": np.array([2, 4], np.uint32)}, "overlapping"),
        ({"starts": np.array([6, 2], np.uint32)}, "overlapping"),
        ({"starts": np.array([-1, 6])}, "outside"),
        ({"starts": np.array([2, 2**64 - 1], np.uint64)}, "outside"),
        ({"lengths": np.array([3, 0], np.uint32)}, "outside"),
        ({"lengths": np.array([3], np.uint32)}, "different numbers"),
        ({"values": np.array([1.0, 2.0])}, "whole numbers"),
        ({"shape": [3]}, "shape"),
        ({"shape": [1 << 30, 1 << 30]}, "shape"),
        ({"shape": [3, True]}, "shape"),
        ({"about": 3}, "shape"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = tmp_path / "a.strokes"
    Strokes.of(np.array([[0, 0, 2], [2, 2, 0], [1, 0, 0]], np.uint8)).save(path, {})
    arrays, metadata = load_model(path, kind=KIND)
    for name, value in change.items():
        (arrays if name in arrays else metadata)[name] = value
    save_model(path, arrays, metadata, kind=KIND)
    with pytest.raises(FileFormatError, match=rf"a\.strokes.*{problem}"):
        Strokes.load(path)
