"""W-Net: it separates what a normalised cut separates, in images and volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.networks.ktextures import measure_statistics
from napari_clusternet.networks.wnet import PixelNetwork
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised import patches as patches_module
from napari_clusternet.unsupervised.base import Tools
from napari_clusternet.unsupervised.patches import Patches, argmax_steps, fill_invalid
from napari_clusternet.unsupervised.wnet import WNet

TOOLS = Tools(None, None, "cpu")


def two_halves(shape=(32, 32)):
    truth = np.where(np.arange(shape[1]) < shape[1] // 2, 1, 2) * np.ones((shape[0], 1), int)
    noise = np.random.default_rng(0).normal(0, 8, shape)
    return (60 * truth + noise).astype(np.uint8), truth


def test_two_halves_are_found():
    values, truth = two_halves()
    method = WNet(k=2, n_steps=30, batch=1, tile=32)
    regions = drain(method.region_steps(Image.from_array(values), TOOLS, 0))
    share = (regions == truth).mean()
    assert max(share, 1 - share) > 0.97
    cuts, errors = np.array(method.losses_).T
    assert cuts[-1] < 0.6 * cuts[0]
    assert errors[-5:].mean() < 0.5 * errors[0]


def test_what_nodata_is_written_as_changes_nothing():
    values, _ = two_halves((24, 24))
    values = values.astype(np.float32)
    results = []
    for written in (-9999.0, 1e6):
        values[3:9, 4:10] = written
        image = Image.from_array(values, nodata=written)
        results.append(drain(WNet(k=2, n_steps=3, batch=1, tile=16).region_steps(image, TOOLS, 0)))
    assert (results[0][3:9, 4:10] == 0).all()
    np.testing.assert_array_equal(results[0], results[1])


def test_invalid_pixels_take_their_nearest_neighbour():
    values = np.array([[[1.0, 9.0, 3.0, 9.0, 9.0]]], np.float32)
    valid = np.array([[True, False, True, False, False]])
    filled = fill_invalid(values, valid)[0, 0]
    assert filled[1] in (1.0, 3.0)
    np.testing.assert_array_equal(filled[[0, 2, 3, 4]], [1, 3, 3, 3])


def test_tiles_give_the_whole_images_labels(monkeypatch):
    torch.manual_seed(0)
    network = PixelNetwork(2, [5], (1, 1), (32, 32))
    values = np.random.default_rng(0).normal(size=(2, 90, 130)).astype(np.float32)
    measure_statistics(network, [torch.from_numpy(values)[None]], network)
    patches = Patches.over(values, np.ones((90, 130), bool), 32, (0, 0))
    whole = drain(argmax_steps(network, patches, torch.device("cpu")))
    monkeypatch.setattr(patches_module, "TILE_EDGE", {2: 16})
    tiled = drain(argmax_steps(network, patches, torch.device("cpu")))
    assert len(np.unique(whole)) > 1
    np.testing.assert_array_equal(whole, tiled)


@pytest.mark.parametrize(("name", "value"), [("k", 1), ("radius", 0), ("sigma_i", np.nan)])
def test_parameters_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=name):
        WNet(**{name: value})
