"""Radar: decibels, speckle and span on known values."""

from __future__ import annotations

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import InputError
from napari_clusternet.sar import (
    clip_decibels,
    multilook,
    prepare,
    span,
    to_decibels,
    to_intensity,
)
from napari_clusternet.speckle import despeckle, speckle_bias, speckle_std

QUAD = ("HH", "HV", "VH", "VV")


def image(array: object, **fields: object) -> cn.Image:
    return cn.Image.from_array(array, axes="CYX", **fields)


def speckled(mean: np.ndarray, looks: int, seed: int = 0) -> np.ndarray:
    """Intensities of `mean` under fully developed speckle: a gamma law of mean 1."""
    return mean * np.random.default_rng(seed).gamma(looks, 1 / looks, size=mean.shape)


def values(of: cn.Image) -> np.ndarray:
    return np.asarray(of.data)


def test_decibels_by_hand() -> None:
    # 10 log10 of 100, 1, .01 = 20, 0, -20
    found = to_decibels(image([[[100.0, 1.0, 0.01]]]))
    np.testing.assert_allclose(values(found), [[[20.0, 0.0, -20.0]]], atol=1e-5)
    # amplitude 10 is intensity 100
    found = to_decibels(image([[[10.0, 1.0, 0.1]]]), values="amplitude")
    np.testing.assert_allclose(values(found), [[[20.0, 0.0, -20.0]]], atol=1e-5)


def test_decibels_and_back() -> None:
    power = np.random.default_rng(0).gamma(1, size=(4, 8, 9)).astype(np.float32)
    back = to_intensity(to_decibels(image(power, band_names=QUAD)))
    np.testing.assert_allclose(values(back), power, rtol=1e-4)
    assert back.band_names == QUAD


def test_zeros_are_invalid_or_the_floor_as_told() -> None:
    dark = image([[[0.0, -1.0, 1e-9, 1.0]]])
    found = to_decibels(dark)
    assert np.isnan(values(found)[0, 0, :2]).all()
    assert found.read()[1].tolist() == [[False, False, True, True]]
    found = to_decibels(dark, zeros="floor", floor=-40)
    np.testing.assert_allclose(values(found), [[[-40.0, -40.0, -40.0, 0.0]]])


def test_nodata_stays_invalid_also_with_a_floor() -> None:
    found = to_decibels(image([[[5.0, -9999.0, np.nan]]], nodata=-9999.0), zeros="floor")
    assert found.read()[1].tolist() == [[True, False, False]]


def test_complex_is_refused_unless_told() -> None:
    single_look = np.array([[[3 + 4j, 0 + 10j]]])
    with pytest.raises(InputError, match="complex_values='magnitude'"):
        image(single_look)
    amplitude = image(single_look, complex_values="magnitude")
    # |3 + 4i| = 5: 20 log10 5 = 13.979
    np.testing.assert_allclose(
        values(to_decibels(amplitude, "amplitude")), [[[13.9794, 20.0]]], atol=1e-3
    )


def test_lazy_images_stay_lazy_and_equal() -> None:
    import dask.array as da

    power = np.random.default_rng(0).gamma(1, size=(4, 30, 40)).astype(np.float32)
    power[:, 3, 5] = 0
    mask = np.ones((30, 40), bool)
    mask[10:12] = False
    for known in (None, mask):
        lazy = image(da.from_array(power, chunks=(2, 16, 16)), mask=known)
        for change in (to_decibels, lambda i: span(i, "intensity")):
            found = change(lazy)
            assert found.is_lazy
            np.testing.assert_array_equal(values(found), values(change(image(power, mask=known))))


def test_span_is_the_sum_of_all_powers() -> None:
    quad = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    for found in (
        span(image(quad), "intensity"),
        span(image(np.sqrt(quad)), "amplitude"),
        span(to_decibels(image(quad)), "decibels"),
    ):
        # 10 log10 (1 + 2 + 3 + 4) = 10
        np.testing.assert_allclose(values(found), [[[10.0]]], atol=1e-5)
        assert found.band_names == ("span",)


def test_multilook_by_hand_and_its_place() -> None:
    power = np.arange(12.0).reshape(1, 3, 4)
    power[0, 0, 0] = np.nan
    found = multilook(image(power, spacing=(2, 3)), (2, 2))
    # blocks: (nan, 1, 4, 5) -> 10 / 3; (2, 3, 6, 7) -> 4.5; the third row fills no block
    np.testing.assert_allclose(values(found), [[[10 / 3, 4.5]]], rtol=1e-6)
    assert found.spacing == (4.0, 6.0)
    # the first block's centre lies between pixels 0 and 1: at half a pixel
    assert found.affine[:2, 2].tolist() == [1.0, 1.5]


def test_multilook_squares_amplitudes() -> None:
    found = multilook(image([[[1.0, 3.0]]]), (1, 2), values="amplitude")
    assert values(found).tolist() == [[[5.0]]]


def test_speckle_in_decibels_is_as_large_as_said() -> None:
    """One look: sqrt(pi^2 / 6) * 10 / ln 10 = 5.57 dB, and Euler's -.5772 * 4.343 = -2.51 dB."""
    assert speckle_std(1) == pytest.approx(5.570, abs=1e-3)
    assert speckle_bias(1) == pytest.approx(-2.507, abs=1e-3)
    for looks in (1, 4):
        power = speckled(np.full((1, 300, 300), 20.0), looks)
        decibels = values(to_decibels(image(power)))
        assert decibels.std() == pytest.approx(speckle_std(looks), rel=0.02)
        wanted = 10 * np.log10(20.0) + speckle_bias(looks)
        assert decibels.mean() == pytest.approx(wanted, abs=0.05)


def test_multilooking_takes_the_speckle_of_as_many_looks() -> None:
    power = speckled(np.full((1, 400, 400), 5.0), 1)
    found = values(to_decibels(multilook(image(power), (2, 2))))
    assert found.std() == pytest.approx(speckle_std(4), rel=0.03)


def test_lee_flattens_fields_and_keeps_their_border() -> None:
    mean = np.full((1, 80, 80), 1.0)
    mean[..., 40:] = 100.0  # 20 dB brighter
    before = to_decibels(image(speckled(mean, 4)))
    after = values(despeckle(before, looks=4, window=7))[0]
    for side, level in ((after[:, :30], 0.0), (after[:, 50:], 20.0)):
        assert side.std() < 0.35 * speckle_std(4)
        assert side.mean() == pytest.approx(level, abs=0.3)  # the bias is gone
    # across the border the step is still 20 dB within two pixels
    assert (after[:, 42] - after[:, 37]).mean() == pytest.approx(20.0, abs=2.0)


def test_invalid_pixels_enter_no_window() -> None:
    flat = np.zeros((1, 20, 20), np.float32)
    flat[0, 5:8, 5:8] = np.nan
    found = values(despeckle(image(flat), looks=1))
    assert np.isnan(found[0, 5:8, 5:8]).all()
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], -speckle_bias(1), atol=1e-5)


def test_clipping_stops_reflectors_from_setting_the_scale() -> None:
    decibels = np.random.default_rng(0).normal(-12, 2, size=(1, 100, 100)).astype(np.float32)
    decibels[0, 0, :5] = 60.0
    found = values(clip_decibels(image(decibels)))
    assert found.max() < -5
    low, high = np.percentile(decibels, (1, 99))
    assert found.min() == pytest.approx(low, abs=1e-3)
    assert found.max() == pytest.approx(high, abs=1e-3)


def test_prepared_images_go_into_any_method() -> None:
    mean = np.ones((4, 32, 64))
    mean[..., 32:] = 30.0
    truth = np.where(mean[0] > 1, 2, 1)
    ready = prepare(image(speckled(mean, 2), band_names=QUAD), looks=2, window=7)
    assert ready.n_bands == 4
    strokes = np.zeros((32, 64), np.uint8)
    strokes[16, 2:12], strokes[16, 50:60] = 1, 2
    labels = cn.segment(ready, strokes, method="forest", features="bands")
    assert (labels == truth).mean() > 0.95
    halved = prepare(image(speckled(mean, 1)), values="intensity", multilooking=(2, 2))
    assert halved.shape == (16, 32)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda i: to_decibels(i, values="power"), "values='power'"),
        (lambda i: to_decibels(i, zeros="drop"), "zeros='drop'"),
        (lambda i: multilook(i, (0, 2)), "looks="),
        (lambda i: multilook(i, (9, 9)), "larger than the image"),
        (lambda i: despeckle(i, window=4), "window=4"),
        (lambda i: despeckle(i, looks=0), "looks=0"),
        (lambda i: clip_decibels(i, (99, 1)), "percentiles="),
        (lambda i: span(i, "power"), "values='power'"),
    ],
)
def test_bad_arguments_are_named(call, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call(image(np.ones((2, 4, 4))))
