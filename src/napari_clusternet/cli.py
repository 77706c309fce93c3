"""The command line: `napari-clusternet demo | fit | segment | unsupervised | apply | score | info`.

Each command is a thin wrapper over the Python API (`napari_clusternet._cli.commands`). Exit codes:
0 done, 1 an error that is told in one line, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from napari_clusternet import __version__
from napari_clusternet._cli.options import (
    add_clustering_options,
    add_grid_options,
    add_network_options,
    add_region_options,
    add_scaling_options,
    non_negative,
    positive,
)

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
examples:
  napari-clusternet demo
  napari-clusternet segment scene.tif strokes.tif -o labels.tif
  napari-clusternet fit scene.tif -o city.safetensors --preset quick
  napari-clusternet segment scene.tif strokes.tif -o labels.tif --features city.safetensors
  napari-clusternet unsupervised scene.tif -o regions.tif --method kmeans --set n_clusters=5
  napari-clusternet score labels.tif truth.tif

Every command explains itself: napari-clusternet segment --help
"""


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands share."""
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notices")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.set_defaults(command=name)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "demo",
        "learn features on a satellite sample and segment it and an MRI volume from stored strokes",
        "  napari-clusternet demo clusternet-demo\n",
    )
    parser.add_argument(
        "folder", nargs="?", default="clusternet-demo", help="where to write (%(default)s)"
    )
    parser.add_argument("--seed", type=non_negative, default=0, help="random seed (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def _add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "fit",
        "learn features from images, without labels (step 1)",
        "  napari-clusternet fit scene.tif -o city.safetensors\n"
        "  napari-clusternet fit a.tif b.tif -o ab.safetensors --epochs 20 --seed 1 "
        "--checkpoint ab.checkpoint\n",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images with the same bands")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="*.safetensors")
    add_network_options(parser)
    add_grid_options(parser)


def _add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "segment",
        "segment an image from strokes (steps 1 and 2)",
        "  napari-clusternet segment scene.tif strokes.tif -o labels.tif\n"
        "  napari-clusternet segment head.nii.gz strokes.nii.gz -o labels.nii.gz "
        "--features filters\n"
        "  napari-clusternet segment scene.tif strokes.tif -o labels.tif --axes CYX "
        "--features city.safetensors --session city.clusternet\n"
        "  napari-clusternet segment scene.tif strokes.tif -o labels.tif --method svm_graphcut "
        "--set smoothness=5\n",
    )
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("strokes", metavar="STROKES", help="0 none, 1..K class; the image's grid")
    parser.add_argument(
        "-o", "--output", required=True, metavar="LABELS", help="*.tif, *.nii.gz ..."
    )
    add_clustering_options(parser)
    add_grid_options(parser)


def _add_unsupervised(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "unsupervised",
        "divide an image into regions, without strokes",
        "  napari-clusternet unsupervised scene.tif -o regions.tif\n"
        "  napari-clusternet unsupervised scene.tif -o regions.tif -m dfc --set mu=50 "
        "--set n_iterations=200\n"
        "  napari-clusternet unsupervised head.nii.gz -o regions.nii.gz -m gmm "
        "--set n_clusters=4\n",
    )
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "-o", "--output", required=True, metavar="REGIONS", help="*.tif, *.nii.gz ..."
    )
    add_region_options(parser)
    add_grid_options(parser)


def _add_apply(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "apply",
        "classify images of any size with a session, piece by piece; a run that was interrupted "
        "goes on when the same command is given again",
        "  napari-clusternet apply city.clusternet big.tif big_labels.zarr\n"
        "  napari-clusternet apply city.clusternet big.vrt big_labels.tif --workers 4 --memory 8\n"
        "  napari-clusternet apply city.clusternet scenes/ results/\n"
        "  napari-clusternet apply city.clusternet big.tif big_labels.zarr "
        "--scheduler tcp://10.0.0.1:8786\n",
    )
    parser.add_argument("session", metavar="SESSION", help="*.clusternet")
    parser.add_argument("source", metavar="SOURCE", help="an image, or a folder of images")
    parser.add_argument(
        "destination", metavar="DESTINATION", help="*.zarr or *.tif; a folder for a folder"
    )
    add_scaling_options(parser)
    add_grid_options(parser)


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "score",
        "score labels against a truth: Dice, accuracy, precision, recall, IoU, F1 of objects",
        "  napari-clusternet score labels.tif truth.tif\n"
        "  napari-clusternet score labels.nii.gz truth.nii.gz --min-pixels 150 --json\n"
        "  napari-clusternet score buildings.tif truth.tif --objects 1\n",
    )
    parser.add_argument("labels", metavar="LABELS")
    parser.add_argument("truth", metavar="TRUTH", help="0 is ignored")
    parser.add_argument(
        "--min-pixels", type=non_negative, default=0, metavar="N",
        help="leave classes with fewer true pixels out of the means (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--objects", type=positive, metavar="CLASS",
        help="also SpaceNet's F1 of the connected parts of this class; truth 0 is background here",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "info",
        "describe an image, model or session; without a file, this installation",
        "  napari-clusternet info\n  napari-clusternet info scene.tif\n",
    )
    parser.add_argument("file", nargs="?", metavar="FILE")
    parser.add_argument("--axes", help="order of the file's axes, where it does not say")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; loads nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="napari-clusternet",
        description="Segment satellite scenes and medical volumes by labelling clusters.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _add_demo,
        _add_fit,
        _add_segment,
        _add_unsupervised,
        _add_apply,
        _add_score,
        _add_info,
    ):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Raises
    ------
    SystemExit
        With code 2 on wrong usage, as argparse does, and 0 after ``--help`` or ``--version``.
    """
    options = build_parser().parse_args(argv)
    # Before torch starts its threads: on a machine shared with others, threads that spin long
    # while they wait make training twice as slow; on an idle one, so do threads that fall asleep.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    from napari_clusternet._cli.run import run_command

    try:
        run_command(options)
    except KeyboardInterrupt:
        if options.debug:
            raise
        return _tell("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if options.debug:
            raise
        return _tell(_one_line(error), EXIT_ERROR)
    return EXIT_OK


def _one_line(error: Exception) -> str:
    """Return the message of an error, with its type and a hint where it is not one of ours."""
    from napari_clusternet.errors import ClusterNetError

    text = " ".join(str(error).split())
    if isinstance(error, ClusterNetError):
        return text
    if isinstance(error, MemoryError):
        return (
            f"not enough memory: {text or 'an allocation failed'}. Crop the image, or free memory"
        )
    hint = "" if isinstance(error, OSError) else " (run again with --debug for the traceback)"
    return f"{type(error).__name__}: {text}{hint}"


def _tell(message: str, code: int) -> int:
    print(f"napari-clusternet: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
