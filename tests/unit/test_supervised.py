"""Supervised networks: exact tiles, what they learn, what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import napari_clusternet as cn
from napari_clusternet import extractor as extraction
from napari_clusternet.device import select_device
from napari_clusternet.errors import InputError, MissingExtraError
from napari_clusternet.networks.ternausnet import TernausNet
from napari_clusternet.networks.unet import UNet, plan_levels
from napari_clusternet.normalization import Normalizer
from napari_clusternet.progress import drain
from napari_clusternet.supervised import external
from napari_clusternet.supervised.trained import TrainedNetwork
from napari_clusternet.supervised.training import TrainingFailedError
from napari_clusternet.supervised.unet import MaskUNet, UNetMasks

QUICK = {"channels": (8, 12), "batch": 2, "patch": 32, "learning_rate": 5e-3, "device": "cpu"}


def trained(network: Any, image: cn.Image, n_classes: int = 3) -> TrainedNetwork:
    """An untrained network, as if it were trained: random weights and statistics."""
    return TrainedNetwork(
        network, Normalizer.fit([image]), image.bands, select_device("cpu"),
        np.arange(1, n_classes + 1),
    )  # fmt: skip


def stirred(network: torch.nn.Module) -> torch.nn.Module:
    """Give BatchNorm statistics that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network


def make(kind: str) -> tuple[Any, cn.Image]:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    if kind == "ternausnet":
        image = cn.Image.from_array(rng.normal(size=(3, 300, 75)), axes="CYX")
        return TernausNet(3, 3, 4), image
    shape = {"2d": (150, 131), "3d": (13, 40, 37)}[kind]
    image = cn.Image.from_array(
        rng.normal(size=(2, *shape)), axes="CZYX"[:1] + "ZYX"[-len(shape) :]
    )
    channels = (4, 6, 8)
    plan = plan_levels((1.0,) * len(shape), shape, len(channels))
    return stirred(MaskUNet(UNet(2, 1, channels, plan), 3)), image


@pytest.mark.parametrize("kind", ["2d", "3d", "ternausnet"])
def test_tiles_equal_the_whole_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = make(kind)
    model = trained(network, image)
    edges = {"2d": (32, 64), "3d": (8, 16, 16), "ternausnet": (64, 75)}[kind]
    whole = extraction.transform(model, image)
    np.testing.assert_allclose(extraction.transform(model, image, edges), whole, atol=2e-5)
    assert whole.std(axis=tuple(range(1, whole.ndim))).min() > 1e-3
    labels, steps = drain(model.predict_steps(image)), []
    np.testing.assert_array_equal(labels, whole.argmax(axis=0) + 1)
    monkeypatch.setattr(extraction, "default_tile", lambda extractor, shape: edges)
    np.testing.assert_array_equal(drain(model.predict_steps(image), steps.append), labels)
    assert len(steps) > 4


def test_lazy_images_give_the_same_labels() -> None:
    import dask.array as da

    network, image = make("2d")
    model = trained(network, image)
    lazy = image.with_data(da.from_array(image.data, chunks=(1, 40, 50)))
    np.testing.assert_array_equal(
        drain(model.predict_steps(lazy)), drain(model.predict_steps(image))
    )


def test_out_of_memory_is_answered_with_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = make("2d")
    model = trained(network, image)
    expected = drain(model.predict_steps(image))
    forward, failures = model._forward, []

    def tight(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        if valid.size > 12000:
            failures.append(valid.shape)
            raise torch.cuda.OutOfMemoryError
        return forward(values, valid)

    monkeypatch.setattr(model, "_forward", tight)
    np.testing.assert_array_equal(drain(model.predict_steps(image)), expected)
    assert 1 <= len(failures) < 6


def texture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes along x on the left, along y on the right: no pixel tells which alone."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((64, 64))
    truth = np.where(columns < 24 + seed * 4, 1, 2).astype(np.uint8)
    shift = rng.integers(4)
    image = np.where(truth == 1, rows + shift, columns + shift) // 2 % 2
    return (image + rng.normal(scale=0.1, size=image.shape)).astype(np.float32), truth


def test_context_is_learned_and_the_loss_falls() -> None:
    images, masks = zip(*(texture(seed) for seed in (0, 1, 2)), strict=True)
    other, truth = texture(4)
    losses = []
    labels = cn.supervised(
        list(images), list(masks), other, method="unet", steps=60, border_weight=0.0,
        augment=False,  # a quarter turn would make one class the other
        callback=lambda p: losses.append(p.metrics["loss"]) if p.metrics else None, **QUICK,
    )  # fmt: skip
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert (labels == truth).mean() > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "dice"},
        {"loss": "dice+cross_entropy", "balance": True},
        {"loss": "focal", "sampling": "frequency"},
        {"sampling": "random", "augment": False},
        {"border_weight": 10.0, "background": 2},
        {"precision": "bfloat16"},
    ],
)
def test_every_setting_learns_two_levels(settings: dict[str, Any]) -> None:
    truth = np.where(np.indices((40, 40))[1] < 20, 1, 2).astype(np.uint8)
    image = truth + np.random.default_rng(0).normal(scale=0.1, size=truth.shape)
    if settings.get("precision") == "bfloat16" and select_device("cpu").training_dtype == "float32":
        pytest.skip("no native bfloat16 here")
    labels = cn.supervised(image, truth, image, steps=25, **QUICK, **settings)
    assert (labels == truth).mean() > 0.9


def test_a_rare_class_is_found_with_frequency_sampling() -> None:
    """One patch in twenty holds class 2 at random; by class, every second one."""
    rng = np.random.default_rng(0)
    truth = np.ones((160, 160), np.uint8)
    truth[100:106, 30:36] = 2
    image = np.where(truth == 2, 3.0, 0.0) + rng.normal(scale=0.3, size=truth.shape)
    labels = cn.supervised(
        image, truth, image, sampling="frequency", loss="dice", steps=30, border_weight=0.0, **QUICK
    )
    assert (labels[truth == 2] == 2).mean() > 0.8


def test_several_images_give_several_label_maps() -> None:
    image, truth = texture(0)
    found = cn.supervised(image, truth, [image, image[:40, :50]], steps=1, **QUICK)
    assert [labels.shape for labels in found] == [(64, 64), (40, 50)]


def test_hundreds_of_classes_are_kept_apart() -> None:
    """The first mask is of 8 bits, and all masks together have 302 classes."""
    few = np.where(np.indices((20, 20))[1] < 10, 1, 2).astype(np.uint8)
    many = (np.arange(400).reshape(20, 20) % 300 + 3).astype(np.uint16)
    seen = []

    class Spy(UNetMasks):
        def _weights(self, mask: np.ndarray, *rest: Any) -> np.ndarray:
            seen.append(mask)
            return super()._weights(mask, *rest)

    images = [cn.Image.from_array(mask.astype(np.float32)) for mask in (few, many)]
    drain(Spy(steps=1, **QUICK).fit_steps(images, (few, many)))
    np.testing.assert_array_equal(seen[0], few)
    np.testing.assert_array_equal(seen[1], many)


def test_files_go_in(tmp_path: Path) -> None:
    image, truth = texture(0)
    np.save(tmp_path / "image.npy", image)
    cn.write_labels(tmp_path / "mask.tif", truth)
    paths = [tmp_path / "image.npy"], [str(tmp_path / "mask.tif")], tmp_path / "image.npy"
    from_files = cn.supervised(*paths, steps=2, **QUICK)
    np.testing.assert_array_equal(from_files, cn.supervised(image, truth, image, steps=2, **QUICK))


def test_thick_slices_are_not_mixed_at_full_resolution() -> None:
    image = cn.Image.from_array(np.zeros((9, 32, 32)), axes="ZYX", spacing=(5, 1, 1))
    network = UNetMasks().build(image, 2, (9, 32, 32))
    assert network.unet.plan.kernels[0] == (1, 3, 3)
    assert network.unet.plan.strides[0] == (1, 2, 2)


def test_only_invalid_pixels_with_a_class_are_refused() -> None:
    image, truth = texture(0)
    image[:] = np.nan
    image[:2, ::2], image[:2, 1::2] = 1.0, 2.0
    truth[:2] = 0
    with pytest.raises(InputError, match=r"no pixel with a class is valid"):
        cn.supervised(image, truth, image, steps=1, **QUICK)


def test_a_loss_that_overflows_is_told() -> None:
    image, truth = texture(0)
    with pytest.raises(TrainingFailedError, match=r"learning_rate=1e\+30"):
        cn.supervised(image, truth, image, steps=20, **(QUICK | {"learning_rate": 1e30}))


def test_ternausnet_takes_weights_from_a_file(tmp_path: Path) -> None:
    image, truth = texture(0)
    with pytest.raises(OSError, match="no such file"):
        cn.supervised(
            image, truth, image, method="ternausnet", weights=str(tmp_path / "v.pth"), steps=1
        )


class FakePackage(SimpleNamespace):
    """What segmentation-models-pytorch offers, as far as it is used."""

    @staticmethod
    def PSPNet(  # noqa: N802
        encoder_name: str, encoder_weights: object, in_channels: int, classes: int
    ) -> torch.nn.Module:
        if encoder_name != "resnet18":
            raise KeyError(f"Wrong encoder name `{encoder_name}`")
        assert encoder_weights is None  # nothing is downloaded
        return torch.nn.Conv2d(in_channels, classes, 1)


@pytest.fixture
def fake_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", FakePackage())
    monkeypatch.setattr(external, "find_spec", lambda name: object())


@pytest.mark.usefixtures("fake_package")
def test_other_packages_networks_are_trained_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.where(np.indices((40, 40))[1] < 20, 1, 2).astype(np.uint8)
    settings = {"method": "pspnet", "steps": 25, "patch": 32, "learning_rate": 0.1, "device": "cpu"}
    labels = cn.supervised(truth * 5.0, truth, truth * 5.0, **settings)
    assert (labels == truth).mean() > 0.95
    with pytest.raises(InputError, match=r"encoder='vgg7'.*Wrong encoder name"):
        cn.supervised(truth * 5.0, truth, truth * 5.0, **settings, encoder="vgg7")
    from napari_clusternet.supervised import trained as module

    monkeypatch.setattr(module, "WHOLE_PIXELS", 100)
    with pytest.warns(UserWarning, match="looks at a whole image"):
        cn.supervised(truth * 5.0, truth, truth * 5.0, **settings)


def test_a_package_that_cannot_be_imported_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)  # import fails
    truth = np.where(np.indices((40, 40))[1] < 20, 1, 2).astype(np.uint8)
    with pytest.raises(MissingExtraError, match="installed but cannot be imported"):
        cn.supervised(truth, truth, truth, method="linknet")
    with pytest.raises(InputError, match="batch=1"):
        cn.supervised(truth, truth, truth, method="linknet", batch=1)
