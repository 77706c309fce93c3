"""Algorithm 1 on examples worked by hand, its guards, and its answers to full memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import ClusterNetDefaults
from napari_clusternet.device import Device
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.image import Image
from napari_clusternet.normalization import Normalizer
from napari_clusternet.training.modes import EnhancedMode, PaperMode, draw_pixels
from napari_clusternet.training.pseudo_labels import PseudoLabels
from napari_clusternet.training.run import Run

SMALL: dict[str, Any] = {
    "n_features": 6, "n_clusters": 8, "n_epochs": 3, "cluster_batch": 4, "train_batch": 2,
    "patch": 64, "channels": (4, 6), "loss_pixels": 256, "cluster_pixels": 1024,
    "device": "cpu", "precision": "float32", "random_state": 0,
}  # fmt: skip
CPU = Device("cpu", "float32", "")


def scene(side: int = 120) -> Image:
    values = np.random.default_rng(0).normal(size=(2, side, side)).cumsum(-1).astype(np.float32)
    return Image.from_array(values, axes="CYX")


def make_run(**changes: Any) -> Run:
    settings = ClusterNetDefaults(**{**SMALL, **changes})
    image = scene()
    return Run(settings, [image], Normalizer.fit([image]), CPU)


# Four pixels with one feature that matters: 0, 1, 3, 4 (the second feature is always 0).
FEATURES = np.array([[0, 0], [1, 0], [3, 0], [4, 0]], np.float32)


def test_clustering_by_hand() -> None:
    """Warm-started centroids (0, 0) and (10, 0).

    Nearest: 0, 1, 3, 4 are all nearer to 0 than to 10 -> means (2, 0); centroid 1 is empty and
    takes half of cluster 0. Another start, (0, 0) and (4, 0): 0, 1 | 3, 4 -> (0.5, 0), (3.5, 0).
    """
    labels = PseudoLabels("kmeans", 2, 1, "cpu")
    labels.restore({"cluster_centers_": np.array([[0, 0], [4, 0]], np.float32)})
    labels.update(FEATURES, seed=0)
    np.testing.assert_allclose(labels.centers, [[0.5, 0], [3.5, 0]])
    np.testing.assert_array_equal(labels.labels(FEATURES), [0, 0, 1, 1])
    # ids keep their meaning: the same centroids the other way round give the other ids
    labels.restore({"cluster_centers_": np.array([[4, 0], [0, 0]], np.float32)})
    labels.update(FEATURES, seed=0)
    np.testing.assert_array_equal(labels.labels(FEATURES), [1, 1, 0, 0])
    # no cluster stays empty
    labels.restore({"cluster_centers_": np.array([[0, 0], [10, 0]], np.float32)})
    for seed in range(3):
        labels.update(FEATURES, seed=seed)
    assert len(set(labels.labels(FEATURES).tolist())) == 2


class Identity(torch.nn.Module):
    """A network whose features are its input's bands."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_loss_by_hand() -> None:
    """Cross-entropy of a 1x1 convolution + softmax on the four pixels, labels 0, 0, 1, 1.

    Weights (0, 0) and (1, 0), no bias: scores (0, x). -log softmax is log(1 + e^x) for label 0
    and log(1 + e^-x) for label 1: log 2, log(1 + e), log(1 + e^-3), log(1 + e^-4).
    """
    settings = ClusterNetDefaults(mode="paper", loss_pixels=None)
    mode = PaperMode(settings, np.zeros((2, 2), np.float32), n_bands=2)
    with torch.no_grad():
        mode.head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        mode.head.bias.zero_()
    x = torch.from_numpy(FEATURES.T.reshape(1, 2, 2, 2))
    labels = np.array([[[0, 0], [1, 1]]], np.int32)
    valid = np.ones((1, 2, 2), bool)
    expected = [math.log(2), math.log1p(math.e), math.log1p(math.e**-3), math.log1p(math.e**-4)]
    loss, _ = mode.loss(Identity(), x, valid, labels, (0, 0, 0))  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(sum(expected) / 4, rel=1e-6)
    # an invalid pixel (label -1) does not count
    valid[0, 0, 0], labels[0, 0, 0] = False, -1
    loss, _ = mode.loss(Identity(), x, valid, labels, (0, 0, 0))  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(sum(expected[1:]) / 3, rel=1e-6)


def test_every_patch_is_clustered_and_trained_once_an_epoch() -> None:
    run = make_run(mode="paper", cluster_batch=3, train_batch=2)
    batches = list(run.clustering_batches(0))
    places = sorted(place for batch in batches for place in batch)
    assert places == sorted(run.patches.grid)
    assert [len(batch) for batch in batches] == [3, 1]  # 2 x 2 patches of 64
    clustered = run.cluster(batches[0], (0, 0))
    assert clustered is not None
    parts = list(run.training_batches(clustered, (0, 0)))
    assert [len(part) for part, _ in parts] == [2, 1]
    assert sorted(place for part, _ in parts for place in part) == sorted(batches[0])
    # each patch keeps its own labels
    assert clustered.labels is not None
    own = dict(zip(clustered.places, clustered.labels, strict=True))
    for part, labels in parts:
        assert labels is not None
        for place, block in zip(part, labels, strict=True):
            np.testing.assert_array_equal(block, own[place])


def test_pseudo_labels_are_the_nearest_centroids_of_the_features() -> None:
    run = make_run(mode="paper")
    batch = run.cluster(next(run.clustering_batches(0)), (0, 0))
    assert batch is not None
    assert batch.labels is not None
    _, rows, masks = run.features(batch.places, (0, 0))
    distances = ((rows[:, None] - run.pseudo_labels.centers) ** 2).sum(-1)
    agree = distances.argmin(1) == batch.labels[masks]
    assert agree.mean() > 0.999  # rounding may decide a tie


@pytest.mark.parametrize("mode", ["paper", "enhanced"])
def test_training_lowers_the_loss(mode: str) -> None:
    rng = np.random.default_rng(0)
    regions = rng.normal(size=(2, 12, 12)).repeat(10, axis=1).repeat(10, axis=2)
    values = (regions + 0.3 * rng.normal(size=regions.shape)).astype(np.float32)
    image = Image.from_array(values, axes="CYX")
    options = {**SMALL, "n_features": 16, "n_epochs": 12, "learning_rate": 3e-3, "mode": mode}
    history = ClusterNet(**options).fit(image).history_
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["agreement"] > history[1]["agreement"]


def test_prototypes_are_the_normalised_centroids() -> None:
    centers = np.array([[3, 4], [0, -2]], np.float32)
    mode = EnhancedMode(ClusterNetDefaults(), centers, n_bands=1)
    expected = torch.tensor([[0.6, 0.8], [0.0, -1.0]])
    torch.testing.assert_close(mode.prototypes.detach(), expected)


def test_only_valid_pixels_are_drawn() -> None:
    valid = np.zeros((2, 4, 4), bool)
    valid[0, 1, 2] = valid[1, 3] = True
    flat = draw_pixels(valid, 40, np.random.default_rng(0))
    assert len(flat) == 40
    assert set(flat[:20].tolist()) == {6}
    assert set(flat[20:].tolist()) <= {28, 29, 30, 31}


def test_collapse_restores_the_best_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    straight = ClusterNet(**{**SMALL, "n_epochs": 3})
    steps = straight.fit_steps(scene())
    for _ in range(5):  # 2 batches an epoch: into the third
        next(steps)
    steps.close()  # the state after 2 epochs
    calls = []

    def collapse(figures: Any, *before: float) -> bool:
        calls.append(figures)
        return len(calls) == 3

    monkeypatch.setattr("napari_clusternet.training.monitor.collapsed", collapse)
    with pytest.warns(UserWarning, match="collapsed in epoch 3.*after epoch 2 is kept"):
        model = ClusterNet(**SMALL).fit(scene())
    assert model.n_iter_ == 2
    for name, value in straight.network_.state_dict().items():
        assert torch.equal(value, model.network_.state_dict()[name])


def test_divergence_at_once_is_an_error() -> None:
    with pytest.raises(ClusterNetError, match=r"learning_rate=.*collapsed"):
        ClusterNet(**{**SMALL, "mode": "paper", "learning_rate": 1e30}).fit(scene())


def test_row_32_training_out_of_memory_takes_smaller_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    forward = PaperMode.loss

    def loss(self: PaperMode, network: Any, x: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.cuda.OutOfMemoryError
        return forward(self, network, x, *rest)

    monkeypatch.setattr(PaperMode, "loss", loss)
    model = ClusterNet(**{**SMALL, "mode": "paper", "n_epochs": 1}).fit(scene())
    assert model.n_iter_ == 1
    assert sizes == [2, 1, 1, 1, 1]  # once too large, then one by one for good


def test_row_32_training_gives_up_after_finite_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(*args: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(PaperMode, "loss", loss)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ClusterNet(**{**SMALL, "mode": "paper"}).fit(scene())
