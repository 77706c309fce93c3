"""Every stroke method that `methods` lists does what `segment` promises."""

from __future__ import annotations

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import InputError, StrokeError

#: Methods that train a network take minutes over these; their unit tests have short versions.
NETWORKS = {"sparse_unet", "two_view", "dfc_scribbles"}
#: A tenth of the published training does for what these tests ask.
BRIEF = {"dfc_scribbles": {"n_iterations": 100}}
STROKES = [
    pytest.param(m.name, marks=[pytest.mark.slow] if m.name in NETWORKS else [])
    for m in cn.methods()
    if m.kind == "strokes"
]
SHAPES = {2: (1, 40, 37), 3: (2, 9, 21, 18)}


def scene(ndim: int, n_bands: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three stripes of different brightness with noise, strokes on each, and the truth."""
    shape = {2: (40, 37), 3: (9, 21, 18)}[ndim]
    truth = np.broadcast_to(np.arange(shape[-1]) * 3 // shape[-1] + 1, shape).astype(np.uint8)
    rng = np.random.default_rng(0)
    image = truth * 10.0 + rng.normal(scale=0.5, size=(n_bands, *shape))
    strokes = np.zeros(shape, np.uint8)
    middle = tuple(n // 2 for n in shape[:-2])
    strokes[(*middle, slice(4, 9))] = truth[(*middle, slice(4, 9))]
    return image.astype(np.float32), strokes, truth


def axes(ndim: int) -> str:
    return "CYX" if ndim == 2 else "CZYX"


def test_ours_is_listed_first() -> None:
    assert cn.methods()[0].name == "clusternet"
    assert all(method.summary and method.ndims for method in cn.methods())


@pytest.mark.parametrize("method", STROKES)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("n_bands", [1, 3, 12])
def test_stripes_are_found(method: str, ndim: int, n_bands: int) -> None:
    image, strokes, truth = scene(ndim, n_bands)
    labels = cn.segment(
        image, strokes, axes=axes(ndim), method=method, **BRIEF.get(method, {}), n_clusters=20
    )
    assert labels.shape == truth.shape
    assert labels.dtype == np.uint8
    assert (labels == truth).mean() > (0.8 if method in NETWORKS else 0.97)


@pytest.mark.parametrize("method", STROKES)
def test_seed_repeats(method: str) -> None:
    image, strokes, _ = scene(2)
    one, two = (
        cn.segment(
            image,
            strokes,
            axes="CYX",
            method=method,
            **BRIEF.get(method, {}),
            n_clusters=9,
            random_state=3,
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", STROKES)
def test_invalid_pixels_come_out_as_zero(method: str) -> None:
    image, strokes, _ = scene(2)
    image[1, 20:25, 3:9] = np.nan
    labels = cn.segment(
        image, strokes, axes="CYX", method=method, **BRIEF.get(method, {}), n_clusters=9
    )
    assert (labels[20:25, 3:9] == 0).all()
    valid = np.isfinite(image).all(axis=0)
    assert (labels[valid] > 0).all()


@pytest.mark.parametrize("method", STROKES)
def test_a_callback_that_raises_cancels(method: str) -> None:
    image, strokes, _ = scene(2)
    seen = []

    def stop(progress: object) -> None:
        seen.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cn.segment(
            image, strokes, axes="CYX", method=method, **BRIEF.get(method, {}), callback=stop
        )
    assert len(seen) == 1


@pytest.mark.parametrize("method", STROKES)
def test_inputs_stay_as_they_were(method: str) -> None:
    image, strokes, _ = scene(2)
    copies = image.copy(), strokes.copy()
    cn.segment(image, strokes, axes="CYX", method=method, **BRIEF.get(method, {}), n_clusters=9)
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(strokes, copies[1])


@pytest.mark.parametrize("method", STROKES)
def test_bad_input_is_named_before_any_work(method: str) -> None:
    image, strokes, _ = scene(2)

    def never(_: object) -> None:
        raise AssertionError("work has begun")

    with pytest.raises(InputError, match="axes=None"):
        cn.segment(image, strokes, method=method, **BRIEF.get(method, {}), callback=never)
    with pytest.raises(StrokeError, match="at least two classes"):
        cn.segment(
            image, strokes > 0, axes="CYX", method=method, **BRIEF.get(method, {}), callback=never
        )
    with pytest.raises(InputError, match="Did you mean 'filters'"):
        cn.segment(
            image,
            strokes,
            axes="CYX",
            method=method,
            **BRIEF.get(method, {}),
            features="filter",
            callback=never,
        )


def test_unknown_methods_are_refused_before_any_work() -> None:
    image, strokes, _ = scene(2)
    with pytest.raises(InputError, match=r"method='forst'.*Did you mean 'forest'"):
        cn.segment(image, strokes, axes="CYX", method="forst")
