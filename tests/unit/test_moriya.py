"""Agglomerated patches: merging and triplets by hand, and that training separates clusters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clusternet.api.regions import default_tools
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.moriya import Moriya
from napari_clusternet.unsupervised.moriya_training import agglomerate, build, triplets


def test_the_nearest_means_merge_first():
    # clusters with means 0, 1, 5, 7: first 0 and 1 (distance 1), then 5 and 7 (2)
    rows = np.array([[0.0], [0.0], [1.0], [5.0], [7.0]], np.float32)
    labels = np.array([0, 0, 1, 2, 3])
    three = agglomerate(rows, labels, 3)
    assert len(set(three)) == 3
    assert three[0] == three[1] == three[2]
    two = agglomerate(rows, labels, 2)
    assert len(set(two)) == 2
    assert two[3] == two[4] != two[0]
    np.testing.assert_array_equal(agglomerate(rows, labels, 4), labels)


def test_patches_of_a_cluster_stay_together():
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    before = np.arange(40) // 2
    after = agglomerate(rows, before, 6)
    assert len(np.unique(after)) == 6
    np.testing.assert_array_equal(after[::2], after[1::2])


def test_negatives_come_from_the_nearest_clusters():
    # eight clusters on a line: the five nearest to cluster 0 are 1..5, so never 6 and 7
    labels = np.repeat(np.arange(8), 4)
    rows = labels[:, None].astype(np.float32)
    anchor, positive, negative = triplets(rows, labels, np.random.default_rng(0), 400).T
    np.testing.assert_array_equal(labels[anchor], labels[positive])
    assert (labels[anchor] != labels[negative]).all()
    assert set(labels[negative[labels[anchor] == 0]]) == {1, 2, 3, 4, 5}


def test_features_are_unit_vectors_of_the_patch_alone():
    network = build(2, (1, 3, 3), 0).eval()
    assert network.margin == (0, 3, 3)
    x = torch.randn(1, 2, 4, 15, 15, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, 2, 7, 7] += 5
    with torch.no_grad():
        before, after = network(x), network(other)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(1, 4, 9, 9))
    z, y, x_ = (before != after).any(dim=1)[0].nonzero().T
    assert set(z.tolist()) == {2}
    assert (int(y.min()), int(y.max())) == (int(x_.min()), int(x_.max())) == (1, 7)


def test_halves_of_a_volume_are_found_and_nodata_is_0():
    truth = np.where(np.arange(20) < 10, 1, 2) * np.ones((8, 12, 1), int)
    values = (truth + np.random.default_rng(0).normal(0, 0.2, truth.shape)).astype(np.float32)
    values[:2, :3, :3] = np.nan
    method = Moriya(k=2, n_patches=80, n_rounds=2, n_steps=8, batch=16)
    regions = drain(method.region_steps(Image.from_array(values, axes="ZYX"), default_tools("cpu")))
    valid = np.isfinite(values)
    np.testing.assert_array_equal(regions == 0, ~valid)
    share = (regions == truth)[valid].mean()
    assert max(share, 1 - share) > 0.8
    assert len(method.losses_) == 16


@pytest.mark.parametrize(("name", "value"), [("k", 1), ("kernel", 4), ("n_patches", 5)])
def test_parameters_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=name):
        Moriya(**{name: value})
