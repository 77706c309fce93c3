"""K-textures: hard masks by hand, textures, encoders, and what its classes can and cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.networks.ktextures import (
    MaskBranch,
    RandomEncoder,
    TextureBank,
    compose,
    hard_masks,
    kernel_of,
)
from napari_clusternet.networks.unet import UNet, plan_levels
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.base import Tools
from napari_clusternet.unsupervised.ktextures import KTextures
from napari_clusternet.unsupervised.ktextures_features import FeatureLoss, learned_encoder
from napari_clusternet.unsupervised.ktextures_vgg import VGG16

TOOLS = Tools(None, None, "cpu")
SMALL = {"n_steps": 3, "tile": 16, "batch": 1}


def run(image, seed=0, **parameters):
    method = KTextures(**parameters)
    return drain(method.region_steps(image, TOOLS, seed)), method


def texture_pair(edge=128, seed=0):
    """Return a fine chequerboard beside a coarse one: the same two values equally often."""
    y, x = np.mgrid[:edge, :edge]
    board = np.where(x < edge // 2, (y + x) % 2, (y // 4 + x // 4) % 2)
    values = 0.3 + 0.4 * board + np.random.default_rng(seed).normal(0, 0.05, board.shape)
    image = Image.from_array((255 * values).clip(0, 255).astype(np.uint8))
    return image, np.where(x < edge // 2, 1, 2)


def accuracy(regions, truth):
    share = (regions == truth).mean()
    return max(share, 1 - share)


# --- hard masks ---------------------------------------------------------------------------------


def test_masks_are_equal_bins_of_the_scalar():
    # k = 4: edges at .25, .5, .75
    scalar = torch.tensor([0.01, 0.24, 0.26, 0.49, 0.51, 0.76, 0.99]).reshape(1, 1, 1, -1)
    masks = hard_masks(scalar, 4)[0, :, 0]
    assert masks.argmax(0).tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_an_edge_shares_its_pixel_and_lets_the_gradient_through():
    # k = 2, s = .5 + .00005: the step is 5000 * .00005 = .25, so the masks are .75 and .25, and
    # d mask / d s is -5000 and +5000. Away from the edge masks are flat.
    scalar = torch.tensor([0.50005, 0.4, 0.6], dtype=torch.float64).reshape(1, 1, 1, 3)
    scalar.requires_grad_()
    masks = hard_masks(scalar, 2)
    np.testing.assert_allclose(masks.detach()[0, :, 0, 0], [0.75, 0.25], atol=1e-9)
    masks[:, 1].sum().backward()
    np.testing.assert_allclose(scalar.grad.flatten(), [5000, 0, 0])


@pytest.mark.parametrize("k", [2, 5, 128])
def test_masks_sum_to_one(k):
    scalar = torch.rand(2, 1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    masks = hard_masks(scalar, k)
    assert masks.shape == (2, k, 3, 5, 7)
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 3, 5, 7), atol=1e-5, rtol=0)


def test_simulated_image_by_hand():
    masks = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    textures = torch.tensor([[[[0.1, 0.2]]], [[[0.3, 0.4]]]])
    assert compose(masks, textures).flatten().tolist() == pytest.approx([0.1, 0.4])


# --- networks -----------------------------------------------------------------------------------


def test_generators_do_not_see_each_other():
    torch.manual_seed(0)
    bank = TextureBank(3, 2, (3, 3)).eval()
    noise = torch.randn(3, 26, 26)
    other = noise.clone()
    other[1] += 1
    with torch.no_grad():
        before, after = bank(noise), bank(other)
    assert before.shape == (3, 2, 16, 16)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1])
    assert 0 < float(before.min()) < float(before.max()) < 1


def test_a_generator_has_the_papers_layers():
    # 1 -> 16 -> 16 -> 16 -> 16 -> 4 bands: 9 (16 + 3 x 256 + 64) weights, 4 x 16 + 4 biases,
    # and 4 x 2 x 16 of BN
    bank = TextureBank(6, 4, (3, 3))
    one = 9 * (16 + 3 * 256 + 64) + 4 * 16 + 4 + 4 * 2 * 16
    assert sum(p.numel() for p in bank.parameters()) == 6 * one


def test_the_papers_branch_sees_one_pixel_and_the_wide_one_its_margin():
    for kernel, window, reach in ((1, 1, 0), (3, 5, 4)):
        torch.manual_seed(0)
        branch = MaskBranch(2, (kernel, kernel), (window, window)).eval()
        assert branch.margin == (reach, reach)
        x = torch.randn(1, 2, 21, 21)
        other = x.clone()
        other[..., 10, 10] += 10
        changed = (branch(x) != branch(other))[0, 0].nonzero()
        assert int((changed + reach - 10).abs().max()) == reach


def test_coarse_and_single_axes_have_no_extent():
    assert kernel_of(3, (5, 1, 1), (9, 9, 9)) == (1, 3, 3)
    assert kernel_of(3, (2, 1, 1), (1, 9, 9)) == (1, 3, 3)
    assert kernel_of(13, (1, 1), (9, 9)) == (13, 13)


# --- loss ---------------------------------------------------------------------------------------


def test_loss_by_hand_and_its_scale():
    # the encoder is the identity: squared error over the variance of the original (1 here)
    original = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 1, 2, 2)
    loss = FeatureLoss([lambda x: [x]], original)
    assert float(loss(original, original)) == 0
    assert float(loss(torch.zeros_like(original), original)) == pytest.approx(1)
    both = FeatureLoss([lambda x: [x], lambda x: [x, 10 * x]], original)
    assert float(both(torch.zeros_like(original), original)) == pytest.approx(2)


def test_random_encoder_hardly_minds_a_shift_but_minds_another_pattern():
    torch.manual_seed(0)
    encoder = RandomEncoder(1, (3, 3), (2, 2))
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    fine, coarse = (y + x) % 2, (y // 4 + x // 4) % 2
    maps = [
        encoder((2.0 * board - 1)[None, None])[-1][..., 1:-1, 1:-1].mean(dim=(2, 3))
        for board in (fine, 1 - fine, coarse)
    ]
    shifted, other = ((m - maps[0]).norm() / maps[0].norm() for m in maps[1:])
    assert float(shifted) < 0.1 * float(other)


def test_learned_encoder_is_that_of_the_fitted_network():
    torch.manual_seed(0)
    network = UNet(2, 4, (4, 6), plan_levels((1, 1), (32, 32), 2)).eval()

    class Extractor:
        pass

    single, several, none = Extractor(), Extractor(), Extractor()
    single.network, several.parts = network, (Extractor(), single)
    for extractor in (single, several):
        encoder = learned_encoder(extractor)
        x = torch.randn(1, 2, 16, 16)
        maps = encoder(x)
        torch.testing.assert_close(maps[1], network.encoder[1](network.encoder[0](x)))
        assert not any(p.requires_grad for p in encoder.parameters())
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(InputError, match="no learned network"):
        learned_encoder(none)


# --- VGG-16 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VGG16().state_dict()


def test_vgg16_has_torchvisions_names_and_shapes(vgg_weights):
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = {f"features.{i}.{kind}" for i in convolutions for kind in ("weight", "bias")}
    assert set(vgg_weights) == names
    # VGG-16 without its three dense layers has 14 714 688 parameters
    assert sum(w.numel() for w in vgg_weights.values()) == 14_714_688


def test_vgg16_loads_a_file_and_takes_the_named_bands(vgg_weights, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "vgg16.safetensors"
    save_file({**vgg_weights, "classifier.0.weight": torch.zeros(2, 2)}, path)
    network = VGG16.from_file(path, rgb=(3, 1, 0))
    x = torch.rand(1, 4, 16, 32, generator=torch.Generator().manual_seed(0))
    (found,) = network(x)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    y = (x[:, [3, 1, 0]] - mean) / std
    for i in (0, 2, "pool", 5, 7, "pool", 10, 12, 14, "pool", 17, 19, 21, "pool", 24, 26, 28):
        if i == "pool":
            y = F.max_pool2d(y, 2)
        else:
            weight, bias = (vgg_weights[f"features.{i}.{kind}"] for kind in ("weight", "bias"))
            y = F.relu(F.conv2d(y, weight, bias, padding=1))
    assert found.shape == (1, 512, 1, 2)
    torch.testing.assert_close(found, y)


def test_a_file_that_is_not_vgg16_is_named_with_what_is_wrong(tmp_path):
    image = Image.from_array(np.zeros((3, 20, 20), np.uint8), axes="CYX")
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 4, 3, 3)}, path)
    with pytest.raises(FileFormatError, match=r"other\.pth.*'features\.0\.weight' has shape"):
        run(image, vgg16=path, **SMALL)
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(FileFormatError, match=r"no tensor 'features\.0\.bias'"):
        run(image, vgg16=path, **SMALL)
    path.write_bytes(b"not a file of weights")
    with pytest.raises(FileFormatError, match=r"other\.pth"):
        run(image, vgg16=path, **SMALL)
    with pytest.raises(FileFormatError, match="no such file"):
        run(image, vgg16=tmp_path / "absent.pth", **SMALL)


def test_bands_and_axes_that_vgg16_cannot_see():
    two = Image.from_array(np.zeros((2, 20, 20), np.uint8), axes="CYX")
    with pytest.raises(InputError, match=r"rgb=\(0, 1, 2\): the image has 2 bands"):
        run(two, vgg16="absent.pth", **SMALL)
    volume = Image.from_array(np.zeros((4, 20, 20), np.uint8), axes="ZYX")
    with pytest.raises(InputError, match="volumes"):
        run(volume, vgg16="absent.pth", **SMALL)


# --- the method ---------------------------------------------------------------------------------


def test_outputs_belong_together():
    values = np.random.default_rng(0).uniform(0, 1, (3, 40, 50)).astype(np.float32)
    values[:, :6, :7] = np.nan
    before = values.copy()
    image = Image.from_array(values, axes="CYX")
    regions, method = run(image, k=4, **SMALL)
    n = regions.max()
    assert regions.dtype == np.uint16
    assert method.masks_.shape == (n, 40, 50)
    assert method.textures_.shape == (n, 3, 16, 16)
    assert method.simulated_.shape == (3, 40, 50)
    assert len(method.losses_) == 3
    np.testing.assert_array_equal(regions, sum((i + 1) * m for i, m in enumerate(method.masks_)))
    np.testing.assert_array_equal(regions == 0, np.isnan(values[0]))
    assert (method.simulated_[:, :6, :7] == 0).all()
    np.testing.assert_array_equal(values, before)


def test_the_papers_classes_are_ranges_of_values():
    # a 1 x 1 branch is a function of the pixel's bands: no two pixels of equal value may differ
    image, _ = texture_pair(48)
    regions, _ = run(image, k=3, n_steps=6, tile=32, batch=1)
    values = image.data[0]
    assert regions.max() > 1
    assert all(len(np.unique(regions[values == v])) == 1 for v in np.unique(values))


def test_seed_decides_and_the_global_generator_is_left_alone():
    image, _ = texture_pair(32)
    state = torch.random.get_rng_state()
    (first, one), (again, two), (_, three) = (run(image, seed, **SMALL) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert one.losses_ == two.losses_
    assert one.losses_ != three.losses_


def test_what_nodata_is_written_as_changes_nothing():
    values = np.random.default_rng(0).uniform(0, 1, (24, 24)).astype(np.float32)
    losses = []
    for written in (-9999.0, 1e6):
        values[3:9, 4:10] = written
        losses.append(run(Image.from_array(values, nodata=written), **SMALL)[1].losses_)
    assert losses[0] == losses[1]


def test_two_colours_are_two_regions():
    truth = np.where(np.arange(48) < 24, 1, 2) * np.ones((32, 1), int)
    noise = np.random.default_rng(0).normal(0, 5, truth.shape)
    image = Image.from_array((70 * truth + noise).astype(np.uint8))
    # both colours in every patch: BatchNorm would stretch the noise of a patch of one colour
    regions, method = run(image, k=2, n_steps=40, tile=48, batch=1)
    assert accuracy(regions, truth) > 0.9
    assert np.mean(method.losses_[-5:]) < 0.5 * method.losses_[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", 1), ("k", 129), ("kernel", 2), ("window", 4), ("tile", 8), ("features", "vgg")],
)
def test_parameters_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=f"^{name}="):
        KTextures(**{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_textures_of_equal_histograms_need_the_wide_branch(seed):
    from sklearn.cluster import KMeans

    image, truth = texture_pair()
    bands = image.data.reshape(1, -1).T.astype(float)
    by_value = KMeans(2, n_init=1, random_state=seed).fit_predict(bands).reshape(truth.shape) + 1
    assert accuracy(by_value, truth) < 0.55
    options = {"k": 2, "n_steps": 80, "tile": 48, "batch": 2}
    assert accuracy(run(image, seed, **options)[0], truth) < 0.55
    wide, _ = run(image, seed, kernel=3, window=13, **{**options, "n_steps": 160})
    assert accuracy(wide, truth) > 0.95
