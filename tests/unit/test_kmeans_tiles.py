"""k-means over tiles: equal to Lloyd's algorithm, and to the bit whatever it runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_clusternet.clustering import lloyd_step
from napari_clusternet.errors import InputError
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.image import Image
from napari_clusternet.scaling import plan as planning
from napari_clusternet.scaling.kmeans import k_means_tiles, k_means_tiles_steps


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNK", {2: (32, 32)})


def scene() -> Image:
    """Return five brightnesses in stripes with noise; the left 50 columns are missing."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 0.1, (2, 150, 171)) + (np.arange(150) // 30)[:, None]
    data[:, :, :70] = np.nan
    return Image.from_array(data.astype(np.float32), axes="CYX")


def extractor(image: Image, name: str = "bands") -> Any:
    return EXTRACTORS.load(name).fit(image, random_state=0)


def test_a_pass_is_lloyd_s_algorithm_on_all_valid_pixels() -> None:
    image = scene()
    bands = extractor(image)
    values, valid = image.read()
    rows = np.ascontiguousarray(bands(values, valid)[:, valid].T)
    start = k_means_tiles(bands, image, 5, passes=0)
    model = k_means_tiles(bands, image, 5, passes=1)
    _, sums, counts, _ = lloyd_step(rows, start.cluster_centers_)
    assert counts.sum() == 150 * 101
    np.testing.assert_allclose(model.cluster_centers_, sums / counts[:, None], atol=1e-6)
    # the inertia belongs to the moved centroids
    distances = np.square(
        rows - (sums / counts[:, None])[lloyd_step(rows, start.cluster_centers_)[0]]
    )
    assert model.inertia_ == pytest.approx(distances.sum(), rel=1e-5)
    assert model.n_iter_ == start.n_iter_ + 1


def test_it_finds_what_is_there_and_stops() -> None:
    image = scene()
    model = k_means_tiles(extractor(image), image, 5, passes=50)
    labels = model.predict(model.cluster_centers_)
    assert sorted(labels) == list(range(5))
    assert model.n_iter_ < 50


def test_tiles_of_any_size_and_two_orders_of_computing_are_equal_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = scene()
    bank = extractor(image, "filters")
    one = k_means_tiles(bank, image, 7, memory=0.05)
    from napari_clusternet.scaling import runners

    own = runners._Threads
    monkeypatch.setattr(runners, "_Threads", lambda job, n: own(job, 5))
    two = k_means_tiles(bank, image, 7, memory=0.05)
    np.testing.assert_array_equal(one.cluster_centers_, two.cluster_centers_)
    assert one.inertia_ == two.inertia_
    other = k_means_tiles(bank, image, 7, memory=0.05, random_state=1)
    assert not np.array_equal(one.cluster_centers_, other.cluster_centers_)


@pytest.mark.slow
def test_processes_and_a_cluster_are_equal_to_the_bit() -> None:
    distributed = pytest.importorskip("distributed")
    image = scene()
    bank = extractor(image, "filters")
    one = k_means_tiles(bank, image, 7, memory=0.05)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    results = [k_means_tiles(bank, image, 7, memory=0.05, workers=2)]
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        results.append(k_means_tiles(bank, image, 7, client, memory=0.05))
    for result in results:
        np.testing.assert_array_equal(one.cluster_centers_, result.cluster_centers_)
        assert one.inertia_ == result.inertia_


def test_it_can_be_stopped_and_says_what_is_missing() -> None:
    image = scene()
    steps = k_means_tiles_steps(extractor(image), image, 5)
    assert next(steps).stage == "sampling features"
    steps.close()
    empty = image.with_data(np.full_like(np.asarray(image.data), np.nan))
    with pytest.raises(InputError, match="no pixel is valid"):
        k_means_tiles(extractor(image), empty, 5)
