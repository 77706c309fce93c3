"""The dock Learn features: its buttons do what the controller's methods do, and follow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_clusternet.config import CLUSTERNET, CLUSTERNET_PRESETS
from napari_clusternet.errors import InputError

napari = pytest.importorskip("napari")

from qtpy.QtCore import Qt  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402

from napari_clusternet._napari import learn_dock, learn_form  # noqa: E402
from napari_clusternet._napari.controller import current  # noqa: E402
from napari_clusternet._napari.learn_dock import LearnDock  # noqa: E402

WAIT = 120.0


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


def _dock(viewer: Any) -> Any:
    dock = LearnDock(viewer)
    viewer.window.add_dock_widget(dock, name="Learn features")
    return dock


def _add(viewer: Any, name: str = "scene", **more: Any) -> Any:
    rng = np.random.default_rng(0)
    data = np.kron(rng.integers(20, 235, (4, 4)), np.ones((16, 16))).astype(np.uint8)
    return viewer.add_image(data, name=name, **more)


def _quick(dock: Any, epochs: int = 1) -> None:
    for name, value in (("n_epochs", epochs), ("n_clusters", 6), ("n_features", 4)):
        dock.form.widgets[name].value = value
    dock.form.widgets["random_state"].value = "0"


def _click(button: Any) -> None:
    assert button.enabled, button.tooltip
    QTest.mouseClick(button.native, Qt.MouseButton.LeftButton)


def _until(control: Any, condition: Any) -> None:
    for _ in range(int(WAIT / 0.05)):
        if condition():
            return
        control.runner.wait(0.05)
        if not control.runner.busy:
            break
    assert condition()


def test_train_show_save_and_load_by_buttons(viewer: Any, tmp_path: Any, monkeypatch: Any) -> None:
    dock = _dock(viewer)
    assert "No image yet" in dock.empty.text()
    assert not dock.train.enabled
    assert dock.train.tooltip == "Check an image first"
    _add(viewer)
    assert dock.train.enabled
    assert "No features yet" in dock.summary.text()
    for button in (dock.pause, dock.cancel, dock.show_, dock.save):
        assert not button.enabled
        assert button.tooltip
    _quick(dock)
    _click(dock.train)
    assert not dock.train.enabled
    assert "is running" in dock.train.tooltip
    assert dock.cancel.enabled
    control = dock.controller
    assert control.runner.wait(WAIT)
    assert dock.train.enabled
    assert "4 features" in dock.summary.text()
    _click(dock.show_)
    assert control.runner.wait(WAIT)
    assert "scene features" in viewer.layers
    # the picture of the features is no image to learn from
    assert [dock.layers.item(i).text() for i in range(dock.layers.count())] == ["scene  (64 x 64)"]
    path = tmp_path / "kept.safetensors"
    monkeypatch.setattr(learn_dock.QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(learn_dock.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    _click(dock.save)
    assert path.exists()
    learned = control.model
    _click(dock.load)
    assert control.model is not learned
    assert "kept.safetensors" in dock.summary.text()


def test_pause_resume_cancel_and_go_on_by_buttons(viewer: Any, told: list[str]) -> None:
    _add(viewer)
    dock = _dock(viewer)
    control = dock.controller
    _quick(dock, epochs=5000)
    _click(dock.train)
    _until(control, lambda: len(control.curve) >= 2)
    assert "loss" in dock.status.text()
    assert dock.bar.max == control.curve[-1].total
    assert dock.pause.text == "&Pause"
    _click(dock.pause)
    assert control.runner.paused
    assert dock.pause.text == "&Resume"
    assert "paused" in dock.status.text()
    _click(dock.pause)
    assert not control.runner.paused
    _click(dock.cancel)
    assert control.runner.wait(WAIT)
    assert "Resume goes on" in told[-1]
    assert "Resume goes on" in dock.status.text()
    assert dock.pause.text == "&Resume"
    done = control.model.n_iter_
    _click(dock.pause)
    _until(control, lambda: len(control.curve) >= 1)
    assert control.curve[0].done == done + 1
    _click(dock.cancel)
    assert control.runner.wait(WAIT)


def test_two_docks_and_the_console_show_the_same(viewer: Any) -> None:
    _add(viewer)
    first, second = _dock(viewer), _dock(viewer)
    control = current(viewer)
    control.learn(n_epochs=5000, n_clusters=6, n_features=4, random_state=0)
    for dock in (first, second):
        assert not dock.train.enabled
        assert dock.cancel.enabled
    _until(control, lambda: len(control.curve) >= 1)
    assert first.status.text() == second.status.text() != ""
    _click(second.cancel)
    assert control.runner.wait(WAIT)
    assert first.summary.text() == second.summary.text()
    assert first.train.enabled


def test_closing_the_last_dock_stops_the_training(viewer: Any) -> None:
    _add(viewer)
    docks = [LearnDock(viewer), LearnDock(viewer)]
    held = [viewer.window.add_dock_widget(dock) for dock in docks]
    control = current(viewer)
    control.learn(n_epochs=5000, n_clusters=6, n_features=4, random_state=0)
    _until(control, lambda: len(control.curve) >= 1)
    held[0].destroyOnClose()
    control.runner.wait(0.5)
    assert control.runner.busy
    held[1].destroyOnClose()
    assert control.runner.wait(WAIT)
    assert control.unfinished is not None


def test_an_error_in_training_enables_the_buttons_again(
    viewer: Any, told: list[str], monkeypatch: Any
) -> None:
    from napari_clusternet.training.run import Run

    def fail(*_: Any) -> None:
        raise RuntimeError("the network fell over")

    monkeypatch.setattr(Run, "train", fail)
    _add(viewer)
    dock = _dock(viewer)
    _quick(dock)
    _click(dock.train)
    assert dock.controller.runner.wait(WAIT)
    assert "RuntimeError: the network fell over" in told[-1]
    assert dock.train.enabled
    assert not dock.cancel.enabled


def test_layers_are_followed(viewer: Any) -> None:
    dock = _dock(viewer)
    first = _add(viewer, "first")
    assert [x.name for x in dock.layers.checked] == ["first"]
    second = _add(viewer, "second")
    assert [x.name for x in dock.layers.checked] == ["first"]  # what was checked stays
    second.name = "town"
    assert dock.layers.item(1).text().startswith("town")
    dock.layers.check([first, second])
    assert dock.together.visible or not dock.isVisible()
    viewer.layers.remove(first)
    assert dock.layers.checked == [second]
    viewer.layers.clear()
    assert dock.layers.checked == []
    assert not dock.train.enabled


def test_axes_are_asked_for_where_the_layer_does_not_say(viewer: Any) -> None:
    dock = _dock(viewer)
    viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="bands or slices")
    assert not dock.train.enabled
    assert "axes" in dock.train.tooltip
    assert dock.status.text() == dock.train.tooltip
    assert dock.axes.choices == ("as the layer says", "CYX", "YXC", "ZYX")
    dock.axes.value = "CYX"
    assert dock.train.enabled


def test_the_form_takes_its_numbers_and_words_from_the_library(viewer: Any) -> None:
    dock = _dock(viewer)
    for preset, changes in CLUSTERNET_PRESETS.items():
        dock.preset.value = preset
        for field in learn_form.FIELDS:
            if field.name in ("device", "precision", "random_state"):
                continue
            wanted = changes.get(field.name, getattr(CLUSTERNET, field.name))
            assert dock.form.widgets[field.name].value == wanted
        assert dock.form.parameters == {}
    assert all(dock.form.widgets[field.name].tooltip for field in learn_form.FIELDS)
    dock.form.widgets["n_epochs"].value = 3
    dock.form.widgets["random_state"].value = "7"
    dock.form.widgets["sampling"].value = "interest"
    assert dock.form.parameters == {"n_epochs": 3, "sampling": "interest", "random_state": 7}


def test_bands_are_counted_from_one() -> None:
    assert learn_form.parse_bands("all") is None
    assert learn_form.parse_bands(" ") is None
    assert learn_form.parse_bands("1-3, 7") == [0, 1, 2, 6]
    for wrong in ("0", "3-1", "red", "1,,2", "-2"):
        with pytest.raises(InputError, match="bands"):
            learn_form.parse_bands(wrong)
