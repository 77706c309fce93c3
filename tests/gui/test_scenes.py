"""A large scene in the viewer: field by field, the rest filled in where one looks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import napari_clusternet as cn
from napari_clusternet._napari import scene_layer, scenes
from napari_clusternet._napari.classify_dock import LARGE, ClassifyDock
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.drawing import camera_of
from napari_clusternet._napari.scene_layer import SceneLabels
from napari_clusternet.errors import InputError

pytestmark = pytest.mark.gui

#: Rows, columns of the scene; its tiles are 512 pixels wide.
SHAPE = (1100, 1300)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "WHOLE_PIXELS", 1 << 18)
    monkeypatch.setattr(scene_layer, "IDLE_MS", 20)
    monkeypatch.setattr(scene_layer, "TILES", 4)  # fewer than are in view


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.broadcast_to(1 + (np.arange(SHAPE[1]) // 50) % 2, SHAPE).astype(np.uint8)


@pytest.fixture
def viewer(make_napari_viewer: Any, qtbot: Any, truth: np.ndarray) -> Any:
    viewer = make_napari_viewer(show=True)
    rng = np.random.default_rng(0)
    grey = np.where(truth == 1, 60, 180)[..., None] + rng.integers(-20, 20, (*SHAPE, 3))
    whole = da.from_array(grey.astype(np.uint8), chunks=(256, 256, 3))
    levels = [whole, whole[::2, ::2], whole[::4, ::4]]
    viewer.add_image(levels, multiscale=True, rgb=True, name="city", scale=(0.5, 0.5))
    look(viewer, 300, 300)
    qtbot.waitUntil(lambda: viewer.layers["city"].data_level == 0, timeout=20_000)
    return viewer


def look(viewer: Any, y: float, x: float, zoom: float = 2.0) -> None:
    """Look at a pixel; with a zoom of 2, one pixel is one of the screen."""
    camera = camera_of(viewer)
    camera.center = (0, y / 2, x / 2)
    camera.zoom = zoom


@pytest.fixture
def control(viewer: Any, qtbot: Any) -> Any:
    """With a session on a field of 256 x 256 pixels around (300, 300)."""
    control = current(viewer)
    viewer.window._qt_window.resize(900, 700)
    control.segment(viewer.layers["city"], features="bands", n_clusters=8)
    qtbot.waitUntil(lambda: control.session is not None, timeout=60_000)
    return control


def paint(control: Any, qtbot: Any, truth: np.ndarray, classes: tuple[int, ...] = (1, 2)) -> None:
    """A stroke of each class in the field."""
    layer, here = control.strokes_layer, truth[control.session.field.region]
    data = layer.data.copy()
    for value in classes:
        y, x = np.argwhere(here == value)[10]
        data[y : y + 6, x : x + 4] = value
    layer.data = data
    qtbot.waitUntil(lambda: np.array_equal(control.session.strokes, data), timeout=20_000)


def swap(control: Any, qtbot: Any) -> None:
    """Stroke class 2 where class 1 was stroked, and the other way round."""
    data = control.strokes_layer.data
    data = np.where(data > 0, 3 - data, 0).astype(np.uint8)
    control.strokes_layer.data = data
    qtbot.waitUntil(lambda: np.array_equal(control.session.strokes, data), timeout=20_000)


def settled(control: Any, qtbot: Any) -> Any:
    """Wait until everything in view is filled in; return the scene's own layer."""
    scene = control._scenes[control.active.image_layers]
    qtbot.waitUntil(
        lambda: not (scene.working or scene._timer.isActive() or control._settled.isActive()),
        timeout=60_000,
    )
    return scene


def test_a_field_at_the_place_that_is_in_view(control: Any, viewer: Any) -> None:
    region = control.session.field.region
    assert all(part.start <= 300 <= part.stop for part in region)
    assert np.prod(control.image.shape) <= 1.2e6
    city, strokes = viewer.layers["city"], control.strokes_layer
    corner = [part.start for part in region]
    assert np.allclose(strokes.data_to_world((0, 0)), city.data_to_world((*corner,)))
    assert strokes.data.shape == control.image.shape
    assert strokes.name == f"city {corner[0]}, {corner[1]} strokes"


def test_what_is_in_view_is_filled_in_with_what_the_session_says(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray
) -> None:
    look(viewer, 550, 650, zoom=0.8)
    paint(control, qtbot, truth)
    scene = settled(control, qtbot)
    labels = np.asarray(scene.layer.data[0])
    assert np.array_equal(labels, control.session.predict(scene.scene))
    assert np.array_equal(labels, truth)
    assert np.array_equal(np.asarray(scene.layer.data[1]), truth[::2, ::2])
    swap(control, qtbot)
    settled(control, qtbot)
    assert np.array_equal(np.asarray(scene.layer.data[0]), 3 - truth)


def test_going_on_takes_everything_along(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray
) -> None:
    paint(control, qtbot, truth)
    first, region, painted = control.active, control.session.field.region, control.strokes_layer
    names = {layer.name for layer in viewer.layers}
    strokes = control.session.strokes.copy()
    look(viewer, 800, 1000)
    assert control.go_on_here()
    qtbot.waitUntil(lambda: control.active is not first, timeout=60_000)
    session = control.session
    assert session.field.region != region
    assert session.stroke_counts.tolist() == [24, 24]
    assert np.array_equal(control.labels_layer.data, truth[session.field.region])
    assert painted in viewer.layers  # nothing that was painted goes
    assert f"{first.name} classes" in names - {layer.name for layer in viewer.layers}
    scene = control._scenes[control.active.image_layers]
    assert np.array_equal(np.asarray(scene.layer.data[0])[region], truth[region])
    look(viewer, 300, 300)
    away = control.active
    control.strokes_layer.data_setitem((np.array([5]), np.array([5])), 1)
    control.go_on_here()
    qtbot.waitUntil(lambda: control.active is not away, timeout=60_000)
    assert control.session.field.region == region
    assert control.strokes_layer is painted  # its own again
    assert np.array_equal(control.session.strokes, strokes)


@pytest.mark.slow
def test_strokes_that_are_painted_while_it_moves_go_along(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(control, qtbot, truth, (1,))
    first, steps, wait = control.active, control.session.move_steps, threading.Event()

    def slow(*arguments: Any) -> Any:
        found = steps(*arguments)

        def waiting() -> Any:
            wait.wait(20)
            return (yield from found)

        return waiting()

    monkeypatch.setattr(control.session, "move_steps", slow)
    look(viewer, 800, 1000)
    control.go_on_here()
    monkeypatch.setattr(control.session, "move_steps", steps)
    paint(control, qtbot, truth, (2,))
    wait.set()
    qtbot.waitUntil(lambda: control.active not in (first, None), timeout=60_000)
    assert control.session.stroke_counts.tolist() == [24, 24]


def test_the_dock_offers_it(viewer: Any, qtbot: Any, truth: np.ndarray) -> None:
    _, dock = viewer.window.add_plugin_dock_widget("napari-clusternet", "Classify")
    assert isinstance(dock, ClassifyDock)
    assert dock.message.text() == LARGE
    assert not dock.go_on.visible
    dock.features.value = "Bands as they are"
    dock.clusters.value = 8
    dock.start.native.click()
    control = current(viewer)
    qtbot.waitUntil(lambda: control.session is not None, timeout=60_000)
    assert dock.go_on.visible
    paint(control, qtbot, truth)
    first = control.active
    look(viewer, 800, 1000)
    dock.go_on.native.click()
    qtbot.waitUntil(lambda: control.active not in (first, None), timeout=60_000)
    assert np.array_equal(control.labels_layer.data, truth[control.session.field.region])


@pytest.mark.slow
def test_a_session_file_of_a_field(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray, tmp_path: Path
) -> None:
    paint(control, qtbot, truth)
    labels, region = control.session.labels, control.session.field.region
    control.save_session(tmp_path / "a.clusternet")
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=60_000)
    control.open_session(tmp_path / "a.clusternet")
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=60_000)
    assert np.array_equal(control.session.labels, labels)
    assert control.session.field.region == region
    look(viewer, 800, 1000)
    first = control.active
    assert control.go_on_here()
    qtbot.waitUntil(lambda: control.active is not first, timeout=60_000)
    assert np.array_equal(control.labels_layer.data, truth[control.session.field.region])


def opened(control: Any, qtbot: Any, file: Path) -> Any:
    """Open a session; return its segmentation."""
    assert control.open_session(file)
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=60_000)
    return control.active


def goes_on_at(control: Any, viewer: Any, qtbot: Any, truth: np.ndarray, y: int, x: int) -> None:
    """Look elsewhere: it is filled in, and the session goes on there."""
    look(viewer, y, x)
    scene = settled(control, qtbot)
    near = (slice(y - 50, y + 50), slice(x - 50, x + 50))
    assert np.array_equal(np.asarray(scene.layer.data[0])[near], truth[near])
    first = control.active
    assert control.go_on_here()
    qtbot.waitUntil(lambda: control.active is not first, timeout=60_000)
    region = control.session.field.region
    assert all(part.start <= at <= part.stop for part, at in zip(region, (y, x), strict=True))
    assert np.array_equal(control.labels_layer.data, truth[region])
    assert control.session.stroke_counts.tolist() == [24, 24]


def test_a_session_opened_in_an_empty_viewer_opens_its_scene_s_file(
    make_napari_viewer: Any, qtbot: Any, truth: np.ndarray, tmp_path: Path, told: list[str]
) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (3, *SHAPE))
    pixels = (np.where(truth == 1, 60, 180) + noise).astype(np.uint8)
    tifffile.imwrite(tmp_path / "city.tif", pixels, photometric="minisblack", tile=(128, 128))
    scene = cn.open_image(tmp_path / "city.tif", axes="CYX", spacing=(0.5, 0.5))
    field = (slice(128, 384), slice(128, 448))
    session = cn.Session.on_field(scene, field, features="bands", n_clusters=8)
    strokes = session.strokes.copy()
    for value in (1, 2):
        y, x = np.argwhere(truth[field] == value)[10]
        strokes[y : y + 6, x : x + 4] = value
    session.update(strokes)
    session.save(tmp_path / "a.clusternet")

    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(900, 700)
    control = current(viewer)
    segmentation = opened(control, qtbot, tmp_path / "a.clusternet")
    assert segmentation.image_layers == (viewer.layers["city.tif"],)
    assert segmentation.name == "city.tif 128, 128"
    assert np.allclose(control.strokes_layer.data_to_world((0, 0)), (64, 64))
    city = viewer.layers["city.tif"]
    assert np.allclose(city.data_to_world((0, 128, 128))[-2:], (64, 64))
    assert np.array_equal(control.labels_layer.data, truth[field])
    goes_on_at(control, viewer, qtbot, truth, 800, 1000)
    assert not told


def test_a_session_opened_without_its_scene_says_so_and_finds_it_when_it_is_there(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray, tmp_path: Path, told: list[str]
) -> None:
    paint(control, qtbot, truth)
    labels, region = control.session.labels, control.session.field.region
    file = tmp_path / "a.clusternet"
    control.save_session(file)
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=60_000)
    levels = viewer.layers["city"].data
    viewer.layers.clear()
    qtbot.wait(50)
    del told[:]

    alone = opened(control, qtbot, file)
    assert "'city' was not opened from a file" in told[-1]
    assert "open the scene's image in the viewer, then the session again" in told[-1]
    assert np.array_equal(control.session.labels, labels)
    swap(control, qtbot)  # the field alone can be worked on
    assert np.array_equal(control.labels_layer.data, 3 - truth[region])
    swap(control, qtbot)
    with pytest.raises(InputError, match="'city' was not opened from a file"):
        control.go_on_here()

    viewer.add_image(levels, multiscale=True, rgb=True, name="town", scale=(0.5, 0.5))
    look(viewer, 300, 300)
    there = opened(control, qtbot, file)
    assert there.image_layers == (viewer.layers["town"],)
    assert control.segmentations == [there]
    assert there.strokes_layer is alone.strokes_layer
    assert control.session.field.region == region
    goes_on_at(control, viewer, qtbot, truth, 800, 1000)


@pytest.mark.slow
def test_a_layer_that_lies_elsewhere_by_now_is_not_the_scene(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray, tmp_path: Path, told: list[str]
) -> None:
    paint(control, qtbot, truth)
    control.save_session(tmp_path / "a.clusternet")
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=60_000)
    city = viewer.layers["city"]
    for layer in tuple(viewer.layers):
        if layer is not city:
            viewer.layers.remove(layer)
    city.translate = (40, 0)
    opened(control, qtbot, tmp_path / "a.clusternet")
    assert control.session.field.scene is None
    assert "then the session again" in told[-1]
    city.translate = (0, 0)
    opened(control, qtbot, tmp_path / "a.clusternet")
    assert control.session.field.scene is not None


def test_closing_while_it_fills_in(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray
) -> None:
    look(viewer, 550, 650, zoom=0.8)
    paint(control, qtbot, truth)
    scene = control._scenes[control.active.image_layers]
    qtbot.waitUntil(lambda: scene.working, timeout=20_000)
    viewer.close()  # what is left behind fails the test


@pytest.mark.slow
def test_the_scene_s_layer_may_be_removed(
    control: Any, viewer: Any, qtbot: Any, truth: np.ndarray
) -> None:
    paint(control, qtbot, truth)
    viewer.layers.remove(control.scene_layer())
    assert control.scene_layer() is None
    swap(control, qtbot)
    assert np.array_equal(control.labels_layer.data, 3 - truth[control.session.field.region])
    viewer.layers.remove("city")
    assert control.active is None


def test_from_far_away_it_works_at_the_resolution_that_is_seen(
    viewer: Any, qtbot: Any, told: list[str]
) -> None:
    look(viewer, 550, 650, zoom=0.3)
    qtbot.waitUntil(lambda: viewer.layers["city"].data_level == 2, timeout=20_000)
    control = current(viewer)
    control.segment(viewer.layers["city"], features="bands", n_clusters=8)
    qtbot.waitUntil(lambda: control.session is not None, timeout=60_000)
    assert control.image.spacing == (2.0, 2.0)
    assert "4 times coarser" in told[-1]
    control.drop(control.active)
    with pytest.raises(InputError, match="too large for 'forest'"):
        control.run_method("forest", viewer.layers["city"])


def test_a_small_image_is_no_scene(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    control = current(viewer)
    control.segment(viewer.add_image(np.eye(40)), features="bands", n_clusters=2)
    qtbot.waitUntil(lambda: control.session is not None, timeout=60_000)
    assert control.session.field is None
    with pytest.raises(InputError, match="not on a field"):
        control.go_on_here()


def test_levels_show_the_same_labels() -> None:
    labels = SceneLabels((1500, 2100))
    assert [level.shape for level in labels.levels] == [(1500, 2100), (750, 1050), (375, 525)]
    block = np.random.default_rng(0).integers(1, 9, (512, 476)).astype(np.uint8)
    labels.put((slice(512, 1024), slice(1600, 2076)), block)
    expected = np.zeros((1500, 2100), np.uint8)
    expected[512:1024, 1600:2076] = block
    for i, level in enumerate(labels.levels):
        assert np.array_equal(np.asarray(level), expected[:: 1 << i, :: 1 << i])
