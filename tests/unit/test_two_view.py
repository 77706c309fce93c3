"""Two views: how strokes grow, that flipped views are laid on each other, and short runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_clusternet.classify import two_view
from napari_clusternet.classify.two_view import TwoView, grow, jittered
from napari_clusternet.errors import InputError
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain


def test_growing_by_hand():
    # class 0 is sure of columns 0-3, class 1 of 5-6; column 4 is unsure, column 3 invalid
    chances = np.array([[[0.95, 0.95, 0.95, 0.95, 0.6, 0.05, 0.05]]])
    chances = np.concatenate([chances, 1 - chances])
    valid = np.array([[True, True, True, False, True, True, True]])
    grown = np.array([[0, -1, -1, -1, -1, -1, 1]])
    grow(grown, chances, valid, 0.9, 1)
    np.testing.assert_array_equal(grown, [[0, 0, -1, -1, -1, 1, 1]])  # a pixel a round
    grow(grown, chances, valid, 0.9, 5)
    np.testing.assert_array_equal(grown, [[0, 0, 0, -1, -1, 1, 1]])


def test_sure_pixels_that_do_not_touch_a_stroke_do_not_grow():
    chances = np.full((2, 1, 5), 0.5)
    chances[:, 0, 3:] = [[0.99], [0.01]]
    grown = np.array([[0, -1, -1, -1, -1]])
    grow(grown, chances, np.ones((1, 5), bool), 0.9, 4)
    np.testing.assert_array_equal(grown, [[0, -1, -1, -1, -1]])


def test_a_stroke_is_never_overgrown():
    chances = np.zeros((2, 1, 4))
    chances[0] = 1  # the network calls all class 0, but one pixel is stroked 1
    grown = np.array([[0, -1, 1, -1]])
    grow(grown, chances, np.ones((1, 4), bool), 0.9, 3)
    np.testing.assert_array_equal(grown, [[0, 0, 1, -1]])


def test_jitter_changes_gain_and_offset_of_a_band_alike_everywhere():
    values = torch.arange(24.0).reshape(2, 3, 1, 4)
    generator = torch.Generator().manual_seed(0)
    changed = jittered(values, 0.1, generator)
    steps = changed.diff(dim=3)
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps))  # still straight lines
    assert len(steps[..., 0].unique()) == 6  # each band of each patch by itself
    assert torch.equal(jittered(values, 0.0, generator), values)


def halves() -> tuple[Image, np.ndarray, np.ndarray]:
    truth = np.broadcast_to(np.where(np.arange(32) < 16, 1, 2), (32, 32))
    values = truth * 3 + np.random.default_rng(0).normal(0, 0.5, truth.shape)
    strokes = np.zeros((32, 32), np.uint8)
    strokes[5:12, 2:6], strokes[5:12, -6:-2] = 1, 2
    return Image.from_array(values.astype(np.float32)), strokes, truth


def run(seed: int = 0, **settings):
    image, strokes, truth = halves()
    method = TwoView(batch=2, device="cpu", **settings)
    seen = []
    labels = drain(method.segment_steps(image, strokes, BandFeatures.fit(image), seed), seen.append)
    return labels, truth, [p.metrics for p in seen if p.stage == "training" and p.metrics]


def test_strokes_grow_while_it_learns(monkeypatch):
    sizes = []
    grow_once = two_view.grow

    def counted(grown, *rest):
        grow_once(grown, *rest)
        sizes.append(int((grown >= 0).sum()))

    monkeypatch.setattr(two_view, "grow", counted)
    labels, truth, losses = run(
        n_iterations=40, enough=1e-9, warm_up=10, sure=0.8, learning_rate=1e-2
    )
    assert len(sizes) == 30 * 2  # two patches an iteration after the warm-up
    assert sizes[-1] > 3 * 56  # 56 pixels were stroked
    assert losses[-1]["strokes"] < 0.3 * losses[0]["strokes"]
    assert (labels == truth).mean() > 0.9


def test_views_agree_where_the_network_sees_no_place(monkeypatch):
    # without jitter and with a network of 1 x 1 kernels both views are the same, once unflipped
    from napari_clusternet.classify import stroke_training

    class PixelNetwork(torch.nn.Module):
        def __init__(self, bands, n_classes, n_features, *_):
            super().__init__()
            self.unet = torch.nn.Conv2d(bands, n_features, 1)
            self.classifier = torch.nn.Conv2d(n_features, n_classes, 1)

        def forward(self, x):
            return self.unet(x), self.classifier(self.unet(x))

    monkeypatch.setattr(stroke_training, "StrokeNetwork", PixelNetwork)
    monkeypatch.setattr(stroke_training.Trainer, "predict_steps", lambda self: zeros())

    def zeros():
        return np.zeros((32, 32), np.int64)
        yield

    settings = {"n_iterations": 8, "consistency": 10.0, "enough": 1e-9}
    same, changed = (run(jitter=jitter, **settings)[2] for jitter in (0.0, 0.5))
    assert all(s["loss"] == pytest.approx(s["strokes"], abs=1e-6) for s in same)
    assert any(s["loss"] > s["strokes"] + 1e-3 for s in changed)


def test_same_seed_same_run():
    first, second, other = (run(seed, n_iterations=2)[2] for seed in (3, 3, 4))
    assert first == second
    assert first != other


@pytest.mark.parametrize("settings", [{"sure": 0}, {"consistency": -1}, {"rounds": 0}])
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        TwoView(**settings)
