"""The scripts in `examples/` do what they say."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn

FOLDER = Path(__file__).parents[2] / "examples"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_is_listed_and_says_how_it_is_called() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert f"({path.name})" in listed
        assert f"    python examples/{path.name}" in path.read_text(encoding="utf-8")


def test_batch_folder(documented: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, results = Path("scenes"), Path("results")
    folder.mkdir()
    for name in ("a", "b", "quad"):  # the last has other bands
        shutil.copy(f"{name}.tif", folder)
    script("batch_folder").main(folder / "a.tif", Path("strokes.tif"), folder, results)
    assert sorted(p.name for p in results.iterdir()) == ["a_classes.tif", "b_classes.tif"]
    assert "quad.tif: " in capsys.readouterr().out
    right = cn.read_labels(results / "b_classes.tif") == documented["truth"]
    assert np.mean(right) > 0.9


@pytest.mark.slow  # whole samples
def test_one_image_and_compare_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyogrio")
    script("one_image").main(tmp_path, "sentinel2")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"sentinel2_classes.tif", "sentinel2_classes.gpkg", "sentinel2.clusternet"}
    script("compare_methods").main("indian-pines", ["svm"])
    name, dice, *_ = capsys.readouterr().out.splitlines()[-1].split()
    assert name == "svm"
    assert 0.3 < float(dice) < 1


@pytest.mark.slow  # starts processes
def test_dask_cluster(documented: dict[str, Any]) -> None:
    pytest.importorskip("distributed")
    session = cn.Session(documented["image"], features="bands", n_clusters=8, random_state=0)
    session.update(documented["strokes"])
    session.save("city.clusternet")
    script("dask_cluster").main("city.clusternet", "b.tif", "b_labels.tif")
    expected = session.predict(cn.open_image("b.tif"))
    np.testing.assert_array_equal(cn.read_labels("b_labels.tif"), expected)
