"""Options that several commands share, with their checks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from napari_clusternet.config import CLUSTERNET_PRESETS, SESSION, UNSUPERVISED_METHOD, Sampling
from napari_clusternet.errors import invalid


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


def add_region_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of methods without strokes."""
    group = parser.add_argument_group("regions")
    group.add_argument(
        "-m", "--method", default=UNSUPERVISED_METHOD, help="see `info` (%(default)s)"
    )
    _add_setting(group)
    group.add_argument("--seed", type=non_negative, default=0, help="random seed (%(default)s)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def _add_setting(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--set", action="append", default=[], dest="parameters", metavar="NAME=VALUE",
        help="a parameter of the method; may be given several times",
    )  # fmt: skip


def parse_parameters(
    method: str, settings: Sequence[str], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Parse ``name=value`` settings of a method, by the type of each default.

    Parameters
    ----------
    method : str
        The method's name, for messages.
    settings : sequence of str
        What was given on the command line.
    known : mapping of str to object
        The method's parameters and their defaults.

    Raises
    ------
    InputError
        If a setting is not ``name=value``, the method has no such parameter, or it is of another
        type.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            invalid("--set", setting, "not name=value", "Write it without spaces, as mu=5")
        if name not in known:
            remedy = f"Use one of {', '.join(known)}" if known else "It has no parameters: leave it"
            invalid("--set", setting, f"method {method!r} has no {name!r}", remedy)
        parsed[name] = _like(known[name], name, text)
    return parsed


def _like(default: Any, name: str, text: str) -> Any:
    """Return `text` as a value of the type of `default`."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            invalid(name, text, "not a truth value", "Use true or false")
        return text.lower() == "true"
    for kind in (int, float):
        if isinstance(default, kind):
            try:
                return kind(text)
            except ValueError:
                word = "a whole number" if kind is int else "a number"
                invalid(name, text, f"not {word}", f"Give {word}")
    return text


def add_grid_options(parser: argparse.ArgumentParser) -> None:
    """Add what an image file may not say of itself."""
    group = parser.add_argument_group("what the file does not say")
    group.add_argument("--axes", help="order of the file's axes, such as CYX or ZYX")
    group.add_argument("--spacing", type=spacing, metavar="[Z,]Y,X", help="pixel size")


def add_scaling_options(parser: argparse.ArgumentParser) -> None:
    """Add where and how `apply` computes."""
    group = parser.add_argument_group("where to compute")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=non_negative, default=0, metavar="N",
        help="processes of this machine; 0 for this process (%(default)s)",
    )  # fmt: skip
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, tcp://host:port")
    group.add_argument(
        "--memory", type=float, metavar="GB",
        help="for pieces under way, together; of a cluster, each (about 1 a piece)",
    )  # fmt: skip
    group.add_argument(
        "--device", default="auto", help="of a cluster's workers: auto, cpu, cuda, cuda:1, mps"
    )
    group.add_argument(
        "--overwrite", action="store_true",
        help="replace an existing result, or one that another session or source has begun",
    )  # fmt: skip


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of step 1."""
    group = parser.add_argument_group("learning")
    group.add_argument(
        "--preset", choices=tuple(CLUSTERNET_PRESETS), default="quick",
        help="named settings (%(default)s)",
    )  # fmt: skip
    group.add_argument("--mode", choices=("enhanced", "paper"), help="instead of the preset's")
    group.add_argument(
        "--sampling", choices=get_args(Sampling),
        help="patches from everywhere alike, or more from varied places than from flat ones",
    )  # fmt: skip
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
        help="auto, filters, context, bands, learn, or a model file (%(default)s)",
    )  # fmt: skip
    group.add_argument("--method", default="clusternet", help="see `info` (%(default)s)")
    _add_setting(group)
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
