"""Dice of step 2 with fixed strokes after epochs of step 1: the paper's Fig. 7.

    CLUSTERNET_DATA=... python benchmarks/dice_per_epoch.py --case satellite_dubai22 \
        --epochs 0 1 2 5 10 20 --seeds 3 --json fig7.json --png fig7.png

Training is stopped after an epoch, evaluated, and resumed from its checkpoint, which is the same
as not stopping. Epoch 0 is the untrained network.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.image import Image
from napari_clusternet.metrics import mean_dice
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP_2 = ("paper", "enhanced")
COLOURS = {"paper": "tab:orange", "enhanced": "tab:blue"}


def load_case(name: str, budget: int) -> tuple[Image, np.ndarray, np.ndarray]:
    """Return image, strokes and truth of a case; the nearest budget of strokes that it has."""
    path = Path(os.environ["CLUSTERNET_DATA"]) / "strokebench" / f"{name}.npz"
    with np.load(path) as case:
        image = Image.from_array(
            case["image"], axes=str(case["axes"]), spacing=case["spacing"], name=name
        )
        index = int(np.abs(case["budget"] - budget).argmin())
        return image, case["strokes"][index], case["truth"]


def snapshots(
    image: Image, epochs: list[int], options: dict[str, Any]
) -> Iterator[tuple[int, ClusterNet, float]]:
    """Yield (epoch, fitted estimator, seconds of training so far)."""
    if 0 in epochs:
        untrained = {**options, "n_epochs": 1, "learning_rate": 1e-12}
        yield 0, ClusterNet(**untrained).fit(image), 0.0
    last, spent = max(epochs), 0.0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run"
        for epoch in sorted(set(epochs) - {0}):
            model = ClusterNet(**options, n_epochs=last)
            start = time.perf_counter()
            training = model.fit_steps(image, checkpoint=checkpoint)
            for step in training:
                if step.done > epoch * step.total // last:  # the first batch of the next epoch
                    training.close()
            spent += time.perf_counter() - start
            yield epoch, model, spent


def evaluate(image: Image, model: ClusterNet, strokes: Any, truth: Any, seed: int) -> list[float]:
    """Return the mean Dice of step 2 in each of its modes."""
    features = model.transform(image)
    results = []
    for mode in STEP_2:
        session = Session(image, features=features, mode=mode, random_state=seed)
        results.append(mean_dice(session.update(strokes), truth, min_pixels=150))
    return results


def curve(case: str, budget: int, epochs: list[int], seed: int, options: dict[str, Any]) -> Any:
    """Return one row (epoch, Dice paper, Dice enhanced, loss, perplexity, seconds) a snapshot."""
    image, strokes, truth = load_case(case, budget)
    rows = []
    for epoch, model, seconds in snapshots(image, epochs, {**options, "random_state": seed}):
        last = model.history_[-1]
        scores = evaluate(image, model, strokes, truth, seed)
        rows.append([epoch, *scores, last["loss"], last["perplexity"], seconds])
        print(
            f"{case} {options['mode']} seed {seed} epoch {epoch:3d}: Dice {scores[0]:.3f} (paper) "
            f"{scores[1]:.3f} (enhanced), loss {last['loss']:.3f}, "
            f"perplexity {last['perplexity']:.0f}, {seconds:.0f} s",
            flush=True,
        )
    return rows


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw Dice over epochs, one panel a case and mode of step 1, a line a mode of step 2."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(4 * len(results), 3.2), squeeze=False)
    for axis, result in zip(axes[0], results, strict=True):
        curves = np.array(result["curves"])  # seed, epoch, figure
        for column, mode in enumerate(STEP_2, start=1):
            mean, spread = curves[..., column].mean(0), curves[..., column].std(0)
            axis.plot(curves[0, :, 0], mean, "o-", color=COLOURS[mode], label=f"step 2 {mode}")
            axis.fill_between(
                curves[0, :, 0], mean - spread, mean + spread, color=COLOURS[mode], alpha=0.2
            )
        axis.set(title=f"{result['case']}, step 1 {result['mode']}", xlabel="epoch", ylabel="Dice")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the curves that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", default=["satellite_dubai22"])
    parser.add_argument("--mode", nargs="+", default=["paper", "enhanced"])
    parser.add_argument("--epochs", nargs="+", type=int, default=[0, 1, 2, 5, 10, 20])
    parser.add_argument("--budget", type=int, default=6, help="strokes a class")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=800)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    results = []
    for case in args.case:
        for mode in args.mode:
            options = {"mode": mode, "patch": args.patch, "n_clusters": args.clusters}
            if mode == "paper":
                options |= {"loss_pixels": None, "cluster_pixels": None}
            epochs = sorted(set(args.epochs))
            curves = [curve(case, args.budget, epochs, s, options) for s in range(args.seeds)]
            results.append({"case": case, **options, "curves": curves})
            mean = np.mean(curves, axis=0)
            for row in mean:
                print(f"  mean epoch {row[0]:3.0f}: {row[1]:.3f} (paper) {row[2]:.3f} (enhanced)")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.png:
        plot(results, args.png)


if __name__ == "__main__":
    main()
