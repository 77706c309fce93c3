"""What is read and written is said before work starts; one bad image does not stop the others."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_clusternet.applying import apply_steps, plan
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.exports import class_paths, write_certainty, write_table
from napari_clusternet.io.labels import read_labels, write_labels
from napari_clusternet.progress import Progress, drain


def predict(image: Image) -> Generator[Progress, None, Any]:
    """Call pixels over 1 class 2, the others class 1."""
    yield Progress("half", 1, 2)
    return np.where(np.asarray(image.data)[0] > 1, 2, 1).astype(np.uint8)


def picture(path: Path, value: int) -> Path:
    return write_labels(path, np.full((4, 5), value, np.uint8))


def test_results_are_named_after_their_sources(tmp_path: Path) -> None:
    for name in ("a.ome.tif", "b.tif", ".hidden.tif", "old_classes.tif"):
        picture(tmp_path / name, 1)
    picture(tmp_path / "c.zarr", 1)
    (tmp_path / "notes.txt").write_text("no image")
    jobs = plan([tmp_path], tmp_path)
    names = [(job.name, job.output.name) for job in jobs if job.output]
    assert names == [
        ("a.ome.tif", "a.ome_classes.tif"), ("b.tif", "b_classes.tif"), ("c.zarr", "c_classes.zarr")
    ]  # fmt: skip
    image = Image.from_array(np.ones((4, 5)), name="a/b: c")
    (job,) = plan([image], tmp_path, ".nii.gz")
    assert job.output == tmp_path / "a_b_ c_classes.nii.gz"
    assert plan([image])[0].output is None


def test_harm_is_refused_before_work(tmp_path: Path) -> None:
    one = picture(tmp_path / "a.tif", 1)
    with pytest.raises(InputError, match=r"no place for the result of 'a\.tif'"):
        plan([one])
    with pytest.raises(FileFormatError, match="no such file"):
        plan([tmp_path / "missing.tif"], tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        plan([one], one)
    picture(tmp_path / "a_classes.tif", 1)
    with pytest.raises(InputError, match="exists already"):
        plan([one], tmp_path)
    assert plan([one], tmp_path, overwrite=True)
    # a.tif becomes a_classes.tif, which is a source itself
    with pytest.raises(InputError, match="would replace a source"):
        plan([one, tmp_path / "a_classes.tif"], tmp_path, overwrite=True)


def test_the_rest_goes_on_after_a_failure(tmp_path: Path) -> None:
    good, bad = picture(tmp_path / "a.tif", 1), picture(tmp_path / "b.tif", 2)
    last = picture(tmp_path / "c.tif", 2)
    bad.write_bytes(bad.read_bytes()[:100])
    (tmp_path / "out").mkdir()
    seen: list[Progress] = []
    jobs = plan([good, bad, last], tmp_path / "out")
    found = drain(apply_steps(predict, jobs, {1: "low"}), seen.append)
    assert [bool(outcome.error) for outcome in found] == [False, True, False]
    assert "b.tif" in found[1].error
    assert [(p.done, p.total) for p in seen] == [
        (49, 300), (100, 300), (200, 300), (249, 300), (300, 300),
    ]  # fmt: skip
    assert (read_labels(tmp_path / "out" / "c_classes.tif") == 2).all()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a_classes.tif", "c_classes.tif",
    ]  # fmt: skip


def test_class_files_have_safe_names() -> None:
    paths = class_paths("/d/my.map.nii.gz", {1: "Grey / white", 2: "..", 3: "Wald-Über"})
    assert [p.name for p in paths.values()] == [
        "my.map_1_grey-white.nii.gz", "my.map_2_class.nii.gz", "my.map_3_wald-über.nii.gz",
    ]  # fmt: skip


def test_certainty_is_in_percent_and_nothing_where_unknown(tmp_path: Path) -> None:
    certainty = np.array([[0.0, 0.254], [np.nan, 1.0]])
    path = write_certainty(tmp_path / "a.tif", certainty, Image.from_array(np.ones((2, 2))))
    np.testing.assert_array_equal(read_labels(path), [[0, 25], [0, 100]])


def test_the_table_names_its_classes(tmp_path: Path) -> None:
    table = pd.DataFrame({"class": [2, 0], "centroid": [np.ones(3)] * 2}, index=[4, 7])
    table.index.name = "cluster"
    path = write_table(tmp_path / "a.csv", table, {2: "sea, deep"})
    assert path.read_text(encoding="utf-8") == 'cluster,class,class_name\n4,2,"sea, deep"\n7,0,\n'
    with pytest.raises(FileFormatError, match=r"\*\.csv"):
        write_table(tmp_path / "a.xlsx", table, {})


def test_a_large_file_is_classified_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_clusternet import applying
    from napari_clusternet.session import Session

    image = Image.from_array(np.arange(20, dtype=np.uint8).reshape(4, 5), axes="YX")
    write_labels(tmp_path / "b.tif", np.asarray(image.data)[0])
    session = Session(image, "bands", n_clusters=4)
    strokes = np.zeros((4, 5), np.uint8)
    strokes[0], strokes[3] = 1, 2
    session.update(strokes)
    monkeypatch.setattr(applying, "LARGE_PIXELS", 10)
    monkeypatch.setattr(applying, "write_labels", None)  # not used for it
    jobs = plan([tmp_path / "b.tif"], tmp_path)
    (outcome,) = drain(apply_steps(session.predictor(), jobs, {1: "dark"}))
    assert (outcome.error, outcome.output) == ("", tmp_path / "b_classes.tif")
    np.testing.assert_array_equal(read_labels(tmp_path / "b_classes.tif"), session.labels)
    assert not (tmp_path / "b_classes.tif.partial").exists()
