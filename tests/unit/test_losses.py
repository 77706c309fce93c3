"""Chunked cross-entropy against torch's, Sinkhorn's marginals, and the views."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_clusternet.training.losses import (
    LOGIT_BYTES,
    chunked_cross_entropy,
    rows_per_chunk,
    sinkhorn,
    soft_cross_entropy,
)
from napari_clusternet.training.monitor import agreement, collapsed, effective_rank, perplexity
from napari_clusternet.training.views import Turn, jitter


def leaves(n: int, f: int, k: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = [(n, f), (k, f), (k,)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("rows", [1, 7, 50, 1000, None])
def test_chunked_equals_torch_in_value_and_gradient(rows: int | None) -> None:
    labels = torch.randint(0, 11, (50,))
    ours, theirs = leaves(50, 5, 11), leaves(50, 5, 11)
    loss = chunked_cross_entropy(*ours, labels, rows)
    expected = F.cross_entropy(F.linear(*theirs), labels)
    torch.testing.assert_close(loss, expected)
    (3 * loss).backward()
    (3 * expected).backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_chunked_takes_bfloat16_features() -> None:
    features, weight, bias = leaves(40, 5, 11)
    labels = torch.randint(0, 11, (40,))
    half = features.detach().bfloat16().requires_grad_()
    loss = chunked_cross_entropy(half, weight, bias, labels)
    loss.backward()
    torch.testing.assert_close(loss, F.cross_entropy(F.linear(half.float(), weight, bias), labels))
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("k", [2, 800, 65_535])
def test_score_buffer_stays_small(device: str, k: int) -> None:
    # one float32 score and its gradient for every pixel of the chunk and cluster
    assert rows_per_chunk(k, device) * k * 8 <= LOGIT_BYTES == 64 * 2**20


def test_sinkhorn_balances() -> None:
    torch.manual_seed(0)
    targets = sinkhorn(torch.randn(400, 8), epsilon=0.5, n_iter=50)
    torch.testing.assert_close(targets.sum(1), torch.ones(400))
    torch.testing.assert_close(targets.sum(0), torch.full((8,), 50.0), rtol=1e-2, atol=0.5)


def test_sinkhorn_by_hand() -> None:
    # both pixels prefer cluster 0, the first one more: balance sends the second to cluster 1
    targets = sinkhorn(torch.tensor([[9.0, 0.0], [1.0, 0.0]]), epsilon=0.5, n_iter=30)
    torch.testing.assert_close(targets.argmax(1), torch.tensor([0, 1]))
    assert sinkhorn(torch.tensor([[5e4, 0.0]]), epsilon=0.01).isfinite().all()


def test_soft_cross_entropy_by_hand() -> None:
    # uniform scores over 4 clusters: -log(1/4), whatever the targets
    loss = soft_cross_entropy(torch.zeros(3, 4), torch.eye(4)[:3])
    assert float(loss) == pytest.approx(math.log(4))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_turns_are_undone(ndim: int, seed: int) -> None:
    x = torch.randn(2, 3, *(4, 6, 6)[-ndim:])
    turn = Turn.draw(np.random.default_rng(seed), ndim, square=True)
    torch.testing.assert_close(turn.undo(turn.apply(x)), x)


def test_turn_by_hand() -> None:
    x = torch.tensor([[1, 2], [3, 4]])
    # flip X: [[2, 1], [4, 3]]; a quarter turn counterclockwise then puts column -1 on top
    assert Turn((-1,), 1).apply(x).tolist() == [[1, 3], [2, 4]]


def test_jitter_is_mild_and_repeatable() -> None:
    x = torch.randn(1, 3, 32, 32)
    views = [jitter(x, np.random.default_rng(1), 0.1) for _ in range(2)]
    torch.testing.assert_close(*views)
    assert 0 < float((views[0] - x).square().mean().sqrt()) < 0.5


def test_perplexity_by_hand() -> None:
    assert perplexity(np.repeat([0, 1, 2, 3], 5), 10) == pytest.approx(4)
    assert perplexity(np.zeros(9, int), 10) == pytest.approx(1)


def test_effective_rank_by_hand() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((5000, 6), np.float32)
    rows[:, :3] = rng.standard_normal((5000, 3))
    assert effective_rank(rows) == pytest.approx(3, abs=0.1)
    assert effective_rank(np.ones((5, 6), np.float32)) == 0


def test_agreement_by_hand() -> None:
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0])) == 0.5


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"loss": 1.0, "perplexity": 90.0, "rank": 5.0}, False),
        ({"loss": 1.0, "perplexity": 10.0, "rank": 5.0}, True),
        ({"loss": 1.0, "perplexity": 90.0, "rank": 1.0}, True),
        ({"loss": math.nan, "perplexity": 90.0, "rank": 5.0}, True),
    ],
)
def test_collapse(figures: dict[str, float], expected: bool) -> None:
    assert collapsed(figures, best_perplexity=100, rank_before=8) is expected
