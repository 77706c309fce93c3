"""The dock forwards to the controller and follows it; two of them, and after it is gone, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog

from napari_clusternet._napari.controller import current
from napari_clusternet._napari.transfer_dock import (
    CERTAINTY,
    NO_SESSION,
    PER_CLASS,
    POLYGONS,
    TABLE,
    TransferDock,
)
from napari_clusternet.io.labels import read_labels

SHAPE = (30, 40)
Docked = tuple[Any, Any, TransferDock]


def finish(qtbot: Any, control: Any) -> None:
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=30_000)


def picture() -> np.ndarray:
    data = np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    data[:, 20:] += 1
    return data


@pytest.fixture
def docked(make_napari_viewer_proxy: Any, qtbot: Any) -> Iterator[Callable[..., Docked]]:
    """Return a viewer with a two-class session, its controller and a dock.

    Without `window` the viewer is only a model, which starts many times faster.
    """
    opened: list[Any] = []

    def make(session: bool = True, window: bool = False) -> Docked:
        viewer = make_napari_viewer_proxy() if window else ViewerModel()
        control = current(viewer)
        opened.append(control)
        viewer.add_image(picture(), name="scene.tif")
        dock = TransferDock(viewer)
        if window:
            viewer.window.add_dock_widget(dock, name="Apply and export")
        else:
            qtbot.addWidget(dock)
        if session:
            strokes = np.zeros(SHAPE, np.uint8)
            strokes[5:9, 5], strokes[5:9, 35] = 1, 2
            viewer.add_labels(strokes, name="scene.tif strokes")
            control.segment(viewer.layers["scene.tif"], features="bands", n_clusters=6)
            finish(qtbot, control)
        return viewer, control, dock

    yield make
    for control in opened:
        if not control.closed:
            control.close()


def test_without_a_session_it_says_what_to_do(docked: Callable[..., Docked]) -> None:
    _, control, dock = docked(session=False)
    assert dock._status.text() == NO_SESSION
    for button in (dock.export, dock.apply, dock.save):
        assert not button.enabled
        assert button.tooltip == NO_SESSION
    assert dock.open.enabled
    assert control.session is None


def test_everything_it_exports(docked: Callable[..., Docked], qtbot: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyogrio", reason="the extra geo is not installed")
    _, control, dock = docked()
    assert Path(dock.path.value).name == "scene_classes.tif"  # named after the image
    dock.path.value = tmp_path / "mine.tif"
    for what, name in (
        (POLYGONS, "mine.gpkg"), (TABLE, "mine.csv"), (CERTAINTY, "mine.tif"),
        (PER_CLASS, "mine.tif"),
    ):  # fmt: skip
        dock.what.value = what
        assert Path(dock.path.value) == tmp_path / name  # the user's name, a fitting suffix
        dock.export.native.click()
        finish(qtbot, control)
    names = {"mine.gpkg", "mine.csv", "mine.tif", "mine_1_class-1.tif", "mine_2_class-2.tif"}
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == names
    assert "2 images" in dock._outcome.text() or "Done" in dock._outcome.text()


def test_a_file_is_replaced_only_if_ticked(
    docked: Callable[..., Docked], qtbot: Any, tmp_path: Path
) -> None:
    _, control, dock = docked()
    path = tmp_path / "a.tif"
    path.write_text("mine")
    dock.path.value = path
    dock.export.native.click()
    assert not control.runner.busy
    assert path.read_text() == "mine"
    dock.replace.value = True
    dock.export.native.click()
    finish(qtbot, control)
    np.testing.assert_array_equal(read_labels(path), control.session.labels)


def test_apply_to_a_layer_and_a_file(
    docked: Callable[..., Docked], qtbot: Any, tmp_path: Path
) -> None:
    import tifffile

    viewer, control, dock = docked()
    other = viewer.add_image(picture()[:, ::-1], name="other")
    assert not dock.apply.enabled
    assert "Tick an image" in dock._hint.text()
    dock.targets.tick(dock.targets._targets()[0])
    assert dock.targets.chosen()[0].name == other.name
    assert dock.apply.text == "&Apply to 1 image"
    dock.apply.native.click()
    finish(qtbot, control)
    np.testing.assert_array_equal(
        viewer.layers["other classes"].data, control.session.labels[:, ::-1]
    )
    tifffile.imwrite(tmp_path / "new.tif", picture())
    dock.targets.add(tmp_path / "new.tif")
    assert not dock.apply.enabled
    assert "folder" in dock._hint.text()
    (tmp_path / "out").mkdir()
    dock.folder.value = tmp_path / "out"
    dock.format.value = "OME-Zarr (.zarr)"
    dock.apply.native.click()
    finish(qtbot, control)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "new_classes.zarr", "other_classes.zarr",
    ]  # fmt: skip


def test_the_list_follows_the_layers(docked: Callable[..., Docked]) -> None:
    viewer, control, dock = docked()
    control.show_certainty()
    viewer.add_image(picture(), name="b")
    viewer.add_image(picture(), name="c")
    dock.targets.tick(dock.targets._targets()[1])
    viewer.layers.remove("b")
    viewer.layers["c"].name = "renamed"
    assert [target.name for target in dock.targets._targets()] == ["renamed"]
    assert [target.name for target in dock.targets.chosen()] == ["renamed"]  # ticks are kept


def test_save_and_open_by_the_buttons(
    docked: Callable[..., Docked], qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, control, dock = docked()
    path = tmp_path / "a"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    dock.save.native.click()
    finish(qtbot, control)
    session = control.session
    file = path.with_suffix(".clusternet")
    assert str(file) in dock._outcome.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    dock.open.native.click()
    finish(qtbot, control)
    assert control.session is not session
    np.testing.assert_array_equal(control.session.labels, session.labels)
    assert len(control.segmentations) == 1
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    dock.open.native.click()  # the user pressed Cancel
    assert not control.runner.busy


def test_two_docks_and_the_console_agree(
    docked: Callable[..., Docked], qtbot: Any, tmp_path: Path
) -> None:
    viewer, control, dock = docked(window=True)
    second = TransferDock(viewer)
    viewer.window.add_dock_widget(second, name="second")
    control.export_labels(tmp_path / "a.tif")
    for one in (dock, second):
        assert not one.export.enabled
        assert "running" in one.export.tooltip
        assert one.going.isVisibleTo(one)
    finish(qtbot, control)
    for one in (dock, second):
        assert one.export.enabled
        assert "a.tif" in one._outcome.text()


def test_a_dock_that_is_gone_is_not_called(
    docked: Callable[..., Docked], qtbot: Any, tmp_path: Path
) -> None:
    viewer, control, dock = docked()
    second = TransferDock(viewer)
    with qtbot.waitSignal(second.destroyed):
        second.deleteLater()
    control.export_labels(tmp_path / "a.tif")
    viewer.add_image(picture(), name="b")
    finish(qtbot, control)
    assert "a.tif" in dock._outcome.text()


def test_closing_the_viewer_while_it_applies(docked: Callable[..., Docked], qtbot: Any) -> None:
    viewer, control, dock = docked(window=True)
    viewer.add_image(np.tile(picture(), (20, 20)), name="large")
    dock.targets.tick(dock.targets._targets()[0])
    dock.apply.native.click()
    assert control.runner.busy
    viewer.close()
    qtbot.waitUntil(lambda: control.closed, timeout=5000)
    assert not control.runner.busy


def test_cancel_stops_and_keeps_the_session(docked: Callable[..., Docked], qtbot: Any) -> None:
    viewer, control, dock = docked()
    viewer.add_image(np.tile(picture(), (40, 40)), name="large")
    labels = control.session.labels
    dock.targets.tick(dock.targets._targets()[0])
    dock.apply.native.click()
    dock.going.cancel.native.click()
    finish(qtbot, control)
    assert "large classes" not in viewer.layers
    assert dock.apply.enabled
    assert control.session.labels is labels or (control.session.labels == labels).all()


def test_it_fits_into_300_pixels(docked: Callable[..., Docked]) -> None:
    _, _, dock = docked()
    assert dock.minimumSizeHint().width() <= 300
    dock.resize(300, 900)
    dock.show()
    for button in (dock.export, dock.apply, dock.save, dock.open):
        text = button.native.fontMetrics().horizontalAdvance(button.text.replace("&", ""))
        assert text < button.native.width() <= 300
