"""Filters against hand-made answers, and the components that many bands are reduced to."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.extractor import transform
from napari_clusternet.features.bands import BandFeatures, Projection
from napari_clusternet.features.filters import FilterFeatures, hessian_eigenvalues
from napari_clusternet.image import Bands, Image
from napari_clusternet.normalization import Normalizer


def plain_bank(sigmas, spacing=(1.0, 1.0)):
    """Return a bank of one band that neither normalises nor scales: answers are in plain units."""
    identity = Normalizer((0.0,), (1.0,))
    return FilterFeatures(Bands(("a",), "float32"), len(spacing), spacing, sigmas, identity)


def run(bank, values):
    values = np.asarray(values, dtype=np.float32)
    return bank(values[None], np.ones(values.shape, bool))


def test_gaussian_of_a_delta_is_the_gaussian():
    delta = np.zeros((41, 41))
    delta[20, 20] = 1
    smooth = run(plain_bank((2.0,)), delta)[1]
    # 1 / (2 pi sigma^2) = 0.039789 at the centre, exp(-r^2 / (2 sigma^2)) of it at distance r;
    # the kernel ends at 3 sigma, where 0.27 % of its weight is cut off along each axis
    assert smooth[20, 20] == pytest.approx(1 / (2 * np.pi * 4), rel=0.01)
    assert smooth[20, 22] / smooth[20, 20] == pytest.approx(np.exp(-0.5), rel=1e-4)
    assert smooth[18, 22] / smooth[20, 20] == pytest.approx(np.exp(-1), rel=1e-4)
    assert smooth.sum() == pytest.approx(1, rel=1e-4)


def test_gradient_of_a_ramp_is_its_slope_in_physical_units():
    y, x = np.mgrid[:60, :60]
    # per pixel 3 along y and 4 along x; pixels are twice as tall as wide: 1.5 per unit along y
    features = run(plain_bank((1.0,), spacing=(2.0, 1.0)), 3.0 * y + 4.0 * x)
    inside = (slice(10, -10), slice(10, -10))
    np.testing.assert_allclose(features[2][inside], np.hypot(1.5, 4), rtol=1e-4)
    np.testing.assert_allclose(features[3:][(slice(None), *inside)], 0, atol=1e-3)


def test_hessian_of_a_quadratic_is_its_matrix():
    y, x = np.mgrid[-30:31, -30:31] / 10
    # f = x^2 - y^2 + x y, per pixel of 0.1: Hessian [[-2, 1], [1, 2]] / 100, eigenvalues +-sqrt(5)
    eigenvalues = run(plain_bank((1.0,)), x**2 - y**2 + x * y)[3:, 25:36, 25:36]
    np.testing.assert_allclose(eigenvalues[0], -np.sqrt(5) / 100, rtol=2e-3)
    np.testing.assert_allclose(eigenvalues[1], np.sqrt(5) / 100, rtol=2e-3)


def test_3d_eigenvalues_are_those_of_lapack():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(50, 3, 3)).astype(np.float32)
    matrices = matrices + matrices.transpose(0, 2, 1)
    matrices[0], matrices[1] = np.eye(3), np.diag([3, 3, 1])  # equal eigenvalues
    upper = {(i, j): matrices[:, i, j] for i in range(3) for j in range(i, 3)}
    np.testing.assert_allclose(
        hessian_eigenvalues(upper).T, np.linalg.eigvalsh(matrices), atol=1e-5
    )


def test_intensity_agrees_with_scikit_image():
    feature = pytest.importorskip("skimage.feature")
    values = np.random.default_rng(1).normal(size=(90, 80)).astype(np.float32)
    theirs = feature.multiscale_basic_features(
        values, edges=False, texture=False, sigma_min=1, sigma_max=4
    )
    ours = run(plain_bank((1.0, 2.0, 4.0)), values)[[1, 5, 9]].transpose(1, 2, 0)
    inside = slice(20, -20)  # borders differ: they repeat the edge pixel, we reflect
    # they cut at 4 sigma, we at 3: 0.27 % of the weight an axis
    np.testing.assert_allclose(ours[inside, inside], theirs[inside, inside], atol=0.01)


def test_thick_slices_mix_under_wide_kernels_alone():
    # spacing 3.5 : 1 : 1. Sigma 1 is 0.29 slices, under 0.3: not smoothed across.
    # Sigma 2 is 0.571 slices: weights exp(-z^2 / (2 x 0.571^2)) = 1, .2163, .0022 at z = 0, 1, 2,
    # so the neighbour holds .2163 of what the stroked slice holds
    volume = np.zeros((9, 21, 21), np.float32)
    volume[4, 10, 10] = 1
    bank = plain_bank((1.0, 2.0), spacing=(3.5, 1.0, 1.0))
    features = run(bank, volume)
    assert bank.axes == (1, 2)
    assert bank.halo == (2, 7, 7)  # 3 sigma, and one pixel for the differences in the slice
    assert bank.n_features == 1 + 2 * (1 + 1 + 2)
    flat = run(plain_bank((1.0, 2.0)), volume[4])
    narrow, wide = features[1:5], features[5:9]
    np.testing.assert_array_equal(narrow[:, 4], flat[1:5])
    assert not narrow[:, [3, 5]].any()
    centre = 1 / (1 + 2 * 0.2163 + 2 * 0.0022)
    np.testing.assert_allclose(wide[0, 4], centre * flat[5], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(wide[:, 3], 0.2163 * wide[:, 4], rtol=1e-3, atol=1e-6)


def test_anisotropic_smoothing_is_equal_in_physical_units():
    delta = np.zeros((41, 41, 41))
    delta[20, 20, 20] = 1
    smooth = run(plain_bank((4.0,), spacing=(2.0, 1.0, 1.0)), delta)[1]
    assert smooth[22, 20, 20] == pytest.approx(smooth[20, 24, 20], rel=1e-4)


def test_invalid_pixels_count_as_the_mean_and_come_out_as_zero():
    values = np.full((9, 9), 5.0, np.float32)
    values[4, 4] = np.nan
    values[0, 0] = 7.0  # not constant
    image = Image.from_array(values)
    features = transform(FilterFeatures.fit(image), image)
    assert np.isfinite(features).all()
    assert not features[:, 4, 4].any()
    assert features[:, 4, 5].any()


def test_features_are_standardised():
    rng = np.random.default_rng(2)
    image = Image.from_array(rng.gamma(2, 50, (3, 80, 90)).astype(np.float32), axes="CYX")
    features = transform(FilterFeatures.fit(image), image)
    np.testing.assert_allclose(features.mean(axis=(1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=(1, 2)), 1, atol=1e-3)


def test_components_find_the_only_direction():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 500)) * np.ones((3, 1))  # three equal bands
    blocks = [(values.reshape(3, 20, 25).astype(np.float32), np.ones((20, 25), bool))]
    projection = Projection.fit(blocks, 3, 2)
    np.testing.assert_allclose(projection.components[0], np.full(3, 1 / np.sqrt(3)), atol=1e-6)
    # all variance, 3 x that of a band, is along it
    np.testing.assert_allclose(projection.variance, [3 * (values[0] ** 2).mean(), 0], rtol=1e-4,
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize(("n_bands", "expected"), [(64, 64), (65, 64)])
def test_many_bands_become_64(n_bands, expected):
    rng = np.random.default_rng(0)
    image = Image.from_array(rng.normal(size=(n_bands, 9, 9)), axes="CYX")
    assert BandFeatures.fit(image).n_features == expected
    assert len(transform(BandFeatures.fit(image), image)) == expected
