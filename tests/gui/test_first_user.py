"""A first-time user, who does what the sentence at the top of the dock says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from napari_clusternet._napari.classify_dock import NO_IMAGE, NOT_STARTED, PREPARING
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.segmentation import GO_ON


def test_from_the_sample_to_labels(make_napari_viewer: Callable[..., Any], qtbot: Any) -> None:
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-clusternet", "Classify")
    assert dock.message.text() == NO_IMAGE
    image, strokes = viewer.open_sample("napari-clusternet", "sentinel2")
    assert dock.message.text() == NOT_STARTED
    assert dock.layer.value == (image,)
    assert dock.strokes.value is strokes
    dock.clusters.value = 60
    dock.start.native.click()
    assert dock.message.text() == PREPARING
    control = current(viewer)
    qtbot.waitUntil(lambda: control.session is not None, timeout=120_000)
    assert dock.message.text() == GO_ON
    names = [dock.table.item(row, 1).text() for row in range(dock.table.rowCount())]
    assert names == list(strokes.metadata["class_names"])
    labels = viewer.layers["sentinel2 classes"]
    assert labels.data.all()
    stroked = strokes.data > 0
    assert (labels.data[stroked] == strokes.data[stroked]).mean() > 0.9
    np.testing.assert_array_equal(labels.extent.world, strokes.extent.world)
