"""Damaged files by the thousand: every one must be refused by an error of ours, or be read.

    python tests/fuzz/fuzz_files.py --seconds 600 --seed 1

Small real files of every format are damaged at random (bits, numbers, lengths, cuts, and inside
JSON and arrays too, so that the damage gets past the first checks), and opened in a process with
little memory. A crash, a hang, a claim of much memory, or an error of another family is a failure;
it is printed with the seed that makes the same file again.
"""

from __future__ import annotations

# ruff: noqa: T201
import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from damage import hurt
from seeds import make_seeds

#: Seconds one file may take, and bytes of memory the process may use beyond its start.
CASE_SECONDS, MEMORY = 10, 1 << 30
#: Growth of the resident memory by one file of some kilobytes that counts as a failure.
BLOW_UP = 256 << 20


def use_image(path: Path) -> None:
    """Open, and read all of it, or a corner if it claims to be large."""
    import napari_clusternet as cn

    image = cn.open_image(path)
    large = np.prod(image.data.shape, dtype=float) > 1 << 22
    image.read(tuple(slice(0, min(n, 16)) for n in image.shape) if large else None)


def use_model(path: Path) -> None:
    """Load, and compute features of a small image."""
    import napari_clusternet as cn

    model = cn.ClusterNet.load(path, device="cpu")
    image = cn.open_image(
        np.zeros(
            (model.bands_.n if hasattr(model.bands_, "n") else len(model.bands_.names), 16, 16),
            np.float32,
        ),
        axes="CYX",
    )
    np.asarray(model.transform(image))


def use_session(path: Path) -> None:
    """Load, and do with it what users do."""
    import napari_clusternet as cn

    session = cn.Session.load(path)
    for step in (session.undo, session.redo):
        for _ in range(8):
            step()
    session.clusters, session.certainty, session.suggest(3)
    strokes = np.array(session.strokes)
    strokes[..., 5, 5:9] = 1
    session.update(strokes)
    session.undo()


def use_strokes(path: Path) -> None:
    """Load, and lay them out."""
    from napari_clusternet.stroke_file import Strokes

    Strokes.load(path)[0].array()


USES: dict[str, Callable[[Path], None]] = {
    ".safetensors": use_model, ".clusternet": use_session, ".strokes": use_strokes,
}  # fmt: skip


class TooSlowError(BaseException):
    """A file took too long."""


def _too_slow(*_: object) -> None:
    raise TooSlowError


def run_case(kind: str, seed_file: Path, seed: str, folder: Path) -> tuple[str, str]:
    """Damage a copy and use it; return what happened, and what an error said."""
    from napari_clusternet.errors import ClusterNetError

    path = folder / kind
    if seed_file.is_dir():
        shutil.copytree(seed_file, path)
    else:
        shutil.copy(seed_file, path)
    hurt(path, random.Random(seed))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(CASE_SECONDS)
    faulthandler.dump_traceback_later(2 * CASE_SECONDS, exit=True)  # what hangs outside Python
    try:
        USES.get(path.suffix, use_image)(path)
        outcome, said = "read", ""
    except ClusterNetError as error:
        outcome, said = "refused", str(error)
    except TooSlowError:
        outcome, said = "HANG", traceback.format_exc()
    except MemoryError:
        outcome, said = "MEMORY", traceback.format_exc()
    except Exception:
        outcome, said = "FOREIGN", traceback.format_exc()
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 > BLOW_UP:
        outcome, said = "BLOW-UP", said
    return outcome, said


def work(options: argparse.Namespace) -> None:
    """Run cases until the time is over; one line of JSON for each, written before it is done."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_slow)
    seeds = {path.name: path for path in Path(options.seeds).iterdir()}
    kinds = sorted(kind for kind in seeds if not options.kinds or kind in options.kinds)
    for path in seeds.values():
        USES.get(path.suffix, use_image)(path)  # whole files are read; imports are done
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    end = time.monotonic() + options.seconds
    i = options.start
    while time.monotonic() < end and i < options.count:
        kind, seed = kinds[i % len(kinds)], f"{options.seed}-{i}"
        os.write(log, f"{json.dumps([i, kind, seed])}\n".encode())
        with tempfile.TemporaryDirectory() as folder:
            outcome, said = run_case(kind, seeds[kind], seed, Path(folder))
        os.write(log, f"{json.dumps([i, outcome, said])}\n".encode())
        i += 1


def fuzz(options: argparse.Namespace, folder: Path) -> tuple[Counter, list[str]]:
    """Fuzz for so long; return how often each (kind, outcome) came, and the failures."""
    kinds = options.kinds
    seeds, log = folder / "seeds", folder / "log"
    seeds.mkdir()
    make_seeds(seeds)
    counts: Counter = Counter()
    failures: list[str] = []
    start, end = 0, time.monotonic() + options.seconds
    while time.monotonic() < end - 1 and start < options.count:
        log.unlink(missing_ok=True)
        told = {"--seeds": seeds, "--log": log, "--start": start, "--seed": options.seed,
                "--count": options.count, "--seconds": end - time.monotonic()}  # fmt: skip
        command = [sys.executable, __file__, "--work"]
        command += [str(part) for pair in told.items() for part in pair]
        command += ["--kinds", *kinds] if kinds else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        if not lines:
            raise RuntimeError(done.stderr)
        for begun, ended in zip(lines[::2], lines[1::2], strict=False):
            counts[begun[1], ended[1]] += 1
            if ended[1].isupper():
                failures.append(f"{ended[1]} {begun[1]} seed {begun[2]}\n{ended[2]}")
        if len(lines) % 2:
            ending = "HANG" if "Timeout" in done.stderr else "CRASH"
            counts[lines[-1][1], ending] += 1
            failures.append(f"{ending} {lines[-1][1]} seed {lines[-1][2]}\n{done.stderr[-4000:]}")
        start = lines[-1][0] + 1
    return counts, failures


def main() -> int:
    """Fuzz, print a table, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, default=1 << 62, help="files at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    for name in ("--work", "--seeds", "--log"):
        way = {"action": "store_true"} if name == "--work" else {}
        parser.add_argument(name, help=argparse.SUPPRESS, **way)
    options = parser.parse_args()
    if options.work:
        work(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = fuzz(options, Path(folder))
    outcomes = sorted({outcome for _, outcome in counts})
    print(f"{'kind':<16}" + "".join(f"{outcome:>10}" for outcome in outcomes))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:<16}" + "".join(f"{counts[kind, outcome]:>10}" for outcome in outcomes))
    print(f"{sum(counts.values())} files, {len(failures)} failures")
    print("\n\n".join(failures))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
