"""Rows get the cluster ids that replaying every split and merge in order gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_clusternet.history import Divide
from napari_clusternet.replay import ClusterIds


def one_by_one(rows: Any, base: Any, divides: list[Divide]) -> Any:
    """Do to every row what happened, in order, with distances as they are written."""

    def nearest(row: Any, centroids: Any) -> int:
        return int(((np.asarray(centroids, float) - row) ** 2).sum(axis=1).argmin())

    ids = np.array([nearest(row, base) + 1 for row in rows])
    for divide in divides:
        for i in np.flatnonzero(ids == divide.source):
            ids[i] = divide.ids[nearest(rows[i], divide.centroids)]
    return ids


def test_a_split_and_a_merge_by_hand() -> None:
    base = np.array([[0.0], [10.0], [20.0]], np.float32)
    divides = [
        Divide(1, (4, 5), np.array([[-1.0], [1.0]], np.float32)),  # 1 -> 4 below 0, 5 above
        Divide(5, (2,), np.array([[10.0]], np.float32)),  # 5 joins 2
        Divide(2, (2, 6), np.array([[1.0], [11.0]], np.float32)),  # 2 keeps what is below 6
    ]
    rows = np.array([[-3], [2], [7], [12], [19]], np.float32)
    assert ClusterIds(base, divides)(rows).tolist() == [4, 2, 6, 6, 3]


@pytest.mark.parametrize("seed", range(8))
def test_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_features, k = int(rng.integers(1, 6)), int(rng.integers(1, 12))
    base = rng.normal(size=(k, n_features)).astype(np.float32)
    rows = rng.normal(size=(400, n_features)).astype(np.float32)
    alive, newest, divides = list(range(1, k + 1)), k, []
    for _ in range(30):
        source = int(rng.choice(alive))
        alive.remove(source)
        if rng.random() < 0.4 and alive:  # merged into another
            ids: tuple[int, ...] = (int(rng.choice(alive)),)
        else:  # split; the first part may keep the id
            first = source if rng.random() < 0.5 else newest + 1
            ids = (first, *range(newest + 2, newest + 2 + int(rng.integers(1, 3))))
            newest = max(*ids, newest + 1)
            alive += ids
        centroids = rng.normal(size=(len(ids), n_features)).astype(np.float32)
        divides.append(Divide(source, ids, centroids))
    found = ClusterIds(base, divides)(rows)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, one_by_one(rows, base, divides))
    columns = np.asfortranarray(rows)  # as features of a tile come
    np.testing.assert_array_equal(ClusterIds(base, divides)(columns), found)


def test_what_happened_to_an_unknown_cluster_changes_nothing() -> None:
    base = np.zeros((1, 2), np.float32)
    divides = [Divide(7, (1, 8), np.eye(2, dtype=np.float32))]
    assert ClusterIds(base, divides)(np.ones((3, 2), np.float32)).tolist() == [1, 1, 1]
