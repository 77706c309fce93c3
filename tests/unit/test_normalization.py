"""One global normalisation: moments over valid pixels, merged over blocks and images."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet import image as image_module
from napari_clusternet.image import Image
from napari_clusternet.normalization import Normalizer


def test_moments_over_blocks_and_images_are_those_of_all_valid_pixels(monkeypatch):
    monkeypatch.setattr(image_module, "PASS_BLOCK", {2: (7, 7)})
    rng = np.random.default_rng(0)
    arrays = [rng.normal(1000, 3, (2, 20, 30)), rng.normal(900, 5, (2, 9, 11))]
    arrays[0][:, :8, :8] = np.nan  # one block has no valid pixel
    normalizer = Normalizer.fit([Image.from_array(a, axes="CYX") for a in arrays])
    pixels = np.concatenate([a.reshape(2, -1) for a in arrays], axis=1)
    np.testing.assert_allclose(normalizer.mean, np.nanmean(pixels, axis=1), rtol=1e-6)
    np.testing.assert_allclose(normalizer.std, np.nanstd(pixels, axis=1), rtol=1e-5)


def test_call_by_hand():
    # (7 - 5) / 2 = 1; a constant band (std 0) and invalid pixels become 0
    values = np.array([[[7.0, 9.0]], [[3.0, 3.0]]], np.float32)
    normal = Normalizer((5.0, 3.0), (2.0, 0.0))(values, np.array([[True, False]]))
    np.testing.assert_array_equal(normal, [[[1, 0]], [[0, 0]]])


def test_constant_bands_far_from_zero_are_found():
    with pytest.warns(UserWarning, match="constant"):
        normalizer = Normalizer.fit([Image.from_array(np.full((50, 50), 1e6 + 0.1))])
    assert normalizer.std == (0.0,)
