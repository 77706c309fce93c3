"""Strokes in the real viewer: what the mouse paints becomes what the same calls would compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_clusternet._napari.classify_dock import ClassifyDock
from napari_clusternet._napari.controller import Controller, current
from napari_clusternet.data.samples import load_sample
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.session import Session

OPTIONS: dict[str, Any] = {"features": "bands", "n_clusters": 12}


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    return make_napari_viewer(show=True)


def halves(n_bands: int = 3, shape: tuple[int, ...] = (60, 80)) -> np.ndarray:
    """A dark left and a bright right half, with noise, uint8; bands last."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 40, (*shape, n_bands))
    values[..., shape[-1] // 2 :, :] += 180
    return values.astype(np.uint8)


def wait(condition: Callable[[], object], qtbot: Any) -> None:
    qtbot.waitUntil(lambda: bool(condition()), timeout=120_000)


def place_of(viewer: Any, layer: Any, pixel: tuple[float, ...]) -> QPoint:
    """Where on the canvas a pixel of a layer is: the canvas maps to the world linearly."""
    canvas = viewer.window._qt_viewer.canvas

    def world(x: float, y: float) -> np.ndarray:
        return np.array(canvas._map_canvas2world((x, y), canvas.view))[-2:]

    origin = world(0, 0)
    matrix = np.stack([world(1, 0) - origin, world(0, 1) - origin], axis=1)
    wanted = np.array(layer.data_to_world(pixel))[-2:]
    x, y = np.linalg.solve(matrix, wanted - origin)
    return QPoint(round(float(x)), round(float(y)))


def drag(viewer: Any, layer: Any, start: tuple[float, ...], stop: tuple[float, ...]) -> None:
    """Paint with the mouse from pixel to pixel of a layer."""
    QApplication.processEvents()
    canvas = viewer.window._qt_viewer.canvas.native
    first, last = place_of(viewer, layer, start), place_of(viewer, layer, stop)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=first)
    for i in range(1, 5):
        QTest.mouseMove(canvas, first + (last - first) * i / 4)
        QApplication.processEvents()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=last)


def stroke(
    control: Controller, class_: int, start: tuple[float, ...], stop: tuple[float, ...], qtbot: Any
) -> np.ndarray:
    """Paint a stroke of a class; return the labels shown after it."""
    segmentation = control.active
    control.select_class(class_)
    before = segmentation.strokes_layer.data.copy()
    drag(control.viewer, segmentation.strokes_layer, start, stop)
    wait(lambda: np.any(segmentation.strokes_layer.data != before), qtbot)
    wait(
        lambda: np.array_equal(segmentation.session.strokes, segmentation.strokes_layer.data), qtbot
    )
    return np.asarray(segmentation.labels_layer.data)


def opened(control: Controller, qtbot: Any, *args: Any, **options: Any) -> Any:
    segmentation = control.segment(*args, **(OPTIONS | options))
    wait(lambda: segmentation.session is not None, qtbot)
    return segmentation


def check_strokes_equal_calls(control: Controller, qtbot: Any, strokes: list[Any]) -> None:
    """Paint with the mouse; a session without a window, given the same strokes, agrees."""
    segmentation = control.active
    alone = Session(segmentation.image, random_state=0, **OPTIONS)
    for class_, start, stop in strokes:
        shown = stroke(control, class_, start, stop, qtbot)
        expected = alone.update(segmentation.strokes_layer.data)
        np.testing.assert_array_equal(shown, expected)
    assert set(np.unique(shown)) == {1, 2}
    np.testing.assert_array_equal(segmentation.session.cluster_map, alone.cluster_map)


def test_rgb(viewer: Any, qtbot: Any) -> None:
    layer = viewer.add_image(halves(), rgb=True, scale=(2, 2), units="um")
    control = current(viewer)
    segmentation = opened(control, qtbot, layer)
    assert segmentation.strokes_layer.data.dtype == np.uint8
    np.testing.assert_array_equal(segmentation.strokes_layer.extent.world, layer.extent.world)
    strokes = [(1, (10, 8), (40, 9)), (2, (10, 60), (40, 62)), (1, (50, 20), (52, 70))]
    check_strokes_equal_calls(control, qtbot, strokes)
    labels = control.labels_layer
    assert (labels.data[:40, :38] == 1).mean() > 0.95
    np.testing.assert_array_equal(labels.extent.world, layer.extent.world)
    assert labels.units == layer.units


def test_25_bands(viewer: Any, qtbot: Any) -> None:
    image, _, strokes = viewer.open_sample("napari-clusternet", "indian-pines")
    control = current(viewer)
    segmentation = opened(control, qtbot, image)
    assert segmentation.strokes_layer is strokes
    assert control.classes.names[2] == strokes.metadata["class_names"][1]
    alone = Session(segmentation.image, random_state=0, **OPTIONS)
    np.testing.assert_array_equal(control.labels_layer.data, alone.update(strokes.data))
    shown = stroke(control, 2, (20, 30), (24, 60), qtbot)
    np.testing.assert_array_equal(shown, alone.update(strokes.data))


def test_a_volume_of_flat_voxels(viewer: Any, qtbot: Any) -> None:
    volume = halves(1, (8, 40, 60))[..., 0]
    layer = viewer.add_image(volume, scale=(5, 1, 1), units="mm", axis_labels=("z", "y", "x"))
    control = current(viewer)
    segmentation = opened(control, qtbot, layer)
    assert segmentation.image.spacing == (5, 1, 1)
    viewer.dims.set_point(0, 15)  # plane 3
    strokes = [(1, (3, 8, 6), (3, 30, 7)), (2, (3, 8, 50), (3, 30, 52))]
    check_strokes_equal_calls(control, qtbot, strokes)
    painted = np.argwhere(segmentation.strokes_layer.data)
    assert set(painted[:, 0]) == {3}
    assert (control.labels_layer.data[0, :, :28] == 1).mean() > 0.95  # other planes too


@pytest.mark.parametrize("lazy", [pytest.param(False, marks=pytest.mark.slow), True])
def test_multiscale_and_dask(viewer: Any, qtbot: Any, lazy: bool) -> None:
    finest = np.moveaxis(halves(2), -1, 0)
    levels = [finest, finest[:, ::2, ::2]]
    if lazy:
        levels = [da.from_array(level, chunks=(1, 16, 16)) for level in levels]
    layer = viewer.add_image(levels, multiscale=True, axis_labels=("band", "y", "x"))
    control = current(viewer)
    segmentation = opened(control, qtbot, layer)
    assert segmentation.image.is_lazy == lazy
    assert segmentation.strokes_layer.data.shape == finest.shape[1:]
    assert not segmentation.strokes_layer.multiscale
    strokes = [(1, (10, 8), (40, 9)), (2, (10, 60), (40, 62))]
    check_strokes_equal_calls(control, qtbot, strokes)


def test_the_layers_own_undo_takes_splits_back(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True), n_clusters=2)
    session, layer = segmentation.session, segmentation.strokes_layer
    first = stroke(control, 1, (10, 8), (40, 9), qtbot).copy()
    clusters = session.cluster_map.copy()
    second = stroke(control, 2, (10, 30), (40, 32), qtbot).copy()  # in the same cluster
    assert len(session.clusters) > 2
    layer.undo()  # what Ctrl+Z does
    wait(lambda: session.can_redo, qtbot)
    np.testing.assert_array_equal(control.labels_layer.data, first)
    np.testing.assert_array_equal(session.cluster_map, clusters)
    layer.redo()
    wait(lambda: not session.can_redo, qtbot)
    np.testing.assert_array_equal(control.labels_layer.data, second)


def test_undo_and_redo_buttons(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    layer = control.strokes_layer
    assert not dock.undo.enabled
    first = stroke(control, 1, (10, 8), (40, 9), qtbot).copy()
    second = stroke(control, 2, (10, 60), (40, 62), qtbot).copy()
    painted = layer.data.copy()
    assert dock.undo.enabled
    assert not dock.redo.enabled
    dock.undo.native.click()
    np.testing.assert_array_equal(control.labels_layer.data, first)
    assert set(np.unique(layer.data)) == {0, 1}
    dock.redo.native.click()
    np.testing.assert_array_equal(layer.data, painted)
    np.testing.assert_array_equal(control.labels_layer.data, second)
    # both used the layer's own history, so Ctrl+Z still takes the second stroke back
    layer.undo()
    wait(lambda: control.session.can_redo, qtbot)
    assert set(np.unique(layer.data)) == {0, 1}
    np.testing.assert_array_equal(control.labels_layer.data, first)
    dock.undo.native.click()
    assert not layer.data.any()
    assert not dock.undo.enabled


def test_number_keys(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    canvas, layer = viewer.window._qt_viewer.canvas.native, control.strokes_layer
    QTest.keyClick(canvas, Qt.Key.Key_2)
    assert (layer.selected_label, layer.mode) == (2, "paint")
    assert dock.table.current_class == 2
    QTest.keyClick(canvas, Qt.Key.Key_3)  # the next one is added
    assert len(control.classes) == 3
    assert layer.selected_label == 3
    QTest.keyClick(canvas, Qt.Key.Key_9)  # there is no such class
    assert (len(control.classes), layer.selected_label) == (3, 3)
    QTest.keyClick(canvas, Qt.Key.Key_0)
    assert layer.mode == "erase"
    assert dock.table.current_class == 0
    QTest.keyClick(canvas, Qt.Key.Key_1)
    assert (layer.selected_label, layer.mode) == (1, "paint")


def test_erasing_is_a_stroke_too(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    stroke(control, 1, (10, 8), (40, 9), qtbot)
    stroke(control, 2, (10, 60), (40, 62), qtbot)
    control.erase()
    control.strokes_layer.brush_size = 20
    drag(viewer, control.strokes_layer, (5, 60), (55, 62))
    wait(lambda: control.session.stroke_counts[1:].sum() == 0, qtbot)
    assert set(np.unique(control.labels_layer.data)) <= {0, 1}


def test_threshold_is_live(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True), n_clusters=2)
    strokes = np.zeros((60, 80), np.uint8)
    strokes[5:55, 10], strokes[5:15, 20] = 1, 2  # both in the dark half: 50 and 10 pixels
    segmentation.strokes_layer.data = strokes
    wait(lambda: control.session.n_classes == 2, qtbot)
    assert len(control.session.clusters) == 2  # 10 of 60 pixels are below 0.3
    dock.threshold.value = 0.1
    wait(lambda: control.session.threshold == 0.1, qtbot)
    assert len(control.session.clusters) > 2
    alone = Session(segmentation.image, random_state=0, features="bands", n_clusters=2)
    alone.update(strokes)
    alone.threshold = 0.1
    np.testing.assert_array_equal(control.labels_layer.data, alone.labels)
    control.threshold = 0.5  # from the console: the dock follows
    assert dock.threshold.value == 0.5
    control.undo()
    assert dock.threshold.value == 0.1


def test_certainty_and_suggestion(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    stroke(control, 1, (10, 8), (40, 9), qtbot)
    stroke(control, 2, (10, 24), (40, 26), qtbot)  # on the same noise: all is uncertain
    dock.certainty.value = True
    layer = segmentation.certainty_layer
    np.testing.assert_array_equal(layer.data, control.session.certainty)
    stroke(control, 2, (50, 70), (54, 72), qtbot)
    np.testing.assert_array_equal(layer.data, control.session.certainty)
    control.show_certainty(False)
    assert not layer.visible
    assert not dock.certainty.value
    place = control.session.suggest(1)[0].position
    dock.suggest.native.click()
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], place)
    assert "next stroke" in viewer.layers
    assert viewer.layers.selection.active is control.strokes_layer  # ready to paint
    control.assign(control.cluster_at(place), 2)  # no stroke: the place is still the next
    assert "next stroke" in viewer.layers
    stroke(control, 1, place, (place[0] + 2, place[1]), qtbot)
    assert "next stroke" not in viewer.layers


def test_other_labels_layers_as_strokes(viewer: Any, qtbot: Any) -> None:
    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    segmentation = opened(control, qtbot, viewer.add_image(halves(), rgb=True))
    mine = viewer.add_labels(np.zeros((60, 80), np.int64), name="mine")
    assert ("mine", mine) in dock.strokes.offered
    dock.strokes.value = mine
    assert control.strokes_layer is mine
    stroke(control, 1, (10, 8), (40, 9), qtbot)
    shown = stroke(control, 2, (10, 60), (40, 62), qtbot)
    alone = Session(segmentation.image, random_state=0, **OPTIONS)
    np.testing.assert_array_equal(shown, alone.update(mine.data))
    assert segmentation.strokes_are_slow
    dock.quicken.native.click()
    assert mine.data.dtype == np.uint8
    np.testing.assert_array_equal(mine.data, control.session.strokes)
    assert dock.quicken.native.isHidden()


def test_two_docks_and_two_images(viewer: Any, qtbot: Any) -> None:
    control, docks = current(viewer), [ClassifyDock(viewer), ClassifyDock(viewer)]
    qtbot.addWidget(docks[1])  # the test itself deletes the other
    first = viewer.add_image(halves(), rgb=True, name="first")
    second = viewer.add_image(halves()[::-1], rgb=True, name="second", translate=(0, 100))
    one = opened(control, qtbot, first)
    two = opened(control, qtbot, second)
    assert control.active is two
    viewer.layers.selection.active = one.strokes_layer
    assert control.active is one
    assert [dock.segmentation.value for dock in docks] == [one, one]
    docks[1].segmentation.value = two
    assert control.active is two
    docks[0].add.native.click()
    docks[0].table.item(2, 1).setText("road")
    assert control.classes.names[3] == "road"
    assert docks[1].table.item(2, 1).text() == "road"
    control.classes.recolour(3, (1, 0, 1))
    for segmentation in (one, two):
        np.testing.assert_allclose(segmentation.strokes_layer.get_color(3), (1, 0, 1, 1))
    stroke(control, 1, (10, 8), (40, 9), qtbot)
    assert not one.strokes_layer.data.any()
    assert docks[0].table.item(0, 2).text() == docks[1].table.item(0, 2).text() != "0"
    docks[0].close()
    docks[0].deleteLater()
    QApplication.processEvents()
    stroke(control, 2, (10, 60), (40, 62), qtbot)
    assert docks[1].undo.enabled


def test_another_method(viewer: Any, qtbot: Any) -> None:
    import napari_clusternet as cn

    control, dock = current(viewer), ClassifyDock(viewer)
    qtbot.addWidget(dock)
    layer = viewer.add_image(halves(), rgb=True, name="scene")
    strokes = np.zeros((60, 80), np.uint8)
    strokes[5:55, 10], strokes[5:55, 60] = 1, 2
    viewer.add_labels(strokes, name="scene strokes")
    dock.method.value = "forest"
    dock.features.value = "Bands as they are"
    assert dock.start.text == "&Run forest"
    dock.start.native.click()
    wait(lambda: control.active.method_layers, qtbot)
    expected = cn.segment(image_from_layers([layer]), strokes, features="bands", method="forest")
    np.testing.assert_array_equal(viewer.layers["scene forest"].data, expected)


def test_every_sample_offers_its_own_strokes(viewer: Any, qtbot: Any) -> None:
    dock = ClassifyDock(viewer)
    qtbot.addWidget(dock)
    for name in ("sentinel2", "indian-pines"):
        layers = viewer.open_sample("napari-clusternet", name)
        dock.layer.value = (layers[0],)
        assert not dock.axes.choices  # the layers say what their axes are
        assert dock.strokes.value is layers[-1]
        n = load_sample(name).strokes.max()
        assert dock.strokes.value.data.max() == n
