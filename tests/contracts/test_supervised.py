"""Every method that learns from masks does what `supervised` promises."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.api.masks import make_mask_method, mask_parameters_of
from napari_clusternet.errors import InputError, MissingExtraError

METHODS = {m.name: m for m in cn.methods() if m.kind == "masks"}
EXTERNAL = ("linknet", "pspnet", "deeplabv3plus")
HERE = [
    name for name in METHODS if name not in EXTERNAL or find_spec("segmentation_models_pytorch")
]
#: Small and quick; what a method has no parameter of is left out.
QUICK = {"channels": (8, 12), "width": 8, "steps": 30, "batch": 2, "patch": 32,
         "learning_rate": 5e-3, "border_weight": 0.0, "device": "cpu"}  # fmt: skip
CASES = [(name, ndim) for name in HERE for ndim in METHODS[name].ndims]


def quick(method: str, **changes: Any) -> dict[str, Any]:
    known = mask_parameters_of(method)
    return {name: value for name, value in (QUICK | changes).items() if name in known}


def scene(ndim: int = 2, seed: int = 0, n_bands: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of different brightness with noise, and their mask."""
    shape = {2: (40, 44), 3: (6, 20, 22)}[ndim]
    truth = np.broadcast_to(np.arange(shape[-1]) * 2 // shape[-1] + 1, shape).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(scale=0.5, size=(n_bands, *shape))
    return (truth * 10.0 + noise).astype(np.float32), truth.copy()


def axes(ndim: int) -> str:
    return "CYX" if ndim == 2 else "CZYX"


def never(_: object) -> None:
    raise AssertionError("work has begun")


def test_the_table_lists_them_all() -> None:
    assert {"unet", "ternausnet", *EXTERNAL} <= set(METHODS)
    assert METHODS["unet"].ndims == (2, 3)
    assert all(method.summary for method in METHODS.values())


@pytest.mark.parametrize(("method", "ndim"), CASES)
def test_halves_are_found_on_another_image(method: str, ndim: int) -> None:
    images, masks = zip(*(scene(ndim, seed) for seed in (0, 1)), strict=True)
    image, truth = scene(ndim, 2)
    labels = cn.supervised(
        list(images), list(masks), image, axes=axes(ndim), method=method, **quick(method)
    )
    assert labels.shape == truth.shape
    assert labels.dtype == np.uint8
    assert (labels == truth).mean() > 0.9


@pytest.mark.parametrize("method", HERE)
def test_seed_repeats(method: str) -> None:
    image, mask = scene()
    few = quick(method, steps=3)
    one, two = (
        cn.supervised(image, mask, image, axes="CYX", method=method, random_state=3, **few)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", HERE)
def test_unknown_and_invalid_pixels_never_train(method: str) -> None:
    """What they hold, or what they are called, changes nothing; invalid ones come out as 0."""
    image, mask = scene()
    image[:, 5:9, 6:12] = np.nan
    other_image, other_mask = image.copy(), mask.copy()
    other_image[1, 5:9, 6:12] = 1e6  # band 0 still says: invalid
    other_mask[5:9, 6:12] = 2
    few = quick(method, steps=2)
    one = cn.supervised(image, mask, image, axes="CYX", method=method, **few)
    two = cn.supervised(other_image, other_mask, image, axes="CYX", method=method, **few)
    np.testing.assert_array_equal(one, two)
    assert (one[5:9, 6:12] == 0).all()
    assert (one[np.isfinite(image).all(axis=0)] > 0).all()


@pytest.mark.parametrize("method", HERE)
def test_a_callback_that_raises_cancels(method: str) -> None:
    image, mask = scene()
    seen = []

    def stop(progress: object) -> None:
        seen.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cn.supervised(image, mask, image, axes="CYX", method=method, callback=stop, **quick(method))
    assert len(seen) == 1


@pytest.mark.parametrize("method", HERE)
def test_inputs_and_the_global_seed_stay_as_they_were(method: str) -> None:
    import torch

    image, mask = scene()
    copies, state = (image.copy(), mask.copy()), torch.get_rng_state()
    cn.supervised(image, mask, image, axes="CYX", method=method, **quick(method, steps=2))
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(mask, copies[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", HERE)
def test_classes_may_have_gaps_and_be_large(method: str) -> None:
    image, mask = scene()
    labels = cn.supervised(
        image, np.where(mask == 1, 4, 300), image, axes="CYX", method=method, **quick(method)
    )
    assert labels.dtype == np.uint16
    assert set(np.unique(labels).tolist()) == {4, 300}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"masks": "none"}, "train_masks="),
        ({"masks": "one class"}, r"train_masks=.*only the classes \[1\].*at least two"),
        ({"masks": "shape"}, r"train_masks=.*shape"),
        ({"masks": "float"}, r"train_masks=.*whole numbers"),
        ({"image": "bands"}, r"image=.*3 bands"),
        ({"axes": None}, "axes=None"),
        ({"parameters": {"epochs": 3}}, r"epochs=3.*no such parameter"),
        ({"parameters": {"steps": 0}}, r"steps=0"),
        ({"parameters": {"loss": "mse"}}, r"loss='mse'.*dice"),
        ({"parameters": {"sampling": "all"}}, r"sampling='all'.*frequency"),
        ({"parameters": {"learning_rate": -1.0}}, r"learning_rate=-1"),
        ({"parameters": {"border_weight": -1.0}}, r"border_weight=-1"),
    ],
)
def test_bad_input_is_named_before_any_work(method: str, change: Any, named: str) -> None:
    image, mask = scene()
    masks = {"none": [], "one class": [np.ones_like(mask)], "shape": [mask[1:]],
             "float": [mask / 2]}.get(change.get("masks"), [mask])  # fmt: skip
    other = scene(n_bands=3)[0] if change.get("image") else image
    with pytest.raises(InputError, match=named):
        cn.supervised(
            [image], masks, other, axes=change.get("axes", "CYX"), method=method, callback=never,
            **change.get("parameters", {}),
        )  # fmt: skip


def test_unknown_methods_are_refused() -> None:
    image, mask = scene()
    with pytest.raises(InputError, match=r"method='unett'.*Did you mean 'unet'"):
        cn.supervised(image, mask, image, axes="CYX", method="unett")


@pytest.mark.parametrize("method", [n for n in METHODS if 3 not in METHODS[n].ndims])
def test_volumes_are_refused_by_what_is_for_images(method: str) -> None:
    image, mask = scene(3)
    with pytest.raises(InputError, match="3 spatial axes"):
        cn.supervised(image, mask, image, axes="CZYX", method=method, callback=never)


@pytest.mark.parametrize("method", EXTERNAL)
def test_without_the_extra_its_name_is_told(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_clusternet.supervised import external

    monkeypatch.setattr(external, "find_spec", lambda name: None)
    image, mask = scene()
    with pytest.raises(MissingExtraError, match=r"napari-clusternet\[compare\]"):
        cn.supervised(image, mask, image, axes="CYX", method=method, callback=never)


def test_defaults_make_a_method() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in METHODS:
            assert make_mask_method(name).name == name
