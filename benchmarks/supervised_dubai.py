"""Supervised networks on Dubai scenes: mean Dice on held-out scenes, SpaceNet F1 of buildings.

    python benchmarks/supervised_dubai.py --method unet --set steps=300 --json unet.json
    python benchmarks/supervised_dubai.py --table unet.json ternausnet.json

Trains on the scenes of StrokeBench whose names end with 2 (four places) and labels those that end
with 5 (other parts of the same places). Dice is the mean over classes of at least 150 true pixels,
then over scenes; pixels without truth are ignored. Buildings are the connected parts of class 1;
predictions are cleared where there is no truth, as nothing is known there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import napari_clusternet as cn
from napari_clusternet.api.masks import mask_parameters_of
from napari_clusternet.metrics import evaluate, spacenet_f1
from napari_clusternet.objects import split_objects

MIN_PIXELS, BUILDING = 150, 1
TRAIN, TEST = ("12", "22", "32", "42"), ("15", "25", "35", "45")


def load(folder, numbers):
    """Return images (C, Y, X), truths (Y, X) and names of classes of some scenes."""
    images, truths = [], []
    for number in numbers:
        with np.load(folder / f"satellite_dubai{number}.npz", allow_pickle=False) as stored:
            images.append(stored["image"])
            truths.append(stored["truth"])
            names = [str(name) for name in stored["classes"]]
    return images, truths, names


def parse(method, settings):
    """Return ``NAME=VALUE`` settings as the types of the method's defaults."""
    known, chosen = mask_parameters_of(method), {}
    for setting in settings:
        name, _, text = setting.partition("=")
        kind = type(known[name])
        chosen[name] = text == "True" if kind is bool else kind(text) if kind is not tuple else (
            tuple(int(part) for part in text.split(","))
        )  # fmt: skip
    return chosen


def score(found, truths, names):
    """Return mean Dice, Dice and IoU per class of each scene, and F1 of buildings."""
    scenes = [
        evaluate(labels, truth, class_names=names, min_pixels=MIN_PIXELS)
        for labels, truth in zip(found, truths, strict=True)
    ]
    true = [split_objects(truth == BUILDING, depth=0) for truth in truths]
    guess = [
        split_objects((labels == BUILDING) & (truth > 0), depth=0)
        for labels, truth in zip(found, truths, strict=True)
    ]
    buildings = spacenet_f1(guess, true)
    big = spacenet_f1([split_objects(g > 0, depth=0, min_pixels=80) for g in guess], true)
    per_class = {}
    for name in names:
        rows = [r.dice for s in scenes for r in s.classes if r.name == name and r.counted]
        per_class[name] = float(np.mean(rows)) if rows else None
    return {
        "dice": float(np.mean([s.mean_dice for s in scenes])),
        "dice_per_scene": [s.mean_dice for s in scenes],
        "dice_per_class": per_class,
        "accuracy": float(np.mean([s.accuracy for s in scenes])),
        "mean_iou": float(np.mean([s.mean_iou for s in scenes])),
        "buildings": buildings.to_dict(),
        "buildings_of_80_px": big.to_dict(),
    }


def run(options, folder):
    """Train, label, score and write one row."""
    images, masks, names = load(folder, TRAIN)
    others, truths, _ = load(folder, TEST)
    chosen = {} if options.method == "majority" else parse(options.method, options.set)
    losses = []

    def follow(progress):
        if "loss" in progress.metrics:
            losses.append(progress.metrics["loss"])
        if progress.done % 50 == 0:
            print(progress, file=sys.stderr, flush=True)

    start = time.perf_counter()
    if options.method == "majority":
        best = int(np.bincount(np.concatenate([m.ravel() for m in masks]))[1:].argmax()) + 1
        found = [np.full(truth.shape, best, np.uint8) for truth in truths]
    else:
        found = cn.supervised(
            images, masks, others, axes="CYX", method=options.method, random_state=options.seed,
            callback=follow, **chosen,
        )  # fmt: skip
    row = {
        "method": options.method,
        "parameters": chosen,
        "seed": options.seed,
        "seconds": time.perf_counter() - start,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "loss": losses[:: max(1, len(losses) // 10)],
        **score(found, truths, names),
    }
    if options.json:
        Path(options.json).write_text(json.dumps(row, indent=1), encoding="utf-8")
    print(json.dumps({k: v for k, v in row.items() if k != "loss"}, indent=1))


def table(paths):
    """Print rows as a table."""
    print("| method | settings | Dice | accuracy | mean IoU | buildings' Dice | F1 | minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for path in paths:
        row = json.loads(Path(path).read_text(encoding="utf-8"))
        settings = ", ".join(f"{k}={v}" for k, v in row["parameters"].items()) or "-"
        print(
            f"| {row['method']} | {settings} | {row['dice']:.3f} | {row['accuracy']:.3f} "
            f"| {row['mean_iou']:.3f} | {row['dice_per_class']['building']:.3f} "
            f"| {row['buildings']['f1']:.3f} | {row['seconds'] / 60:.1f} |"
        )


def main():
    """Run or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--method", default="unet", help="or 'majority': all one class, the floor")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--table", nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.table:
        table(options.table)
        return
    data = os.environ.get("CLUSTERNET_DATA")
    if not data:
        sys.exit("CLUSTERNET_DATA must name the folder of the development data")
    run(options, Path(data) / "strokebench")


if __name__ == "__main__":
    main()
