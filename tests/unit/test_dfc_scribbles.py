"""Feature clustering with strokes: classes as channels, coarse grids, short runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clusternet.classify.dfc import DFCScribbles
from napari_clusternet.errors import InputError
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain


def halves(ndim: int = 2) -> tuple[Image, np.ndarray, np.ndarray]:
    shape = (24, 24) if ndim == 2 else (5, 12, 12)
    truth = np.broadcast_to(np.where(np.arange(shape[-1]) < shape[-1] // 2, 4, 9), shape)
    values = truth + np.random.default_rng(0).normal(0, 0.5, (3, *shape))
    values[1, ..., :2, :2] = np.nan
    strokes = np.zeros(shape, np.uint8)
    strokes[..., 4:9, 2:5], strokes[..., 4:9, -5:-2] = 4, 9
    axes = "CYX" if ndim == 2 else "CZYX"
    return Image.from_array(values.astype(np.float32), axes=axes), strokes, truth


def run(ndim: int = 2, seed: int = 0, **settings):
    image, strokes, truth = halves(ndim)
    method = DFCScribbles(**{"n_channels": 12, "n_blocks": 2, "device": "cpu"} | settings)
    seen = []
    labels = drain(method.segment_steps(image, strokes, BandFeatures.fit(image), seed), seen.append)
    return labels, truth, [p.metrics for p in seen if p.stage == "learning regions" and p.metrics]


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_valid_pixel_gets_a_stroked_class(ndim):
    labels, truth, steps = run(ndim, n_iterations=40)
    valid = np.isfinite(halves(ndim)[0].data).all(axis=0)
    assert set(np.unique(labels[valid])) == {4, 9}
    assert (labels[~valid] == 0).all()
    assert (labels == truth)[valid].mean() > 0.9
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_it_stops_at_as_many_labels_as_classes():
    _, _, steps = run(n_iterations=300)
    assert steps[-1]["labels"] == 2
    assert len(steps) < 300


def test_loss_is_linear_in_the_weights_of_strokes_and_of_continuity():
    def first_loss(scribble: float, mu: float) -> float:
        return run(n_iterations=1, scribble=scribble, mu=mu)[2][0]["loss"]

    base = first_loss(1, 1)
    for changed in ((2, 1), (1, 2)):
        step = first_loss(*changed) - base
        twice = first_loss(*(2 * c - 1 for c in changed)) - base
        assert step > 0.05
        assert twice == pytest.approx(2 * step, rel=1e-3)


def test_large_images_are_learned_on_a_coarser_grid():
    labels, truth, _ = run(n_iterations=40, max_pixels=150)  # cells of 2 x 2
    valid = labels > 0
    assert valid.sum() == 24 * 24 - 4
    assert (labels == truth)[valid].mean() > 0.9


def test_same_seed_same_run_and_the_global_state_stays():
    state = torch.get_rng_state()
    first, second, other = (run(seed=seed, n_iterations=3)[2] for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert torch.equal(torch.get_rng_state(), state)


def test_more_classes_than_channels_are_refused():
    with pytest.raises(InputError, match=r"n_channels=1: the strokes hold 2 classes"):
        run(n_channels=1)


@pytest.mark.parametrize("settings", [{"mu": -1}, {"scribble": 0}, {"max_pixels": 0}])
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        DFCScribbles(**settings)
