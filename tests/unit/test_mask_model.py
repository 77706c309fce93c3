"""Networks that learned from masks: loaded they label as before, edited files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.io.model_files import load_model, save_model

KIND = "clusternet-masks"
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"channels": (4, 6), "border_weight": 0.0},
    "ternausnet": {"width": 4},
}
QUICK = {"steps": 2, "batch": 2, "patch": 32, "device": "cpu"}


def scene(ndim: int = 2, seed: int = 0) -> tuple[cn.Image, np.ndarray]:
    shape = {2: (40, 44), 3: (5, 20, 22)}[ndim]
    truth = np.broadcast_to(np.arange(shape[-1]) * 2 // shape[-1], shape) * 300 + 2
    values = truth + np.random.default_rng(seed).normal(0, 30, (2, *shape))
    spacing = (1.0, 1.0) if ndim == 2 else (4.0, 1.0, 1.0)
    axes = "CYX" if ndim == 2 else "CZYX"
    image = cn.Image.from_array(values.astype(np.float32), axes=axes, spacing=spacing)
    return image, truth


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masks") / "model.safetensors"
    image, truth = scene()
    cn.MaskModel("unet", **SMALL["unet"], **QUICK).fit([image], [truth]).save(path)
    return path


@pytest.mark.parametrize(("method", "ndim"), [("unet", 2), ("unet", 3), ("ternausnet", 2)])
def test_a_loaded_model_labels_as_before(method: str, ndim: int, tmp_path: Path) -> None:
    image, truth = scene(ndim)
    other, _ = scene(ndim, 1)
    model = cn.MaskModel(method, random_state=5, **SMALL[method], **QUICK)
    assert model.fit([image], [truth]) is model
    expected = model.predict(other)
    np.testing.assert_array_equal(
        expected,
        cn.supervised([image], [truth], other, method=method, random_state=5,
                      **SMALL[method], **QUICK),
    )  # fmt: skip
    assert set(np.unique(expected)) <= {2, 302}  # the classes of the masks, beyond 255
    model.save(tmp_path / "m.safetensors")
    again = cn.MaskModel.load(tmp_path / "m.safetensors", device="cpu")
    np.testing.assert_array_equal(again.predict(other), expected)
    assert (again.method, again.random_state) == (method, 5)
    again.save(tmp_path / "again.safetensors")
    files = [load_model(tmp_path / f"{n}.safetensors", kind=KIND) for n in ("m", "again")]
    assert files[0][1] == files[1][1]
    for name, value in files[0][0].items():
        np.testing.assert_array_equal(value, files[1][0][name])


def test_nothing_learned_yet(tmp_path: Path) -> None:
    model = cn.MaskModel("unet")
    with pytest.raises(InputError, match="learned nothing yet"):
        model.predict(scene()[0])
    with pytest.raises(InputError, match="learned nothing yet"):
        model.save(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="no such parameter"):
        cn.MaskModel("unet", epochs=3)


def test_images_of_other_bands_are_refused(saved: Path) -> None:
    model = cn.MaskModel.load(saved, device="cpu")
    with pytest.raises(InputError, match="band"):
        model.predict(np.zeros((3, 20, 20), np.float32), axes="CYX")


def edit(metadata: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        metadata = metadata[part]
    metadata[last] = value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "no_such"), ("method", 3), ("parameters", {"evil": 1}), ("classes", [2]),
        ("classes", [302, 2]), ("classes", [2, 4000]), ("classes", [2, True]),
        ("spacing", [1.0]), ("spacing", [0.0, 1.0]), ("extent", [-4, 4]), ("extent", ["a", 4]),
        ("normalizer.std", [-1.0, 1.0]), ("bands.dtype", "object"), ("bands.names", ["a"]),
        ("parameters.channels", [4, 10**9]), ("parameters.channels", [4] * 1000),
        ("random_state", None),
    ],
)  # fmt: skip
def test_edited_metadata_is_refused(saved: Path, tmp_path: Path, name: str, value: Any) -> None:
    tensors, metadata = load_model(saved, kind=KIND)
    edit(metadata, name, value)
    save_model(tmp_path / "edited.safetensors", tensors, metadata, kind=KIND)
    with pytest.raises(FileFormatError, match=r"edited\.safetensors"):
        cn.MaskModel.load(tmp_path / "edited.safetensors")


def test_edited_weights_and_other_kinds_are_refused(saved: Path, tmp_path: Path) -> None:
    tensors, metadata = load_model(saved, kind=KIND)
    variance = next(name for name in tensors if name.endswith("running_var"))
    for change in (
        {variance: -tensors[variance]}, {variance: tensors[variance].astype(np.float64)},
        {variance: tensors[variance][:-1]}, {"more": np.zeros(3)},
    ):  # fmt: skip
        save_model(tmp_path / "e.safetensors", tensors | change, metadata, kind=KIND)
        with pytest.raises(FileFormatError, match="do not fit together"):
            cn.MaskModel.load(tmp_path / "e.safetensors")
    save_model(tmp_path / "e.safetensors", tensors, metadata)
    with pytest.raises(FileFormatError, match="clusternet-model"):
        cn.MaskModel.load(tmp_path / "e.safetensors")
    with pytest.raises(FileFormatError):
        cn.ClusterNet.load(saved)
