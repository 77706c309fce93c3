"""What every feature extractor in the table must do."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.extractor import transform
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.features.pretrained_weights import weights_file
from napari_clusternet.image import Image

#: name -> (shape (C, [Z,] Y, X), spacing, share of nodata pixels)
KINDS = {
    "rgb": ((3, 45, 53), (1, 1), 0.0),
    "12 bands": ((12, 33, 41), (1, 1), 0.0),
    "70 bands": ((70, 21, 19), (1, 1), 0.0),
    "volume": ((1, 19, 23, 27), (1, 1, 1), 0.0),
    "thick slices": ((1, 5, 37, 31), (5, 1, 1), 0.0),
    "one pixel": ((3, 1, 1), (1, 1), 0.0),
    "nodata": ((3, 45, 53), (1, 1), 0.3),
}


def make_image(kind: str, lazy: bool = False) -> Image:
    shape, spacing, missing = KINDS[kind]
    rng = np.random.default_rng(3)
    values = rng.normal(100, 20, shape).astype(np.float32)
    values[:, rng.random(shape[1:]) < missing] = -9999
    if lazy:
        da = pytest.importorskip("dask.array")
        values = da.from_array(values, chunks=16)
    axes = "CYX" if len(shape) == 3 else "CZYX"
    return Image.from_array(values, axes=axes, spacing=spacing, nodata=-9999)


@pytest.fixture(params=list(EXTRACTORS))
def extractor_class(request):
    if request.param.startswith("pretrained") and weights_file() is None:
        pytest.skip("the extra pretrained is not installed")
    return EXTRACTORS.load(request.param)


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


@pytest.mark.filterwarnings("ignore:bands .* are constant")
def test_shape_dtype_and_finite(extractor_class, kind):
    image = make_image(kind)
    extractor = extractor_class.fit(image)
    features = transform(extractor, image)
    assert features.shape == (extractor.n_features, *image.shape)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len(extractor.halo) == len(extractor.multiple) == extractor.ndim == image.ndim
    assert (features[:, ~image.read()[1]] == 0).all()


@pytest.mark.filterwarnings("ignore:bands .* are constant")
def test_tiles_equal_the_whole(extractor_class, kind):
    image = make_image(kind)
    extractor = extractor_class.fit(image)
    whole = transform(extractor, image, image.shape)
    tiled = transform(extractor, image, (11, 14, 17)[-image.ndim :])
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_lazy_equals_eager(extractor_class):
    image, lazy = make_image("nodata"), make_image("nodata", lazy=True)
    features = transform(extractor_class.fit(lazy), lazy, (16, 16))
    assert not isinstance(features, np.ndarray)
    np.testing.assert_array_equal(features, transform(extractor_class.fit(image), image))


def test_same_seed_same_features(extractor_class, monkeypatch):
    from napari_clusternet.features import bands

    monkeypatch.setattr(bands, "SAMPLE_PIXELS", 100)  # so that the sample is a part of the image
    monkeypatch.setattr(bands, "SAMPLE_EDGE", {2: 10, 3: 10})
    image = make_image("70 bands")
    first, second = (transform(extractor_class.fit(image, random_state=5), image) for _ in "ab")
    np.testing.assert_array_equal(first, second)
    other = transform(extractor_class.fit(image, random_state=6), image)
    assert not np.array_equal(first, other)


def test_other_bands_are_refused(extractor_class):
    extractor = extractor_class.fit(make_image("rgb"))
    with pytest.raises(InputError, match=r"12 bands.*3 bands"):
        transform(extractor, make_image("12 bands"))


def test_values_of_invalid_pixels_do_not_matter(extractor_class):
    image = make_image("nodata")
    mask = image.data[0] != -9999
    other = np.where(mask, image.data, 1e6).astype(np.float32)
    masked = Image.from_array(other, axes="CYX", mask=mask)
    np.testing.assert_array_equal(
        transform(extractor_class.fit(image), image), transform(extractor_class.fit(masked), masked)
    )
