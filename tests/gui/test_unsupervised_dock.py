"""Segment without strokes: what the dock and the console do is what `cn.unsupervised` computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

napari = pytest.importorskip("napari")

from qtpy.QtCore import Qt  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402

import napari_clusternet as cn  # noqa: E402
from napari_clusternet._napari.controller import current  # noqa: E402
from napari_clusternet._napari.method_form import LEARNED, MethodForm, label_of  # noqa: E402
from napari_clusternet._napari.unsupervised_dock import UnsupervisedDock  # noqa: E402
from napari_clusternet.errors import InputError  # noqa: E402
from napari_clusternet.unsupervised import UNSUPERVISED  # noqa: E402

WAIT = 60.0
#: A network that answers soon.
SMALL = {"n_channels": 8, "n_blocks": 1}


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


def _dock(viewer: Any) -> UnsupervisedDock:
    dock = UnsupervisedDock(viewer)
    viewer.window.add_dock_widget(dock, name="Segment without strokes")
    return dock


def _add(viewer: Any, name: str = "scene", **more: Any) -> Any:
    rng = np.random.default_rng(0)
    data = np.kron(rng.integers(20, 235, (3, 4)), np.ones((12, 12))).astype(np.uint8)
    return viewer.add_image(data, name=name, **more)


def _click(button: Any) -> None:
    assert button.enabled, button.tooltip
    QTest.mouseClick(button.native, Qt.MouseButton.LeftButton)


def test_run_and_use_as_clusters_by_buttons(viewer: Any) -> None:
    dock = _dock(viewer)
    assert "Open an image" in dock.message.text()
    assert not dock.run.enabled
    assert dock.run.tooltip == "Open an image first"
    layer = _add(viewer, scale=(2, 3), units="um")
    assert "press Run" in dock.message.text()
    dock.method.value = "kmeans"
    assert "seconds" in dock.about.text()
    dock.form.widgets["n_clusters"].value = 5
    assert not dock.use.enabled
    _click(dock.run)
    control = current(viewer)
    assert control.runner.wait(WAIT)
    found = viewer.layers["scene regions (kmeans)"]
    expected = cn.unsupervised(cn.open_image(layer), method="kmeans", n_clusters=5)
    np.testing.assert_array_equal(found.data, expected)
    assert found.data.dtype == np.uint16
    np.testing.assert_array_equal(found.extent.world, layer.extent.world)
    assert found.units == layer.units
    assert "5 regions in the layer scene regions (kmeans)" in dock.message.text()
    _click(dock.use)
    assert control.runner.wait(WAIT)
    # the regions are the clusters: ids of equal pixels are equal, and one class fills a region
    pairs = np.unique(np.stack([found.data.ravel(), control.session.cluster_map.ravel()]), axis=1)
    assert pairs.shape[1] == 5
    assert "are the clusters of scene now" in dock.message.text()
    assert not found.visible
    strokes = control.strokes_layer
    assert found is not strokes
    strokes.data_setitem((np.array([6, 6]), np.array([5, 6])), 2)
    labels = control.update()
    region = found.data[6, 5]
    assert (labels[found.data == region] == 2).all()


def test_console_reaches_all_of_it(viewer: Any) -> None:
    layer, control = _add(viewer), cn.current(viewer)
    assert control.find_regions(method="hierarchy", n_regions=4)
    assert control.runner.wait(WAIT)
    (found,) = control.found_regions
    assert found.layer.name == "scene regions (hierarchy)"
    assert len(np.unique(found.layer.data)) == 4
    # again: the same layer, unless the user gave it a name of its own
    control.find_regions(layer, method="hierarchy", n_regions=6)
    assert control.runner.wait(WAIT)
    assert len(viewer.layers) == 2
    assert int(viewer.layers["scene regions (hierarchy)"].data.max()) == 6
    found.layer.name = "six"
    control.find_regions(layer, method="hierarchy", n_regions=2)
    assert control.runner.wait(WAIT)
    assert [f.layer.name for f in control.found_regions] == ["six", "scene regions (hierarchy)"]
    segmentation = control.use_as_clusters(viewer.layers["six"], features="bands")
    assert control.runner.wait(WAIT)
    assert len(segmentation.session.clusters) == 6
    viewer.layers.remove("six")
    assert len(control.found_regions) == 1
    viewer.layers.remove(layer)
    with pytest.raises(InputError, match="its image 'scene' was removed"):
        control.use_as_clusters()
    viewer.layers.clear()
    with pytest.raises(InputError, match="there are no regions"):
        control.use_as_clusters()


def test_regions_are_shown_while_a_network_learns_and_kept_after_cancel(
    viewer: Any, told: list[str], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_clusternet._napari.unsupervising.PREVIEW_EVERY", 0.0)
    _add(viewer)
    dock, control = _dock(viewer), current(viewer)
    assert control.find_regions(method="dfc", n_iterations=10_000, min_labels=1, mu=1e-6, **SMALL)
    qtbot.waitUntil(lambda: bool(control.found_regions), timeout=60_000)
    assert "Cancel keeps them" in dock.message.text()
    assert not dock.run.enabled
    assert "dfc on scene is running" in dock.run.tooltip
    qtbot.waitUntil(lambda: "labels" in dock.going.status.text(), timeout=60_000)
    _click(dock.going.cancel)
    assert control.runner.wait(WAIT)
    regions = viewer.layers["scene regions (dfc)"].data
    assert set(np.unique(regions)) == set(range(1, int(regions.max()) + 1))  # without gaps
    assert any("are kept" in text for text in told)
    assert dock.run.enabled
    assert dock.use.enabled


def test_without_a_preview_nothing_is_left_of_a_cancel(viewer: Any, told: list[str]) -> None:
    _add(viewer)
    control = current(viewer)
    control.find_regions(method="iic", n_steps=100_000, tile=16, batch=1)
    control.runner.cancel()
    assert control.runner.wait(WAIT)
    assert len(viewer.layers) == 1
    assert any("cancelled" in text for text in told)


def test_a_result_of_pixels_that_are_gone_is_discarded(viewer: Any, told: list[str]) -> None:
    layer, control = _add(viewer), current(viewer)
    control.find_regions(method="kmeans")
    layer.data = np.zeros((5, 5), np.uint8)
    assert control.runner.wait(WAIT)
    assert not control.found_regions
    assert any("was discarded" in text for text in told)


def test_errors_are_told_before_anything_runs(viewer: Any, told: list[str]) -> None:
    dock, control = _dock(viewer), current(viewer)
    viewer.add_image(np.zeros((3, 12, 12)), name="cube")
    dock.axes.value = "ZYX"
    assert "felzenszwalb" not in dock.method.choices  # it takes no volumes
    dock.axes.value = "CYX"
    assert "felzenszwalb" in dock.method.choices
    dock.method.value = "kmeans"
    dock.bands.value = "7"
    _click(dock.run)
    assert not control.runner.busy
    assert any("there are bands 0 to 2" in text for text in told)
    dock.bands.value = "all"
    dock.form.widgets["features"].value = LEARNED
    _click(dock.run)
    assert any("no features are learned" in text for text in told)
    with pytest.raises(InputError, match="does not handle"):
        control.find_regions(axes="ZYX", method="felzenszwalb")
    with pytest.raises(InputError, match="no such parameter"):
        control.find_regions(axes="CYX", method="kmeans", n_regions=3)


def test_regions_are_no_strokes(viewer: Any) -> None:
    from napari_clusternet._napari.classify_dock import ClassifyDock

    _add(viewer)
    control = current(viewer)
    control.find_regions(method="kmeans", n_clusters=2)
    assert control.runner.wait(WAIT)
    dock = ClassifyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Classify")
    assert control.found_regions[0].layer not in dock.strokes.choices


# ---- the form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(UNSUPERVISED))
def test_form_of_every_method_holds_its_defaults(qtbot: Any, method: str) -> None:
    form = MethodForm(list)
    qtbot.addWidget(form.main)
    qtbot.addWidget(form.more)
    kind = UNSUPERVISED.load(method)
    form.show_method(kind)
    assert form.values == {}  # nothing differs from the defaults, no value was rounded
    assert set(kind.main) <= set(form.widgets)
    assert form.main.layout().rowCount() == len(kind.main)
    for widget in form.widgets.values():
        assert widget.tooltip


def test_form_remembers_what_was_entered_and_reads_it(qtbot: Any) -> None:
    form = MethodForm(list)
    qtbot.addWidget(form.main)
    qtbot.addWidget(form.more)
    form.show_method(UNSUPERVISED.load("ktextures"))
    form.widgets["k"].value = 9
    form.widgets["rgb"].value = "3, 2 1"
    form.widgets["learning_rate"].value = 0.0005
    form.show_method(UNSUPERVISED.load("kmeans"))
    assert form.values == {}
    form.show_method(UNSUPERVISED.load("ktextures"))
    assert form.values == {"k": 9, "rgb": (3, 2, 1), "learning_rate": 0.0005}
    form.widgets["rgb"].value = "red"
    with pytest.raises(InputError, match="rgb='red'"):
        _ = form.values


def test_labels_of_parameters() -> None:
    assert label_of("n_clusters") == "Number of clusters"
    assert label_of("size_power") == "Size power"
