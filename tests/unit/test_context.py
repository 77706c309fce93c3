"""Texton frequencies around a pixel: counted by hand, on images where they are all that differs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.context import CELL, ContextFeatures
from napari_clusternet.image import Image


def stripes(share: float, seed: int) -> np.ndarray:
    """Bright pixels among dark ones, 96 x 96, by chance with a share of bright ones."""
    rng = np.random.default_rng(seed)
    return (rng.random((96, 96)) < share).astype(np.float32)


def both() -> Image:
    """Few bright pixels on the left, many on the right; bright and dark are the same in both."""
    values = np.concatenate([stripes(0.2, 0), stripes(0.6, 1)], axis=1)
    return Image.from_array(values[None], axes="CYX")


def test_shares_are_those_counted_in_a_window() -> None:
    image = both()
    context = ContextFeatures.fit(image)
    values, valid = image.read()
    filtered = context.filters(values, valid)
    near = ((filtered.reshape(len(filtered), -1).T[:, None] - context.textons) ** 2).sum(axis=2)
    textons = near.argmin(axis=1).reshape(valid.shape)
    k, row, column = len(context.textons), 12, 24  # a cell in the middle
    y, x = np.arange(valid.shape[0]) // CELL, np.arange(valid.shape[1]) // CELL
    for scale, sigma in enumerate((6.0, 16.0)):
        radius = int(3 * sigma / CELL + 0.5)
        weights = []
        for cells, centre in ((y, row), (x, column)):
            off = np.abs(cells - centre)
            weights.append(np.where(off <= radius, np.exp(-0.5 * (off * CELL / sigma) ** 2), 0))
        window = weights[0][:, None] * weights[1]
        shares = np.bincount(textons.ravel(), window.ravel(), minlength=k) / window.sum()
        found = context._roots(filtered, valid)[row, column, scale * k : (scale + 1) * k]
        np.testing.assert_allclose(found**2, shares, atol=1e-5)


def test_it_tells_textures_apart_whose_pixels_are_alike() -> None:
    image = both()
    context = ContextFeatures.fit(image)
    values, valid = image.read()
    features = context(values, valid)
    bright = values[0] == 1
    left = np.arange(values.shape[2]) < 96
    first = features[context.filters.n_features]  # the strongest component of the context
    gap = first[bright & left].mean() - first[bright & ~left].mean()
    assert abs(gap) > 2 * first[bright & left].std()
    assert abs(gap) > 2 * first[bright & ~left].std()


def test_its_variance_is_a_quarter_of_the_filters() -> None:
    image = both()
    context = ContextFeatures.fit(image)
    spread = context(*image.read()).var(axis=(1, 2))
    n = context.filters.n_features
    assert spread[n:].sum() == pytest.approx(0.25 * n, rel=0.1)  # interpolated: a little less
    assert (np.diff(spread[n:]) < 1e-3 * spread[n]).all()  # the strongest first


def test_nothing_is_counted_across_thick_slices() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 3, 40, 44)).astype(np.float32)
    image = Image.from_array(values, axes="CZYX", spacing=(10, 1, 1))
    context = ContextFeatures.fit(image)
    assert context.multiple == (1, CELL, CELL)
    read, valid = image.read()
    filtered = context.filters(read, valid)
    before = context._roots(filtered, valid)
    other = filtered.copy()
    other[:, 2] = filtered[:, 0]
    after = context._roots(other, valid)
    np.testing.assert_array_equal(after[:2], before[:2])
    np.testing.assert_allclose(after[2], before[0], atol=1e-6)


def test_nodata_counts_for_nothing() -> None:
    image = both()
    wide = np.pad(np.asarray(image.data), ((0, 0), (0, 400), (0, 0)))
    mask = np.zeros(wide.shape[1:], bool)
    mask[:96] = True
    amid = Image.from_array(wide, axes="CYX", mask=mask)
    context = ContextFeatures.fit(amid)
    features = context(*amid.read())
    n = context.filters.n_features
    spread = features[n:, :96].var(axis=(1, 2))
    assert spread.sum() == pytest.approx(0.25 * n, rel=0.15)  # .66 if empty cells had a say
    assert not features[:, 96:].any()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_flat_image_has_no_context(value: float) -> None:
    image = Image.from_array(np.full((1, 20, 24), value, np.float32), axes="CYX")
    features = ContextFeatures.fit(image)(*image.read())
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=(1, 2)).max() < 1e-4
