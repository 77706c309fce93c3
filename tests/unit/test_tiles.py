"""Tiles cover what they should, read what they need, and start where the stride allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_clusternet.tiles import plan_tiles, round_up


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_round_up(value, expected):
    assert round_up(value, 8) == expected


def test_a_tile_by_hand():
    # second of three tiles of 10 over 25 pixels, halo 3, stride 4: needs 7..23, reads 4..24
    tile = list(plan_tiles((25,), (10,), (3,), (4,)))[1]
    assert tile.write == (slice(10, 20),)
    assert tile.read == (slice(4, 24),)
    assert tile.crop == (slice(6, 16),)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    edge=st.integers(1, 50),
    halo=st.integers(0, 9),
    multiple=st.sampled_from([1, 2, 8]),
)
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_written_once_with_its_halo(shape, edge, halo, multiple):
    seen = np.zeros(shape, int)
    index = np.arange(seen.size).reshape(shape)
    for tile in plan_tiles(shape, (edge,) * 2, (halo,) * 2, (multiple,) * 2):
        seen[tile.write] += 1
        np.testing.assert_array_equal(index[tile.read][tile.crop], index[tile.write])
        for write, read, size in zip(tile.write, tile.read, shape, strict=True):
            assert read.start % multiple == 0
            assert read.start <= max(0, write.start - halo)
            assert read.stop >= min(size, write.stop + halo)
    assert (seen == 1).all()


def test_a_region_alone():
    region = (slice(3, 9), slice(5, 6))
    seen = np.zeros((12, 12), int)
    for tile in plan_tiles((12, 12), (4, 4), (1, 1), (1, 1), region):
        seen[tile.write] += 1
    assert seen.sum() == seen[region].sum() == 6
