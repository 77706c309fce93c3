"""Settings that papers give are the defaults, in the one place where each is written."""

from __future__ import annotations

from typing import Any

import pytest

from napari_clusternet.api.listing import _FAMILIES
from napari_clusternet.config import CLUSTERNET, SESSION
from napari_clusternet.networks import ktextures
from napari_clusternet.object_metrics import spacenet_f1
from napari_clusternet.unsupervised import ktextures_training

#: Method -> parameter -> value, and where it is published.
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    # Wagner et al. 2022: 1 x 1 branch, tiles of 128 px, Adam 1e-3
    ("unsupervised", "ktextures"): {
        "kernel": 1, "window": 1, "tile": 128, "learning_rate": 1e-3,
    },
    # Xia & Kulis 2017, section 3.1: r = 5, sigma_I = 10, sigma_X = 4
    ("unsupervised", "wnet"): {"radius": 5.0, "sigma_i": 10.0, "sigma_x": 4.0},
    # Ji et al. 2019: lambda = 1 in the loss of the paper's segmentation
    ("unsupervised", "iic"): {"lamb": 1.0},
    # Hua et al. 2021: 0.1 x (0.5 nearest + 1.5 around + 1.0 farthest)
    ("strokes", "sparse_unet"): {"weight": 0.1, "near": 0.5, "around": 1.5, "far": 1.0},
    # Kim et al. 2020, section III-D: 0.5 on scribbles, mu = 5
    ("strokes", "dfc_scribbles"): {
        "scribble": 0.5, "mu": 5.0, "n_channels": 100, "n_iterations": 1000, "learning_rate": 0.1,
    },
    ("unsupervised", "dfc"): {"scribble_weight": 0.5},
}  # fmt: skip


@pytest.mark.parametrize(("kind", "method"), list(PUBLISHED))
def test_defaults_of_methods(kind: str, method: str) -> None:
    made = _FAMILIES[kind].load(method)()
    expected = PUBLISHED[kind, method]
    assert {name: getattr(made, name) for name in expected} == expected


def test_constants_of_k_textures() -> None:
    # clip(5000 x), noise N(0, .0005), 4 convolutions of 16 and one more, clipnorm 1
    assert (ktextures.SLOPE, ktextures.SCALAR_NOISE) == (5000, 0.0005)
    assert (ktextures.TEXTURE_DEPTH, ktextures.TEXTURE_WIDTH) == (5, 16)
    assert ktextures_training.CLIP_NORM == 1


def test_clusternet() -> None:
    # sections 2.1 and 3.4: f = 64, k = 800, b_c = 16, b_t = 4, 35 epochs, patches of 512; t = 0.3
    found = (
        CLUSTERNET.n_features, CLUSTERNET.n_clusters, CLUSTERNET.cluster_batch,
        CLUSTERNET.train_batch, CLUSTERNET.n_epochs, CLUSTERNET.patch,
    )  # fmt: skip
    assert found == (64, 800, 16, 4, 35, 512)
    assert (SESSION.n_clusters, SESSION.threshold) == (800, 0.3)


def test_spacenet() -> None:
    # SpaceNet 6: truth of at least 80 px, IoU above .5
    from inspect import signature

    defaults = {p.name: p.default for p in signature(spacenet_f1).parameters.values()}
    assert 80 in defaults.values()
    assert 0.5 in defaults.values()
