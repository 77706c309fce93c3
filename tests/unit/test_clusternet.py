"""The ClusterNet estimator: scikit-learn's conventions, errors, files, stopping and resuming."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import CLUSTERNET_PRESETS
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.progress import Progress

SMALL: dict[str, Any] = {
    "n_features": 6, "n_clusters": 8, "n_epochs": 2, "cluster_batch": 2, "train_batch": 1,
    "patch": 64, "channels": (4, 6), "loss_pixels": 256, "cluster_pixels": 1024,
    "device": "cpu", "precision": "float32", "random_state": 0,
}  # fmt: skip
MODES = ["paper", "enhanced"]


def scene(*shape: int, seed: int = 0, **options: Any) -> Image:
    """Return a smooth random image (C, [Z,] Y, X)."""
    values = np.random.default_rng(seed).normal(size=shape).cumsum(-1).astype(np.float32)
    return Image.from_array(values, axes="CYX" if len(shape) == 3 else "CZYX", **options)


def make(**changes: Any) -> ClusterNet:
    return ClusterNet(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def image() -> Image:
    return scene(2, 100, 90)


@pytest.fixture(scope="module")
def fitted(image: Image) -> ClusterNet:
    return make().fit(image)


def same_weights(one: ClusterNet, other: ClusterNet) -> bool:
    a, b = one.network_.state_dict(), other.network_.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a) and np.array_equal(
        one.cluster_centers_, other.cluster_centers_
    )


# --- scikit-learn's conventions -----------------------------------------------------------------


def test_parameters_are_kept_cloned_and_shown() -> None:
    model = make(n_clusters=17)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(n_epochs=9).n_epochs == 9
    assert "n_clusters=17" in repr(model)


def test_presets_name_parameters_and_take_overrides() -> None:
    for name, changes in CLUSTERNET_PRESETS.items():
        params = ClusterNet.from_preset(name, n_epochs=3).get_params()
        assert params.items() >= {**changes, "n_epochs": 3}.items()
    paper = ClusterNet.from_preset("paper").get_params()
    # section 3.4 and Fig. 1
    numbers = {"n_features": 64, "n_clusters": 800, "cluster_batch": 16, "train_batch": 4}
    assert paper.items() >= {**numbers, "patch": 512, "n_epochs": 35, "mode": "paper"}.items()
    with pytest.raises(InputError, match=r"preset='best'.*\['balanced', 'paper', 'quick'\]"):
        ClusterNet.from_preset("best")


@pytest.mark.parametrize("method", ["transform", "predict", "save"])
def test_before_fit(method: str, tmp_path: Path, image: Image) -> None:
    with pytest.raises(NotFittedError):
        getattr(make(), method)(tmp_path / "m" if method == "save" else image)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_features", 0), ("n_clusters", 1), ("n_clusters", 70_000), ("n_clusters", 8.0),
        ("n_epochs", 0), ("train_batch", 3), ("patch", True), ("mode", "best"),
        ("sampling", "anywhere"), ("sampling", None),
        ("clusterer", "kmean"), ("device", "tpu"), ("precision", "half"), ("random_state", -1),
        ("channels", ()), ("channels", 3), ("learning_rate", 0), ("learning_rate", float("nan")),
        ("loss_pixels", 1), ("jitter", -0.1), ("patience", 0),
    ],
)  # fmt: skip
def test_bad_parameters_are_named_before_anything_is_read(parameter: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{parameter}="):
        make(**{parameter: value}).fit(object())


def test_images_that_do_not_fit_together() -> None:
    with pytest.raises(InputError, match="there are none"):
        make().fit([])
    with pytest.raises(InputError, match="2D and 3D"):
        make().fit([scene(1, 32, 32), scene(1, 8, 32, 32)])
    with pytest.raises(InputError, match=r"2 bands.*1 bands"):
        make().fit([scene(1, 32, 32), scene(2, 32, 32)])
    volumes = [scene(1, 8, 32, 32, spacing=(z, 1, 1)) for z in (1, 5)]
    with pytest.raises(InputError, match="different proportions"):
        make().fit(volumes)


# --- results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clusterer", ["kmeans", "gmm"])
def test_fit_2d(mode: str, clusterer: str, image: Image) -> None:
    model = make(mode=mode, clusterer=clusterer)
    assert model.fit(image) is model
    features = model.transform(image)
    assert features.shape == (6, 100, 90)
    assert np.isfinite(features).all()
    assert features.std(axis=(1, 2)).min() > 0.1
    ids = model.predict(image)
    assert ids.dtype == np.uint16
    assert ids.min() >= 1
    assert ids.max() <= len(model.cluster_centers_) == 8
    assert len(np.unique(ids)) > 4
    assert [figures["epoch"] for figures in model.history_] == [1, 2]
    assert model.n_iter_ == 2


@pytest.mark.parametrize("mode", MODES)
def test_fit_3d_anisotropic(mode: str) -> None:
    volume = scene(1, 7, 40, 36, spacing=(5, 1, 1))
    model = make(mode=mode, n_epochs=1).fit(volume)
    whole = model.transform(volume)
    assert whole.shape == (6, 7, 40, 36)
    assert model.network_.multiple == (1, 2, 2)
    np.testing.assert_allclose(model.transform(volume, tile=(3, 10, 12)), whole, atol=2e-5)


def test_several_images_and_fit_transform(image: Image) -> None:
    features = make(n_epochs=1).fit_transform([image, scene(2, 40, 130, seed=1)])
    assert [block.shape for block in features] == [(6, 100, 90), (6, 40, 130)]
    assert make(n_epochs=1).fit_transform(image).shape == (6, 100, 90)


def test_a_2d_array_is_an_image() -> None:
    array = np.random.default_rng(0).normal(size=(40, 40))
    assert make(n_epochs=1).fit(array).transform(array).shape == (6, 40, 40)


def test_lazy_image_gives_the_same_lazily(image: Image, fitted: ClusterNet) -> None:
    lazy = image.with_data(da.from_array(image.data, chunks=(2, 50, 50)))
    other = make().fit(lazy)
    assert same_weights(fitted, other)
    features = fitted.transform(lazy)
    assert isinstance(features, da.Array)
    np.testing.assert_allclose(features.compute(), fitted.transform(image), atol=2e-5)
    np.testing.assert_array_equal(fitted.predict(lazy), fitted.predict(image))


def test_half_precision_features(image: Image, fitted: ClusterNet) -> None:
    half = fitted.transform(image, dtype=np.float16)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, fitted.transform(image), atol=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_repeats_and_another_differs(mode: str, image: Image) -> None:
    one, two, other = (make(mode=mode, n_epochs=1, random_state=s).fit(image) for s in (3, 3, 4))
    assert same_weights(one, two)
    assert not same_weights(one, other)


def test_a_drawn_seed_is_kept_and_repeats(image: Image) -> None:
    model = make(random_state=None, n_epochs=1).fit(image)
    assert same_weights(model, make(random_state=model.seed_, n_epochs=1).fit(image))


def test_global_torch_randomness_is_left_alone(image: Image) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    make(n_epochs=1).fit(image)
    assert torch.equal(torch.rand(1), expected)


def test_patience_stops_early(image: Image) -> None:
    model = make(n_epochs=50, patience=1, learning_rate=1e-9).fit(image)
    assert model.n_iter_ < 10


# --- pixels that are missing or few (rows 1, 2, 4, 8, 9) ----------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_row_1_nan_pixels_never_train(mode: str) -> None:
    values = np.array(scene(2, 80, 80).data)
    values[:, 20:40, 30:60] = np.nan
    values[0, 0, 0] = np.inf
    masked = Image.from_array(values, axes="CYX")
    model = make(mode=mode).fit(masked)
    assert all(bool(v.isfinite().all()) for v in model.network_.state_dict().values())
    ids = model.predict(masked)
    assert (ids[20:40, 30:60] == 0).all()
    assert ids[0, 0] == 0
    assert (ids[~np.isnan(values).any(0)] > 0).sum() == (ids > 0).sum() == 80 * 80 - 600 - 1
    assert (model.transform(masked)[:, 20:40, 30:60] == 0).all()


def test_row_2_empty_image_is_refused_and_empty_patches_are_skipped() -> None:
    with pytest.raises(InputError, match="no valid pixel"):
        make().fit(Image.from_array(np.full((1, 64, 64), np.nan, np.float32), axes="CYX"))
    values = np.array(scene(1, 128, 128).data)
    values[:, :70] = np.nan
    model = make(n_epochs=1).fit(Image.from_array(values, axes="CYX"))
    assert model.n_iter_ == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (3, 2, 2), (1, 1, 2, 3)])
def test_row_8_tiny_images(mode: str, shape: tuple[int, ...]) -> None:
    image = scene(*shape)
    model = make(mode=mode, n_epochs=1).fit(image)
    assert model.transform(image).shape == (6, *shape[1:])
    assert np.isfinite(model.transform(image)).all()
    assert model.predict(image).min() >= 1


@pytest.mark.parametrize("mode", MODES)
def test_row_9_more_clusters_than_pixels(mode: str) -> None:
    model = make(mode=mode, n_clusters=800, n_epochs=1)
    with pytest.warns(UserWarning, match=r"n_clusters=800.*\d+ clusters"):
        model.fit(scene(1, 5, 6))
    assert 1 <= len(model.cluster_centers_) <= 30


@pytest.mark.parametrize("mode", MODES)
def test_row_9_identical_pixels(mode: str) -> None:
    flat = Image.from_array(np.full((1, 32, 32), 7, np.uint8), axes="CYX")
    with pytest.warns(UserWarning, match="constant"):
        model = make(mode=mode, n_epochs=1).fit(flat)
    assert np.isfinite(model.transform(flat)).all()


# --- files (rows 16, 19, 20) --------------------------------------------------------------------


def test_saved_and_loaded(tmp_path: Path, image: Image, fitted: ClusterNet) -> None:
    path = tmp_path / "city.safetensors"
    fitted.save(path)
    loaded = ClusterNet.load(path, device="cpu")
    assert same_weights(fitted, loaded)
    np.testing.assert_array_equal(loaded.transform(image), fitted.transform(image))
    np.testing.assert_array_equal(loaded.predict(image), fitted.predict(image))
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert (loaded.bands_, loaded.seed_) == (fitted.bands_, fitted.seed_)


def test_a_loaded_mixture_predicts_the_same(tmp_path: Path, image: Image) -> None:
    model = make(clusterer="gmm", n_epochs=1).fit(image)
    model.save(tmp_path / "m")
    loaded = ClusterNet.load(tmp_path / "m", device="cpu")
    np.testing.assert_array_equal(loaded.predict(image), model.predict(image))


def test_row_16_other_bands_are_refused(image: Image, fitted: ClusterNet) -> None:
    other = scene(3, 32, 32, band_names=("red", "green", "blue"))
    match = r"\['red', 'green', 'blue'\].*\['band_1', 'band_2'\]"
    for method in (fitted.transform, fitted.predict):
        with pytest.raises(InputError, match=match):
            method(other)


def test_row_16_other_order_of_bands_is_refused() -> None:
    model = make(n_epochs=1).fit(scene(2, 64, 64, band_names=("red", "nir")))
    with pytest.raises(InputError, match=r"\['nir', 'red'\].*\['red', 'nir'\]"):
        model.transform(scene(2, 32, 32, band_names=("nir", "red")))


@pytest.mark.parametrize("change", ["shape", "missing", "nan", "version"])
def test_rows_19_20_edited_files(tmp_path: Path, fitted: ClusterNet, change: str) -> None:
    path = tmp_path / "m"
    fitted.save(path)
    tensors, metadata = load_model(path)
    name = next(name for name in tensors if name.startswith("network."))
    version = 1
    if change == "shape":
        tensors[name] = tensors[name][:1]
    elif change == "missing":
        del tensors[name]
    elif change == "nan":
        tensors[name] = tensors[name] * np.nan
    else:
        version = 99
    save_model(path, tensors, metadata, version=version)
    with pytest.raises(FileFormatError, match=str(path)):
        ClusterNet.load(path)


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import napari_clusternet as cn, sys; cn.__all__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- progress -----------------------------------------------------------------------------------


def test_progress_after_every_training_batch(image: Image) -> None:
    seen: list[Progress] = []
    make().fit(image, callback=seen.append)
    # 100 x 90 gives 2 x 2 patches of 64: 4 training batches of 1 an epoch, 2 epochs
    assert [(step.done, step.total) for step in seen] == [(i, 8) for i in range(1, 9)]
    assert np.isfinite([step.metrics["loss"] for step in seen]).all()
    assert {"loss", "perplexity", "agreement"} <= seen[-1].metrics.keys()


def steps(model: ClusterNet, image: Image, count: int, **options: Any) -> Sequence[Progress]:
    """Run `count` training batches, then close the generator, as a Stop button does."""
    generator = model.fit_steps(image, **options)
    seen = [next(generator) for _ in range(count)]
    generator.close()
    return seen


def test_row_38_stopping_before_the_first_round_leaves_it_unfitted(image: Image) -> None:
    model = make()
    steps(model, image, 1)
    with pytest.raises(NotFittedError):
        model.transform(image)


def test_row_38_stopping_later_leaves_it_fitted(image: Image) -> None:
    model = make()
    steps(model, image, 5)
    assert np.isfinite(model.transform(image)).all()
    assert model.n_iter_ == 1
