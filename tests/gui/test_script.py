"""The script in `examples/` that drives a window does what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "examples" / "napari_script.py"


@pytest.mark.slow  # a whole sample
def test_the_script_leaves_a_classified_sample_to_go_on_with(
    make_napari_viewer_proxy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    viewer = make_napari_viewer_proxy()
    control = script.main(viewer)
    assert control is script.cn.current(viewer)
    assert "class" in capsys.readouterr().out.splitlines()[0]  # the columns of the table
    classes = set(control.classes.names)
    assert len(classes) > 1
    assert set(np.unique(control.labels_layer.data)) == classes  # every pixel has one of them
    assert control.active.certainty_layer in viewer.layers
    assert [dock for dock in viewer.window.dock_widgets if "Classify" in dock]
