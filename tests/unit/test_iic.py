"""IIC: its joint distribution against brute force, its loss by hand, and that it learns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.base import Tools
from napari_clusternet.unsupervised.iic import IIC
from napari_clusternet.unsupervised.iic_loss import iic_loss, joint_distribution
from napari_clusternet.unsupervised.iic_training import View

TOOLS = Tools(None, None, "cpu")


def brute_force(first, second, valid, reach):
    """Return P, pair by pixel pair."""
    n_classes = first.shape[1]
    joint = np.zeros((n_classes, n_classes))
    for b in range(len(first)):
        for u in itertools.product(*(range(n) for n in valid.shape[2:])):
            for t in itertools.product(*(range(-r, r + 1) for r in reach)):
                v = tuple(a + d for a, d in zip(u, t, strict=True))
                inside = all(0 <= a < n for a, n in zip(v, valid.shape[2:], strict=True))
                if inside and valid[(b, 0, *u)] and valid[(b, 0, *v)]:
                    joint += np.outer(first[(b, slice(None), *u)], second[(b, slice(None), *v)])
    joint = (joint + joint.T) / 2
    return joint / joint.sum()


@pytest.mark.parametrize(
    ("shape", "reach"),
    [((6, 7), (2, 2)), ((5, 6), (0, 3)), ((3, 4, 4), (1, 2, 2)), ((3, 3), (9, 9))],
)
def test_joint_distribution_equals_brute_force(shape, reach):
    rng = np.random.default_rng(0)
    first, second = (np.moveaxis(rng.dirichlet(np.ones(3), (2, *shape)), -1, 1) for _ in "ab")
    valid = rng.random((2, 1, *shape)) > 0.2
    found = joint_distribution(*(torch.from_numpy(x) for x in (first, second, valid)), reach)
    np.testing.assert_allclose(found.numpy(), brute_force(first, second, valid, reach), atol=1e-12)


def test_loss_by_hand():
    # diagonal 1/2, 1/2: I = ln 2; independent uniform: I = 0
    even = torch.eye(2, dtype=torch.float64) / 2
    assert float(iic_loss(even)) == pytest.approx(-np.log(2))
    assert float(iic_loss(torch.full((2, 2), 0.25, dtype=torch.float64))) == pytest.approx(0)
    # lambda = 2 on the diagonal: -(sum P ln P) + 2 sum P (ln Pi + ln Pj) = ln 2 - 4 ln 2
    assert float(iic_loss(even, 2.0)) == pytest.approx(np.log(2) - 4 * np.log(2))


def test_larger_lambda_asks_for_equal_classes():
    shares = [torch.tensor([[p, 0.0], [0.0, 1 - p]], dtype=torch.float64) for p in (0.5, 0.9)]
    gains = [float(iic_loss(shares[1], lamb) - iic_loss(shares[0], lamb)) for lamb in (1.0, 2.0)]
    assert 0 < gains[0] < gains[1]


def test_a_view_is_undone_and_changes_values_not_places():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    for seed in range(4):
        view = View.draw(np.random.default_rng(seed), x, 0.0)
        torch.testing.assert_close(view.undo(view.apply(x)), x)
    changed = View.draw(np.random.default_rng(0), x, 0.5)
    values = changed.undo(changed.apply(x))
    assert not torch.allclose(values, x)
    # gain and offset keep the order of values, or turn it round
    assert (values.flatten().diff().sign().unique()).numel() == 1


def two_halves(shape=(32, 32)):
    truth = np.where(np.arange(shape[1]) < shape[1] // 2, 1, 2) * np.ones((shape[0], 1), int)
    noise = np.random.default_rng(0).normal(0, 0.3, (2, *shape))
    return (truth * np.array([1.0, -1.0])[:, None, None] + noise).astype(np.float32), truth


def test_two_halves_are_found_and_nodata_is_0():
    values, truth = two_halves()
    values[:, :4, :6] = np.nan
    method = IIC(k=2, over=0, reach=2, n_steps=40, batch=1, tile=32)
    steps = method.region_steps(Image.from_array(values, axes="CYX"), TOOLS, 2)
    regions = drain(steps)
    valid = np.isfinite(values).all(axis=0)
    assert (regions[~valid] == 0).all()
    share = (regions == truth)[valid].mean()
    assert max(share, 1 - share) > 0.9
    assert len(method.losses_) == 40
    assert np.mean(method.losses_[-5:]) < np.mean(method.losses_[:5]) - 0.2


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    image = Image.from_array(two_halves((16, 16))[0], axes="CYX")
    drain(IIC(k=2, n_steps=2, batch=1, tile=16).region_steps(image, TOOLS, 3))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "value"), [("k", 1), ("reach", -1), ("lamb", -1.0), ("tile", 2.5)]
)
def test_parameters_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=name):
        IIC(**{name: value})
