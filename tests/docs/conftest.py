"""Small files and variables that the documentation takes for granted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet import config


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Go to a folder with the files that pages name; return their variables."""
    pytest.importorskip("pyogrio")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "FILES", replace(config.FILES))  # pages may change limits
    return write_files(tmp_path)


def write_files(folder: Path) -> dict[str, Any]:
    """Write the files that pages name, and return the variables that they take for granted."""
    rng = np.random.default_rng(0)
    truth = np.ones((48, 64), np.uint8)
    truth[:, 32:] = 2
    truth[30:, 10:40] = 3
    places = {"crs": "EPSG:32640", "spacing": (2.0, 2.0), "units": "metre"}
    bands = np.array([40, 120, 200])[:, None, None] + 20 * truth + rng.normal(0, 6, (3, 48, 64))
    strokes = np.zeros_like(truth)
    strokes[5, 5:20], strokes[5, 40:60], strokes[40, 12:38] = 1, 2, 3
    image = cn.Image.from_array(bands.clip(0, 255).astype(np.uint8), axes="CYX", **places)
    _write_scene(folder, image, ("scene", "a", "b", "c", "big"))
    quad = cn.Image.from_array(rng.gamma(4, 10, (4, 48, 64)).astype(np.float32), axes="CYX")
    _write_scene(folder, quad, ("quad",))
    for name, labels in {
        "strokes": strokes,
        "truth": truth,
        "a_mask": truth,
        "b_mask": truth,
    }.items():
        cn.write_labels(folder / f"{name}.tif", labels, like=image)
    objects = np.where(truth == 3, 1, 0)
    return {
        "image": image, "strokes": strokes, "labels": truth, "truth": truth, "cn": cn, "np": np,
        "image_1": image, "image_2": image, "image_3": image, "strokes_3": strokes,
        "volume": rng.normal(0, 1, (4, 12, 14)), "objects_a": objects, "objects_b": objects,
        "truth_a": objects, "truth_b": objects,
    }  # fmt: skip


def _write_scene(folder: Path, image: cn.Image, names: tuple[str, ...]) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin

    data = np.asarray(image.data)
    for name in names:
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", count=len(data), dtype=data.dtype,
            height=data.shape[1], width=data.shape[2], crs="EPSG:32640",
            transform=from_origin(300_000, 2_790_000, 2, 2),
        ) as target:  # fmt: skip
            target.write(data)
