"""Draw the strokes that ship with the samples: sparse thin lines, as a user would draw them.

Where a sample has a truth, strokes are wandering lines inside its regions, a few a class, spread
over the image; where it has none, they follow what the eye sees in the picture (coordinates
below). Run once; the results are stored in the package:

    python benchmarks/make_sample_strokes.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import rasterio
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.draw import line

DATA = Path(__file__).parents[1] / "src" / "napari_clusternet" / "data"
STROKES_PER_CLASS = 6
LENGTH = 20  # pixels walked a stroke
TURN = 0.35  # radians, how much a stroke may bend from one pixel to the next

#: class -> polylines of (y, x) drawn by eye on the true-colour and near-infrared pictures.
SENTINEL2 = {
    1: [  # forest
        [(14, 130), (20, 146)],
        [(25, 188), (28, 205), (34, 210)],
        [(75, 158), (82, 168)],
        [(172, 228), (180, 242)],
        [(232, 108), (238, 125)],
        [(118, 8), (126, 22)],
        [(20, 14), (28, 26)],
    ],
    2: [  # growing crops
        [(220, 74), (223, 92)],
        [(230, 44), (234, 66)],
        [(263, 98), (260, 118)],
        [(288, 106), (284, 121)],
        [(293, 138), (285, 155)],
        [(170, 20), (175, 27)],
    ],
    3: [  # bare soil and dry grass
        [(64, 66), (72, 84)],
        [(128, 122), (140, 140)],
        [(160, 178), (170, 188)],
        [(208, 276), (216, 290)],
        [(84, 128), (98, 148)],
        [(262, 240), (266, 258)],
    ],
    4: [  # water
        [(2, 104), (8, 107), (14, 108), (20, 111)],
        [(23, 112), (29, 111)],
        [(120, 34), (123, 38)],
    ],
}
RMNP = {
    1: [  # water
        [(300, 114), (310, 136)],
        [(318, 150), (325, 182)],
        [(266, 140), (254, 147)],
        [(249, 158), (252, 165)],
    ],
    2: [  # forest
        [(114, 264), (118, 284)],
        [(56, 56), (60, 72)],
        [(68, 424), (74, 440)],
        [(270, 284), (280, 300)],
        [(204, 50), (212, 58)],
        [(350, 205), (354, 222)],
    ],
    3: [  # rock, snow and tundra
        [(22, 222), (28, 238)],
        [(92, 250), (98, 264)],
        [(138, 106), (154, 104)],
        [(196, 224), (206, 240)],
        [(228, 290), (240, 302)],
        [(262, 246), (270, 256)],
    ],
    4: [  # dry grass and shrub
        [(310, 26), (316, 44)],
        [(290, 72), (300, 86)],
        [(330, 90), (336, 106)],
        [(176, 350), (182, 362)],
        [(228, 408), (236, 422)],
        [(262, 40), (270, 60)],
    ],
}


def draw(shape: tuple[int, int], classes: dict[int, list[list[tuple[int, int]]]]) -> np.ndarray:
    """Return polylines as an array of strokes."""
    strokes = np.zeros(shape, np.uint8)
    for label, polylines in classes.items():
        for points in polylines:
            for start, end in pairwise(points):
                strokes[line(*start, *end)] = label
    return strokes


def wander(inside: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> list[tuple]:
    """Return the pixels of the longest of some bent lines from `start` that stay `inside`."""
    best: list[tuple] = []
    for _ in range(24):
        heading, point, path = rng.uniform(0, 2 * np.pi), start.astype(float), []
        for _ in range(LENGTH):
            pixel = tuple(np.round(point).astype(int))
            if min(pixel) < 0 or any(np.greater_equal(pixel, inside.shape)) or not inside[pixel]:
                break
            path.append(pixel)
            heading += rng.uniform(-TURN, TURN)
            point += np.sin(heading), np.cos(heading)
        if len(path) > len(best):
            best = path
    return best


def strokes_in(truth: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return `count` strokes a class inside the regions of a 2D truth, far from one another."""
    strokes = np.zeros(truth.shape, np.uint8)
    for label in range(1, int(truth.max()) + 1):
        region = truth == label
        inside = ndimage.binary_erosion(region)
        inside = inside if inside.sum() >= LENGTH else region
        candidates = np.argwhere(inside)
        if not len(candidates):
            continue
        sample = candidates[rng.permutation(len(candidates))[:400]]
        starts = [sample[0]]
        # small regions take fewer strokes: none nearer than half a stroke to another
        while len(starts) < count:
            gap = np.min([np.hypot(*(sample - s).T) for s in starts], axis=0)
            if gap.max() < LENGTH / 2:
                break
            starts.append(sample[rng.choice(np.argsort(gap)[-len(gap) // 4 :])])
        for start in starts:
            for pixel in wander(inside, start, rng):
                strokes[pixel] = label
    return strokes


def main() -> None:
    """Write the four stroke files."""
    compress = {"compression": "zlib", "compressionargs": {"level": 9}}
    truth = np.asarray(Image.open(DATA / "indian_pines_gt.png"))
    strokes = strokes_in(truth, np.random.default_rng(0), STROKES_PER_CLASS)
    tifffile.imwrite(DATA / "indian_pines_strokes.tif", strokes, **compress)
    tifffile.imwrite(DATA / "sentinel2_strokes.tif", draw((300, 300), SENTINEL2), **compress)

    with rasterio.open(DATA / "rmnp-rgb.tif") as source:
        profile = source.profile | {"count": 1, "nodata": None, "compress": "deflate"}
        strokes = draw(source.shape, RMNP)
        strokes[(source.read() == source.nodata).any(axis=0)] = 0  # saturated pixels
    with rasterio.open(DATA / "rmnp_strokes.tif", "w", **profile) as target:
        target.write(strokes, 1)

    tissue = nibabel.load(DATA / "mni152_tissue_2mm.nii.gz")
    volume = np.asarray(tissue.dataobj)  # x, y, z
    strokes = np.zeros(volume.shape, np.uint8)
    rng = np.random.default_rng(0)
    for z in (30, 45, 60):  # two strokes a tissue on each of three axial slices
        strokes[:, :, z] = strokes_in(volume[:, :, z], rng, STROKES_PER_CLASS // 3)
    nibabel.save(nibabel.Nifti1Image(strokes, tissue.affine), DATA / "mni152_strokes.nii.gz")


if __name__ == "__main__":
    main()
