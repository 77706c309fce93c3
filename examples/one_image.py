"""From a sample and its strokes to a GeoTIFF, polygons and a session.

    python examples/one_image.py results/

The sample is a Landsat scene; its strokes come with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari_clusternet as cn
from napari_clusternet.data import load_sample


def main(results: Path, name: str = "rmnp") -> None:
    """Segment a sample, say what would help, and write what was found."""
    results.mkdir(parents=True, exist_ok=True)
    sample = load_sample(name)
    image = sample.open()
    session = cn.Session(image, features="filters", random_state=0)
    session.update(sample.strokes)  # a quick answer
    labels = session.refine()  # a thorough one

    names = dict(enumerate(sample.class_names, start=1))
    print(session.clusters.groupby("class")["pixels"].sum().rename(index=names))
    for place in session.suggest(3):
        print("a stroke would help at row, column", place.position)

    cn.write_labels(results / f"{name}_classes.tif", labels, like=image, class_names=names)
    cn.write_polygons(
        results / f"{name}_classes.gpkg", labels, like=image, class_names=names, min_pixels=20
    )
    session.save(results / f"{name}.clusternet")  # opens in napari, too


if __name__ == "__main__":
    main(Path(sys.argv[1]))
