"""mIoU of methods without strokes on BSDS500, by the published protocol.

For every segment that an annotator drew: the largest IoU with any predicted region that overlaps
it. Averaged over all segments of all images together: "All" takes every annotator, "Fine" and
"Coarse" the one with the most and the fewest segments of each image; "Mean" is the mean of the
three (Kim et al. 2020; "A dynamically weighted loss function for unsupervised image segmentation").
Two readings of "region" are scored: the labels as they are, and their connected pieces.

    python benchmarks/bsds.py kmeans n_clusters=10 --images 20 --seeds 0,1,2
    python benchmarks/bsds.py fsf --shrink 2 --results bsds.json

Finished images are kept in the results file and not computed again. The folder, with `images/*.jpg`
and `groundTruth/*.mat`, is $CLUSTERNET_DATA/bsds500_val unless --folder says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import loadmat
from skimage.measure import label

IntArray = npt.NDArray[np.integer[Any]]

#: mIoU on the 200 test images, All, Fine, Coarse, Mean, as the two papers print it.
PUBLISHED = {
    "fsf": (0.349, 0.307, 0.420, 0.359),
    "scf": (0.330, 0.290, 0.407, 0.342),
    "dfc": (0.305, 0.259, 0.374, 0.313),
    "felzenszwalb": (0.313, 0.295, 0.325, 0.311),
    "kmeans": (0.240, 0.221, 0.265, 0.242),
    "kanezaki": (0.226, 0.169, 0.324, 0.240),
    "iic": (0.172, 0.151, 0.207, 0.177),
}


def segment_ious(regions: IntArray, truth: IntArray) -> npt.NDArray[np.float64]:
    """Return, for each segment of a truth, its largest IoU with any region.

    Parameters
    ----------
    regions, truth : numpy.ndarray of int, shape (Y, X)
        Numbers of regions and of segments; every number counts, 0 too.

    Returns
    -------
    numpy.ndarray of float64, shape (n_segments,)
        In the order of the segments' numbers.
    """
    segment, n_segment = np.unique(truth, return_inverse=True)
    region, n_region = np.unique(regions, return_inverse=True)
    pairs = n_segment.reshape(-1) * len(region) + n_region.reshape(-1)
    overlap = np.bincount(pairs, minlength=len(segment) * len(region))
    overlap = overlap.reshape(len(segment), len(region))
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    best: npt.NDArray[np.float64] = (overlap / union).max(1)
    return best


def pooled(images: Iterable[Sequence[Sequence[float]]]) -> dict[str, float]:
    """Return mIoU All, Fine, Coarse and Mean.

    Parameters
    ----------
    images : iterable of images, each a sequence of annotators, each the IoUs of its segments
        From `segment_ious`. Of annotators with equally many segments the first counts.
    """
    pools: dict[str, list[float]] = {"All": [], "Fine": [], "Coarse": []}
    for annotators in images:
        counts = [len(ious) for ious in annotators]
        for ious in annotators:
            pools["All"] += ious
        pools["Fine"] += annotators[int(np.argmax(counts))]
        pools["Coarse"] += annotators[int(np.argmin(counts))]
    scores = {name: float(np.mean(values)) for name, values in pools.items()}
    return scores | {"Mean": float(np.mean(list(scores.values())))}


def read_truths(path: Path) -> list[IntArray]:
    """Return the segmentations of all annotators, each (Y, X)."""
    cells = loadmat(path)["groundTruth"][0]
    return [cell["Segmentation"][0, 0].astype(np.int64) for cell in cells]


def find_regions(
    picture: Image.Image, method: str, parameters: dict[str, Any], seed: int, shrink: int
) -> IntArray:
    """Return regions of the picture's size, found on a picture `shrink` times smaller."""
    import napari_clusternet as cn

    small = picture.reduce(shrink) if shrink > 1 else picture
    array = np.asarray(small).transpose(2, 0, 1)
    regions = cn.unsupervised(array, axes="CYX", method=method, random_state=seed, **parameters)
    rows = np.arange(picture.height) // shrink
    columns = np.arange(picture.width) // shrink
    return regions[np.ix_(rows, columns)]


def connected(regions: IntArray) -> IntArray:
    """Give each connected piece (4 neighbours) of each region a number of its own."""
    pieces: IntArray = label(regions, background=-1, connectivity=1)
    return pieces


def run(options: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """Return the records of every image, seed by seed; images already recorded are not redone."""
    from napari_clusternet._cli.options import parse_parameters

    parameters = parse_parameters(options.method, options.parameters)
    done = json.loads(options.results.read_text()) if options.results.exists() else {}
    setting = " ".join([options.method, *sorted(options.parameters), f"shrink={options.shrink}"])
    paths = sorted((options.folder / "images").glob("*.jpg"))
    paths = paths[options.skip :][: options.images]
    stop = time.time() + 60 * options.minutes if options.minutes else float("inf")
    found: list[list[dict[str, Any]]] = [[] for _ in options.seeds]
    for path in paths:
        truths = None
        for records, seed in zip(found, options.seeds, strict=True):
            key = f"{setting} seed={seed} {path.stem}"
            if key not in done:
                if time.time() > stop:
                    continue
                truths = truths or read_truths(options.folder / "groundTruth" / f"{path.stem}.mat")
                done[key] = measure(path, truths, options, parameters, seed)
                save(options.results, done)
            records.append(done[key])
    return found


def measure(
    path: Path,
    truths: list[IntArray],
    options: argparse.Namespace,
    parameters: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Segment one image; return its IoUs by annotator, number of regions and seconds."""
    start = time.time()
    with Image.open(path) as file:
        picture = file.convert("RGB")
    regions = find_regions(picture, options.method, parameters, seed, options.shrink)
    seconds = time.time() - start
    pieces = connected(regions)
    return {
        "labels": [segment_ious(regions, truth).round(5).tolist() for truth in truths],
        "pieces": [segment_ious(pieces, truth).round(5).tolist() for truth in truths],
        "n_labels": int(regions.max()),
        "n_pieces": int(pieces.max()),
        "seconds": round(seconds, 2),
    }


def save(path: Path, records: dict[str, Any]) -> None:
    """Write the records so that an interruption leaves the old file or the new one."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(records))
    part.replace(path)


def report(options: argparse.Namespace, found: list[list[dict[str, Any]]]) -> None:
    """Print one line a seed, their mean, and the published figures, for labels and for pieces."""
    names = ("All", "Fine", "Coarse", "Mean")
    print(f"{'':<16} images {' '.join(f'{name:>7}' for name in names)}  number s/image")
    for what in ("labels", "pieces"):
        rows = []
        for seed, records in zip(options.seeds, found, strict=True):
            if not records:
                continue
            scores = pooled(record[what] for record in records)
            rows.append([scores[name] for name in names])
            number, seconds = (
                np.mean([record[name] for record in records]) for name in (f"n_{what}", "seconds")
            )
            _print_line(f"{what} seed {seed}", len(records), rows[-1], number, seconds)
        if len(rows) > 1:
            _print_line(f"{what} mean", len(found[0]), np.mean(rows, axis=0).tolist())
    if options.method in PUBLISHED:
        _print_line("published, test", 200, PUBLISHED[options.method])


def _print_line(name: str, images: int, scores: Sequence[float], *extra: float) -> None:
    figures = " ".join(f"{value:7.3f}" for value in scores)
    print(f"{name:<16} {images:>6} {figures} {' '.join(f'{value:7.1f}' for value in extra)}")


def main() -> None:
    data = Path(os.environ.get("CLUSTERNET_DATA", "."))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method")
    parser.add_argument("parameters", nargs="*", metavar="name=value")
    parser.add_argument("--folder", type=Path, default=data / "bsds500_val")
    parser.add_argument("--images", type=int, help="only so many, in the order of their names")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many first")
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0]
    )
    parser.add_argument(
        "--shrink", type=int, default=1, help="segment images so many times smaller; not the paper"
    )
    parser.add_argument("--minutes", type=float, help="begin no image after so long")
    parser.add_argument("--results", type=Path, default=Path("bsds.json"))
    options = parser.parse_args()
    report(options, run(options))


if __name__ == "__main__":
    main()
