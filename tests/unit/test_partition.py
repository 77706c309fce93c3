from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_clusternet.errors import InputError
from napari_clusternet.partition import Partition, look_up


def make(ids: list[int]) -> Partition:
    return Partition(np.array(ids, dtype=np.uint16))


def test_members_are_the_pixels_of_a_cluster() -> None:
    partition = make([2, 0, 1, 2, 2, 1])
    assert partition.members(1).tolist() == [2, 5]
    assert partition.members(2).tolist() == [0, 3, 4]
    assert partition.sizes.tolist() == [2, 3]


def test_a_move_makes_a_new_cluster_and_comes_back_exactly() -> None:
    partition = make([1, 1, 2, 1])
    before = partition.arrays()
    before = {name: array.copy() for name, array in before.items()}
    step = partition.move(1, 3, np.array([False, True, True]))
    assert partition.cluster_map.tolist() == [1, 3, 2, 3]
    assert partition.members(3).tolist() == [1, 3]
    partition.undo(step)
    for name, array in partition.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_samples_are_spread_evenly_and_repeat_small_clusters() -> None:
    partition = make([1] * 8 + [2])
    # one of each two pixels, at 0, .618, .236 (2 x .618 - 1) and .854 (3 x .618 - 1) of their way
    assert partition.sample(1, 4).tolist() == [0, 3, 4, 7]
    assert partition.sample(2, 3).tolist() == [8, 8, 8]


def test_samples_are_of_all_columns_though_the_rows_have_a_period() -> None:
    ids = np.ones((48, 32), dtype=np.uint16)
    columns = Partition(ids).sample(1, 12) % 32  # every 128 pixels would be every 4 rows
    assert len(np.unique(columns // 8)) == 4


def test_ids_end_at_65535() -> None:
    partition = Partition(np.array([1, 65535], dtype=np.uint16))
    with pytest.raises(InputError, match="target=65536"):
        partition.move(1, 65536, np.array([True]))


@given(st.data())
def test_any_moves_are_undone_and_redone_exactly(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 4), min_size=4, max_size=40))
    partition = make([*ids, 4])
    states, steps = [partition.arrays() | {"map": partition.cluster_map.copy()}], []
    states[0] = {name: array.copy() for name, array in states[0].items()}
    for _ in range(data.draw(st.integers(1, 6))):
        source = data.draw(st.integers(1, partition.n_ids))
        target = data.draw(st.integers(1, partition.n_ids + 1))
        size = partition.size(source)
        if target == source or size == 0:
            continue
        moved = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        if target == partition.n_ids + 1 and not moved.any():
            continue
        steps.append(partition.move(source, target, moved))
        states.append({name: array.copy() for name, array in partition.arrays().items()})
        # the index always tells the truth
        for i in range(1, partition.n_ids + 1):
            found = np.flatnonzero(partition.cluster_map == i)
            assert sorted(partition.members(i).tolist()) == found.tolist()
    for step, state in zip(reversed(steps), reversed(states[:-1]), strict=True):
        partition.undo(step)
        np.testing.assert_array_equal(partition.cluster_map, state["cluster_map"])
    for step, state in zip(steps, states[1:], strict=True):
        partition.redo(step)
        np.testing.assert_array_equal(partition.cluster_map, state["cluster_map"])
        for i in range(1, partition.n_ids + 1):
            found = np.flatnonzero(partition.cluster_map == i)
            assert sorted(partition.members(i).tolist()) == found.tolist()


def test_arrays_rebuild_the_partition_and_contradictions_are_refused() -> None:
    partition = make([2, 0, 1, 2])
    partition.move(2, 3, np.array([True, False]))
    arrays = {name: array.copy() for name, array in partition.arrays().items()}
    again = Partition.from_arrays(**arrays)
    assert [again.members(i).tolist() for i in (1, 2, 3)] == [[2], [3], [0]]
    with pytest.raises(ValueError, match="does not fit"):
        Partition.from_arrays(arrays["cluster_map"][::-1], arrays["order"], arrays["segments"])
    with pytest.raises(ValueError, match="permutation"):
        Partition.from_arrays(arrays["cluster_map"], arrays["order"] * 0, arrays["segments"])


def test_look_up_on_threads_equals_indexing() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 900, size=(1000, 700), dtype=np.uint16)
    table = rng.integers(0, 255, size=900, dtype=np.uint8)
    np.testing.assert_array_equal(look_up(table, ids), table[ids])
