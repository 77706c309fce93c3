"""Clusters in the real viewer: selected, shown, changed by hand, as without a window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

import napari_clusternet as cn
from napari_clusternet._napari.cluster_layer import DIM, HIGHLIGHT
from napari_clusternet._napari.controller import Controller, current
from napari_clusternet.band_means import BandMeans
from napari_clusternet.errors import InputError
from napari_clusternet.session import Session


def squares(n_bands: int, *, depth: int = 0, seed: int = 0) -> np.ndarray:
    """Four squares of distinct values with noise, (C, [Z,] 60, 60): clusters one can point at."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(40, 220, (4, n_bands))
    quarter = np.arange(60) // 30
    which = quarter[:, None] * 2 + quarter
    flat = np.moveaxis(means[which], -1, 0)
    if depth:
        flat = np.repeat(flat[:, None], depth, axis=1)
    return np.clip(flat + rng.normal(0, 6, flat.shape), 0, 255)


def add_image(viewer: Any, kind: str) -> Any:
    """Add the squares as a picture, as 25 bands, or as a volume with thick slices."""
    if kind == "rgb":
        data = np.moveaxis(squares(3), 0, -1).astype(np.uint8)
        return viewer.add_image(data, rgb=True, name="scene", scale=(10, 10),
                                units=("metre", "metre"))  # fmt: skip
    if kind == "bands":
        data = squares(25).astype(np.float32)
        return viewer.add_image(data, name="scene", axis_labels=("band", "y", "x"))
    data = squares(1, depth=6)[0].astype(np.float32)
    return viewer.add_image(data, name="scene", scale=(5, 1, 1), axis_labels=("z", "y", "x"),
                            units=("millimeter",) * 3)  # fmt: skip


def opened(viewer: Any, qtbot: Any, kind: str = "rgb", **options: Any) -> Controller:
    """Open a session on the squares in a viewer."""
    layer = add_image(viewer, kind)
    control = current(viewer)
    control.segment(layer, features="bands", **{"n_clusters": 8, "mode": "paper"} | options)
    qtbot.waitUntil(lambda: control.session is not None, timeout=20000)
    return control


def without_window(control: Controller, **options: Any) -> Session:
    """The same session by a script."""
    keywords = {"n_clusters": 8, "mode": "paper"} | options
    return cn.Session(control.image, features="bands", **keywords)


def colours_at(control: Controller, *clusters: int) -> list[tuple[float, ...]]:
    """Colours that the clusters layer gives to clusters."""
    colormap = control.clusters_layer.colormap
    return [tuple(np.round(colormap.map(np.uint16(i)), 3).ravel().tolist()) for i in clusters]


def double_click(viewer: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    """Double-click the middle of the canvas, where the camera looks at."""
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, modifier, middle)
    QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, modifier, middle)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, modifier, middle)


@pytest.fixture
def viewer(qtbot: Any) -> Iterator[ViewerModel]:
    """A viewer without a window."""
    model = ViewerModel()
    yield model
    current(model).close()


# Where no window is needed, the viewer is a `ViewerModel`: the same without one.


@pytest.mark.parametrize("kind", ["rgb", "bands", "volume"])
def test_selected_clusters_shine_and_the_rest_is_clear(viewer: Any, qtbot: Any, kind: str) -> None:
    control = opened(viewer, qtbot, kind)
    painting = viewer.layers.selection.active
    told: list[int] = []
    control.selection_changed.connect(lambda: told.append(1))
    control.select([2, 5])
    layer = control.clusters_layer
    assert layer.name == "scene clusters"
    assert layer.data.dtype == np.uint16
    assert np.shares_memory(layer.data, control.session.cluster_map)  # no copy
    assert layer.visible
    clear = (0.0, 0.0, 0.0, 0.0)
    assert colours_at(control, 2, 5, 1, 0) == [HIGHLIGHT, HIGHLIGHT, clear, clear]
    np.testing.assert_allclose(layer.data_to_world((3,) * layer.ndim),
                               control.strokes_layer.data_to_world((3,) * layer.ndim))  # fmt: skip
    assert viewer.layers.selection.active is painting  # painting goes on
    control.select(np.array([2, 5]))
    assert told == [1]
    control.select(())
    assert not layer.visible  # it was there for the selection only
    assert len(told) == 2


def test_all_clusters_in_distinct_colours(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    control.show_clusters()
    assert control.clusters_layer.visible
    assert len(set(colours_at(control, *range(1, 9)))) == 8
    control.select(3)
    assert colours_at(control, 3, 4) == [HIGHLIGHT, (0, 0, 0, 0)]
    control.select(())
    assert control.clusters_layer.visible  # the user had asked for it
    assert len(set(colours_at(control, *range(1, 9)))) == 8
    control.show_clusters(False)
    assert not control.clusters_layer.visible


def test_isolate_dims_the_others_and_toggles(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    control.isolate([1, 4])
    assert (control.selected, control.isolated) == ((1, 4), True)
    assert colours_at(control, 1, 4, 2, 0) == [(0, 0, 0, 0), (0, 0, 0, 0), DIM, DIM]
    control.select([2])
    assert colours_at(control, 1, 2) == [DIM, (0, 0, 0, 0)]
    control.isolate()
    assert not control.isolated
    assert colours_at(control, 2) == [HIGHLIGHT]
    control.isolate()
    control.select(())
    assert not control.isolated


@pytest.mark.parametrize("kind", [pytest.param("rgb", marks=pytest.mark.slow), "bands", "volume"])
def test_a_real_double_click_selects_the_cluster_under_the_pointer(
    make_napari_viewer: Any, qtbot: Any, kind: str
) -> None:
    viewer = make_napari_viewer(show=True)
    control = opened(viewer, qtbot, kind)
    qtbot.wait(50)
    control.strokes_layer.mode = "pan_zoom"
    ids = control.session.cluster_map
    lead = (4,) if kind == "volume" else ()
    first, second = (*lead, 11, 12), (*lead, 44, 15)
    control.look_at(first)
    zoom = viewer.scene.camera.zoom
    double_click(viewer)
    assert control.selected == (ids[first],)
    assert viewer.scene.camera.zoom == zoom  # napari's own double click zooms
    control.look_at(second)
    double_click(viewer, Qt.KeyboardModifier.ShiftModifier)
    assert control.selected == (ids[first], ids[second])
    double_click(viewer, Qt.KeyboardModifier.ShiftModifier)
    assert control.selected == (ids[first],)
    viewer.scene.camera.center = (0, -1000, -1000)
    double_click(viewer)  # beside the image
    assert control.selected == (ids[first],)
    assert viewer.scene.camera.zoom == pytest.approx(2 * zoom)
    control.look_at(second)
    control.strokes_layer.mode = "paint"
    double_click(viewer)  # two quick dabs
    assert control.selected == (ids[first],)


def test_cluster_at_takes_world_coordinates(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot, "volume")
    ids = control.session.cluster_map
    # spacing (5, 1, 1): z = 12 mm is slice 2.4, so 2
    assert control.cluster_at((12.0, 33.4, 7.0)) == ids[2, 33, 7]
    assert control.cluster_at((0.0, 12.0, 33.4, 7.0)) == ids[2, 33, 7]  # a leading axis of others
    assert control.cluster_at((29.0, 3.0, 7.0)) == 0  # slice 5.8 is beyond the last
    assert control.cluster_at((12.0, -0.6, 7.0)) == 0


@pytest.mark.parametrize("kind", ["rgb", "bands", "volume"])
def test_changes_by_hand_equal_those_of_a_script(viewer: Any, qtbot: Any, kind: str) -> None:
    control = opened(viewer, qtbot, kind)
    script = without_window(control)

    def same() -> None:
        np.testing.assert_array_equal(control.session.labels, script.labels)
        np.testing.assert_array_equal(control.session.cluster_map, script.cluster_map)
        np.testing.assert_array_equal(control.labels_layer.data, script.labels)
        np.testing.assert_array_equal(control.session.clusters["pixels"], script.clusters["pixels"])

    control.assign([1, 2], 2)
    script.assign([1, 2], 2)
    same()
    control.assign([3], 4)
    script.assign([3], 4)
    same()
    assert len(control.classes) == 4
    control.undo()
    control.undo()
    script.undo()
    script.undo()
    same()
    assert not control.labels_layer.data.any()
    control.split([2, 6])
    script.split([2, 6])
    same()
    assert control.selected == (2, 6, 9, 10)
    control.merge([9, 3])
    script.merge([9, 3])
    same()
    assert control.selected == (3,)
    control.select([10, 1])
    control.undo()
    control.undo()
    script.undo()
    script.undo()
    same()
    assert control.selected == (1,)  # 10 is gone
    assert colours_at(control, 1) == [HIGHLIGHT]


def test_what_the_console_does_to_the_session_is_followed(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    control.select([2, 7])
    drawn: list[int] = []
    control.clusters_layer.events.set_data.connect(lambda _: drawn.append(1))
    control.session.assign(1, 1)
    assert not drawn  # no pixel changed its cluster
    control.session.split(2)
    assert drawn
    assert (control.clusters_layer.data == 9).any()
    control.session.merge([2, 7])
    assert control.selected == (2,)


def test_places_go_through_parts_the_largest_first(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot, "volume")
    session = control.session
    control.select([1, 2])
    expected = [place.position for place in session.inspector.places([1, 2], 50)]
    assert [control.show_place() for _ in range(3)] == expected[:3]
    assert viewer.dims.point[0] == expected[2][0] * 5  # the slice, in millimetres
    np.testing.assert_allclose(viewer.scene.camera.center[1:], expected[2][1:])
    assert control.show_place(-1) == expected[1]
    control.select([1])
    assert control.show_place(-1) == session.inspector.places([1], 50)[-1].position


def test_the_wrong_is_refused_with_the_remedy(viewer: Any, qtbot: Any) -> None:
    control = current(viewer)
    control.select(())
    for action in (lambda: control.select([1]), lambda: control.cluster_at((0, 0)),
                   control.show_clusters, control.cluster_table):  # fmt: skip
        with pytest.raises(InputError, match="Press Start"):
            action()
    control = opened(viewer, qtbot)
    for action in (control.show_place, control.split, control.merge, control.isolate,
                   lambda: control.assign(None, 1)):  # fmt: skip
        with pytest.raises(InputError, match="no cluster is selected"):
            action()
    with pytest.raises(InputError, match=r"\[99\]"):
        control.select([1, 99])
    assert control.selected == ()
    with pytest.raises(InputError, match="fewer than two"):
        control.merge([3])


def test_layers_that_go_and_images_that_change(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=False)
    control = opened(viewer, qtbot)
    control.select([1])
    first = control.clusters_layer
    viewer.layers.remove(first)
    assert control.clusters_layer is None
    control.select([2])
    assert control.clusters_layer in viewer.layers
    # another image becomes the active one
    shown = control.clusters_layer
    other = viewer.add_image(squares(1, seed=3)[0], name="other")
    control.segment(other, features="bands", n_clusters=4, mode="paper")
    qtbot.waitUntil(lambda: control.session is not None, timeout=20000)
    assert control.selected == ()
    assert not shown.visible
    control.select([4])
    assert control.clusters_layer.name == "other clusters"
    viewer.layers.remove(other)  # ends that one; back to the first
    assert control.image.name == "scene"
    assert control.selected == ()
    control.select([3])
    assert control.clusters_layer is shown


def test_a_session_opened_again_shows_its_own_clusters(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    control.select([1, 8])
    before = control.session
    control.segment(control.active.image_layers, features="bands", n_clusters=5, mode="paper")
    qtbot.waitUntil(lambda: control.session is not before, timeout=20000)
    assert control.selected == (1,)
    assert np.shares_memory(control.clusters_layer.data, control.session.cluster_map)


def test_band_means_of_large_images_come_beside_the_window(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_clusternet._napari.inspecting.DIRECT", 10)
    read, asked = BandMeans.steps, threading.Event()

    def later(means: BandMeans) -> Iterator[Any]:
        steps = read(means)  # of the clusters as they are now
        yield from (step for step in steps if asked.wait(10))

    monkeypatch.setattr(BandMeans, "steps", later)
    control = opened(viewer, qtbot, "bands")
    told: list[int] = []
    control.session_changed.connect(lambda _: told.append(1))
    assert control.cluster_table()["mean_band_1"].isna().all()
    asked.set()
    qtbot.waitUntil(lambda: bool(told), timeout=10000)
    table = control.cluster_table()
    expected = [control.image.data[0][control.session.cluster_map == i].mean() for i in table.index]
    np.testing.assert_allclose(table["mean_band_1"], expected, rtol=1e-6)
    control.split(1)
    control.cluster_table()  # begins to read the changed clusters
    control.split(2)  # meanwhile
    qtbot.waitUntil(lambda: not control.cluster_table()["mean_band_1"].isna().any(), timeout=10000)
    np.testing.assert_array_equal(
        control.cluster_table()["mean_band_1"], control.session.clusters["mean_band_1"]
    )


def test_a_closed_viewer_keeps_nothing_running(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    assert viewer.mouse_double_click_callbacks == [control._double_clicked]
    control.close()
    assert control._double_clicked not in viewer.mouse_double_click_callbacks
    assert [click.__name__ for click in viewer.mouse_double_click_callbacks] == [
        "double_click_to_zoom"
    ]
