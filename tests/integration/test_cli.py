"""The command line from end to end: exit codes, files, messages in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_clusternet as cn
from napari_clusternet.cli import build_parser, main
from napari_clusternet.errors import FileFormatError

COMMANDS = ("demo", "fit", "segment", "unsupervised", "apply", "score", "info")


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Path]:
    """Two halves of 2 bands, dark left and bright right, a stroke on each, and the truth."""
    rng = np.random.default_rng(0)
    truth = np.ones((48, 64), np.uint8)
    truth[:, 32:] = 2
    image = rng.normal(0, 3, (2, 48, 64)) + np.where(truth == 1, 50, 200)
    strokes = np.zeros_like(truth)
    strokes[10, 5:20] = 1
    strokes[30, 40:55] = 2
    paths = {name: tmp_path / f"{name}.tif" for name in ("image", "strokes", "truth", "labels")}
    grid = cn.Image.from_array(truth, spacing=(10, 10), units="metre")
    tifffile.imwrite(paths["image"], image.astype(np.uint8), metadata={"axes": "CYX"}, ome=True)
    cn.write_labels(paths["strokes"], strokes, like=grid)
    cn.write_labels(paths["truth"], truth, like=grid)
    return paths


def _segment(scene: dict[str, Path], *more: str) -> int:
    arguments = [scene["image"], scene["strokes"], "-o", scene["labels"]]
    return main(["segment", *map(str, arguments), "--clusters", "8", "-q", *more])


def test_segment_writes_labels_that_score_perfectly(
    scene: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _segment(scene, "--spacing", "10,10", "--features", "bands") == 0
    assert "class 1" in capsys.readouterr().out
    np.testing.assert_array_equal(cn.read_labels(scene["labels"]), cn.read_labels(scene["truth"]))
    assert cn.open_image(scene["labels"]).spacing == (10, 10)
    assert main(["score", str(scene["labels"]), str(scene["truth"]), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["mean_dice"] == scores["accuracy"] == 1
    assert [row["pixels"] for row in scores["classes"]] == [48 * 32, 48 * 32]


def test_parameters_of_stroke_methods_are_set(
    scene: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    method = ["--method", "svm_graphcut", "--set", "smoothness=2.5", "--set", "max_pixels=500"]
    assert _segment(scene, *method) == 0
    expected = cn.segment(
        cn.open_image(scene["image"]), cn.read_labels(scene["strokes"]), method="svm_graphcut",
        smoothness=2.5, max_pixels=500,
    )  # fmt: skip
    np.testing.assert_array_equal(cn.read_labels(scene["labels"]), expected)
    capsys.readouterr()
    assert _segment(scene, "--method", "svm_graphcut", "--set", "rough=1") == 1
    assert "Use one of" in capsys.readouterr().err
    assert _segment(scene, "--set", "rough=1") == 1
    assert "It has no parameters" in capsys.readouterr().err


def test_axes_are_named_for_a_file_that_does_not_say(
    scene: dict[str, Path], tmp_path: Path
) -> None:
    scene["image"] = tmp_path / "image.npy"
    np.save(scene["image"], np.stack([cn.read_labels(scene["truth"])] * 2))
    assert _segment(scene, "--features", "bands") == 1
    assert _segment(scene, "--features", "bands", "--axes", "CYX") == 0
    np.testing.assert_array_equal(cn.read_labels(scene["labels"]), cn.read_labels(scene["truth"]))


def test_min_pixels_leaves_small_classes_out(
    scene: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = str(scene["truth"])
    assert main(["score", truth, truth, "--min-pixels", "2000", "--json"]) == 0
    # both classes have 1536 pixels: none is left to average over
    assert json.loads(capsys.readouterr().out)["mean_dice"] is None


def test_segment_saves_a_session_that_gives_the_same_labels(
    scene: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = tmp_path / "scene.clusternet"
    assert _segment(scene, "--features", "bands", "--session", str(session)) == 0
    np.testing.assert_array_equal(cn.Session.load(session).labels, cn.read_labels(scene["labels"]))
    capsys.readouterr()
    assert main(["info", str(session)]) == 0
    assert "classes:   2" in capsys.readouterr().out


def test_apply_writes_the_session_s_labels(
    scene: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, output = tmp_path / "scene.clusternet", tmp_path / "out.zarr"
    assert _segment(scene, "--features", "bands", "--session", str(session)) == 0
    command = ["apply", str(session), str(scene["image"]), str(output)]
    assert main(command) == 0
    out = capsys.readouterr()
    assert f"labels: {output}" in out.out
    assert "classifying" in out.err
    np.testing.assert_array_equal(cn.read_labels(output), cn.read_labels(scene["labels"]))
    assert main(command) == 1
    assert "it exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite", "-q"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--workers", "2", "--scheduler", "tcp://x:1"])


def test_fit_saves_a_model_that_segment_takes(
    scene: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tmp_path / "model.safetensors")
    image = str(scene["image"])
    given = ["--epochs", "1", "--clusters", "8", "--sampling", "interest"]
    assert main(["fit", image, "-o", model, *given, "-q"]) == 0
    assert cn.ClusterNet.load(model).n_iter_ == 1
    assert cn.ClusterNet.load(model).sampling == "interest"
    assert _segment(scene, "--features", model) == 0
    capsys.readouterr()
    assert main(["info", model]) == 0
    assert "2 uint8" in capsys.readouterr().out


def test_info_describes_an_image(
    scene: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(scene["truth"])]) == 0
    out = capsys.readouterr().out
    assert "10 metre, 10 metre" in out
    assert "(1, 48, 64) uint8" in out


def test_info_lists_versions_and_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert cn.__version__ in out
    assert "method clusternet:" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "nowhere.tif"], "nowhere.tif"),
        (["fit", "nowhere.tif", "-o", "model.pt"], "--output='model.pt'"),
        (["segment", "a.tif", "b.tif", "-o", "c.tif"], "a.tif"),
    ],
)
def test_an_error_is_one_line_and_code_1(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("napari-clusternet: ")
    assert words in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_one_class_of_strokes_is_refused_in_one_line(
    scene: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    strokes = np.zeros((48, 64), np.uint8)
    strokes[10, 5:20] = 1
    cn.write_labels(scene["strokes"], strokes)
    assert _segment(scene) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not scene["labels"].exists()


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(FileFormatError, match="nowhere"):
        main(["info", "nowhere.tif", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["segment"], ["fit", "a.tif"], ["fit", "a.tif", "-o", "m", "--epochs", "0"],
     ["segment", "a", "b", "-o", "c", "--spacing", "1,x"]],
)  # fmt: skip
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_an_interruption_is_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_clusternet._cli.run.run_command", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "napari-clusternet: interrupted\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  napari-clusternet {command}" in capsys.readouterr().out


def test_the_installed_command_tells_its_version() -> None:
    program = Path(sys.executable).with_name("napari-clusternet")
    run = subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == f"napari-clusternet {cn.__version__}\n"
