"""Options that several commands share, with their checks."""

from __future__ import annotations

import argparse

from napari_clusternet.config import CLUSTERNET_PRESETS, SESSION


def non_negative(text: str) -> int:
    """Parse an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def spacing(text: str) -> tuple[float, ...]:
    """Parse comma-separated pixel sizes, [z,]y,x."""
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not 2 <= len(sizes) <= 3 or min(sizes) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not y,x or z,y,x with positive sizes")
    return sizes


def add_grid_options(parser: argparse.ArgumentParser) -> None:
    """Add what an image file may not say of itself."""
    group = parser.add_argument_group("what the file does not say")
    group.add_argument("--axes", help="order of the file's axes, such as CYX or ZYX")
    group.add_argument("--spacing", type=spacing, metavar="[Z,]Y,X", help="pixel size")


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of step 1."""
    group = parser.add_argument_group("learning")
    group.add_argument(
        "--preset", choices=tuple(CLUSTERNET_PRESETS), default="quick",
        help="named settings (%(default)s)",
    )  # fmt: skip
    group.add_argument("--mode", choices=("enhanced", "paper"), help="instead of the preset's")
    group.add_argument("--clusters", type=positive, metavar="K", help="instead of the preset's")
    group.add_argument("--epochs", type=positive, metavar="N", help="instead of the preset's")
    group.add_argument("--seed", type=non_negative, default=0, help="random seed (%(default)s)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument(
        "--checkpoint", metavar="FILE", help="save progress here, and resume from it if it exists"
    )


def add_clustering_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of step 2."""
    group = parser.add_argument_group("segmenting")
    group.add_argument(
        "--features", default=SESSION.features,
        help="auto, filters, bands, learn, or a model file (%(default)s)",
    )  # fmt: skip
    group.add_argument("--method", default="clusternet", help="see `info` (%(default)s)")
    group.add_argument(
        "--mode", choices=("enhanced", "paper"), default=SESSION.mode,
        help="our best, or the paper to the letter (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--clusters", type=positive, default=SESSION.n_clusters, metavar="K",
        help="number of clusters (%(default)s)",
    )  # fmt: skip
    group.add_argument("--seed", type=non_negative, default=0, help="random seed (%(default)s)")
    group.add_argument(
        "--threshold", type=float, default=SESSION.threshold, metavar="T",
        help="share of strokes above which a class splits a cluster (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--session", metavar="FILE", help="also save the session, to go on with it (*.clusternet)"
    )
