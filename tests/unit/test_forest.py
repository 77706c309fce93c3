"""The forest: tiles change nothing, and very many stroked pixels are sampled."""

from __future__ import annotations

import numpy as np

from napari_clusternet.classify import base, forest
from napari_clusternet.features.filters import FilterFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain

RNG = np.random.default_rng(0)
TRUTH = np.where(np.arange(60) < 30, 1, 2) * np.ones((50, 1), int)
IMAGE = Image.from_array((TRUTH + RNG.normal(0, 0.4, TRUTH.shape)).astype(np.float32))
STROKES = (TRUTH * (RNG.random(TRUTH.shape) < 0.1)).astype(np.uint8)


def run():
    extractor = FilterFeatures.fit(IMAGE)
    return drain(forest.Forest().segment_steps(IMAGE, STROKES, extractor, 0))


def test_labels_do_not_depend_on_tiles(monkeypatch):
    whole = run()
    monkeypatch.setattr(base, "default_tile", lambda *_: (17, 23))
    tiled = run()
    # the same forest; features by tiles may differ in the last digits
    assert (tiled == whole).mean() > 0.999
    assert (whole == TRUTH).mean() > 0.97


def test_very_many_stroked_pixels_are_sampled(monkeypatch):
    monkeypatch.setattr(forest, "MAX_PIXELS", 60)
    assert (run() == TRUTH).mean() > 0.9
