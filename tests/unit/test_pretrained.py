"""EfficientNet-Lite0's maps: placed where they look, exact in tiles, clear without weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_clusternet.errors import FileFormatError, MissingExtraError
from napari_clusternet.extraction import fit_extractor, resolve_steps
from napari_clusternet.extractor import iter_tiles, transform
from napari_clusternet.features import pretrained
from napari_clusternet.features.matrix import collect
from napari_clusternet.features.pretrained import PretrainedComponents, PretrainedFeatures
from napari_clusternet.image import Image
from napari_clusternet.networks.efficientnet_lite import (
    MAP_CHANNELS,
    MAP_STRIDES,
    EfficientNetLite0,
    place,
)
from napari_clusternet.progress import drain


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, with names and shapes of the real file's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = EfficientNetLite0().state_dict()
    file = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save({**state, "_fc.weight": torch.zeros(3, 3)}, file)  # the head is not needed
    return file


def scene(*shape: int, axes: str = "CYX") -> Image:
    values = np.random.default_rng(0).normal(size=shape).cumsum(axis=-1).astype(np.float32)
    return Image.from_array(values, axes=axes)


def test_maps_have_the_sizes_of_their_strides() -> None:
    with torch.inference_mode():
        maps = EfficientNetLite0().eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(MAP_CHANNELS, MAP_STRIDES, strict=True)
    ]


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_cell_is_placed_at_the_centre_of_what_it_sees(stride: int) -> None:
    # Each stride-2 convolution of 3 with TensorFlow's padding (0, 1) centres its cell j on 2j + 1,
    # so after n of them cell j is centred on pixel s j + s - 1. A cell that holds that pixel's
    # number must give it back: between the centres, interpolation of a line is the line.
    cells = torch.arange(8.0) * stride + stride - 1
    placed = place(cells.expand(1, 1, 8, 8).clone(), stride)[0, 0, 0]
    inner = torch.arange(2 * stride, 6 * stride)
    # bilinear upsampling puts cells half a pixel beside the pixels: s / 2 and not (s - 1) / 2
    assert (placed[inner] - inner).abs().max() <= 0.5


def test_a_spot_is_found_where_it_is(weights: Path) -> None:
    # a network of identity-like smoothing is not needed: a random one answers where the spot is
    flat = np.zeros((1, 160, 160), np.float32)
    spot = flat.copy()
    spot[0, 80, 96] = 50
    network = EfficientNetLite0().eval()
    network.load(torch.load(weights, weights_only=True))
    with torch.inference_mode():
        for stride, one, other in zip(
            MAP_STRIDES[:2],
            network(torch.from_numpy(flat).repeat(1, 3, 1, 1)),
            network(torch.from_numpy(spot).repeat(1, 3, 1, 1)),
            strict=False,
        ):
            change = place((one - other).abs(), stride).sum(1)[0].numpy()
            mass = change / change.sum()
            centre = [float((mass * grid).sum()) for grid in np.indices(mass.shape)]
            assert np.abs(np.array(centre) - (80, 96)).max() < stride


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 432, 40), "CYX"),
        pytest.param((5, 40, 440), "CYX", marks=pytest.mark.slow),
        ((2, 30, 432), "ZYX"),
    ],
)
def test_tiles_equal_the_whole(weights: Path, shape: tuple[int, ...], axes: str) -> None:
    image = scene(*shape, axes=axes)
    extractor = PretrainedFeatures.fit(image, weights=weights)
    assert extractor.n_features == 272
    whole = transform(extractor, image, tile=image.shape)
    tile = tuple(min(size, 16) if size < 100 else 224 for size in image.shape)
    np.testing.assert_allclose(transform(extractor, image, tile=tile), whole, atol=2e-5)


def test_maps_weigh_the_same_and_invalid_pixels_are_zero(weights: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(3, 64, 64))
    values[:, :8] = np.nan
    image = Image.from_array(values, axes="CYX")
    features = transform(PretrainedFeatures.fit(image, weights=weights), image)
    assert (features[:, :8] == 0).all()
    start = 0
    for channels in MAP_CHANNELS:
        part = features[start : start + channels, 8:].reshape(channels, -1)
        np.testing.assert_allclose(part.var(axis=1).mean(), 1, rtol=0.05)
        start += channels


def test_grey_is_shown_as_grey_and_colours_keep_their_balance(weights: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    grey = Image.from_array(ramp, axes="YX")
    shown = PretrainedFeatures.fit(grey, weights=weights)._colours(*grey.read())
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])
    # a picture with little blue stays so: one scale for the three bands
    warm = Image.from_array(np.stack([ramp, ramp, ramp * 0.1]), axes="CYX")
    shown = PretrainedFeatures.fit(warm, weights=weights)._colours(*warm.read())
    assert np.ptp(shown[2]) < 0.2 * np.ptp(shown[0])


def test_without_weights_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "weights_file", lambda: None)
    with pytest.raises(MissingExtraError, match="pretrained"):
        PretrainedFeatures.fit(scene(3, 32, 32))


def test_a_file_without_the_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(FileFormatError, match=r"other\.pth.*not weights of EfficientNet-Lite0"):
        PretrainedFeatures.fit(scene(3, 32, 32), weights=file)


@pytest.mark.parametrize(("axes", "shape"), [("CYX", (3, 75, 83)), ("CZYX", (1, 3, 50, 41))])
def test_kept_maps_are_those_of_the_pixels(
    axes: str, shape: tuple[int, ...], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "weights_file", lambda: weights)
    image = scene(*shape, axes=axes)
    extractor = fit_extractor(image, ("bands", "pretrained-64"), 0)
    matrix = drain(collect(extractor, image))
    raw = PretrainedFeatures.fit(image, 0, weights)
    column = (-1,) + (1,) * image.ndim
    expected = transform(raw, image) / raw.scale.reshape(column) + raw.shift.reshape(column)
    pixels = np.random.default_rng(0).integers(0, np.prod(image.shape), 200)
    expected = expected.reshape(272, -1)[:, pixels].T
    assert matrix.maps is not None
    # kept in 16 bits: 11 of precision
    np.testing.assert_allclose(
        matrix.maps.take(pixels), expected, rtol=2**-9, atol=2**-9 * np.abs(expected).max()
    )
    tiled = raw.new_maps(image.shape)
    for _ in iter_tiles(extractor, image, (16,) * image.ndim, keep=tiled.put):
        pass
    np.testing.assert_allclose(tiled.take(pixels), matrix.maps.take(pixels), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("axes", "shape", "spacing", "expected"),
    [
        ("CYX", (3, 32, 32), (1, 1), "generic"),
        ("CZYX", (1, 8, 32, 32), (10, 1.5, 1.5), "generic"),
        ("CZYX", (1, 8, 32, 32), (1, 1, 1), "filters"),
        ("CZYX", (1, 8, 32, 32), (3, 1, 1), "filters"),
    ],
)
def test_auto_takes_the_generic_network_for_pictures_and_thick_slices(
    axes: str, shape: tuple[int, ...], spacing: tuple[float, ...], expected: str
) -> None:
    image = Image.from_array(np.zeros(shape, np.float32), axes=axes, spacing=spacing)
    assert drain(resolve_steps(image, "auto", "enhanced", 0, maps=True)) == expected
    assert drain(resolve_steps(image, "auto", "enhanced", 0)) == "filters"


def test_components_are_those_of_each_map(weights: Path) -> None:
    image = scene(3, 96, 96)
    raw, found = (
        PretrainedFeatures.fit(image, 0, weights),
        PretrainedComponents.fit(image, 0, weights),
    )
    table = transform(raw, image)[:16].reshape(16, -1)  # the first map
    components = transform(found, image)[:8].reshape(8, -1)
    # sampled pixels are all of so small an image, so the components are uncorrelated, in order of
    # variance, and hold more of the map than any other eight directions, by its singular values
    covariance = np.cov(components)
    variances = np.diag(covariance)
    np.testing.assert_allclose(covariance - np.diag(variances), 0, atol=2e-3 * variances[0])
    assert (np.diff(variances) < 0).all()
    values = np.linalg.eigvalsh(np.cov(table))[::-1]
    np.testing.assert_allclose(variances / variances[0], values[:8] / values[0], rtol=5e-3)
    assert found.n_features == 64
    # every map has the same variance in all: 64 / 5
    assert variances.sum() == pytest.approx(64 / 5, rel=1e-2)
