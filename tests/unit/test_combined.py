from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.extraction import fit_extractor
from napari_clusternet.extractor import transform
from napari_clusternet.features.combined import CombinedFeatures
from napari_clusternet.image import Image

IMAGE = Image.from_array(
    np.random.default_rng(0).normal(size=(3, 50, 41)).astype(np.float32), axes="CYX"
)


def test_parts_stand_side_by_side_and_weigh_the_same() -> None:
    combined = fit_extractor(IMAGE, ("bands", "filters"), 0)
    bands, filters = (transform(fit_extractor(IMAGE, n, 0), IMAGE) for n in ("bands", "filters"))
    both = transform(combined, IMAGE)
    n, m = len(bands), len(filters)
    assert combined.n_features == n + m == len(both)
    # n features of weight (n + m) / 2n and m of (n + m) / 2m: each part sums to (n + m) / 2
    np.testing.assert_allclose(both[:n], bands * np.sqrt((n + m) / (2 * n)), rtol=1e-5)
    np.testing.assert_allclose(both[n:], filters * np.sqrt((n + m) / (2 * m)), rtol=1e-5)


def test_tiles_are_exact() -> None:
    combined = fit_extractor(IMAGE, ("bands", "filters"), 0)
    whole, tiled = transform(combined, IMAGE), transform(combined, IMAGE, tile=(16, 24))
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_no_parts_and_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="features="):
        CombinedFeatures(())
    with pytest.raises(InputError, match="Did you mean 'filters'"):
        fit_extractor(IMAGE, ("bands", "filter"), 0)
