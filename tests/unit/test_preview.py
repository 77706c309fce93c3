"""Features as colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_clusternet import preview
from napari_clusternet.errors import InputError
from napari_clusternet.image import Bands, Image
from napari_clusternet.preview import Colouring, preview_steps
from napari_clusternet.progress import drain


class Bands3:
    """An extractor whose features are the bands themselves, with a halo that it needs not."""

    n_features = 4

    def __init__(self, ndim: int = 2) -> None:
        self.ndim, self.halo, self.multiple = ndim, (3,) * ndim, (2,) * ndim
        self.bands = Bands(tuple(f"band_{i + 1}" for i in range(4)), "float32")

    def __call__(self, values: Any, valid: Any) -> Any:
        return values.copy()


def _image(shape: tuple[int, ...], **more: Any) -> Image:
    rng = np.random.default_rng(0)
    spread = np.array([10, 5, 2, 0.1], np.float32).reshape(-1, *(1,) * len(shape))
    values = rng.standard_normal((4, *shape)).astype(np.float32) * spread
    return Image.from_array(values, axes="CYX" if len(shape) == 2 else "CZYX", **more)


def test_the_first_component_is_red_and_stretched_between_percentiles() -> None:
    image = _image((40, 50))
    picture = drain(preview_steps(Bands3(), image))
    assert picture.dtype == np.uint8
    assert picture.shape == (40, 50, 3)
    # the bands are independent, so component i is nearly band i, and its largest weight positive
    for component in range(3):
        values = image.data[component].ravel()
        drawn = picture[..., component].ravel().astype(float)
        assert np.corrcoef(values, drawn)[0, 1] > 0.95
    # 2 % lie below the lowest and above the highest stretched value each
    assert 0.01 < (picture[..., 0] == 0).mean() < 0.035
    assert 0.01 < (picture[..., 0] == 255).mean() < 0.035


def test_invalid_pixels_are_black() -> None:
    mask = np.ones((40, 50), bool)
    mask[:10] = False
    picture = drain(preview_steps(Bands3(), _image((40, 50), mask=mask)))
    assert not picture[:10].any()
    assert picture[10:].any()


def test_a_volume_is_painted_too() -> None:
    picture = drain(preview_steps(Bands3(3), _image((6, 20, 22))))
    assert picture.shape == (6, 20, 22, 3)


def test_tiles_and_lazy_chunks_have_the_same_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(preview, "default_tile", lambda extractor, shape: (32, 24))
    image = _image((70, 90))
    tiled = drain(preview_steps(Bands3(), image))
    lazy_image = image.with_data(da.from_array(image.data, chunks=40))
    np.testing.assert_array_equal(drain(preview_steps(Bands3(), lazy_image)), tiled)
    monkeypatch.setattr(preview, "MAX_PIXELS", 100)
    lazy = drain(preview_steps(Bands3(), lazy_image))
    assert lazy.shape == (70, 90, 3)
    assert lazy.chunks[0] == (32, 32, 6)
    np.testing.assert_array_equal(np.asarray(lazy), tiled)


def test_an_image_that_is_mostly_invalid_finds_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "default_tile", lambda extractor, shape: (100, 100))
    mask = np.zeros((900, 900), bool)
    mask[:4, :4] = True  # none of the places that are looked at first
    picture = drain(preview_steps(Bands3(), _image((900, 900), mask=mask)))
    assert picture[:4, :4].any()


def test_fewer_than_three_features_are_enough() -> None:
    rows = np.random.default_rng(0).standard_normal((100, 1)).astype(np.float32)
    colours = Colouring.fit(rows)(rows.T.reshape(1, 10, 10))
    np.testing.assert_array_equal(colours[..., 0], colours[..., 2])
    flat = np.ones((5, 2), np.float32)
    assert Colouring.fit(flat)(flat.T.reshape(2, 1, 5)).shape == (1, 5, 3)


def test_other_bands_or_axes_are_refused() -> None:
    with pytest.raises(InputError, match="1 bands"):
        drain(preview_steps(Bands3(), Image.from_array(np.zeros((8, 8), np.float32))))
    with pytest.raises(InputError, match="spatial axes"):
        drain(preview_steps(Bands3(3), _image((8, 8))))
    with pytest.raises(InputError, match="valid"):
        drain(preview_steps(Bands3(), _image((8, 8), mask=np.zeros((8, 8), bool))))
