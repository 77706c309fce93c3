"""K-means beside the sgemm roofline, scikit-learn and faiss, alternating in one process.

Shared machines drift, so each round times every competitor once and ratios are taken inside a
round; only their medians mean anything, and those under 1.1 mean nothing.

    python benchmarks/bench_kmeans.py --rows 200000 --rounds 5 --json kmeans.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.cluster import KMeans as SklearnKMeans
from threadpoolctl import threadpool_limits

from napari_clusternet.clustering import KMeans, assign, lloyd_step

if TYPE_CHECKING:
    from collections.abc import Callable

    Contest = dict[str, Callable[[], Any]]


def make_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Overlapping groups of unequal spread, shape (n, d) float32: neither noise nor easy."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((2000, d), dtype=np.float32) * np.float32(1.5)
    spread = rng.uniform(0.5, 1.5, (2000, 1)).astype(np.float32)
    group = rng.integers(0, 2000, n)
    return middles[group] + spread[group] * rng.standard_normal((n, d), dtype=np.float32)


def gemm(rows: np.ndarray, centers: np.ndarray, block: int = 1024) -> Callable[[], None]:
    """The roofline: the product alone, in blocks that stay in cache."""
    x, weights = torch.from_numpy(rows), torch.from_numpy(np.ascontiguousarray(centers.T))
    out = torch.empty(block, len(centers))

    def run() -> None:
        for start in range(0, len(x), block):
            part = x[start : start + block]
            torch.mm(part, weights, out=out[: len(part)])

    return run


def step_contest(rows: np.ndarray, centers: np.ndarray) -> Contest:
    """One iteration of each on one thread, from the same centroids."""
    k = len(centers)

    def sklearn_lloyd(iterations: int) -> SklearnKMeans:
        model = SklearnKMeans(k, init=centers, n_init=1, max_iter=iterations, tol=0)
        return model.fit(rows)

    predictor = sklearn_lloyd(1)
    half = rows.astype(np.float16)
    contest: Contest = {
        "sgemm": gemm(rows, centers),
        "assign": lambda: assign(rows, centers, n_threads=1),
        "assign float16": lambda: assign(half, centers, n_threads=1),
        "lloyd": lambda: lloyd_step(rows, centers, n_threads=1),
        "sklearn predict": lambda: predictor.predict(rows),
        "sklearn lloyd": lambda: sklearn_lloyd(2),  # two iterations and setting up: see main
        "sklearn lloyd once": lambda: sklearn_lloyd(1),
    }
    if find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(centers)
        contest["faiss assign"] = lambda: index.search(rows, 1)
    return contest


def fit_contest(rows: np.ndarray, k: int, iterations: int) -> Contest:
    """Whole fits; each returns its centroids."""

    def ours(**options: Any) -> np.ndarray:
        return KMeans(k, random_state=0, device="cpu", **options).fit(rows).cluster_centers_

    def sklearn() -> np.ndarray:
        model = SklearnKMeans(k, init="random", n_init=1, max_iter=iterations, random_state=0)
        return model.fit(rows).cluster_centers_

    contest: Contest = {
        "sample and polish": ours,
        "sample and polish, random start": lambda: ours(init="random"),
        "all rows": lambda: ours(sample_size=None, init="random", max_iter=iterations),
        "sklearn all rows": sklearn,
    }
    if find_spec("faiss"):
        import faiss

        def faiss_fit() -> np.ndarray:
            model = faiss.Kmeans(
                rows.shape[1], k, niter=iterations, max_points_per_centroid=10**9, seed=0
            )
            model.train(rows)
            return model.centroids

        contest["faiss all rows"] = faiss_fit
    return contest


def play(
    contest: Contest, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return seconds of every round and the last result, by competitor."""
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    results = {}
    for _ in range(rounds):
        for name, run in contest.items():
            start = clock()
            results[name] = run()
            seconds[name].append(clock() - start)
    return seconds, results


def ratio(seconds: dict[str, list[float]], name: str, to: str) -> float:
    """Median over rounds of the time of `name` by that of `to`."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def bench_steps(rows: np.ndarray, centers: np.ndarray, rounds: int) -> dict[str, Any]:
    """Processor time of iterations on one thread: blind to what else the machine runs."""
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        contest = step_contest(rows, centers)
        play(contest, 1)
        seconds, _ = play(contest, rounds, time.process_time)
        torch.set_num_threads(threads)
    once = seconds.pop("sklearn lloyd once")  # cancels the checks and the last assignment
    seconds["sklearn lloyd"] = [b - a for a, b in zip(once, seconds["sklearn lloyd"], strict=True)]
    per_row = {name: statistics.median(s) / len(rows) * 1e9 for name, s in seconds.items()}
    return {
        "ns_per_row": per_row,
        "times_sgemm": {name: ratio(seconds, name, "sgemm") for name in seconds},
        "over_assign": {name: ratio(seconds, name, "assign") for name in seconds},
        "over_lloyd": {name: ratio(seconds, name, "lloyd") for name in seconds},
    }


def bench_fits(rows: np.ndarray, k: int, rounds: int, iterations: int) -> dict[str, Any]:
    """Time whole fits on all cores and measure their inertia on all rows."""
    seconds, centers = play(fit_contest(rows, k, iterations), rounds)
    inertia = {name: lloyd_step(rows, found)[3] for name, found in centers.items()}
    best = "faiss all rows" if "faiss all rows" in seconds else "sklearn all rows"
    return {
        "seconds": {name: statistics.median(s) for name, s in seconds.items()},
        "speed_over_" + best: {name: ratio(seconds, best, name) for name in seconds},
        "inertia_over_" + best: {name: value / inertia[best] for name, value in inertia.items()},
    }


def main() -> None:
    """Parse arguments, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--clusters", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=20, help="of fits on all rows")
    parser.add_argument("--no-fits", action="store_true", help="time single iterations only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the referee says that it did not converge: it was told to
    rows = make_rows(options.rows, options.features)
    result: dict[str, Any] = {
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "shape": {"n": len(rows), "d": options.features, "k": options.clusters},
        "faiss": "measured" if find_spec("faiss") else "skipped: not installed",
        "one_thread": bench_steps(rows, rows[: options.clusters].copy(), options.rounds),
    }
    if not options.no_fits:
        fits = bench_fits(rows, options.clusters, max(1, options.rounds // 2), options.iterations)
        result["fits"] = fits
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
