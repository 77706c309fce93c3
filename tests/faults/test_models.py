"""Damaged, hostile and foreign model files (rows 17, 18, 19, 20) are refused by name."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import KEY, load_model, save_model
from napari_clusternet.session import Session
from napari_clusternet.session_file import KIND, VERSION


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.safetensors"
    save_model(path, {"a": np.arange(4, dtype=np.float32)}, {"k": 1})
    return path


def write_raw(path: Path, header: dict[str, Any] | bytes, payload: bytes) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + payload)
    return path


def refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(FileFormatError, match=match) as caught:
        load_model(path, **options)
    assert str(path) in str(caught.value)


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


def test_row_17_pickle_is_never_executed(tmp_path: Path) -> None:
    path, touched = tmp_path / "m.safetensors", tmp_path / "touched"
    path.write_bytes(pickle.dumps(Payload(touched)))
    refused(path, "not a safetensors file")
    assert not touched.exists()


def test_row_18_header_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{" + b" " * 100)
    refused(path, "header claims 1152921504606846976 bytes of a file of 109")


@pytest.mark.parametrize("keep", [0, 5, 8, 60, -1])
def test_row_18_truncation(good: Path, keep: int) -> None:
    good.write_bytes(good.read_bytes()[:keep])
    refused(good, "not a safetensors|header claims|damaged")


def test_row_18_overlapping_offsets(tmp_path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    ours = {"__metadata__": {KEY: "{}"}}
    path = write_raw(tmp_path / "m", {**ours, "a": tensor, "b": tensor}, bytes(8))
    refused(path, "damaged")


def test_row_18_offsets_outside_the_file(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    refused(write_raw(tmp_path / "m", header, bytes(8)), "damaged")


def test_row_18_deeply_nested_metadata(tmp_path: Path) -> None:
    header = {"__metadata__": {KEY: "[" * 100_000}}
    refused(write_raw(tmp_path / "m", header, b""), "damaged")


def test_foreign_safetensors_file(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    refused(write_raw(tmp_path / "m", header, bytes(4)), "no 'napari_clusternet' metadata")


@pytest.mark.parametrize("content", ["[]", "3", '{"format": "clusternet-model", "version": 1}'])
def test_metadata_of_the_wrong_shape(tmp_path: Path, content: str) -> None:
    refused(write_raw(tmp_path / "m", {"__metadata__": {KEY: content}}, b""), "metadata")


def test_row_18_a_bit_that_changed_on_the_disk(good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[-1] ^= 1
    good.write_bytes(content)
    refused(good, "'a' is not what was written")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_row_19_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "m"
    save_model(path, {"w": np.array([1.0, value])}, {})
    refused(path, "'w' holds NaN or infinite values")
    assert load_model(path, finite=False)[0]["w"].shape == (2,)


def test_row_20_future_version(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_model(path, {}, {}, version=2)
    refused(path, "version 2, this program reads up to 1. Update")


@pytest.mark.parametrize("version", ["1", None, True, 0])
def test_row_20_version_that_is_no_number(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "m"
    save_model(path, {}, {}, version=version)
    refused(path, "version")


def test_row_20_missing_key(good: Path) -> None:
    refused(good, r"lacks \['b', 'c'\]", required=["a", "b", "c", "k"])


def test_row_20_sessions_of_the_future_and_without_parts(tmp_path: Path) -> None:
    path = tmp_path / "s.clusternet"
    Session(picture(np.float32), features="bands", n_clusters=3).save(path)
    arrays, metadata = load_model(path, kind=KIND, version=VERSION, finite=False)
    save_model(path, arrays, metadata, kind=KIND, version=VERSION + 1)
    with pytest.raises(FileFormatError, match="Update napari-clusternet"):
        Session.load(path)
    for name in ("strokes", "order", "history", "image"):
        parts = [{k: v for k, v in part.items() if k != name} for part in (arrays, metadata)]
        save_model(path, *parts, kind=KIND, version=VERSION)
        with pytest.raises(FileFormatError, match=rf"s\.clusternet.*lacks \['{name}'\]"):
            Session.load(path)


def picture(dtype: Any, bands: int = 2) -> Image:
    data = np.random.default_rng(0).integers(0, 99, (bands, 12, 9)).astype(dtype)
    return Image.from_array(data, axes="CYX")


def test_row_16_another_dtype_of_integers_is_refused() -> None:
    session = Session(picture(np.uint8), features="bands", n_clusters=3)
    both = r"2 bands .* of uint16, .* 2 bands .* of uint8"
    with pytest.raises(InputError, match=both):
        session.predict(picture(np.uint16))
    with pytest.raises(InputError, match=r"3 bands .* of uint8, .* 2 bands"):
        session.predict(picture(np.uint8, bands=3))


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "No such file")


def test_a_refused_file_is_left_as_it_was(good: Path) -> None:
    before = good.read_bytes()
    refused(good, "not a 'session'", kind="session")
    assert good.read_bytes() == before
