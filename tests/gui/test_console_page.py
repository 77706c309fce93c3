"""The console's page runs as it is printed, in a real viewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn

PAGE = Path(__file__).parents[2] / "docs" / "console.md"


@pytest.mark.slow
def test_blocks_of_python(
    make_napari_viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer()
    values = np.random.default_rng(0).normal(60, 8, (360, 120))
    values[150:] += 100
    image = cn.Image.from_array(values)
    cn.write_labels(tmp_path / "scene.tif", values.clip(0, 255).astype(np.uint8), like=image)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 1
    names: dict[str, Any] = {"viewer": viewer}
    for code in blocks:
        if "connect(...)" not in code:
            # clusters as few as the small scene needs
            exec(compile(code.replace("n_clusters=400", "n_clusters=40"), PAGE, "exec"), names)
    labels = names["labels"]
    assert (labels[:140] == 1).mean() > 0.9
    assert (labels[160:] == 2).mean() > 0.9
    assert names["control"].classes.names[1] == "water"
