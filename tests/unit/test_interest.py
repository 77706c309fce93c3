"""Patches that are drawn by what they show: where, how often, and what is read to find out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import ClusterNetDefaults
from napari_clusternet.device import select_device
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.normalization import Normalizer
from napari_clusternet.training import interest
from napari_clusternet.training.interest import CANDIDATES, UNIFORM_SHARE, draw_chances
from napari_clusternet.training.patches import PatchSet
from napari_clusternet.training.run import Run

PLAIN = Normalizer((0.0,), (1.0,))


def quarter(side: int = 512, ndim: int = 2) -> np.ndarray:
    """Constant but for noise of deviation 1 in the first quarter, by the last two axes."""
    values = np.full((1, *(side,) * ndim), 7, np.float32)
    half = side // 2
    there = values[..., :half, :half]
    there += np.random.default_rng(0).normal(size=there.shape).astype(np.float32)
    return values


def image(values: Any, **options: Any) -> Image:
    return Image.from_array(values, axes="CYX" if values.ndim == 3 else "CZYX", **options)


def in_quarter(patches: PatchSet, side: int = 512) -> np.ndarray:
    """Whether each place of the grid touches the textured quarter."""
    return np.array([max(origin[-2:]) < side // 2 for _, origin in patches.grid])


@pytest.mark.parametrize("ndim", [2, 3])
def test_three_quarters_of_the_draws_are_where_the_texture_is(ndim: int) -> None:
    side, extent = (512, 64) if ndim == 2 else (128, 32)
    patches = PatchSet.over([image(quarter(side, ndim))], PLAIN, (extent,) * ndim)
    chances = draw_chances(patches, 0)
    inside = in_quarter(patches, side)
    assert inside.mean() == 0.25
    # all the interest, and a quarter of what is drawn anywhere
    expected = 1 - UNIFORM_SHARE + UNIFORM_SHARE / 4
    assert chances[inside].sum() == pytest.approx(expected, abs=1e-6)
    assert chances[~inside] == pytest.approx(UNIFORM_SHARE / len(patches), rel=1e-5)
    assert chances.sum() == pytest.approx(1)


def test_chances_are_in_proportion_to_the_deviation_of_normalised_bands() -> None:
    values = np.zeros((2, 64, 256), np.float32)
    stripes = np.tile([-1.0, 1.0], 32)
    values[0, :, 64:128] = 30 * stripes  # deviation 3 after normalisation: 1.5 over both bands
    values[1, :, 128:192] = 2 * stripes  # deviation 1: 0.5
    both = Normalizer((0.0, 0.0), (10.0, 2.0))
    chances = draw_chances(PatchSet.over([image(values)], both, (64, 64)), 0)
    each = UNIFORM_SHARE / 4
    expected = [each, each + 0.75 * (1 - UNIFORM_SHARE), each + 0.25 * (1 - UNIFORM_SHARE), each]
    assert chances == pytest.approx(expected, abs=1e-6)


def test_an_image_without_any_variety_is_drawn_from_everywhere() -> None:
    patches = PatchSet.over([image(np.ones((1, 128, 128), np.float32))], PLAIN, (64, 64))
    assert (draw_chances(patches, 0) == 0.25).all()


@pytest.mark.parametrize("declared", [True, False])
def test_places_without_data_are_not_drawn_and_their_edges_say_nothing(declared: bool) -> None:
    values = quarter()
    values[..., 256:, :] = -9999 if declared else np.nan
    values[..., 224:256, 256:] = values[0, -1, -1]  # half of some patches
    patches = PatchSet.over([image(values, nodata=-9999 if declared else None)], PLAIN, (64, 64))
    chances = draw_chances(patches, 0)
    origins = np.array([origin for _, origin in patches.grid])
    empty = origins[:, 0] >= 256
    assert (chances[empty] == 0).all()
    assert chances[~empty] == pytest.approx(chances[~empty].clip(UNIFORM_SHARE / 32))
    flat = ~empty & (origins[:, 1] >= 256)  # those that are half empty are as flat as the others
    assert chances[flat] == pytest.approx(UNIFORM_SHARE / 32, rel=1e-5)


def test_a_few_valid_pixels_between_the_windows_are_enough_to_be_drawn() -> None:
    values = np.full((1, 256, 512), np.nan, np.float32)
    values[0, ::2, :256] = 0
    values[0, 255, 511] = 1
    patches = PatchSet.over([image(values)], PLAIN, (256, 256))
    assert draw_chances(patches, 0) == pytest.approx([0.5, 0.5])


def test_large_and_small_images_by_the_places_they_have() -> None:
    images = [image(quarter(512)), image(quarter(128))]
    patches = PatchSet.over(images, PLAIN, (64, 64))
    chances = draw_chances(patches, 0)
    first = np.array([index == 0 for index, _ in patches.grid])
    assert chances[first].sum() == pytest.approx(64 / 68, abs=0.01)


def counted(shape: tuple[int, int], chunk: int) -> tuple[Image, Counter[tuple[int, ...]]]:
    """A lazy image whose upper half is noise, and how often each of its chunks is read."""
    read: Counter[tuple[int, ...]] = Counter()

    def block(block_info: Any = None) -> np.ndarray:
        at = tuple(block_info[None]["chunk-location"])
        read[at] += 1
        noise = np.random.default_rng(at).normal(size=(1, chunk, chunk)).astype(np.float32)
        return noise if at[1] < shape[0] // chunk // 2 else np.zeros_like(noise)

    chunks = ((1,), *((chunk,) * (size // chunk) for size in shape))
    lazy = image(da.map_blocks(block, dtype=np.float32, chunks=chunks))
    read.clear()
    return lazy, read


def test_a_lazy_image_is_not_read_whole_and_the_rest_is_like_what_is_near() -> None:
    lazy, read = counted((2048, 2048), 64)
    patches = PatchSet.over([lazy], PLAIN, (64, 64))
    assert len(patches) == 4 * CANDIDATES
    chances = draw_chances(patches, 0)
    assert sum(read.values()) == len(read) == CANDIDATES
    upper = np.array([origin[0] < 1024 for _, origin in patches.grid])
    assert (chances > 0).all()
    assert chances[upper].sum() == pytest.approx(1 - UNIFORM_SHARE / 2, abs=0.05)


def test_large_patches_are_looked_at_through_small_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = []
    lazy, _ = counted((2048, 2048), 512)
    whole = Image.read

    def note(self: Image, region: Any = None) -> Any:
        pixels.append(int(np.prod([part.stop - part.start for part in region])))
        return whole(self, region)

    monkeypatch.setattr(Image, "read", note)
    draw_chances(PatchSet.over([lazy], PLAIN, (512, 512)), 0)
    assert pixels == [32 * 32] * 4 * 16


def test_of_levels_the_coarsest_that_shows_enough_of_a_patch_is_read() -> None:
    lazy, read = counted((2048, 2048), 256)
    coarse = [image(np.asarray(lazy.data[:, ::n, ::n]), spacing=(n, n)) for n in (2, 8, 32)]
    scene = replace(lazy, levels=(lazy, *coarse))
    patches = PatchSet.over([scene], PLAIN, (256, 256))
    assert interest._coarse_view(scene, (256, 256)) is coarse[1]  # 32 pixels; then 8
    assert interest._coarse_view(scene, (32, 32)) is lazy
    read.clear()
    chances = draw_chances(patches, 0)
    assert not read
    upper = np.array([origin[0] < 1024 for _, origin in patches.grid])
    assert chances[upper].sum() == pytest.approx(1 - UNIFORM_SHARE / 2, abs=1e-6)


def test_thick_slices_and_patches_that_stick_out() -> None:
    values = np.random.default_rng(0).normal(size=(1, 5, 100, 130)).astype(np.float32)
    patches = PatchSet.over([image(values, spacing=(5, 1, 1))], PLAIN, (8, 64, 64))
    chances = draw_chances(patches, 0)
    assert chances == pytest.approx(1 / len(patches), rel=0.05)


# ---- in a run ------------------------------------------------------------------------------------


def run_of(sampling: Any, **changes: Any) -> Run:
    changed: dict[str, Any] = {"patch": 64, "channels": (4, 6), "cluster_batch": 16, **changes}
    settings = replace(ClusterNetDefaults(), random_state=3, sampling=sampling, **changed)
    pictures = [image(quarter())]
    return Run(settings, pictures, PLAIN, select_device("cpu", "float32"))


def drawn(run: Run, epochs: int) -> list[Any]:
    return [place for epoch in range(epochs) for b in run.clustering_batches(epoch) for place in b]


@pytest.mark.parametrize("mode", ["paper", "enhanced"])
def test_most_patches_of_an_epoch_touch_the_texture_and_some_do_not(mode: Any) -> None:
    # 4 of 8 columns of places touch it; moved by half a patch, half of the next column does too
    touching = (4 / 8) ** 2 if mode == "paper" else (4.5 / 8) ** 2
    expected = {
        "uniform": touching,
        "interest": 1 - UNIFORM_SHARE + UNIFORM_SHARE * touching,
    }
    for sampling, share in expected.items():
        places = drawn(run_of(sampling, mode=mode), 20)
        assert len(places) == 20 * 64
        touch = np.mean([max(origin) < 256 for _, origin in places])
        assert touch == pytest.approx(share, abs=0.04)
        assert touch < 1


def test_draws_repeat_and_differ_from_epoch_to_epoch() -> None:
    first, again = run_of("interest"), run_of("interest")
    assert drawn(first, 2) == drawn(again, 2)
    assert list(first.clustering_batches(0)) != list(first.clustering_batches(1))
    assert list(again.clustering_batches(1)) == list(first.clustering_batches(1))  # as on resuming


def small(**changes: Any) -> ClusterNet:
    return ClusterNet(
        n_features=4, n_clusters=4, n_epochs=1, cluster_batch=4, train_batch=2, patch=64,
        channels=(4, 6), device="cpu", precision="float32", random_state=0, **changes,
    )  # fmt: skip


def test_it_is_learned_saved_and_told_apart(tmp_path: Path) -> None:
    picture = image(quarter(128))
    model = small(sampling="interest").fit(picture, checkpoint=tmp_path / "c")
    same = small(sampling="interest").fit(picture)
    assert np.array_equal(model.cluster_centers_, same.cluster_centers_)
    model.save(tmp_path / "m.safetensors")
    assert ClusterNet.load(tmp_path / "m.safetensors").sampling == "interest"
    with pytest.raises(FileFormatError, match="sampling was 'interest', is 'uniform'"):
        small().fit(picture, checkpoint=tmp_path / "c")


def test_another_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        InputError, match=r"sampling='random': unknown\. Use 'uniform' or 'interest'"
    ):
        small(sampling="random").fit(image(quarter(128)))
