"""What every method without strokes in the table must do, and what its door promises."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.api.regions import make_method, parameters_of, unsupervised_steps
from napari_clusternet.cli import main
from napari_clusternet.errors import InputError
from napari_clusternet.unsupervised import UNSUPERVISED
from napari_clusternet.unsupervised.base import check_number, number_regions, read_unit

METHODS = list(UNSUPERVISED)
#: Parameters that make a method quick, wherever it has them.
_SMALL = {
    "n_iterations": 12,
    "n_epochs": 2,
    "n_steps": 4,
    "n_channels": 12,
    "n_blocks": 1,
    "n_segments": 60,
    "n_regions": 4,
    "n_clusters": 3,
}
#: Where a few steps are still the chance of the start. The masks of k-textures are cut so steeply
#: that the order of a sum, and so the number of threads, decides about pixels early on: 4 steps of
#: its own learning rate scored a purity of .54 to 1 over seeds; these score .98 to 1.
_ENOUGH: dict[str, dict[str, Any]] = {
    "ktextures": {"k": 4, "n_steps": 20, "batch": 1, "learning_rate": 0.01}
}


def quick(method: str) -> dict[str, Any]:
    """Return parameters with which a method takes little time on a small image."""
    known = parameters_of(method)
    return {name: value for name, value in _SMALL.items() if name in known}


def halves(ndim: int, n_bands: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (C, [Z,] Y, X) of a dark and a bright half with a NaN corner, and truth."""
    shape = (24, 26) if ndim == 2 else (5, 12, 14)
    truth = np.ones(shape, int)
    truth[..., shape[-1] // 2 :] = 2
    image = truth * 100.0 + np.random.default_rng(0).normal(0, 3, (n_bands, *shape))
    image[:, ..., :2, :3] = np.nan
    truth[..., :2, :3] = 0
    return image.astype(np.float32), truth


def axes(ndim: int) -> str:
    return "CYX" if ndim == 2 else "CZYX"


def purity(regions: np.ndarray, truth: np.ndarray) -> float:
    """Share of valid pixels that lie in the larger of their region's two parts."""
    counts = np.zeros((int(regions.max()) + 1, 3))
    np.add.at(counts, (regions[truth > 0], truth[truth > 0]), 1)
    return float(counts.max(1).sum() / counts.sum())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("ndim", "n_bands"), [(2, 3), (2, 1), (2, 7), (3, 2)])
def test_obvious_image(method: str, ndim: int, n_bands: int) -> None:
    if ndim not in UNSUPERVISED.load(method).ndims:
        pytest.skip(f"{method} does not handle {ndim} spatial axes")
    image, truth = halves(ndim, n_bands)
    before = image.copy()
    seen: list[Any] = []
    regions = cn.unsupervised(
        image, axes=axes(ndim), method=method, callback=seen.append,
        **(quick(method) | _ENOUGH.get(method, {})),
    )  # fmt: skip
    assert regions.shape == truth.shape
    assert regions.dtype == np.uint16
    np.testing.assert_array_equal(regions == 0, truth == 0)  # 0 exactly where the image is NaN
    found = np.unique(regions[regions > 0])
    np.testing.assert_array_equal(found, np.arange(1, len(found) + 1))  # no gaps
    assert len(found) >= 2
    # a few steps of training tell the halves apart less well than they could; chance is about .55
    brief = {"n_steps", "n_epochs"} & set(parameters_of(method)) - set(_ENOUGH.get(method, ()))
    assert purity(regions, truth) > (0.7 if brief else 0.9)
    assert seen
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("method", METHODS)
def test_seed_repeats(method: str) -> None:
    image, _ = halves(2)
    one, two = (
        cn.unsupervised(image, axes="CYX", method=method, random_state=3, **quick(method))
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", METHODS)
def test_cancel_comes_before_long_work(method: str) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    # with the method's own parameters: whoever worked first would run into the time limit
    big = np.random.default_rng(0).random((3, 200, 200)).astype(np.float32)
    with pytest.raises(KeyboardInterrupt):
        cn.unsupervised(big, axes="CYX", method=method, callback=stop)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_valid_pixels_is_refused(method: str) -> None:
    with pytest.raises(InputError, match=r"no valid pixel|no pixel is valid"):
        cn.unsupervised(np.full((3, 20, 20), np.nan), axes="CYX", method=method, **quick(method))


@pytest.mark.parametrize("method", METHODS)
def test_unknown_parameters_are_refused_with_the_known_ones(method: str) -> None:
    first = next(iter(parameters_of(method)))
    with pytest.raises(InputError, match=rf"no_such=1: method '{method}' has no.*{first}"):
        cn.unsupervised(np.ones((9, 9)), method=method, no_such=1)


@pytest.mark.parametrize("method", METHODS)
def test_declares_what_users_see(method: str) -> None:
    kind = UNSUPERVISED.load(method)
    assert is_dataclass(kind)
    assert kind.name == method
    assert kind.summary
    assert set(kind.ndims) <= {2, 3}
    assert kind.needs in ("", "features", "clusterer", "learning")
    made = make_method(method)
    assert {item.name for item in fields(kind) if item.init} == set(parameters_of(method))
    assert all(getattr(made, name) == value for name, value in parameters_of(method).items())


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_checked_before_any_work(method: str) -> None:
    numbers = [name for name, value in parameters_of(method).items() if type(value) in (int, float)]
    for name in numbers:
        with pytest.raises(InputError, match=name):
            make_method(method, **{name: float("nan")})


def test_methods_are_listed() -> None:
    listed = {m.name: m for m in cn.methods() if m.kind == "unsupervised"}
    assert set(listed) == set(METHODS)
    assert listed["felzenszwalb"].ndims == (2,)


def test_the_function_keeps_its_name_when_the_subpackage_is_imported() -> None:
    script = (
        "import napari_clusternet as cn\n"
        "import napari_clusternet.unsupervised.base\n"
        "from napari_clusternet.unsupervised import UNSUPERVISED\n"
        "assert type(cn.unsupervised).__name__ == 'function', cn.unsupervised\n"
        "import napari_clusternet.unsupervised.superpixels\n"
        "from napari_clusternet import unsupervised\n"
        "assert type(unsupervised).__name__ == 'function'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_bad_input_is_named_before_any_work() -> None:
    with pytest.raises(InputError, match="axes=None"):
        next(unsupervised_steps(np.ones((3, 9, 9))))
    with pytest.raises(InputError, match=r"method='kmean'.*Did you mean 'kmeans'"):
        next(unsupervised_steps(np.ones((9, 9)), method="kmean"))
    with pytest.raises(InputError, match=r"'felzenszwalb'.*3 spatial axes.*kmeans"):
        next(unsupervised_steps(np.ones((4, 9, 9)), "ZYX", method="felzenszwalb"))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = halves(2)[1].astype(np.uint8)
    source, target = tmp_path / "image.tif", tmp_path / "regions.tif"
    cn.write_labels(source, truth * 100, like=cn.Image.from_array(truth, spacing=(4, 2)))
    arguments = ["unsupervised", str(source), "-o", str(target), "-m", "kmeans", "-q"]
    assert main([*arguments, "--set", "n_clusters=2"]) == 0
    assert "(2)" in capsys.readouterr().out
    regions = cn.read_labels(target)
    assert purity(regions, truth) == 1
    assert cn.open_image(target).spacing == (4, 2)
    assert main([*arguments, "--set", "n_clusters=two"]) == 1
    assert "n_clusters='two': not a whole number" in capsys.readouterr().err
    assert main([*arguments, "--set", "clusters=2"]) == 1
    assert "Use one of n_clusters, features" in capsys.readouterr().err
    assert main([*arguments, "--set", "n_clusters"]) == 1
    assert "not name=value" in capsys.readouterr().err


def test_numbering() -> None:
    labels = np.array([[7, 7, -1], [3, 9, 3]])
    valid = np.array([[True, True, False], [True, False, True]])
    assert number_regions(labels, valid).tolist() == [[2, 2, 0], [1, 0, 1]]
    many = np.arange(70_000).reshape(100, 700)
    with pytest.raises(InputError, match="70000 regions, more than 65535"):
        number_regions(many, np.ones_like(many, bool))


def test_unit_range() -> None:
    photo = cn.Image.from_array(np.array([[[0, 51], [102, 255]]], np.uint8), axes="CYX")
    np.testing.assert_allclose(read_unit(photo)[0], [[[0, 0.2], [0.4, 1]]])
    # 0.1 and 99.9 percent of 0..1000 are 1 and 999: 500 becomes 499/998 = 1/2; 0 is clipped
    ramp = np.arange(1001, dtype=np.float32).reshape(1, 7, 143)
    flat = np.full_like(ramp, 8)
    flat[0, 0, 1] = np.nan
    values, valid = read_unit(cn.Image.from_array(np.concatenate([ramp * 3, flat]), axes="CYX"))
    assert values[0].flat[0] == 0
    assert values[0].flat[500] == pytest.approx(0.5, abs=2e-3)
    assert values[0].flat[1000] == 1
    assert not values[1].any()  # a constant band
    assert not valid[0, 1]
    assert values[0, 0, 1] == 0


@pytest.mark.parametrize("value", [True, "3", 2.5, 0, float("inf"), None])
def test_whole_numbers(value: Any) -> None:
    with pytest.raises(InputError, match=r"n=.*whole number of at least 1"):
        check_number("n", value, 1, whole=True)
