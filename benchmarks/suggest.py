"""Do suggested places save strokes? A simulated user paints where it is told, or anywhere.

    python benchmarks/suggest.py --cases FOLDER --seeds 3 --json suggest.json

The user knows the truth. One short stroke a class comes first, at random; then one at a time:

- suggested: at `Session.suggest`'s first place;
- anywhere: at a pixel drawn from the whole image;
- by class: at a pixel of a class drawn at random.

A stroke is a line through the place, as long as the class goes on, `LENGTH` pixels at most. Prints
the mean Dice after so many strokes, and how many strokes each way needs to reach the Dice that
"anywhere" has in the end: its mean over the last `LAST` strokes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from strokebench import MIN_PIXELS, load_cases

import napari_clusternet as cn
from napari_clusternet.metrics import evaluate

LENGTH = 24
LAST = 3
WAYS = ("suggested", "anywhere", "by class")


def paint(strokes, truth, place, rng):
    """Paint a line through `place` in the last two axes, with the class there."""
    class_ = truth[place]
    angle = rng.uniform(0, np.pi)
    step = np.array([np.sin(angle), np.cos(angle)])
    for sign in (1, -1):
        for i in range(LENGTH // 2):
            y, x = (np.array(place[-2:]) + sign * i * step).round().astype(int)
            here = (*place[:-2], y, x)
            inside = 0 <= y < truth.shape[-2] and 0 <= x < truth.shape[-1]
            if not inside or truth[here] != class_:
                break
            strokes[here] = class_


def choose(way, session, truth, rng):
    """Return the place of the next stroke, one with truth."""
    if way == "suggested":
        for suggestion in session.suggest(20):
            if truth[suggestion.position]:
                return suggestion.position
    classes = np.unique(truth[truth > 0])
    found = truth == rng.choice(classes) if way == "by class" else truth > 0
    return tuple(int(i) for i in np.unravel_index(rng.choice(np.flatnonzero(found)), truth.shape))


def curve(case, way, seed, options):
    """Return the Dice after 0, 1, 2, ... strokes beyond the first of each class."""
    image = cn.Image.from_array(
        case["image"], axes=str(case["axes"]), spacing=case["spacing"].tolist()
    )
    truth = case["truth"]
    session = cn.Session(image, options.features, random_state=seed)
    rng = np.random.default_rng(seed)
    strokes = np.zeros(truth.shape, np.uint8)
    classes = [c for c in np.unique(truth[truth > 0]) if (truth == c).sum() >= MIN_PIXELS]
    truth = np.where(np.isin(truth, classes), truth, 0)
    for class_ in classes:
        places = np.flatnonzero(truth == class_)
        place = np.unravel_index(rng.choice(places), truth.shape)
        paint(strokes, truth, tuple(int(i) for i in place), rng)
    dice = []
    for _ in range(options.strokes + 1):
        session.update(strokes)
        labels = session.refine() if options.refine else session.labels
        dice.append(evaluate(labels, truth, min_pixels=MIN_PIXELS).mean_dice)
        paint(strokes, truth, choose(way, session, truth, rng), rng)
    return dice


def needed(dice, wanted):
    """Return after how many strokes a Dice is reached, None if never."""
    reached = np.flatnonzero(np.array(dice) >= wanted)
    return int(reached[0]) if reached.size else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--features", default="filters")
    parser.add_argument("--strokes", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--refine", action="store_true", help="refine after every stroke")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name, case in load_cases(options.cases, options.only):
        for seed in range(options.seeds):
            row = {way: curve(case, way, seed, options) for way in WAYS}
            wanted = float(np.mean(row["anywhere"][-LAST:]))
            row |= {"case": name, "seed": seed, "wanted": wanted,
                    "needed": {way: needed(row[way], wanted) for way in WAYS}}  # fmt: skip
            rows.append(row)
            print(name, seed, f"Dice {wanted:.3f}", row["needed"], flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows))
    print("\n| strokes | " + " | ".join(WAYS) + " |\n|---|---|---|---|")
    for n in range(0, options.strokes + 1, 4):
        print(
            f"| {n} | " + " | ".join(f"{np.mean([r[w][n] for r in rows]):.3f}" for w in WAYS) + " |"
        )
    mean = {way: np.mean([row[way] for row in rows], axis=0) for way in WAYS}
    wanted = float(mean["anywhere"][-LAST:].mean())
    print(f"\nMean curves reach {wanted:.3f} after:", {w: needed(mean[w], wanted) for w in WAYS})
    for way in WAYS:
        reached = [row["needed"][way] for row in rows if row["needed"][way] is not None]
        print(f"{way}: reached in {len(reached)} of {len(rows)}, median after "
              f"{np.median(reached) if reached else float('nan'):.0f} strokes")  # fmt: skip


if __name__ == "__main__":
    main()
