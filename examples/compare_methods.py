"""Several stroke methods on one sample, with scores and seconds.

    python examples/compare_methods.py indian-pines clusternet forest svm random_walker

Without names of methods, all that take the sample are compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import napari_clusternet as cn
from napari_clusternet.data import load_sample
from napari_clusternet.metrics import evaluate


def main(name: str, methods: Sequence[str]) -> None:
    """Print a table; one sample says little of other images."""
    sample = load_sample(name)
    if sample.truth is None:
        sys.exit(f"{name} has no truth to compare with; indian-pines and mni152 have")
    image = sample.open()
    known = [method.name for method in cn.methods("strokes") if image.ndim in method.ndims]
    print(f"{'method':20} {'Dice':>6} {'accuracy':>9} {'seconds':>8}")
    for method in methods or known:
        start = time.perf_counter()
        labels = cn.segment(image, sample.strokes, method=method, random_state=0)
        seconds = time.perf_counter() - start
        scores = evaluate(labels, sample.truth, min_pixels=150)
        print(f"{method:20} {scores.mean_dice:6.3f} {scores.accuracy:9.3f} {seconds:8.1f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
