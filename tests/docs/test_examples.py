"""The documentation's Python runs as it is printed, on small files in a folder of its own.

All blocks of a page run one after the other in one namespace. Long training is cut short by the
replacements below; nothing else is changed. A block after the comment ``<!-- not run: why -->`` is
left out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet import config

ROOT = Path(__file__).parents[2]
#: Less training, page by page: printed -> run.
SHORTER = {
    "README.md": [('from_preset("quick"', 'from_preset("quick", n_epochs=1, n_clusters=20')],
    "quickstart.md": [('from_preset("quick"', 'from_preset("quick", n_epochs=1, n_clusters=20')],
    "ktextures.md": [("k=6)", "k=6, n_steps=2)")],
    "supervised.md": [('method="unet",', 'method="unet", steps=2,'), ("steps=400", "steps=2")],
    "unsupervised.md": [("n_iterations=200", "n_iterations=2")],
}
#: Code of a window: `tests/gui/test_console_page.py` runs the console's page.
_WINDOW = re.compile(r"\b(viewer|control)\b")
_BLOCK = re.compile(
    r"(?P<before>[^\n]*\n\n?)^```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)


def pages() -> list[Path]:
    """Return the pages with Python to run; what needs a window is left to the tests of windows."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page for page in every if code_of(page)]


def code_of(page: Path) -> list[tuple[int, str]]:
    """Return (line, code) of every block to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: block.start("code")].count("\n") + 1, block["code"])
        for block in _BLOCK.finditer(text)
        if "<!-- not run:" not in block["before"] and not _WINDOW.search(block["code"])
    ]


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


#: These train a model, or open large samples, and take half a minute.
LONG = {"README.md", "quickstart.md", "tutorial-brain.md", "tutorial-satellite.md"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else (), id=p.name) for p in pages()],
)
def test_blocks_of_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyogrio")
    blocks = code_of(page)
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "FILES", replace(config.FILES))  # pages may change limits
    names = write_files(tmp_path)
    for line, code in blocks:
        for printed, run in SHORTER.get(page.name, ()):
            code = code.replace(printed, run)
        # lines of the traceback are those of the page
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


def test_replacements_still_fit_the_pages() -> None:
    for name, changes in SHORTER.items():
        page = ROOT / name if name == "README.md" else ROOT / "docs" / name
        for printed, _ in changes:
            assert printed in page.read_text(encoding="utf-8"), f"{name}: {printed}"
