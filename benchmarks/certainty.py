"""How honest is the certainty? Calibration error, and where the errors are.

    python benchmarks/certainty.py --cases FOLDER --seeds 3 --json certainty.json

For every case of StrokeBench, with 6 strokes a class or the strokes that people drew:

- expected calibration error: pixels with truth in 15 bins of certainty, mean over pixels of
  |share of right classes - mean certainty| of their bin;
- least certain tenth: the share of all wrong pixels that lies among the 10 % least certain ones.

Classes of which nothing was stroked count neither as right nor as wrong.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from strokebench import budgets, load_cases

import napari_clusternet as cn

BINS = 15
TENTH = 0.1


def calibration_error(certainty, right):
    """Return the expected calibration error of certainties (n,) of answers (n,) bool."""
    which = np.minimum((certainty * BINS).astype(int), BINS - 1)
    n = np.bincount(which, minlength=BINS)
    gap = np.bincount(which, right - certainty, minlength=BINS)
    return float(np.abs(gap).sum() / n.sum())


def caught(certainty, right):
    """Return the share of wrong answers among the least certain tenth; ties are cut evenly."""
    wrong = ~right
    order = np.argsort(certainty + 1e-9 * np.random.default_rng(0).random(len(certainty)))
    return float(wrong[order[: round(TENTH * len(order))]].sum() / max(1, wrong.sum()))


def measure(case, strokes, features, seed):
    """Return the figures of one case, and its certainties and rights."""
    image = cn.Image.from_array(
        case["image"], axes=str(case["axes"]), spacing=case["spacing"].tolist()
    )
    session = cn.Session(image, features, random_state=seed)
    session.update(strokes)
    labels = session.refine()
    known = np.isin(case["truth"], np.unique(strokes[strokes > 0])) & (session.cluster_map > 0)
    certainty, right = session.certainty[known], labels[known] == case["truth"][known]
    return {
        "accuracy": float(right.mean()), "certainty": float(certainty.mean()),
        "ece": calibration_error(certainty, right), "caught": caught(certainty, right),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--features", default="auto")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name, case in load_cases(options.cases, options.only):
        for budget, strokes in budgets(case, "6,h"):
            for seed in range(options.seeds):
                row = measure(case, strokes, options.features, seed)
                rows.append({"case": name, "budget": budget, "seed": seed, **row})
                print(name, budget, seed, {k: round(v, 3) for k, v in row.items()}, flush=True)
                if options.json:
                    options.json.write_text(json.dumps(rows))
    groups = defaultdict(list)
    for row in rows:
        groups[row["case"].split("_")[0]].append(row)
    print("\n| group | accuracy | mean certainty | calibration error | errors in the least certain "
          "tenth |\n|---|---|---|---|---|")  # fmt: skip
    keys = ("accuracy", "certainty", "ece", "caught")
    table = {
        group: [np.mean([r[k] for r in found]) for k in keys] for group, found in groups.items()
    }
    for group, values in [*table.items(), ("mean", np.mean(list(table.values()), axis=0))]:
        print(f"| {group} | " + " | ".join(f"{value:.3f}" for value in values) + " |")


if __name__ == "__main__":
    main()
