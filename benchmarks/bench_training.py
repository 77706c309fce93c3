"""Step 1's speed and memory: quick preset, paper's batch sizes, and the loss against the naive one.

    python benchmarks/bench_training.py quick --side 1000
    python benchmarks/bench_training.py paper --rounds 1
    python benchmarks/bench_training.py loss

`paper` runs one clustering batch of 16 patches of 512^2 with its training batches, and reports the
peak memory of the process; `loss` alternates the ways to take the loss inside one process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import UNET_CHANNELS
from napari_clusternet.image import Image
from napari_clusternet.networks.unet import UNet, n_parameters, plan_levels
from napari_clusternet.training.losses import chunked_cross_entropy
from napari_clusternet.training.modes import take_pixels

if TYPE_CHECKING:
    from collections.abc import Callable


def scene(side: int, bands: int = 3) -> Image:
    """Return a synthetic scene (bands, side, side) uint8 with regions and texture."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(bands, side // 20 + 1, side // 20 + 1))
    regions = coarse.repeat(20, axis=1).repeat(20, axis=2)[:, :side, :side]
    values = 128 + 40 * regions + 15 * rng.normal(size=(bands, side, side))
    return Image.from_array(values.clip(0, 255).astype(np.uint8), axes="CYX")


def peak_gb() -> float:
    """Return the peak resident memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fit(image: Image, model: ClusterNet, batches: int | None = None) -> dict[str, Any]:
    """Train, or run the first training batches only; return seconds and peak memory."""
    start, done = time.perf_counter(), 0
    steps = model.fit_steps(image)
    for done, _ in enumerate(steps, start=1):
        if done == batches:
            break
    steps.close()
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 1), "training_batches": done, "peak_gb": round(peak_gb(), 2)}


def loss_contest(side: int, rounds: int) -> dict[str, Any]:
    """Return median seconds of a training step on one patch with each way to take the loss."""
    channels = UNET_CHANNELS[2]
    network = UNet(3, 64, channels, plan_levels((1, 1), (side, side), len(channels)))
    network = network.to(memory_format=torch.channels_last).train()
    x = torch.randn(1, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 800, (side * side,))
    weight, bias = torch.randn(800, 64, requires_grad=True), torch.zeros(800, requires_grad=True)
    picked = torch.randint(0, side * side, (2048,))

    def rows() -> torch.Tensor:
        return network(x).movedim(1, -1).reshape(-1, 64)

    def sampled() -> torch.Tensor:
        part = network.pixels(take_pixels(network.body(x), picked))
        return chunked_cross_entropy(part, weight, bias, labels[picked])

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "naive": lambda: F.cross_entropy(F.linear(rows(), weight, bias), labels),
        "chunked": lambda: chunked_cross_entropy(rows(), weight, bias, labels),
        "sampled": sampled,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way().backward()
            times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(np.divide(times["naive"], times[name]).tolist()) for name in ways
    }
    return {"seconds": median, "times_faster": ratios, "parameters": n_parameters(network)}


def main() -> None:
    """Run what the command line asks for and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["quick", "paper", "loss"])
    parser.add_argument("--side", type=int, default=1000, help="of the scene, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, help="training batches to stop after")
    args = parser.parse_args()
    if args.what == "quick":
        model = ClusterNet.from_preset("quick", random_state=0)
        result = fit(scene(args.side), model, args.batches)
    elif args.what == "paper":
        model = ClusterNet.from_preset("paper", random_state=0, n_epochs=1)
        result = fit(scene(2048), model, args.batches)  # 4 x 4 patches of 512
    else:
        result = loss_contest(256, args.rounds)
    print(json.dumps({"threads": torch.get_num_threads(), **result}, indent=1))


if __name__ == "__main__":
    main()
