"""The soft normalised cut against its dense formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_clusternet.unsupervised.ncut import Affinity, half_offsets, soft_ncut


def dense_weights(image, valid, spacing, radius, sigma_i, sigma_x):
    """Return the whole matrix w(u, v), pixel by pixel as the paper writes it."""
    places = list(itertools.product(*(range(n) for n in valid.shape)))
    steps = np.array(spacing) / min(spacing)
    weights = np.zeros((len(places), len(places)))
    for a, u in enumerate(places):
        for b, v in enumerate(places):
            distance = np.sqrt((((np.array(u) - v) * steps) ** 2).sum())
            if distance < radius and valid[u] and valid[v]:
                squared = ((image[(slice(None), *u)] - image[(slice(None), *v)]) ** 2).mean()
                near = np.exp(-(distance**2) / sigma_x**2)
                weights[a, b] = np.exp(-squared / sigma_i**2) * near
    return weights


def dense_ncut(p, weights):
    p = p.reshape(len(p), -1)
    return len(p) - sum(row @ weights @ row / (row @ weights.sum(axis=1)) for row in p)


@pytest.mark.parametrize(
    ("shape", "bands", "spacing"),
    [((7, 8), 1, (1, 1)), ((7, 6), 3, (2, 1)), ((3, 5, 4), 2, (2.5, 1, 1))],
)
def test_equals_the_dense_formula(shape, bands, spacing):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 40, (2, bands, *shape))
    valid = rng.random((2, 1, *shape)) > 0.15
    p = rng.dirichlet(np.ones(3), (2, *shape))
    p = np.moveaxis(p, -1, 1)
    affinity = Affinity.measure(torch.from_numpy(images), torch.from_numpy(valid), spacing)
    found = soft_ncut(torch.from_numpy(p), affinity)
    expected = [
        dense_ncut(p[i], dense_weights(images[i], valid[i, 0], spacing, 5, 10, 4)) for i in (0, 1)
    ]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-9)


def test_gradient_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.float64) * 30
    affinity = Affinity.measure(image, torch.ones(1, 1, 4, 5, dtype=torch.bool), (1, 1))
    p = torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: soft_ncut(x, affinity), (p,))


def test_two_flat_halves_cut_by_hand():
    # 1 x 4 pixels, 0 0 | 255 255: across the edge exp(-255^2 / 100) = 0. Within a half
    # w = [[1, e], [e, 1]] with e = exp(-1/16). The halves as classes: each has association equal
    # to its total, so J = 2 - 1 - 1 = 0. Left pixels of both halves against right pixels:
    # association 2 of total 2 (1 + e) for each class: J = 2 - 2 / (1 + e).
    image = torch.tensor([[[[0.0, 0.0, 255.0, 255.0]]]], dtype=torch.float64)
    affinity = Affinity.measure(image, torch.ones(1, 1, 1, 4, dtype=torch.bool), (1, 1))
    halves = torch.tensor([[[[1.0, 1, 0, 0]], [[0.0, 0, 1, 1]]]], dtype=torch.float64)
    mixed = torch.tensor([[[[1.0, 0, 1, 0]], [[0.0, 1, 0, 1]]]], dtype=torch.float64)
    e = np.exp(-1 / 16)
    assert float(soft_ncut(halves, affinity)) == pytest.approx(0, abs=1e-12)
    assert float(soft_ncut(mixed, affinity)) == pytest.approx(2 - 2 / (1 + e))


def test_neighbours_nearer_than_five():
    # of the 81 points of a 9 x 9 square, 69 are nearer than 5; without the centre, halved: 34
    assert len(half_offsets(5, (1, 1))) == 34
    # z three times as coarse reaches one slice: 4 x 4 - 3 x 3 > 0; at |dz| = 1, |dx| < 4
    offsets = {offset for offset, _ in half_offsets(5, (3, 1))}
    assert (1, 3) in offsets
    assert (1, 4) not in offsets
    assert max(offset[0] for offset in offsets) == 1


def test_a_class_without_pixels_is_no_division_by_zero():
    image = torch.zeros(1, 1, 3, 3)
    affinity = Affinity.measure(image, torch.ones(1, 1, 3, 3, dtype=torch.bool), (1, 1))
    p = torch.stack([torch.ones(3, 3), torch.zeros(3, 3)])[None]
    assert float(soft_ncut(p, affinity)) == pytest.approx(1.0)
