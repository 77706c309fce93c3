"""Features are learned in the viewer as without it, and whatever happens meanwhile is handled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_clusternet import ClusterNet
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image

napari = pytest.importorskip("napari")

from napari_clusternet._napari.controller import Controller, current  # noqa: E402

#: A training of one step an epoch.
SMALL: dict[str, Any] = {"n_epochs": 2, "n_clusters": 6, "n_features": 4, "channels": (4, 8),
                         "loss_pixels": 512, "cluster_pixels": 2048, "random_state": 0}  # fmt: skip
#: One that would not end within a test.
LONG = {**SMALL, "n_epochs": 5000}
WAIT = 120.0


def _pixels(bands: int, shape: tuple[int, ...] = (64, 64), seed: int = 0) -> Any:
    """Blocks of 16 pixels with noise, (bands, *shape), uint8."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(20, 235, (bands, *(-(-n // 16) for n in shape)))
    for axis in range(1, blocks.ndim):
        blocks = np.repeat(blocks, 16, axis)
    blocks = blocks[(slice(None), *(slice(n) for n in shape))]
    return (blocks + rng.integers(-8, 9, blocks.shape)).astype(np.uint8)


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


def _steps(control: Controller, n: int) -> None:
    """Let the training take `n` steps."""
    for _ in range(int(WAIT / 0.05)):
        if len(control.curve) >= n or not control.runner.busy:
            return
        control.runner.wait(0.05)
    raise AssertionError("no step was taken")


def test_the_model_is_that_of_the_same_call_without_a_window(viewer: Any, tmp_path: Path) -> None:
    pixels = _pixels(3)
    viewer.add_image(np.moveaxis(pixels, 0, -1), name="scene", rgb=True)
    control = current(viewer)
    changes: list[int] = []
    control.model_changed.connect(lambda: changes.append(1))
    model = control.learn(**SMALL)
    assert control.runner.wait(WAIT)
    assert control.model is model
    assert changes == [1]
    plain = ClusterNet.from_preset("quick", **SMALL).fit([Image.from_array(pixels, axes="CYX")])
    np.testing.assert_array_equal(
        model.transform(pixels_image(pixels)), plain.transform(pixels_image(pixels))
    )
    assert "4 features of images with 3 bands" in control.model_summary
    assert "scene" in control.model_summary
    assert not list(tmp_path.glob("user/unfinished/*"))  # nothing is unfinished


def pixels_image(pixels: Any) -> Image:
    return Image.from_array(pixels, axes="CYX")


def test_layers_of_one_grid_are_bands_others_are_images(viewer: Any) -> None:
    a, b = _pixels(2), _pixels(2, (80, 96), seed=1)
    layers = [viewer.add_image(a[0], name="red"), viewer.add_image(a[1], name="nir")]
    control = current(viewer)
    together, chosen = control._images(layers, None, None, None)
    assert [image.n_bands for image in together] == [2]
    assert together[0].band_names == ("red", "nir")
    apart, _ = control._images(None, layers, None, None)
    assert [image.n_bands for image in apart] == [1, 1]
    other = viewer.add_image(b[0], name="other grid")
    several, chosen = control._images([layers[0], other], None, None, None)
    assert [image.shape for image in several] == [(64, 64), (80, 96)]
    assert chosen == [layers[0], other]
    with pytest.raises(InputError, match="2 bands"):
        control._images([*layers, other], None, None, None)


@pytest.mark.parametrize(
    "kind", ["volume", pytest.param("multiscale", marks=pytest.mark.slow), "dask", "bands"]
)
def test_every_kind_of_layer_is_learned_and_shown(viewer: Any, kind: str) -> None:
    place: dict[str, Any] = {}
    if kind == "volume":
        data, place, shape = _pixels(1, (8, 32, 32))[0], {"axes": "ZYX"}, (8, 32, 32)
        layer = viewer.add_image(data, scale=(5, 1, 1))
    elif kind == "multiscale":
        data, shape = _pixels(1)[0], (64, 64)
        layer = viewer.add_image([data, data[::2, ::2]], multiscale=True)
    elif kind == "dask":
        da = pytest.importorskip("dask.array")
        data, shape = da.from_array(_pixels(1)[0], chunks=32), (64, 64)
        layer = viewer.add_image(data)
    else:
        data, place, shape = _pixels(25), {"axes": "CYX", "bands": (0, 12, 24)}, (64, 64)
        layer = viewer.add_image(data, scale=(1, 3, 3))
    control = current(viewer)
    assert control.learn(layer, **place, **SMALL) is not None
    assert control.runner.wait(WAIT)
    assert control.model.extractor_.ndim == len(shape)
    assert len(control.model.bands_.names) == (3 if kind == "bands" else 1)
    assert control.show_features(layer, **place)
    assert control.runner.wait(WAIT)
    (preview,) = [x for x in viewer.layers if x.name.endswith(" features")]
    assert preview.rgb
    assert preview.data.shape == (*shape, 3)
    # it lies on the layer, and is no image to learn from
    corner = tuple(n - 1 for n in shape)
    np.testing.assert_allclose(preview.data_to_world(corner), layer.data_to_world(
        (*(0,) * (layer.ndim - len(shape)), *corner))[-len(shape):])  # fmt: skip
    assert control.image_layers == [layer]


def test_cancel_keeps_what_was_learned_and_resume_goes_on(
    viewer: Any, told: list[str], tmp_path: Path
) -> None:
    viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    control.learn(**LONG)
    _steps(control, 2)
    control.cancel()
    assert control.runner.wait(WAIT)
    assert "Resume goes on from there" in told[-1]
    learned = control.model.n_iter_
    assert learned >= 1  # a step is an epoch here
    assert control.unfinished.checkpoint.is_relative_to(tmp_path / "user")
    control.resume()
    assert control.unfinished is None
    _steps(control, 1)
    assert control.curve[0].done == learned + 1
    control.cancel()
    assert control.runner.wait(WAIT)
    assert control.model.n_iter_ > learned
    # the same call finds its checkpoint too, as after a crash
    control.learn(**LONG)
    _steps(control, 1)
    assert control.curve[0].done > learned + 1
    control.cancel()
    assert control.runner.wait(WAIT)


def test_train_again_after_a_cancel_begins_anew_if_told_so(viewer: Any) -> None:
    viewer.add_image(_pixels(1)[0])
    control = current(viewer)
    control.learn(**LONG)
    _steps(control, 3)
    control.cancel()
    control.runner.wait(WAIT)
    control.learn(resume=False, **LONG)
    _steps(control, 1)
    assert control.curve[0].done == 1
    control.cancel()
    control.runner.wait(WAIT)


def test_a_second_run_is_refused(viewer: Any, told: list[str]) -> None:
    viewer.add_image(_pixels(1)[0])
    control = current(viewer)
    assert control.learn(**LONG) is not None
    training = control.training
    assert control.learn(**SMALL) is None
    assert "still running" in told[-1]
    assert control.training is training
    control.cancel()
    assert control.runner.wait(WAIT)


@pytest.mark.parametrize("change", ["removed", "renamed", "replaced"])
def test_a_layer_that_changes_in_training(viewer: Any, told: list[str], change: str) -> None:
    """The model is of use without its layer: kept, and the user is told."""
    layer = viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    control.learn(**SMALL)
    if change == "removed":
        viewer.layers.remove(layer)
    elif change == "renamed":
        layer.name = "town"
    else:
        layer.data = _pixels(1, seed=5)[0]
    assert control.runner.wait(WAIT)
    assert control.model is not None
    word = "removed" if change == "removed" else "replaced"
    assert (f"{word} meanwhile" in told[-1]) == (change != "renamed")


@pytest.mark.parametrize("change", ["removed", "renamed", "replaced"])
def test_a_preview_of_a_layer_that_changes_is_discarded(
    viewer: Any, told: list[str], change: str
) -> None:
    layer = viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    control.learn(**SMALL)
    assert control.runner.wait(WAIT)
    control.show_features(layer)
    if change == "removed":
        viewer.layers.remove(layer)
    elif change == "renamed":
        layer.name = "town"
    else:
        layer.data = _pixels(1, seed=5)[0]
    assert control.runner.wait(WAIT)
    shown = [x.name for x in viewer.layers if x.name.endswith(" features")]
    assert shown == (["scene features"] if change == "renamed" else [])
    assert ("discarded" in told[-1]) == (change != "renamed")


def test_the_preview_of_an_image_is_one_layer(viewer: Any) -> None:
    layer = viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    control.learn(**SMALL)
    control.runner.wait(WAIT)
    for _ in range(2):
        control.show_features(layer)
        assert control.runner.wait(WAIT)
    assert [x.name for x in viewer.layers] == ["scene", "scene features"]


def test_a_model_is_saved_and_loaded(viewer: Any, tmp_path: Path) -> None:
    viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    with pytest.raises(InputError, match="no features are learned"):
        control.save_model(tmp_path / "early")
    control.learn(**SMALL)
    control.runner.wait(WAIT)
    path = control.save_model(tmp_path / "town")
    assert path == tmp_path / "town.safetensors"
    learned = control.model
    loaded = control.load_model(path)
    assert control.model is loaded
    assert "town.safetensors" in control.model_summary
    image = Image.from_array(_pixels(1)[0])
    np.testing.assert_array_equal(loaded.transform(image), learned.transform(image))


def test_mistakes_are_said_before_anything_starts(viewer: Any) -> None:
    control = current(viewer)
    with pytest.raises(InputError, match="no image layer"):
        control.learn()
    viewer.add_image(_pixels(3))
    with pytest.raises(InputError, match="axes"):
        control.learn()  # bands or a volume?
    for wrong in ({"n_clusters": 1}, {"clusters": 9}, {"device": "abacus"}, {"preset": "slow"},
                  {"bands": (7,)}):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(wrong))):
            control.learn(axes="CYX", **wrong)
    with pytest.raises(InputError, match="nothing is paused"):
        control.resume()
    assert not control.runner.busy


def test_a_damaged_checkpoint_of_our_own_is_replaced(viewer: Any) -> None:
    viewer.add_image(_pixels(1)[0], name="scene")
    control = current(viewer)
    control.learn(**LONG)
    _steps(control, 1)
    control.cancel()
    control.runner.wait(WAIT)
    path = control.unfinished.checkpoint
    path.write_bytes(path.read_bytes()[:100])
    control.learn(**LONG)
    _steps(control, 1)
    assert control.curve[0].done == 1
    control.cancel()
    assert control.runner.wait(WAIT)


def test_closing_the_viewer_in_training_ends_it(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(_pixels(1)[0])
    control = current(viewer)
    control.learn(**LONG)
    _steps(control, 1)
    control.close()
    assert not control.runner.busy
