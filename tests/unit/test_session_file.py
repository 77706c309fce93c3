"""A saved session goes on as if it had never been closed; damaged files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.io.opening import open_image
from napari_clusternet.session import Session
from napari_clusternet.session_file import KIND


def painted(shape: tuple[int, ...]) -> np.ndarray:
    strokes = np.zeros(shape, np.uint8)
    strokes[..., 3:8, 4], strokes[..., 15:22, 9], strokes[..., 2:12, 14] = 1, 2, 3
    return strokes


def worked_on(session: Session) -> Session:
    strokes = painted(session.image.shape)
    session.update(np.where(strokes < 3, strokes, 0))
    session.update(strokes)
    session.split(2)
    session.merge([1, 4])
    session.assign(3, 1)
    session.undo()
    return session


@pytest.mark.parametrize("mode", ["paper", "enhanced"])
@pytest.mark.parametrize("features", ["bands", "filters", "context", "array"])
def test_load_is_the_identity(tmp_path: Path, features: str, mode: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 30, 20)).astype(np.float32)
    data[1, 5, 5] = np.nan
    image = Image.from_array(data, axes="CYX", spacing=(2, 3), units="metre", nodata=np.nan)
    given = data[:2] if features == "array" else features
    one = worked_on(Session(image, features=given, n_clusters=9, mode=mode))
    one.save(tmp_path / "a.clusternet")
    two = Session.load(tmp_path / "a.clusternet")
    assert two.image.spacing == (2.0, 3.0)
    assert two.image.units == ("metre", "metre")

    def same() -> None:
        for name in ("labels", "strokes", "cluster_map", "certainty", "centroids"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert one.clusters.drop(columns="centroid").equals(two.clusters.drop(columns="centroid"))

    same()
    one.redo(), two.redo()
    same()
    for _ in range(5):
        one.undo(), two.undo()
        same()
    one.update(painted((30, 20)) // 2), two.update(painted((30, 20)) // 2)
    same()


def test_models_are_kept_inside(tmp_path: Path) -> None:
    data = np.random.default_rng(5).normal(size=(2, 40, 40)).astype(np.float32)
    image = Image.from_array(data, axes="CYX")
    model = ClusterNet(n_clusters=6, n_features=5, n_epochs=1, patch=32, random_state=0,
                       cluster_batch=2, train_batch=2).fit([image])  # fmt: skip
    session = Session(image, features=(model, "filters"), n_clusters=7)
    session.update(painted((40, 40)))
    session.save(tmp_path / "a.clusternet")
    again = Session.load(tmp_path / "a.clusternet")
    np.testing.assert_array_equal(again.labels, session.labels)
    np.testing.assert_array_equal(again.predict(image), session.predict(image))


def test_the_image_is_found_where_it_was_or_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 200, size=(30, 20), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "scene.tif", data, photometric="minisblack")
    session = Session(open_image(tmp_path / "scene.tif"), features="bands", n_clusters=5)
    session.update(painted((30, 20)))
    session.save(tmp_path / "a.clusternet")
    assert (tmp_path / "a.clusternet").stat().st_size < 30_000  # no pixels inside
    np.testing.assert_array_equal(Session.load(tmp_path / "a.clusternet").labels, session.labels)
    (tmp_path / "scene.tif").rename(tmp_path / "moved.tif")
    with pytest.raises(InputError, match="Pass image="):
        Session.load(tmp_path / "a.clusternet")
    moved = Session.load(tmp_path / "a.clusternet", image=open_image(tmp_path / "moved.tif"))
    np.testing.assert_array_equal(moved.labels, session.labels)


def test_a_file_is_opened_again_as_it_was_opened(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    np.save(tmp_path / "scene.npy", rng.normal(size=(24, 20, 3)).astype(np.float32))
    mask = np.ones((24, 20), bool)
    mask[:4] = False
    image = open_image(tmp_path / "scene.npy", axes="YXC", spacing=(2, 2), mask=mask)
    session = Session(image, features="bands", n_clusters=5)
    session.update(painted((24, 20)))
    session.save(tmp_path / "a.clusternet")
    again = Session.load(tmp_path / "a.clusternet")
    assert again.image.spacing == (2.0, 2.0)
    np.testing.assert_array_equal(again.labels, session.labels)
    assert not again.labels[:4].any()


def test_another_image_is_refused(tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(size=(1, 20, 20)).astype(np.float32)
    session = Session(Image.from_array(data, axes="CYX"), features="bands", n_clusters=4)
    session.save(tmp_path / "a.clusternet")
    for other in (data + 1, data[:, :-1]):
        with pytest.raises(InputError, match="not the image the session was made for"):
            Session.load(tmp_path / "a.clusternet", image=Image.from_array(other, axes="CYX"))


def saved(tmp_path: Path) -> Path:
    data = np.random.default_rng(3).normal(size=(2, 24, 20)).astype(np.float32)
    session = Session(Image.from_array(data, axes="CYX"), features="bands", n_clusters=6)
    return worked_on(session).save(tmp_path / "a.clusternet")


@pytest.mark.parametrize("array", ["order", "cluster_map", "segments", "strokes", "base"])
def test_arrays_that_contradict_each_other_are_refused(tmp_path: Path, array: str) -> None:
    path = saved(tmp_path)
    arrays, metadata = load_model(path, kind=KIND, version=2, finite=False)
    broken = arrays[array].copy()
    broken = broken[..., :-1] if array in ("base", "strokes") else np.roll(broken, 1)
    save_model(path, {**arrays, array: broken}, metadata, kind=KIND, version=2)
    with pytest.raises(FileFormatError, match=r"a\.clusternet"):
        Session.load(path)


def test_unknown_classes_in_the_file_are_never_built(tmp_path: Path) -> None:
    path = saved(tmp_path)
    arrays, metadata = load_model(path, kind=KIND, version=2, finite=False)
    text = json.dumps(metadata).replace('"ClusterState"', '"Path"')
    save_model(path, arrays, json.loads(text), kind=KIND, version=2)
    with pytest.raises(FileFormatError, match="do not fit together"):
        Session.load(path)


def test_a_truncated_file_is_refused_and_a_missing_one_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = path.read_bytes()
    for length in (0, 5, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"a\.clusternet"):
            Session.load(path)
    with pytest.raises(FileFormatError, match="gone"):
        Session.load(tmp_path / "gone.clusternet")


def split_six_times(path: Path) -> tuple[Session, Image]:
    image = Image.from_array(np.random.default_rng(0).normal(size=(3, 24, 20)), axes="CYX")
    session = Session(image, features="bands", n_clusters=12, random_state=0)
    for cluster in range(2, 8):
        session.split(cluster)
    session.save(path)
    return session, image


def inlined(value: Any, objects: list[Any]) -> Any:
    """As version 1 wrote it: each object where it is used, every time."""
    if isinstance(value, list):
        return [inlined(item, objects) for item in value]
    if isinstance(value, dict) and "object" in value:
        return inlined(objects[value["object"]], objects)
    if isinstance(value, dict) and "objects" in value:
        return [inlined(objects[i], objects) for i in value["objects"]]
    if isinstance(value, dict):
        return {key: inlined(item, objects) for key, item in value.items()}
    return value


@pytest.mark.parametrize("version", [1, 2])
def test_steps_share_their_splits_as_before(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.clusternet"
    session, image = split_six_times(path)
    if version == 1:
        arrays, metadata = load_model(path, kind=KIND, version=2, finite=False)
        objects = metadata.pop("objects")
        save_model(path, arrays, inlined(metadata, objects), kind=KIND, version=1)
    loaded = Session.load(path, image=image)
    assert np.array_equal(loaded.cluster_map, session.cluster_map)
    entries = loaded._history.entries
    last = entries[-1].after.divides
    assert len(last) == 6
    for entry in entries:  # the very objects: copies would grow with the square of the steps
        assert all(a is b for a, b in zip(entry.after.divides, last, strict=False))
    while session.can_undo:
        assert np.array_equal(loaded.undo(), session.undo())
        assert np.array_equal(loaded.cluster_map, session.cluster_map)


def test_what_steps_share_is_written_once(tmp_path: Path) -> None:
    session, _ = split_six_times(tmp_path / "a.clusternet")
    _, metadata = load_model(tmp_path / "a.clusternet", kind=KIND, version=2, finite=False)
    kinds = [record["class"] for record in metadata["objects"]]
    states = {id(e.before) for e in session._history.entries}
    states |= {id(e.after) for e in session._history.entries}
    assert (kinds.count("Divide"), kinds.count("Entry")) == (6, 6)
    assert kinds.count("ClusterState") == len(states) == 7  # a step begins where the last ended


@pytest.mark.parametrize("place", [-1, 10**6, "0", 1.0, None])
def test_an_object_that_is_not_there_is_refused(tmp_path: Path, place: Any) -> None:
    path = tmp_path / "a.clusternet"
    split_six_times(path)
    arrays, metadata = load_model(path, kind=KIND, version=2, finite=False)
    metadata["state"] = {"object": place}
    save_model(path, arrays, metadata, kind=KIND, version=2)
    with pytest.raises(FileFormatError, match="do not fit together"):
        Session.load(path)
