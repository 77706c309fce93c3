"""ClusterNet's own argmax: its regions are the model's clusters."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clusternet.api.regions import default_tools
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.argmax import ClusterNetArgmax
from napari_clusternet.unsupervised.base import Tools


def test_a_region_is_a_cluster_of_the_model():
    values = np.random.default_rng(0).normal(size=(2, 32, 40)).astype(np.float32)
    values[:, 5:9, 5:9] = np.nan
    image = Image.from_array(values, axes="CYX")
    method = ClusterNetArgmax(k=3, n_epochs=1)
    regions = drain(method.region_steps(image, default_tools("cpu"), 0))
    ids = method.model_.predict(image)
    np.testing.assert_array_equal(regions == 0, ids == 0)
    pairs = np.unique(np.stack([regions.ravel(), ids.ravel()]), axis=1).T
    assert len(pairs) == len(np.unique(regions)) == len(np.unique(ids))
    # nearest centroid, by brute force
    features = method.model_.transform(image)[:, regions > 0].T
    distances = ((features[:, None] - method.model_.cluster_centers_[None]) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) + 1 == ids[regions > 0]).mean() > 0.999


def test_tools_that_cannot_learn_are_named():
    image = Image.from_array(np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="learn_steps"):
        drain(ClusterNetArgmax().region_steps(image, Tools(None, None), 0))


@pytest.mark.parametrize(("name", "value"), [("k", 1), ("n_epochs", 0)])
def test_parameters_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=name):
        ClusterNetArgmax(**{name: value})
