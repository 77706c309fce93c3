"""Segmentation from few strokes: run a method over a folder of cases, or tabulate results.

    python benchmarks/strokebench.py --method clusternet --features auto --seeds 3 --json out.json
    python benchmarks/strokebench.py --method peer:forest --json forest.json
    python benchmarks/strokebench.py --table out.json forest.json

A case is one ``.npz``: ``image`` (C, [Z,] Y, X), ``axes``, ``truth`` (0 = ignore), ``strokes``
(B, [Z,] Y, X), ``budget`` (B,) strokes a class, ``human``, ``spacing``. The score is the mean Dice
over classes of at least 150 true pixels; the mean over the cases of a group (first word of the
name), then over groups. ``--json`` may be continued: rows already in it are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import numpy as np

from napari_clusternet.metrics import evaluate

MIN_PIXELS = 150
KEY = ("case", "budget", "seed", "method", "features", "mode")


def load_cases(folder, only):
    """Yield (name, arrays) of the cases whose name contains `only`."""
    for path in sorted(Path(folder).glob("*.npz")):
        if only in path.stem:
            with np.load(path, allow_pickle=False) as stored:
                yield path.stem, {key: stored[key] for key in stored.files}


def budgets(case, chosen):
    """Yield (budget name, strokes); strokes drawn by people are budget "h"."""
    for count, strokes in zip(case["budget"], case["strokes"], strict=True):
        name = "h" if case["human"] else str(int(count))
        if chosen == "all" or name in chosen.split(","):
            yield name, strokes


def prepare(case, seed, options):
    """Return what to pass as ``features=``; learned features are fitted once a case and seed."""
    if options.features != "learn" or options.method.startswith("peer:"):
        names = tuple(options.features.split("+"))  # several side by side
        return names if len(names) > 1 else options.features
    from napari_clusternet import ClusterNet, Image

    image = Image.from_array(
        case["image"], axes=str(case["axes"]), spacing=case["spacing"].tolist()
    )
    preset = "paper" if options.mode == "paper" else "balanced"
    changes = {} if options.epochs is None else {"n_epochs": options.epochs}
    return ClusterNet.from_preset(preset, random_state=seed, **changes).fit([image])


def segment(case, strokes, features, seed, options):
    """Segment one case by the method or peer asked for."""
    where = {"axes": str(case["axes"]), "spacing": case["spacing"].tolist()}
    if options.method.startswith("peer:"):
        peer = import_module(f"peers.{options.method.removeprefix('peer:')}_peer")
        return peer.segment(case["image"], strokes, random_state=seed, **where)
    import napari_clusternet

    return napari_clusternet.segment(
        case["image"], strokes, features=features, method=options.method, mode=options.mode,
        random_state=seed, **where, **options.parameters,
    )  # fmt: skip


def reset_peak():
    """Forget this process's peak memory, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb():
    """Return the peak resident memory since `reset_peak`, MB; else since the start."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_rows(path):
    """Return the rows of a result file; none if there is no such file."""
    return json.loads(Path(path).read_text()) if path and Path(path).exists() else []


def write_rows(path, rows):
    """Replace a result file in one step, so that an interrupted run loses nothing."""
    if path:
        temporary = Path(f"{path}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(rows, indent=0))
        temporary.replace(path)


def run(options):
    """Run the method over all cases, budgets and seeds; return the rows."""
    rows = read_rows(options.json)
    done = {tuple(row[key] for key in KEY) for row in rows}
    setting = {key: getattr(options, key) for key in ("method", "features", "mode")}
    setting["method"] = " ".join([options.method, *options.set])  # a column of its own
    if options.method.startswith("peer:"):
        setting |= {"features": "", "mode": ""}
    for name, case in load_cases(options.cases, options.only):
        for seed in range(options.seeds):
            jobs = [
                ({"case": name, "budget": budget, "seed": seed, **setting}, strokes)
                for budget, strokes in budgets(case, options.budgets)
            ]
            jobs = [job for job in jobs if tuple(job[0][key] for key in KEY) not in done]
            if not jobs:
                continue
            reset_peak()
            start = time.perf_counter()
            features = prepare(case, seed, options)
            shared = time.perf_counter() - start
            for row, strokes in jobs:
                start = time.perf_counter()
                labels = segment(case, strokes, features, seed, options)
                seconds = time.perf_counter() - start
                scores = evaluate(labels, case["truth"], min_pixels=MIN_PIXELS)
                row |= {
                    "group": name.split("_")[0], "dice": scores.mean_dice,
                    "accuracy": scores.accuracy, "seconds": seconds, "shared_seconds": shared,
                    "peak_mb": peak_mb(),
                }  # fmt: skip
                rows.append(row)
                write_rows(options.json, rows)
                print(f"{name} {row['budget']:>2} seed {seed}: Dice {row['dice']:.3f} "
                      f"({row['accuracy']:.3f}) {seconds:.1f} s", flush=True)  # fmt: skip
    return rows


def by_seed(rows):
    """Return {seed: mean Dice over cases}."""
    values = defaultdict(list)
    for row in rows:
        values[row["seed"]].append(row["dice"])
    return {seed: float(np.mean(dice)) for seed, dice in values.items()}


def cell(values):
    """Return "mean +- standard deviation" over seeds."""
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (
        f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    )


def overall(rows, budget):
    """Return the mean over groups by seed: each case at `budget`, or as people stroked it."""
    chosen = [row for row in rows if row["budget"] in (budget, "h")]
    groups = [by_seed([r for r in chosen if r["group"] == g]) for g in {r["group"] for r in chosen}]
    seeds = set.intersection(*(set(group) for group in groups)) if groups else set()
    return [float(np.mean([group[seed] for group in groups])) for seed in sorted(seeds)]


def table(paths):
    """Return a markdown table, group and budget by method, of one or several result files."""
    rows = [row for path in paths for row in read_rows(path)]
    columns = defaultdict(list)
    for row in rows:
        columns[" ".join(filter(None, (row[k] for k in ("method", "features", "mode"))))].append(
            row
        )
    order = {"h": 0, "3": 3, "6": 6, "12": 12}
    lines = sorted(
        {(r["group"], r["budget"]) for r in rows}, key=lambda x: (x[0], order.get(x[1], 99))
    )
    out = [
        "| group | strokes a class | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for group, budget in lines:
        cells = [
            cell(list(by_seed(
                [r for r in part if (r["group"], r["budget"]) == (group, budget)]
            ).values()))
            for part in columns.values()
        ]  # fmt: skip
        out.append(f"| {group} | {budget} | " + " | ".join(cells) + " |")
    for budget in sorted({b for _, b in lines} - {"h"}, key=int):
        cells = [cell(overall(part, budget)) for part in columns.values()]
        out.append(f"| **mean of groups** | {budget} or h | " + " | ".join(cells) + " |")
    seconds = [f"{np.median([r['seconds'] for r in part]):.1f}" for part in columns.values()]
    return "\n".join([*out, "| median seconds | | " + " | ".join(seconds) + " |"])


def main(arguments=None):
    """Run or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("CLUSTERNET_DATA")
    parser.add_argument("--cases", default=f"{data}/strokebench" if data else None)
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--method", default="clusternet", help="a stroke method, or peer:NAME")
    parser.add_argument("--mode", default="enhanced", choices=["enhanced", "paper"])
    parser.add_argument("--features", default="auto", help='a name, or several: "filters+bands"')
    parser.add_argument("--epochs", type=int, help="of learned features, if not the preset's")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of the method, a number")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 .. N - 1")
    parser.add_argument("--budgets", default="all", help='"all", or a list such as "6,h"')
    parser.add_argument("--json", help="result file, continued if it exists")
    parser.add_argument("--table", nargs="+", metavar="JSON", help="print a table and stop")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(options.table))
        return
    if not options.cases or not Path(options.cases).is_dir():
        sys.exit(f"--cases {options.cases}: no such folder. Name one, or set CLUSTERNET_DATA")
    pairs = (setting.split("=") for setting in options.set)
    options.parameters = {name: json.loads(value) for name, value in pairs}
    run(options)
    if options.json:
        print(table([options.json]))


if __name__ == "__main__":
    main()
