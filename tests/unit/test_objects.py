"""Masks to objects on shapes whose objects are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.errors import InputError
from napari_clusternet.objects import contact_map, edge_map, split_objects, watershed_objects


def discs(*centres: tuple[int, int], radius: int = 10, shape: tuple[int, int] = (40, 60)):
    """A numbered map of discs; where two overlap, a pixel belongs to the nearer centre."""
    rows, columns = np.indices(shape)
    distance = np.stack([np.hypot(rows - r, columns - c) for r, c in centres])
    return np.where(distance.min(axis=0) <= radius, distance.argmin(axis=0) + 1, 0)


TWO = discs((20, 20), (20, 38))


def test_two_touching_discs_come_apart() -> None:
    found = split_objects(TWO > 0, depth=7)
    assert found.max() == 2
    assert found.dtype == np.uint16
    # the border lies in the neck: half a column may go either way
    assert (found[:, :29] == TWO[:, :29]).all()
    assert (found[:, 30:] == TWO[:, 30:]).all()


def test_depth_zero_takes_connected_parts() -> None:
    assert split_objects(TWO > 0, depth=0).max() == 1


def test_parts_that_are_nowhere_deep_stay_whole() -> None:
    mask = TWO > 0
    mask[36:38, 2:50] = True  # two pixels thin
    found = split_objects(mask, depth=7)
    assert found.max() == 3
    assert len(np.unique(found[36:38, 2:50])) == 1


def test_coarse_slices_count_for_their_thickness() -> None:
    """A bar 3 slices thick of 5 units each is 15 units thick: deep enough in real units alone."""
    mask = np.zeros((5, 30, 30), bool)
    mask[1:4, 5:25, 5:12] = mask[1:4, 5:25, 18:25] = True
    mask[1:4, 14:16, 12:18] = True  # a bridge
    assert split_objects(mask, depth=3, spacing=(5, 1, 1)).max() == 2
    assert split_objects(mask, depth=3).max() == 1  # nowhere 3 slices deep


def test_edges_make_the_seeds() -> None:
    footprint = (TWO > 0).astype(float)
    assert watershed_objects(footprint).max() == 1
    found = watershed_objects(footprint, edge=edge_map(TWO, 2))
    assert found.max() == 2
    assert ((found > 0) == (TWO > 0)).all()
    assert (found == TWO).mean() > 0.98


def test_seeds_are_surer_than_three_quarters_by_hand() -> None:
    footprint = np.array([[0.9, 0.9, 0.6, 0.9, 0.0]])
    edge = np.array([[0.1, 0.2, 0.0, 0.1, 0.0]])
    # footprint * (1 - edge) = .81, .72, .6, .81, 0: two seeds, so two objects;
    # flooded where the footprint is above .5, from high to low
    found = watershed_objects(footprint, edge)
    assert found[0, 0] == 1
    assert found[0, 1] == 1
    assert found[0, 3] == 2
    assert found[0, 4] == 0
    assert (found[0, :4] > 0).all()


def test_contacts_are_flooded_last_and_so_hold_the_border() -> None:
    footprint = np.ones((1, 11))
    edge = np.ones((1, 11))
    edge[0, [0, 10]] = 0  # a seed at each end
    contact = np.zeros((1, 11))
    contact[0, 3] = 0.9  # off the middle
    found = watershed_objects(footprint, edge, contact)
    assert (found[0, :3] == 1).all()
    assert (found[0, 4:] == 2).all()
    middle = watershed_objects(footprint, edge)
    assert (middle[0, :5] == 1).all()  # without contacts, half each


def test_small_objects_go_and_numbers_close_up() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1, 1] = True
    mask[5:15, 5:15] = True
    found = split_objects(mask, depth=0, min_pixels=2)
    assert found[1, 1] == 0
    assert found[10, 10] == 1


def test_edges_and_contacts_by_hand() -> None:
    objects = np.array([[1, 1, 1, 0, 0, 2, 2]] * 1)
    # within 1 px of the end of each: the image's border is no end
    assert edge_map(objects, 1).tolist() == [[False, False, True, False, False, True, False]]
    # distances to 1: 0 0 0 1 2 3 4; to 2: 5 4 3 2 1 0 0; both <= 2 at columns 3 and 4
    assert contact_map(objects, 2).tolist() == [[False, False, False, True, True, False, False]]


def test_objects_that_touch_have_edges_between_them() -> None:
    objects = np.array([[1, 1, 1, 2, 2, 2]])
    assert edge_map(objects, 1).tolist() == [[False, False, True, True, False, False]]


def test_three_dimensions() -> None:
    z, y, x = np.indices((20, 20, 36))
    balls = [np.sqrt((z - 10) ** 2 + (y - 10) ** 2 + (x - c) ** 2) <= 8 for c in (10, 24)]
    found = split_objects(balls[0] | balls[1], depth=6)
    assert found.max() == 2
    assert found[10, 10, 10] != found[10, 10, 24]


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((8, 8), bool)
    assert watershed_objects(empty).max() == 0
    assert split_objects(empty).max() == 0
    assert not contact_map(empty.astype(int)).any()


def test_bad_maps_are_named() -> None:
    ones = np.ones((4, 4))
    with pytest.raises(InputError, match=r"footprint=.*from 0 to 1"):
        watershed_objects(ones * 255)
    with pytest.raises(InputError, match=r"edge=.*shape"):
        watershed_objects(ones, ones[1:])
    with pytest.raises(InputError, match="spacing="):
        split_objects(ones, spacing=(1, 1, 1))
