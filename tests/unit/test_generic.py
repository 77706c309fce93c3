"""The generic network: its weights are in the package, look where they should, and tell more."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_clusternet.errors import FileFormatError
from napari_clusternet.extractor import has_maps, iter_tiles, transform
from napari_clusternet.features.combined import CombinedFeatures
from napari_clusternet.features.filters import FilterFeatures
from napari_clusternet.features.generic import COMPONENTS, WEIGHTS, GenericFeatures, _network
from napari_clusternet.features.matrix import collect
from napari_clusternet.image import Image
from napari_clusternet.networks.generic import N_FEATURES, Decoder
from napari_clusternet.progress import drain

CASES = Path(os.environ.get("CLUSTERNET_DATA", "")) / "strokebench"


def scene(*shape: int, axes: str = "CYX") -> Image:
    values = np.random.default_rng(0).normal(size=shape).cumsum(axis=-1).astype(np.float32)
    return Image.from_array(values, axes=axes)


def test_the_package_holds_weights_of_a_few_megabytes() -> None:
    assert WEIGHTS.stat().st_size < 3e6
    network = _network(WEIGHTS)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, 64, 96))
    shapes = [tuple(m.shape[1:]) for m in maps]
    assert shapes == [
        (c, 64 // s, 96 // s)
        for c, s in zip(network.map_channels, network.map_strides, strict=True)
    ]
    assert shapes[-1] == (N_FEATURES, 32, 48)


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 704, 32), "CYX"), ((5, 32, 704), "CYX"), ((2, 32, 672), "ZYX")]
)
def test_tiles_equal_the_whole(shape: tuple[int, ...], axes: str) -> None:
    image = scene(*shape, axes=axes)
    extractor = GenericFeatures.fit(image)
    whole = transform(extractor, image, tile=image.shape)
    # several tiles of which the outer ones do not see the other end
    tile = tuple(min(size, 16) if size < 100 else 176 for size in image.shape)
    tiled = transform(extractor, image, tile=tile)
    np.testing.assert_allclose(tiled, whole, atol=2e-5 * max(1, float(np.abs(whole).max())))


def test_the_decoder_looks_no_further_than_it_says() -> None:
    torch.manual_seed(0)
    decoder = Decoder().double().eval()
    sizes = [(16, 2), (24, 4), (40, 8), (80, 16), (112, 16)]
    maps = [torch.randn(1, c, 512 // s, 512 // s, dtype=torch.float64) for c, s in sizes]
    with torch.inference_mode():
        before = decoder(maps)
        for m in maps:
            m[..., 256 // (512 // m.shape[-1]), :] += 1  # a line at pixel 256 of every map
        changed = (decoder(maps) - before).abs().amax(dim=(0, 1, 3)) > 0
    rows = 2 * np.flatnonzero(changed.numpy()) + 1  # pixels of the cells
    assert rows.min() >= 256 - decoder.reach
    assert rows.max() <= 256 + 16 + decoder.reach
    assert rows.max() - rows.min() > decoder.reach  # and not for want of looking


def test_a_spot_is_found_where_it_is() -> None:
    flat = torch.zeros(1, 3, 192, 192)
    spot = flat.clone()
    spot[..., 92:101, 108:117] = 1  # centred on 96, 112
    network = _network(WEIGHTS)
    with torch.inference_mode():
        change = (network(spot)[-1] - network(flat)[-1]).square().sum(dim=(0, 1)).numpy()
    strongest = np.unravel_index(change.argmax(), change.shape)
    place = 2 * np.array(strongest) + 1
    assert np.abs(place - (96, 112)).max() <= 5  # inside the spot or at its edge


def test_features_are_the_filters_and_components_of_the_maps() -> None:
    values = np.random.default_rng(0).normal(size=(3, 96, 96)).cumsum(axis=1)
    values[:, :8] = np.nan
    image = Image.from_array(values, axes="CYX")
    extractor = GenericFeatures.fit(image)
    assert isinstance(extractor, CombinedFeatures)
    n_filters = FilterFeatures.fit(image).n_features
    assert extractor.n_features == n_filters + sum(COMPONENTS)
    assert has_maps(extractor)
    np.testing.assert_array_equal(extractor.of_maps, np.arange(extractor.n_features) >= n_filters)
    features = transform(extractor, image)
    assert (features[:, :8] == 0).all()
    # both parts weigh the same in a distance, but for the filters' own scale
    kept = drain(collect(extractor, image)).maps
    assert kept is not None
    assert kept.n_channels == 272 + N_FEATURES


def test_kept_maps_do_not_depend_on_tiles() -> None:
    image = scene(3, 80, 96)
    extractor = GenericFeatures.fit(image)
    whole = drain(collect(extractor, image)).maps
    tiled = extractor.new_maps(image.shape)
    for _ in iter_tiles(extractor, image, (16, 32), keep=tiled.put):
        pass
    pixels = np.random.default_rng(0).integers(0, 80 * 96, 300)
    assert whole is not None
    np.testing.assert_allclose(tiled.take(pixels), whole.take(pixels), rtol=2e-2, atol=2e-2)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, file)
    with pytest.raises(FileFormatError, match=r"other\.safetensors.*not weights of the generic"):
        GenericFeatures.fit(scene(3, 32, 32), weights=file)


@pytest.mark.skipif(not CASES.exists(), reason="CLUSTERNET_DATA does not name the cases")
def test_on_photos_a_linear_classifier_tells_more_from_it_than_from_the_filters() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    gains = []
    for name in ("photo_153093", "photo_227092", "photo_304074"):  # never learned from
        case = np.load(CASES / f"{name}.npz")
        image = Image.from_array(case["image"], axes="CYX")
        strokes, truth = case["strokes"][0].reshape(-1), case["truth"].reshape(-1)
        rng = np.random.default_rng(0)
        learn = rng.permutation(np.flatnonzero(strokes))[:1500]
        judge = rng.permutation(np.flatnonzero((truth > 0) & (strokes == 0)))[:4000]
        scores = []
        for extractor in (FilterFeatures.fit(image), GenericFeatures.fit(image)):
            rows = transform(extractor, image).reshape(extractor.n_features, -1).T
            rows = (rows - rows[learn].mean(axis=0)) / (rows[learn].std(axis=0) + 1e-6)
            model = LogisticRegression(C=0.01, max_iter=300).fit(rows[learn], strokes[learn])
            scores.append(f1_score(truth[judge], model.predict(rows[judge]), average="macro"))
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0.05
