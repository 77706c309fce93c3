"""Graph cuts: minima found by trying all labelings, moves that never raise the energy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from napari_clusternet.classify import cut, svm_graphcut
from napari_clusternet.classify.cut import minimum_cut
from napari_clusternet.classify.graphcut import SCALE, PottsEnergy, minimise
from napari_clusternet.classify.grid import boundary_weights, cut_tilings, grid_edges
from napari_clusternet.features.bands import BandFeatures
from napari_clusternet.image import Image
from napari_clusternet.progress import drain


def random_energy(shape: tuple[int, int], n_classes: int, seed: int, strength: float = 1.0):
    """Return the energy of a random image of `shape` and random unary terms."""
    rng = np.random.default_rng(seed)
    ends, contrast, _ = grid_edges(rng.normal(size=(2, *shape)), np.ones(shape, bool), (1, 1))
    unary = rng.random((n_classes, shape[0] * shape[1])) * 2
    return PottsEnergy.rounded(unary, ends, strength * boundary_weights(contrast, None))


def least_energy(energy: PottsEnergy, n: int, seeds: np.ndarray) -> int:
    """Return the least energy of all labelings that keep the seeds."""
    choices = [range(len(energy.unary)) if s < 0 else [s] for s in seeds]
    assert n <= 9
    return min(energy.of(np.array(labels)) for labels in product(*choices))


def test_energy_by_hand() -> None:
    # three pixels in a row, labels 0 1 1: 0.5 + 0.25 + 2 and one boundary of weight 3
    energy = PottsEnergy.rounded(
        np.array([[0.5, 9, 9], [9, 0.25, 2]]), np.array([[0, 1], [1, 2]]), np.array([3.0, 7.0])
    )
    assert energy.of(np.array([0, 1, 1])) == 5.75 * SCALE


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_two_classes_get_a_minimum_over_all_512_labelings(seed: int, strength: float) -> None:
    energy = random_energy((3, 3), 2, seed, strength)
    seeds = np.full(9, -1)
    if seed % 2:
        seeds[0], seeds[8] = 0, 1
    labels = drain(minimise(energy, seeds))
    assert energy.of(labels) == least_energy(energy, 9, seeds)
    assert (labels[seeds >= 0] == seeds[seeds >= 0]).all()


@pytest.mark.parametrize("seed", range(4))
def test_cut_is_a_minimum_with_directed_edges_and_costs_of_both_signs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.integers(-20, 20, 8)
    ends = np.array([(p, q) for p in range(8) for q in range(8) if p != q]).T
    capacity = rng.integers(0, 6, ends.shape[1])

    def value(x: np.ndarray) -> int:
        return int(cost @ x + (capacity * (1 - x[ends[0]]) * x[ends[1]]).sum())

    best = min(value(np.array(x)) for x in product((0, 1), repeat=8))
    assert value(minimum_cut(cost, ends, capacity).astype(int)) == best


@pytest.mark.parametrize("seed", range(3))
def test_taking_out_the_decided_changes_no_minimum(seed: int) -> None:
    energy = random_energy((2, 4), 3, seed, 0.4)
    decided = energy.decide(np.full(8, -1))
    assert (decided >= 0).any()
    assert least_energy(energy, 8, decided) == least_energy(energy, 8, np.full(8, -1))


@pytest.mark.parametrize("seed", range(6))
def test_expansion_finds_the_best_move(seed: int) -> None:
    energy = random_energy((2, 4), 3, seed)
    labels = np.random.default_rng(seed).integers(0, 3, 8)
    moves = [np.where(x, 2, labels) for x in product((False, True), repeat=8)]
    assert energy.of(energy.expand(labels, 2)) == min(energy.of(moved) for moved in moves)


@pytest.mark.parametrize("tiled", [False, True])
def test_energy_never_rises_and_seeds_stay(tiled: bool) -> None:
    shape = (24, 20)
    energy = random_energy(shape, 4, 0, 1.5)
    seeds = np.full(480, -1)
    seeds[[3, 77, 250, 400]] = [0, 1, 2, 3]
    tilings = cut_tilings(np.ones(shape, bool), 64) if tiled else []
    seen: list[float] = []
    labels = drain(minimise(energy, seeds, tilings), lambda p: seen.append(p.metrics["energy"]))
    assert len(seen) > 4
    assert (np.diff(seen) <= 0).all()
    assert seen[-1] < seen[0]
    assert energy.of(labels) / SCALE == seen[-1]
    assert (labels[seeds >= 0] == seeds[seeds >= 0]).all()


def test_tiles_come_close_to_the_whole() -> None:
    shape = (24, 20)
    energy, seeds = random_energy(shape, 2, 0), np.full(480, -1)
    whole = energy.of(drain(minimise(energy, seeds)))
    tiled = energy.of(drain(minimise(energy, seeds, cut_tilings(np.ones(shape, bool), 100))))
    assert whole <= tiled <= 1.01 * whole


def test_grid_knows_neighbours_contrast_and_spacing() -> None:
    # pixels 0 1 / . 2: valid ones numbered 0, 1, 2; edges 1-2 down (axis 0) and 0-1 across
    valid = np.array([[True, True], [False, True]])
    features = np.array([[[1.0, 4.0], [100.0, 6.0]]])
    ends, contrast, closeness = grid_edges(features, valid, (4.0, 2.0))
    np.testing.assert_array_equal(ends, [[1, 0], [2, 1]])
    np.testing.assert_array_equal(contrast, [4, 9])
    np.testing.assert_array_equal(closeness, [0.5, 1])  # rows lie twice as far apart


def test_boundary_weights_by_hand() -> None:
    contrast = np.array([0.0, 4.0, 8.0])  # mean 4 = s^2
    np.testing.assert_allclose(boundary_weights(contrast, None), np.exp([0, -0.5, -1]))
    np.testing.assert_allclose(boundary_weights(contrast, 1.0), np.exp([0, -2.0, -4]))
    np.testing.assert_array_equal(boundary_weights(np.zeros(3), None), 1)


def test_tilings_cover_and_are_bounded() -> None:
    valid = np.ones((30, 17), bool)
    first, second = cut_tilings(valid, 100)
    for tiling in (first, second):
        assert np.bincount(tiling).max() <= 100
    assert (np.diff(first.reshape(30, 17)[:, 0]) != 0).sum() == 2  # 30 rows in tiles of 10
    assert cut_tilings(valid, 510) == []


def noisy_halves(seed: int = 0) -> tuple[Image, np.ndarray, np.ndarray]:
    truth = np.where(np.arange(40) < 20, 1, 2) * np.ones((36, 1), int)
    values = truth + np.random.default_rng(seed).normal(0, 0.5, truth.shape)
    strokes = np.zeros_like(truth, dtype=np.uint8)
    strokes[5:30:12, 3:17], strokes[5:30:12, 23:37] = 1, 2
    return Image.from_array(values.astype(np.float32)), strokes, truth


def run(**settings):
    image, strokes, truth = noisy_halves()
    method = svm_graphcut.SVMGraphCut(**settings)
    labels = drain(method.segment_steps(image, strokes, BandFeatures.fit(image), 0))
    return float((labels == truth).mean()), labels, strokes


def test_the_boundary_term_removes_noise() -> None:
    single, _, _ = run(smoothness=0)
    smooth, labels, strokes = run(smoothness=3)
    assert single < 0.88
    assert smooth > 0.97
    np.testing.assert_array_equal(labels[strokes > 0], strokes[strokes > 0])


def test_large_images_are_cut_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    flow_cut = cut._maximum_flow_cut
    monkeypatch.setattr(svm_graphcut, "cut_tilings", lambda valid: cut_tilings(valid, 200))
    monkeypatch.setattr(
        cut, "_maximum_flow_cut", lambda c, *rest: (sizes.append(len(c)), flow_cut(c, *rest))[1]
    )
    accuracy, _, _ = run(smoothness=3)
    assert max(sizes) <= 200
    assert accuracy > 0.97
