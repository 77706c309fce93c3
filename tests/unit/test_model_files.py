"""Arrays and metadata survive the file; another kind or a newer version is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.io.model_files import load_model, save_model

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "ids": np.array([[1, 65535]], dtype=np.uint16),
    "flag": np.array(True),
    "half": np.array([0.5], dtype=np.float16),
    "none": np.zeros((0, 3)),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, ARRAYS, {"bands": ["red", "näher"], "k": 3})
    tensors, metadata = load_model(path, required=["weight", "k"])
    assert metadata == {"bands": ["red", "näher"], "k": 3}
    assert tensors.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_views_and_other_byte_orders_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    base = np.arange(12, dtype=">f4").reshape(3, 4)
    save_model(path, {"a": base.T[::2]}, {})
    np.testing.assert_array_equal(load_model(path)[0]["a"], [[0, 4, 8], [2, 6, 10]])


def test_a_session_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "s.clusternet"
    save_model(path, {}, {}, kind="session")
    with pytest.raises(FileFormatError, match=r"it is a 'session', not a 'clusternet-model'"):
        load_model(path)
    assert load_model(path, kind="session") == ({}, {})


def test_metadata_that_is_not_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="metadata"):
        save_model(tmp_path / "m", {}, {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tensors"):
        save_model(tmp_path / "m", {"o": np.array([object()])}, {})
