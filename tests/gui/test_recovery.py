"""Strokes outlive the program: kept while they are painted, offered after a crash, else gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_clusternet._napari import unsaved
from napari_clusternet._napari.autosave import Autosave
from napari_clusternet._napari.controller import Controller, current
from napari_clusternet.config import AutosaveLimits
from napari_clusternet.errors import FileFormatError
from napari_clusternet.stroke_file import Strokes

OPTIONS: dict[str, Any] = {"features": "bands", "n_clusters": 8}
SHAPE = (40, 50)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_clusternet._napari.autosave.AUTOSAVE", AutosaveLimits(seconds=0.02))


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, SHAPE).astype(np.uint8)


def painted() -> np.ndarray:
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[3, 2:20], strokes[30, 10:30] = 1, 2
    return strokes


def paint(layer: Any, strokes: np.ndarray) -> None:
    where = np.nonzero(strokes)
    layer.data_setitem(where, strokes[where])


def kept() -> dict[str, np.ndarray]:
    """What is in the user's folder: strokes by the name of what they are on."""
    found = [Strokes.load(file) for file in unsaved.root().glob("*/[!.]*.strokes")]
    return {about["name"]: strokes.array() for strokes, about in found}


def wait_for(qtbot: Any, name: str, strokes: np.ndarray) -> None:
    qtbot.waitUntil(lambda: np.array_equal(kept().get(name, 0), strokes), timeout=20_000)


def opened(control: Controller, qtbot: Any, layer: Any) -> Any:
    segmentation = control.segment(layer, **OPTIONS)
    qtbot.waitUntil(lambda: segmentation.session is not None, timeout=60_000)
    return segmentation


def left_behind(name: str = "scene", image: dict[str, Any] | None = None) -> Path:
    """Make what a crash leaves."""
    folder = unsaved.root() / f"1-{len(list(unsaved.root().glob('*')))}"
    folder.mkdir(parents=True)
    classes = [{"name": "water", "colour": [0, 0, 1]}, {"name": "land", "colour": [0, 1, 0]}]
    about = {"name": name, "classes": classes, "settings": {}}
    about |= {} if image is None else {"image": image}
    Strokes.of(painted()).save(folder / "scene-0.strokes", about)
    (folder / "lock").touch()
    return folder / "scene-0.strokes"


def answers(told: list[str]) -> list[str]:
    """What was told but for the offer, which comes half a second after the viewer."""
    return [text for text in told if "recover them?" not in text]


# ---- kept while they are painted -----------------------------------------------------------------


def test_every_way_of_painting_is_kept(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    segmentation = control.segment(viewer.add_image(picture(), name="scene"), **OPTIONS)
    layer = segmentation.strokes_layer
    paint(layer, painted())  # before there is a session
    wait_for(qtbot, "scene", painted())
    qtbot.waitUntil(lambda: segmentation.session is not None, timeout=60_000)
    layer.undo()
    qtbot.waitUntil(lambda: kept() == {}, timeout=20_000)  # nothing to keep
    layer.redo()
    wait_for(qtbot, "scene", painted())
    layer.data = painted() // 2
    wait_for(qtbot, "scene", painted() // 2)


def test_a_clean_end_leaves_nothing(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    paint(opened(control, qtbot, viewer.add_image(picture(), name="a")).strokes_layer, painted())
    wait_for(qtbot, "a", painted())
    viewer.close()
    assert list(unsaved.root().iterdir()) == []


def test_saving_the_session_is_enough_until_the_next_stroke(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    control = current(viewer)
    layer = opened(control, qtbot, viewer.add_image(picture(), name="a")).strokes_layer
    paint(layer, painted())
    wait_for(qtbot, "a", painted())
    control.save_session(tmp_path / "a.clusternet")
    assert control.runner.wait(30)
    assert kept() == {}
    control.open_session(tmp_path / "a.clusternet")
    assert control.runner.wait(30)
    qtbot.wait(150)
    assert kept() == {}  # an opened session has nothing that its file has not
    more = painted()
    more[20, 5:9] = 1
    paint(control.strokes_layer, more)
    wait_for(qtbot, "a", more)


@pytest.mark.slow
def test_strokes_painted_while_the_session_is_saved_are_kept(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    control = current(viewer)
    layer = opened(control, qtbot, viewer.add_image(picture(), name="a")).strokes_layer
    paint(layer, painted())
    wait_for(qtbot, "a", painted())
    control.save_session(tmp_path / "a.clusternet")
    more = painted()
    more[20, 5:9] = 1
    paint(layer, more)
    assert control.runner.wait(30)
    wait_for(qtbot, "a", more)


def test_a_strokes_layer_deleted_by_mistake_stays_until_the_end(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    layer = opened(control, qtbot, viewer.add_image(picture(), name="a")).strokes_layer
    paint(layer, painted())
    viewer.layers.remove(layer)
    wait_for(qtbot, "a", painted())


@pytest.mark.parametrize("reason", ["disk", pytest.param("size", marks=pytest.mark.slow)])
def test_what_cannot_be_kept_is_said_once(
    viewer: Any, qtbot: Any, told: list[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "size":
        limits = AutosaveLimits(seconds=0.02, max_file_bytes=9)  # one run
        monkeypatch.setattr("napari_clusternet._napari.autosave.AUTOSAVE", limits)
    else:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Strokes, "save", full)
    control = current(viewer)
    layer = opened(control, qtbot, viewer.add_image(picture(), name="a")).strokes_layer
    strokes = painted()
    for column in (5, 15, 25):
        strokes[:, column] = 1
        paint(layer, strokes)
        qtbot.wait(120)
    said = [text for text in told if "not kept in case of a crash" in text]
    assert len(said) == 1
    assert ("No space left" if reason == "disk" else "they take") in said[0]
    assert kept() == {}
    np.testing.assert_array_equal(layer.data, strokes)


def test_two_viewers_keep_their_own(make_napari_viewer: Callable[..., Any], qtbot: Any) -> None:
    one, two = make_napari_viewer(), make_napari_viewer()
    for name, viewer in (("a", one), ("b", two)):
        segmentation = opened(current(viewer), qtbot, viewer.add_image(picture(), name=name))
        paint(segmentation.strokes_layer, painted())
    wait_for(qtbot, "a", painted())
    wait_for(qtbot, "b", painted())
    assert current(one).unsaved == []  # the other one still runs
    two.close()
    assert list(kept()) == ["a"]


# ---- after a crash -------------------------------------------------------------------------------


def test_offered_at_the_next_start_and_back_on_their_image(
    make_napari_viewer: Callable[..., Any], qtbot: Any, told: list[str]
) -> None:
    from napari_clusternet.image import Image
    from napari_clusternet.session_image import describe_image

    record = describe_image(Image.from_array(picture(), spacing=(2, 3)))
    file = left_behind(image=record)
    viewer = make_napari_viewer()
    viewer.add_image(picture(1), name="another")
    image = viewer.add_image(picture(), name="renamed", scale=(2, 3))
    control = current(viewer)
    qtbot.waitUntil(lambda: any("recover them?" in text for text in told), timeout=20_000)
    assert control.unsaved == [file]
    assert control.recover()
    assert control.runner.wait(30)
    layer = viewer.layers["renamed strokes"]
    np.testing.assert_array_equal(layer.data, painted())
    assert control.classes.names == {1: "water", 2: "land"}
    qtbot.waitUntil(lambda: control.unsaved == [], timeout=20_000)  # kept in its own folder now
    wait_for(qtbot, "scene", painted())
    segmentation = opened(control, qtbot, image)
    assert segmentation.strokes_layer is layer
    assert set(np.unique(segmentation.session.labels)) == {1, 2}
    viewer.close()
    assert list(unsaved.root().iterdir()) == []


def test_without_the_image_the_strokes_are_shown_all_the_same(
    viewer: Any, qtbot: Any, told: list[str]
) -> None:
    left_behind(image={"source": "/gone/scene.tif", "affine": np.diag([2, 3, 1]).tolist(),
                       "units": ["pixel", "pixel"], "crs": "EPSG:32621"})  # fmt: skip
    left_behind("odd", image={"affine": "nonsense"})
    control = current(viewer)
    control.recover()
    assert control.runner.wait(30)
    layer = viewer.layers["scene strokes"]
    assert layer.extent.step.tolist() == [2, 3]
    assert layer.metadata["crs"] == "EPSG:32621"
    for name in ("scene strokes", "odd strokes"):
        np.testing.assert_array_equal(viewer.layers[name].data, painted())
    assert answers(told)[-1].startswith("Recovered ")


def test_a_damaged_file_is_told_and_stays_the_rest_comes_back(
    viewer: Any, qtbot: Any, told: list[str]
) -> None:
    broken, _ = left_behind("broken"), left_behind("good")
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(FileFormatError):
        Strokes.load(broken)
    before = broken.read_bytes()
    control = current(viewer)
    control.recover()
    assert control.runner.wait(30)
    assert [layer.name for layer in viewer.layers] == ["good strokes"]
    recovered, failed = answers(told)
    assert recovered.startswith("Recovered 'good strokes'.")
    assert str(broken) in failed
    assert broken.read_bytes() == before
    control.discard()
    assert control.unsaved == []
    assert not control.recover()


def test_a_file_that_was_cut_off_at_writing_is_no_file_of_strokes(viewer: Any) -> None:
    whole = left_behind("whole")
    alone = unsaved.root() / "2"
    alone.mkdir()
    cut_off = [folder / ".clusternet-1-2.strokes" for folder in (whole.parent, alone)]
    for file in cut_off:
        file.write_bytes(whole.read_bytes()[:60])
    assert current(viewer).unsaved == [whole]
    assert not alone.exists()  # it holds nothing
    current(viewer).discard()
    assert not whole.parent.exists()


def test_only_so_many_are_kept(viewer: Any) -> None:
    files = [left_behind(f"image {i}") for i in range(20)]
    for i, file in enumerate(files):
        os.utime(file, (i, i))
    assert current(viewer).unsaved == files[:3:-1]  # the newest 16, newest first
    assert not any(file.exists() for file in files[:4])


CHILD = """
    import os, signal, sys
    import napari, numpy as np
    from qtpy.QtCore import QCoreApplication, QTimer
    sys.path.insert(0, sys.argv[1])
    from test_recovery import OPTIONS, kept, paint, painted, picture
    from napari_clusternet._napari.controller import current
    viewer = napari.Viewer(show=True)
    control = current(viewer)
    segmentation = control.segment(viewer.add_image(picture(), name="scene"), **OPTIONS)
    paint(segmentation.strokes_layer, painted())
    def end():
        there = np.array_equal(kept().get("scene", 0), painted())
        if segmentation.session is None or not there:
            QTimer.singleShot(50, end)
            return
        print("kept", flush=True)
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "quit":
            QTimer.singleShot(0, QCoreApplication.quit)
        elif sys.argv[2] == "exit":
            QTimer.singleShot(0, sys.exit)
        else:  # as the user does
            QTimer.singleShot(0, viewer.window._qt_window.close)
    end()
    napari.run()
"""

#: Ways in which a program ends, and whether somebody closed its window.
ENDS = {"kill": False, "quit": False, "exit": False, "close": True}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_row_34_strokes_outlive_a_program_whose_window_nobody_closed(
    tmp_path: Path, make_napari_viewer: Callable[..., Any], end: str
) -> None:
    settings = tmp_path / "settings.yaml"  # nobody is there to be asked
    settings.write_text("application:\n  confirm_close_window: false\n")
    environment = {
        **os.environ, "XDG_DATA_HOME": str(tmp_path), "NAPARI_CONFIG": str(settings),
    }  # fmt: skip
    output = tmp_path / "output"
    with output.open("w") as stream:  # a pipe would be waited for beyond the time limit
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(Path(__file__).parent), end],
            env=environment, stdout=stream, stderr=stream, check=False, timeout=250,
        )  # fmt: skip
    said = output.read_text()
    assert "\nkept\n" in f"\n{said}", said
    assert done.returncode == (-signal.SIGKILL if end == "kill" else 0), said
    folder = tmp_path / "napari-clusternet" / "unsaved"
    if ENDS[end]:
        assert list(folder.iterdir()) == []
        return
    unsaved.root().parent.mkdir(parents=True, exist_ok=True)
    folder.rename(unsaved.root())
    viewer = make_napari_viewer()
    viewer.add_image(picture(), name="scene")
    control = current(viewer)
    control.recover()
    assert control.runner.wait(30)
    np.testing.assert_array_equal(viewer.layers["scene strokes"].data, painted())


@pytest.mark.parametrize("left_open", [True, False])
def test_a_program_that_ends_without_closing_its_window(
    viewer: Any, qtbot: Any, left_open: bool
) -> None:
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    control = current(viewer)
    segmentation = opened(control, qtbot, viewer.add_image(picture(), name="scene"))
    paint(segmentation.strokes_layer, painted())
    wait_for(qtbot, "scene", painted())
    qtbot.waitUntil(lambda: control.autosave._thread is None)
    QApplication.instance().aboutToQuit.emit()
    timer = control.autosave._timer  # Qt may delete it before the window
    timer.deleteLater()
    QApplication.sendPostedEvents(timer, QEvent.Type.DeferredDelete)
    if not left_open:
        viewer.close()
    control.close()
    assert set(kept()) == ({"scene"} if left_open else set())


def test_a_closed_viewer_no_longer_hears_that_the_program_ends(viewer: Any) -> None:
    from qtpy.QtWidgets import QApplication

    control = current(viewer)
    viewer.close()
    QApplication.instance().aboutToQuit.emit()
    assert not control._quitting


def test_nothing_is_made_before_there_are_strokes(viewer: Any) -> None:
    assert current(viewer).unsaved == []
    assert isinstance(current(viewer).autosave, Autosave)
    assert not unsaved.root().exists()
