"""Patches: their size, the grid over images of different sizes, and what they read."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_clusternet.image import Image
from napari_clusternet.normalization import Normalizer
from napari_clusternet.training.patches import PatchSet, choose_extent, patch_extent


def image(*shape: int, **options: Any) -> Image:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Image.from_array(values, axes="CYX" if len(shape) == 3 else "CZYX", **options)


PLAIN = Normalizer((0.0,), (1.0,))


def test_large_images_keep_the_papers_size() -> None:
    assert choose_extent([image(1, 2048, 2048)], 512, 16, (8, 8)) == (512, 512)


def test_small_images_halve_the_side() -> None:
    # 300 x 300 gives 1 patch of 512, 4 of 256, 9 of 128, 25 of 64: the first with 16 is 64
    assert choose_extent([image(1, 300, 300)], 512, 16, (8, 8)) == (64, 64)
    # and it never goes below 64
    assert choose_extent([image(1, 70, 70)], 512, 16, (8, 8)) == (64, 64)


def test_tiny_images_get_one_padded_patch() -> None:
    assert choose_extent([image(1, 1, 1)], 512, 16, (8, 8)) == (8, 8)


def test_3d_patches_hold_as_many_voxels_and_follow_the_spacing() -> None:
    assert patch_extent(64, (1, 1, 1), (500, 500, 500), (4, 4, 4)) == (64, 64, 64)
    # spacing 4 x 1 x 1: mean 4^(1/3) = 1.587; 64 * 1.587 / 4 = 25.4 and 64 * 1.587 = 101.6
    assert patch_extent(64, (4, 1, 1), (500, 500, 500), (1, 4, 4)) == (25, 100, 100)


def test_grid_covers_every_pixel_of_every_image() -> None:
    images = [image(1, 100, 70), image(1, 64, 130)]
    patches = PatchSet.over(images, PLAIN, (64, 64))
    seen = [np.zeros(picture.shape, bool) for picture in images]
    for index, (y, x) in patches.grid:
        seen[index][y : y + 64, x : x + 64] = True
    assert all(mask.all() for mask in seen)
    assert len(patches) == 4 + 3


def test_patches_that_stick_out_are_padded_with_invalid_pixels() -> None:
    patches = PatchSet.over([image(1, 10, 64)], PLAIN, (16, 64))
    values, valid = patches.read(patches.origins([0]))
    assert values.shape == (1, 1, 16, 64)
    assert valid.sum() == 10 * 64
    assert (values[0, 0, 10:] == 0).all()


def test_patches_without_valid_pixels_are_left_out() -> None:
    values = np.ones((1, 64, 128), np.float32)
    values[:, :, 64:] = np.nan
    patches = PatchSet.over([Image.from_array(values, axes="CYX")], PLAIN, (64, 64))
    read, _ = patches.read(patches.origins([0, 1]))
    assert len(read) == 1
    none, mask = patches.read(patches.origins([1]))
    assert none.shape == (0, 1, 64, 64)
    assert mask.shape == (0, 64, 64)


def test_moved_origins_stay_inside_and_repeat() -> None:
    patches = PatchSet.over([image(1, 200, 130)], PLAIN, (64, 64))
    everything = range(len(patches))
    moved = [patches.origins(everything, np.random.default_rng(3)) for _ in range(2)]
    assert moved[0] == moved[1] != patches.origins(everything)
    for _, (y, x) in moved[0]:
        assert 0 <= y <= 200 - 64
        assert 0 <= x <= 130 - 64


def test_only_the_asked_patch_of_a_lazy_image_is_read() -> None:
    read: list[tuple[int, ...]] = []

    def block(block_info: Any = None) -> np.ndarray:
        read.append(tuple(block_info[None]["chunk-location"]))
        return np.ones((1, 64, 64), np.float32)

    lazy = da.map_blocks(block, dtype=np.float32, chunks=((1,), (64,) * 4, (64,) * 4))
    patches = PatchSet.over([Image.from_array(lazy, axes="CYX")], PLAIN, (64, 64))
    read.clear()
    patches.read(patches.origins([5]))
    assert read == [(0, 1, 1)]


def test_wanted_count_is_reached_over_several_images() -> None:
    images = [image(1, 256, 256) for _ in range(4)]
    assert choose_extent(images, 512, 16, (8, 8)) == (128, 128)
    assert pytest.approx(sum(1 for _ in PatchSet.over(images, PLAIN, (128, 128)).grid)) == 16
