"""Strokes on one image classify every image of a folder.

    python examples/batch_folder.py scenes/june.tif strokes.tif scenes/ results/

The images must have the same bands. For images larger than memory, and many workers, see
`napari_clusternet.apply`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari_clusternet as cn
from napari_clusternet.errors import ClusterNetError


def main(stroked: Path, strokes: Path, folder: Path, results: Path) -> None:
    """Learn classes from one image and its strokes, and classify the others."""
    results.mkdir(parents=True, exist_ok=True)
    session = cn.Session(cn.open_image(stroked), features="filters", random_state=0)
    session.update(cn.read_labels(strokes))
    session.refine()
    for path in sorted(folder.glob("*.tif")):
        try:
            image = cn.open_image(path)
            labels = session.predict(image)
        except ClusterNetError as error:  # other bands, for example: the rest goes on
            print(f"{path.name}: {error}")
            continue
        target = cn.write_labels(results / f"{path.stem}_classes.tif", labels, like=image)
        shares = [(labels == class_).mean() for class_ in range(1, session.n_classes + 1)]
        print(target, *(f"{share:.1%}" for share in shares))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
