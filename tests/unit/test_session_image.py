"""Pixels go into a session's file if, and only if, no other file gives them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.io.labels import write_labels
from napari_clusternet.io.model_files import load_model
from napari_clusternet.io.opening import open_image
from napari_clusternet.session import Session
from napari_clusternet.session_file import KIND, VERSION, load_with_extra, take_snapshot


def source(folder: Path) -> Image:
    values = np.random.default_rng(0).integers(0, 200, (12, 14)).astype(np.uint8)
    return open_image(write_labels(folder / "a.tif", values))


def holds_pixels(path: Path) -> bool:
    return "image_data" in load_model(path, kind=KIND, version=VERSION, finite=False)[0]


def test_a_file_that_gives_the_image_back_is_named(tmp_path: Path) -> None:
    Session(source(tmp_path), "bands", n_clusters=3).save(tmp_path / "a.clusternet")
    assert not holds_pixels(tmp_path / "a.clusternet")


def test_other_bands_than_the_file_go_along(tmp_path: Path) -> None:
    image = source(tmp_path)
    doubled = np.concatenate([np.asarray(image.data)] * 2)
    image = replace(image, data=doubled, band_names=("a", "b"), levels=())
    Session(image, "bands", n_clusters=3).save(tmp_path / "a.clusternet")
    assert holds_pixels(tmp_path / "a.clusternet")
    again = Session.load(tmp_path / "a.clusternet")
    np.testing.assert_array_equal(np.asarray(again.image.data), doubled)


def test_too_large_an_image_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_clusternet import session_file
    from napari_clusternet.config import SessionDefaults

    monkeypatch.setattr(session_file, "SESSION", SessionDefaults(embed_bytes=100))
    image = Image.from_array(np.random.default_rng(0).random((12, 14)))
    Session(image, "bands", n_clusters=3).save(tmp_path / "a.clusternet")
    with pytest.raises(InputError, match="Pass image="):
        Session.load(tmp_path / "a.clusternet")
    assert Session.load(tmp_path / "a.clusternet", image).image is image


def test_the_right_one_of_several_is_taken_and_extras_come_back(tmp_path: Path) -> None:
    image = source(tmp_path)
    session = Session(image, "bands", n_clusters=3)
    take_snapshot(session, {"classes": [{"name": "water"}]}).write(tmp_path / "a.clusternet")
    other = Image.from_array(np.zeros((12, 14)))
    again, extra = load_with_extra(Session, tmp_path / "a.clusternet", [other, image])
    assert again.image is image
    assert extra == {"classes": [{"name": "water"}]}
    again, _ = load_with_extra(Session, tmp_path / "a.clusternet", [other])
    assert again.image.source == image.source
