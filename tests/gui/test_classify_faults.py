"""What goes wrong around strokes: layers that come, go, or change while work runs or after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_clusternet._napari.classify_dock import NO_IMAGE, ClassifyDock
from napari_clusternet._napari.controller import Controller, current
from napari_clusternet.errors import InputError, StrokeError
from napari_clusternet.progress import Progress
from napari_clusternet.session import Session

OPTIONS: dict[str, Any] = {"features": "bands", "n_clusters": 8}


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the user was told, by notifications; newest last."""
    messages: list[str] = []

    def note(notification: Any) -> None:
        messages.append(str(getattr(notification, "message", notification)))

    notification_manager.notification_ready.connect(note)
    yield messages
    notification_manager.notification_ready.disconnect(note)


class Gate:
    """Holds `Session.open_steps` back until it is let go."""

    def __init__(self) -> None:
        self.is_open = False

    def steps(self, *args: Any, **options: Any) -> Generator[Progress, None, Any]:
        while not self.is_open:
            time.sleep(0.005)
            yield Progress("waiting", 0, 1)
        return (yield from self.real(*args, **options))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    gate.real = Session.open_steps
    monkeypatch.setattr(Session, "open_steps", gate.steps)
    return gate


def halves() -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 40, (40, 60, 3))
    values[:, 30:] += 180
    return values.astype(np.uint8)


def painted(shape: tuple[int, ...] = (40, 60), dtype: Any = np.uint8) -> np.ndarray:
    strokes = np.zeros(shape, dtype)
    strokes[5:30, 5], strokes[5:30, 50] = 1, 2
    return strokes


def wait(condition: Callable[[], object], qtbot: Any) -> None:
    qtbot.waitUntil(lambda: bool(condition()), timeout=120_000)


def opened(control: Controller, qtbot: Any, *args: Any, **options: Any) -> Any:
    segmentation = control.segment(*args, **(OPTIONS | options))
    wait(lambda: segmentation.session is not None, qtbot)
    return segmentation


def test_strokes_painted_during_a_run_are_taken_when_it_ends(
    viewer: Any, qtbot: Any, gate: Gate
) -> None:
    control = current(viewer)
    segmentation = control.segment(viewer.add_image(halves(), rgb=True), **OPTIONS)
    segmentation.strokes_layer.data = painted()
    assert segmentation.session is None
    gate.is_open = True
    wait(lambda: segmentation.session is not None, qtbot)
    expected = Session(segmentation.image, random_state=0, **OPTIONS).update(painted())
    np.testing.assert_array_equal(control.labels_layer.data, expected)


def test_start_pressed_twice_runs_once(
    viewer: Any, qtbot: Any, gate: Gate, told: list[str]
) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    viewer.add_image(halves(), rgb=True, name="scene")
    dock.clusters.value = 8
    dock._start()
    assert not dock.start.enabled
    assert "running" in dock.start.tooltip
    dock._start()  # as a second dock, or the console, could
    assert "still running" in told[-1]
    assert len(control.segmentations) == 1
    gate.is_open = True
    wait(lambda: control.session is not None, qtbot)
    assert dock.start.enabled
    assert [layer.name for layer in viewer.layers if "strokes" in layer.name] == ["scene strokes"]


@pytest.mark.parametrize("change", ["image removed", "strokes removed", "image replaced"])
def test_a_layer_gone_during_the_run_discards_the_result(
    viewer: Any, qtbot: Any, gate: Gate, told: list[str], change: str
) -> None:
    control, layer = current(viewer), viewer.add_image(halves(), rgb=True)
    segmentation = control.segment(layer, **OPTIONS)
    if change == "image removed":
        viewer.layers.remove(layer)
    elif change == "strokes removed":
        viewer.layers.remove(segmentation.strokes_layer)
    else:
        layer.data = np.zeros((10, 12, 3), np.uint8)
    wait(lambda: not control.runner.busy, qtbot)  # the work itself is stopped
    assert segmentation.session is None
    assert not control.segmentations
    assert "discarded, because its layers were removed or replaced" in told[-1]
    assert not any(name.name.endswith("classes") for name in viewer.layers)


def test_a_layer_renamed_during_the_run_changes_nothing(
    viewer: Any, qtbot: Any, gate: Gate
) -> None:
    control, layer = current(viewer), viewer.add_image(halves(), rgb=True, name="before")
    segmentation = control.segment(layer, **OPTIONS)
    layer.name = "after"
    gate.is_open = True
    wait(lambda: segmentation.session is not None, qtbot)
    assert control.labels_layer.name == "after classes"
    assert control.strokes_layer.name == "before strokes"


def test_an_image_replaced_after_the_run_ends_it_and_keeps_the_strokes(
    viewer: Any, qtbot: Any, told: list[str]
) -> None:
    control, layer = current(viewer), viewer.add_image(halves(), rgb=True)
    segmentation = opened(control, qtbot, layer)
    strokes = segmentation.strokes_layer
    strokes.data = painted()
    wait(lambda: segmentation.session.n_classes == 2, qtbot)
    layer.data = halves()[:20]
    wait(lambda: told, qtbot)
    assert "data of" in told[-1]
    assert "Press Start in Classify" in told[-1]
    assert control.active is None
    assert strokes in viewer.layers
    np.testing.assert_array_equal(strokes.data, painted())


def test_a_deleted_result_comes_back(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    viewer.layers.remove(segmentation.labels_layer)
    assert control.active is segmentation
    segmentation.strokes_layer.data = painted()
    wait(lambda: segmentation.labels_layer is not None, qtbot)
    np.testing.assert_array_equal(segmentation.labels_layer.data, segmentation.session.labels)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.full((40, 60), -1, np.int32), "lowest value is -1"),
        (np.full((40, 60), 70_000, np.int32), "highest value is 70000"),
        (painted((41, 60)), "has shape (40, 60)"),
    ],
)
def test_bad_strokes_are_told_and_change_nothing(
    viewer: Any, qtbot: Any, told: list[str], bad: np.ndarray, words: str
) -> None:
    control = current(viewer)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    segmentation.strokes_layer.data = painted()
    wait(lambda: segmentation.session.n_classes == 2, qtbot)
    labels = segmentation.session.labels.copy()
    segmentation.strokes_layer.data = bad
    wait(lambda: any(words in message for message in told), qtbot)
    np.testing.assert_array_equal(segmentation.session.labels, labels)
    np.testing.assert_array_equal(segmentation.strokes_layer.data, bad)
    with pytest.raises(StrokeError, match="strokes="):
        control.update()
    segmentation.strokes_layer.data = painted()  # and all is well again
    wait(lambda: "could not be taken" not in segmentation.message, qtbot)


def test_a_strokes_layer_elsewhere_is_refused(viewer: Any, qtbot: Any, told: list[str]) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    before = segmentation.strokes_layer
    moved = viewer.add_labels(painted(), translate=(0, 7), name="moved")
    with pytest.raises(StrokeError, match="scale, translate and affine"):
        control.use_strokes(moved)
    dock.strokes.value = moved
    assert "scale, translate and affine" in told[-1]
    assert control.strokes_layer is before
    assert dock.strokes.value is before


def test_without_an_image_or_session(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    assert dock.message.text() == NO_IMAGE
    assert not dock.start.enabled
    with pytest.raises(InputError, match="Open an image first"):
        control.segment()
    with pytest.raises(InputError, match="Press Start in Classify first"):
        control.suggest()
    for button in (dock.undo, dock.redo, dock.suggest, dock.certainty, dock.erase):
        assert not button.enabled
        assert button.tooltip == "Press Start first"


def test_more_classes_than_the_list_has(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    strokes = painted()
    strokes[35, 10:20] = 5
    segmentation.strokes_layer.data = strokes
    wait(lambda: len(control.classes) == 5, qtbot)
    assert dock.table.rowCount() == 5
    assert dock.table.item(4, 2).text() == "10"
    assert not np.allclose(control.labels_layer.get_color(5), (0.5, 0.5, 0.5, 1))


def test_axes_are_asked_for_where_the_layer_does_not_say(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    viewer.add_image(np.moveaxis(halves(), -1, 0), name="bands")
    assert [name for name, _ in dock.axes.offered] == [
        "Bands, rows, columns", "Rows, columns, bands", "Volume: planes, rows, columns",
    ]  # fmt: skip
    dock.clusters.value = 8
    dock.start.native.click()
    wait(lambda: control.session is not None, qtbot)
    assert control.image.shape == (40, 60)
    dock.axes.value = "ZYX"
    dock.start.native.click()  # a volume needs other strokes
    wait(lambda: control.session is not None and control.image.shape == (3, 40, 60), qtbot)
    assert control.strokes_layer.data.shape == (3, 40, 60)
    assert len(control.segmentations) == 1


def test_bands_from_selected_layers(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    layers = [viewer.add_image(halves()[..., band], name=f"band {band}") for band in range(3)]
    viewer.layers.selection = set(layers[:2])
    assert dock.layer.offered[0][0] == "2 selected layers"
    dock.layer.value = dock.layer.offered[0][1]
    dock.clusters.value = 8
    dock.start.native.click()
    wait(lambda: control.session is not None, qtbot)
    assert control.image.n_bands == 2
    assert set(control.active.image_layers) == set(layers[:2])
