"""The Clusters dock: real clicks on its rows, buttons and map; two docks; sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QLabel

from napari_clusternet._napari.clusters_dock import ClustersDock
from napari_clusternet._napari.controller import Controller, current
from napari_clusternet.cluster_views import centroid_map

LEFT = Qt.MouseButton.LeftButton
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier


def scene(n_bands: int, shape: tuple[int, ...] = (40, 40)) -> np.ndarray:
    """Stripes of distinct values with noise, channels first."""
    rng = np.random.default_rng(0)
    means = rng.uniform(40, 220, (n_bands, 5))
    stripes = means[:, np.arange(shape[-1]) * 5 // shape[-1]]
    whole = np.broadcast_to(stripes.reshape(n_bands, *[1] * (len(shape) - 1), -1),
                            (n_bands, *shape))  # fmt: skip
    return (whole + rng.normal(0, 5, whole.shape)).astype(np.float32)


def opened(viewer: Any, qtbot: Any, n_bands: int = 4, **options: Any) -> Controller:
    """Open a session on the stripes."""
    layer = viewer.add_image(
        scene(n_bands), name="scene", axis_labels=("band", "y", "x"), scale=(1, 10, 10),
        units=("pixel", "metre", "metre"),
    )  # fmt: skip
    control = current(viewer)
    control.segment(layer, features="bands", n_clusters=options.pop("n", 10), mode="paper")
    qtbot.waitUntil(lambda: control.session is not None, timeout=20000)
    return control


def docked(viewer: Any, qtbot: Any) -> ClustersDock:
    """Show a dock of 300 pixels width."""
    dock = ClustersDock(viewer)
    qtbot.addWidget(dock)
    dock.resize(300, 1000)
    dock.show()
    qtbot.waitUntil(lambda: not dock._stale and not dock._timer.isActive())
    return dock


def settled(qtbot: Any, *docks: ClustersDock) -> None:
    """Wait for the docks' update after a change."""
    qtbot.waitUntil(lambda: not any(d._stale or d._timer.isActive() for d in docks))


def shown_ids(dock: ClustersDock) -> list[int]:
    """Ids of the rows in the order on the screen, as their texts say."""
    model = dock.table.model()
    return [int(model.index(row, 0).data()) for row in range(model.rowCount())]


def column(dock: ClustersDock, title: str) -> int:
    return [c.title for c in dock.table.clusters.columns].index(title)


def cells(dock: ClustersDock, title: str) -> list[str]:
    model, place = dock.table.model(), column(dock, title)
    return [model.index(row, place).data() for row in range(model.rowCount())]


def click_row(dock: ClustersDock, cluster: int, modifier: Any = NONE) -> None:
    """Click a cluster's row with the mouse."""
    index = dock.table.model().index(shown_ids(dock).index(cluster), 0)
    dock.table.scrollTo(index)
    place = dock.table.visualRect(index).center()
    QTest.mouseClick(dock.table.viewport(), LEFT, modifier, place)


def choose_class(dock: ClustersDock, words: str) -> None:
    """Choose an entry of the button Assign to."""
    dock._classes_menu.aboutToShow.emit()
    action = next(a for a in dock._classes_menu.actions() if words in a.text().replace("&", ""))
    action.trigger()


@pytest.fixture
def viewer(qtbot: Any) -> Iterator[ViewerModel]:
    """A viewer without a window."""
    model = ViewerModel()
    yield model
    current(model).close()


def test_rows_and_controller_select_each_other_in_two_docks(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    one, two = docked(viewer, qtbot), docked(viewer, qtbot)
    click_row(one, 3)
    assert control.selected == (3,)
    assert control.clusters_layer.visible
    click_row(one, 5, CONTROL)
    assert control.selected == (3, 5)
    click_row(two, 7, SHIFT)  # from the row it followed up to 7
    assert set(control.selected) >= {5, 6, 7}
    control.select([9, 2])
    for dock in (one, two):
        rows = sorted(index.row() for index in dock.table.selectionModel().selectedRows())
        assert [shown_ids(dock)[row] for row in rows] == [2, 9]
        assert "2 selected" in dock.summary.text()
    QTest.keyClick(one.table, Qt.Key.Key_Escape)
    assert control.selected == ()
    assert not two.table.selectionModel().hasSelection()


def test_the_table_says_what_the_session_says(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    control.classes.rename(2, "water")
    control.assign([4, 6], 2)
    strokes = np.zeros((40, 40), np.uint8)
    strokes[5, 3:6] = 1
    control.strokes_layer.data = strokes
    control.update()
    settled(qtbot, dock)
    table = control.session.clusters
    assert shown_ids(dock) == table.index.tolist()
    assert cells(dock, "Pixels") == [str(n) for n in table["pixels"]]
    # pixels of 10 m x 10 m: 100 m² each
    first = int(table["pixels"].iloc[0])
    assert cells(dock, "Area")[0] == (
        f"{first / 100:.3g} ha" if first >= 100 else f"{first * 100:,} m²"
    )
    stroked = table.index[table["strokes_1"] > 0].tolist()
    states = dict(zip(shown_ids(dock), cells(dock, "State"), strict=True))
    classes = dict(zip(shown_ids(dock), cells(dock, "Class"), strict=True))
    assert {states[4], states[6]} == {"assigned"}
    assert {classes[4], classes[6]} == {"water"}
    assert {states[i] for i in stroked} == {"class 1"}  # its strokes are all of class 1
    assert {states[i] for i in set(table.index) - {4, 6, *stroked}} == {"unclassified"}
    assert [float(text) for text in cells(dock, "Mean band_1")] == pytest.approx(
        table["mean_band_1"].tolist(), rel=1e-3
    )
    swatch = (
        dock.table.model().index(shown_ids(dock).index(4), 0).data(Qt.ItemDataRole.DecorationRole)
    )
    colour = swatch.pixmap(14, 14).toImage().pixelColor(7, 7).getRgbF()[:3]
    assert colour == pytest.approx(control.classes.colours[2], abs=3e-3)  # of 8 bits


def test_sorting_by_header_keeps_the_selection(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    control.select([2, 8])
    pixels = control.session.clusters["pixels"]
    header = dock.table.horizontalHeader()
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        dock.table.sortByColumn(column(dock, "Pixels"), order)
        found = pixels.loc[shown_ids(dock)].tolist()
        assert found == sorted(found, reverse=order == Qt.SortOrder.DescendingOrder)
        rows = [index.row() for index in dock.table.selectionModel().selectedRows()]
        assert {shown_ids(dock)[row] for row in rows} == {2, 8}
    place = QPoint(header.sectionViewportPosition(0) + 20, header.height() // 2)
    QTest.mouseClick(header.viewport(), LEFT, pos=place)
    assert shown_ids(dock) == sorted(shown_ids(dock), reverse=header.sortIndicatorOrder().value)
    control.split(2)
    settled(qtbot, dock)
    assert set(shown_ids(dock)) == set(control.session.clusters.index)
    assert control.selected == (2, 11)


def test_filters_hide_rows_but_deselect_none(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    control.classes.rename(1, "Dry grass")
    control.assign([1, 2, 10], 1)
    settled(qtbot, dock)
    control.select([1, 5])
    QTest.keyClicks(dock.text.native, "grass DRY")
    assert shown_ids(dock) == [1, 2, 10]
    assert control.selected == (1, 5)
    assert "10 clusters, 3 shown; 2 selected" in dock.summary.text()
    dock.text.value = "1"
    assert shown_ids(dock) == [1, 10]
    dock.text.value = ""
    dock.of_class.value = 0
    assert shown_ids(dock) == [3, 4, 5, 6, 7, 8, 9]
    dock.of_class.value = -1
    dock.of_state.value = 4  # assigned
    assert shown_ids(dock) == [1, 2, 10]
    control.assign([7], 2)  # rows come and go with the session
    settled(qtbot, dock)
    assert shown_ids(dock) == [1, 2, 7, 10]
    assert control.selected == (1, 5)
    dock.of_state.value = -1
    rows = [index.row() for index in dock.table.selectionModel().selectedRows()]
    assert {shown_ids(dock)[row] for row in rows} == {1, 5}


def test_every_button_and_undo(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    buttons = (dock.assign, dock.split, dock.next, dock.isolate)
    assert not any(button.isEnabled() for button in (*buttons, dock.merge))
    assert "Select clusters first" in dock.split.toolTip()
    click_row(dock, 4)
    assert all(button.isEnabled() for button in buttons)
    assert "two or more" in dock.merge.toolTip()
    choose_class(dock, "2 class 2")
    assert set(np.unique(control.session.labels[control.session.cluster_map == 4])) == {2}
    choose_class(dock, "A new class")
    assert control.session.clusters.loc[4, "class"] == 3
    control.undo()
    assert control.session.clusters.loc[4, "class"] == 2
    choose_class(dock, "As its strokes say")
    assert control.session.clusters.loc[4, "class"] == 0
    QTest.mouseClick(dock.isolate, LEFT)
    assert control.isolated
    assert dock.isolate.isChecked()
    QTest.mouseClick(dock.isolate, LEFT)
    assert not dock.isolate.isChecked()
    camera = viewer.scene.camera
    control.select([4, 5])
    places = [(0.0, *(10.0 * p for p in place.position))
              for place in control.session.inspector.places([4, 5])]  # fmt: skip
    assert places[0] != places[1]
    QTest.mouseClick(dock.next, LEFT)
    assert camera.center == places[0]
    QTest.keyClick(dock.table, Qt.Key.Key_N)
    assert camera.center == places[1]
    QTest.keyClick(dock.table, Qt.Key.Key_N, SHIFT)
    assert camera.center == places[0]
    click_row(dock, 4)
    QTest.mouseClick(dock.split, LEFT)
    settled(qtbot, dock)
    assert control.selected == (4, 11)
    assert shown_ids(dock)[-1] == 11
    QTest.mouseClick(dock.merge, LEFT)
    settled(qtbot, dock)
    assert control.selected == (4,)
    assert 11 not in shown_ids(dock)
    dock.show_all.value = True
    control.select(())
    assert control.clusters_layer.visible
    menu = dock.context_menu()
    assert [a.isEnabled() for a in menu.actions()] == [False] * 5
    menu.close()


def test_an_error_is_told_not_raised(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    told: list[str] = []
    monkeypatch.setattr(
        "napari_clusternet._napari.frames.tell_error", lambda error: told.append(str(error))
    )
    control.select([1])
    monkeypatch.setattr(control.session._engine, "divide_in_two", lambda *_: [])
    QTest.mouseClick(dock.split, LEFT)
    assert len(told) == 1
    assert "same features" in told[0]


def test_lasso_and_click_on_the_map_then_assign(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    dock.map_section.expand()
    qtbot.wait(50)
    dock.map.autoRange(padding=0.4)
    qtbot.wait(20)
    table = control.session.clusters
    places = centroid_map([*table["centroid"]])
    # click the one that lies farthest from its neighbours
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag([np.inf] * len(places))
    lonely = int(table.index[apart.min(axis=0).argmax()])
    viewport = dock.map.viewport()
    QTest.mouseClick(viewport, LEFT, pos=dock.map.screen_position(lonely).toPoint())
    assert control.selected == (lonely,)
    # a lasso around the left half: its right edge lies between two neighbours in x
    order = np.argsort(places[:, 0])
    gap = int(np.diff(np.sort(places[:, 0])).argmax()) + 1
    wanted = set(table.index[order[:gap]].tolist())
    screen = {int(i): dock.map.screen_position(int(i)) for i in table.index}
    edge = (max(screen[i].x() for i in wanted)
            + min(p.x() for i, p in screen.items() if i not in wanted)) / 2  # fmt: skip
    left = min(p.x() for p in screen.values()) - 12
    top, bottom = (f(p.y() for p in screen.values()) for f in (min, max))
    corners = [(left, top - 12), (edge, top - 12), (edge, bottom + 12), (left, bottom + 12)]
    dock.lasso.click()
    path = [QPoint(round(x), round(y)) for x, y in corners]
    QTest.mousePress(viewport, LEFT, pos=path[0])
    for place in path[1:]:
        QTest.mouseMove(viewport, place)
        qtbot.wait(30)
    QTest.mouseRelease(viewport, LEFT, pos=path[-1])
    assert set(control.selected) == wanted
    choose_class(dock, "1 class 1")
    labels = control.session.labels
    np.testing.assert_array_equal(labels == 1, np.isin(control.session.cluster_map, list(wanted)))
    control.undo()  # all of them at once
    assert not control.session.labels.any()


def test_profiles_are_those_of_the_table(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot, n_bands=25)
    dock = docked(viewer, qtbot)
    dock.profile_section.expand()
    control.assign([1, 2], 1)
    settled(qtbot, dock)
    control.select([2, 5])
    lines = [item.getData()[1] for item in dock.profiles.listDataItems()]
    table = control.session.clusters
    means = table[[f"mean_band_{i}" for i in range(1, 26)]].to_numpy()
    weights = table.loc[[1, 2], "pixels"].to_numpy()
    expected = [np.average(means[:2], axis=0, weights=weights), means[1], means[4]]
    np.testing.assert_allclose(lines, expected)
    assert "class 1" in dock.key.text()
    # of 25 bands, 6 columns are shown until the header's menu says otherwise
    hidden = [dock.table.isColumnHidden(column(dock, f"Mean band_{i}")) for i in range(1, 26)]
    assert hidden == [False] * 6 + [True] * 19
    menu = dock.table.header_menu()
    next(a for a in menu.actions() if a.text() == "Mean band_9").trigger()
    menu.close()
    assert not dock.table.isColumnHidden(column(dock, "Mean band_9"))


def test_changes_in_a_row_are_one_update_and_a_hidden_dock_does_none(
    viewer: Any, qtbot: Any
) -> None:
    control = opened(viewer, qtbot)
    dock = docked(viewer, qtbot)
    updates: list[int] = []
    for signal in (dock.table.clusters.dataChanged, dock.table.clusters.modelReset):
        signal.connect(lambda *_: updates.append(1))
    for i in range(1, 6):
        control.assign([i], 1)
    settled(qtbot, dock)
    assert len(updates) == 1
    dock.hide()
    control.assign([6], 1)
    qtbot.wait(150)
    assert len(updates) == 1
    dock.show()
    settled(qtbot, dock)
    assert len(updates) == 2
    assert cells(dock, "State")[5] == "assigned"


def test_without_a_session_it_says_what_to_do(viewer: Any, qtbot: Any) -> None:
    dock = docked(viewer, qtbot)
    assert "press Start in Classify" in dock.message.text()
    assert not dock.table.isVisible()
    control = opened(viewer, qtbot)
    settled(qtbot, dock)
    assert dock.table.isVisible()
    for section in (dock.profile_section, dock.map_section):
        section.expand()
    control.select([1])
    viewer.layers.remove("scene")  # the selection ends before the dock knows why
    assert dock.summary.text() == ""
    settled(qtbot, dock)
    assert not dock.table.isVisible()
    assert not dock.split.isEnabled()


def test_a_destroyed_dock_is_not_called_any_more(viewer: Any, qtbot: Any) -> None:
    control = opened(viewer, qtbot)
    before = len(control.session_changed)
    dock = ClustersDock(viewer)
    assert len(control.session_changed) == before + 1
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    assert len(control.session_changed) == before
    control.assign([1], 1)
    control.select([2])


def test_nothing_is_cut_at_300_pixels(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    control = opened(viewer, qtbot)
    dock = ClustersDock(viewer)
    area = viewer.window.add_dock_widget(dock, name="Clusters", area="right")
    viewer.window._qt_window.resizeDocks([area], [300], Qt.Orientation.Horizontal)
    for section in (dock.profile_section, dock.map_section):
        section.expand()
    control.select([1, 2])
    qtbot.wait(200)
    assert dock.width() <= 310
    for widget in (*dock.findChildren(QAbstractButton), *dock.findChildren(QLabel)):
        if widget.isVisible() and widget.text() and not getattr(widget, "wordWrap", bool)():
            needed = widget.fontMetrics().horizontalAdvance(widget.text().replace("&", ""))
            assert needed <= widget.width(), widget.text()
