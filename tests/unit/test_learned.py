"""Learned features: tiles equal the whole image; memory back-off does not change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch

from napari_clusternet.device import Device
from napari_clusternet.errors import InputError
from napari_clusternet.features.learned import LearnedFeatures
from napari_clusternet.image import Image
from napari_clusternet.networks.unet import UNet, pad_to_multiple, plan_levels
from napari_clusternet.normalization import Normalizer

CPU = Device("cpu", "float32", "")


def picture(shape: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> Image:
    values = np.random.default_rng(0).normal(5, 2, shape).astype(np.float32)
    return Image.from_array(values, axes="CYX" if len(shape) == 3 else "CZYX", spacing=spacing)


def extractor(image: Image, channels: tuple[int, ...] = (4, 6, 8)) -> LearnedFeatures:
    """Return random weights, with BatchNorm statistics of the image itself."""
    torch.manual_seed(0)
    plan = plan_levels(image.spacing, image.shape, len(channels))
    network = UNet(image.n_bands, 6, channels, plan)
    normalizer = Normalizer.fit([image])
    for module in network.modules():
        if hasattr(module, "momentum"):
            module.momentum = None
    block = torch.from_numpy(normalizer(*image.read()))[None]
    with torch.no_grad():
        network.train()(pad_to_multiple(block, network.multiple))
    return LearnedFeatures(network, normalizer, image.bands, image.spacing, CPU)


@pytest.mark.parametrize(
    ("shape", "spacing", "tile"),
    [
        ((3, 96, 80), None, (32, 48)),
        ((2, 101, 67), None, (40, 24)),  # odd sizes, tile no power of two
        ((1, 20, 33, 30), None, (8, 12, 16)),
        ((1, 9, 53, 48), (5.0, 1.0, 1.0), (4, 20, 16)),
        ((1, 5, 3), None, (4, 4)),  # smaller than the stride
    ],
)
def test_tiles_equal_the_whole_image(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None, tile: tuple[int, ...]
) -> None:
    image = picture(shape, spacing)
    learned = extractor(image)
    whole = learned.transform(image)
    assert whole.shape == (6, *image.shape)
    assert whole.std() > 0.1
    np.testing.assert_allclose(learned.transform(image, tile), whole, atol=2e-5)


def test_lazy_stays_lazy_and_equal() -> None:
    image = picture((2, 70, 90))
    learned = extractor(image)
    lazy = learned.transform(image.with_data(da.from_array(image.data)), (32, 32))
    assert isinstance(lazy, da.Array)
    np.testing.assert_allclose(lazy.compute(), learned.transform(image), atol=2e-5)


def test_invalid_pixels_are_0_and_spread_nothing() -> None:
    image = picture((2, 48, 48))
    learned = extractor(image)
    data = np.array(image.data)
    data[:, 10:20, 10:20] = np.nan
    one = learned.transform(image.with_data(data))
    data[0, 10:20, 10:20] = np.inf
    np.testing.assert_array_equal(learned.transform(image.with_data(data)), one)
    assert np.isfinite(one).all()
    assert (one[:, 10:20, 10:20] == 0).all()


def fail_on(calls: set[int], network: UNet) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `network` that runs out of memory on some calls, counted from 1."""
    count = 0

    def forward(x: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        if count in calls:
            raise torch.cuda.OutOfMemoryError
        return network(x)  # type: ignore[no-any-return]

    return forward


@pytest.mark.parametrize("calls", [{1}, {1, 2}, {1, 3}])
def test_row_32_out_of_memory_makes_smaller_pieces(
    calls: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture((2, 60, 70))
    learned = extractor(image)
    whole = learned.transform(image)
    monkeypatch.setattr(learned, "network", fail_on(calls, learned.network))
    np.testing.assert_allclose(learned.transform(image), whole, atol=2e-5)


def test_row_32_gives_up_after_finite_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture((2, 60, 70))
    learned = extractor(image)
    calls = set(range(1, 1000))
    monkeypatch.setattr(learned, "network", fail_on(calls, learned.network))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        learned.transform(image)


@pytest.mark.parametrize("lazy", [False, True])
def test_row_16_other_bands_are_refused(lazy: bool) -> None:
    image = picture((2, 16, 16))
    learned = extractor(image)
    data: Any = np.zeros((3, 16, 16), np.float32)
    if lazy:
        data = da.from_array(data)
    other = Image.from_array(data, axes="CYX", band_names=("r", "g", "b"))
    with pytest.raises(InputError, match=r"\['r', 'g', 'b'\].*\['band_1', 'band_2'\]"):
        learned.transform(other)


def test_evaluation_mode_leaves_the_statistics_alone() -> None:
    image = picture((1, 32, 32))
    learned = extractor(image)
    before = {name: value.clone() for name, value in learned.network.state_dict().items()}
    learned.transform(image)
    for name, value in learned.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
