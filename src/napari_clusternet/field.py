"""A field of a large scene: what a session works on where the whole does not fit into memory.

The clusters are those of the field and of a sample of the rest of the scene. When the session
moves on to another field, the clusters, their classes and the strokes go along: stroked pixels of
other fields stay in the session as pixels outside its image.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import invalid
from napari_clusternet.features.matrix import FeatureMatrix, Outside, collect
from napari_clusternet.image import Image
from napari_clusternet.progress import Progress, drain
from napari_clusternet.tiles import Region

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.engine import ClusterEngine
    from napari_clusternet.extractor import Extractor

    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: By number of spatial axes: places of the scene that are looked at, their edge, and what is read
#: around them at most, pixels. A sample need not be as exact as a field; together they are smaller.
SAMPLE_PATCHES, SAMPLE_EDGE, CONTEXT = {2: 16, 3: 6}, {2: 64, 3: 32}, {2: 48, 3: 24}
#: Tries to find one with valid pixels.
_TRIES = 96
#: Patches read at a time: stores decompress beside each other.
_READERS = 4
#: Patches are read from multiples of this, pixels: the stride of every network.
ALIGNED = 32
#: Pixels of each that become rows; pixels of the field that clusters are learned from.
PIXELS_PER_PATCH, FIELD_PIXELS = {2: 1536, 3: 4096}, 32_768
#: Pixels of each cluster that stay when the session moves on, so that it is known what it is like.
KEPT_PER_CLUSTER = 12
#: Fields begin at multiples of this, and are not smaller, by number of spatial axes, pixels.
FIELD_UNIT, SMALLEST_FIELD = {2: 64, 3: 16}, {2: 256, 3: 32}


@dataclass(frozen=True, eq=False)
class Field:
    """Where in which scene a session works.

    Attributes
    ----------
    scene : Image or None
        The scene, at the resolution the session works at; None where it was not found after
        loading from a file.
    region : tuple of slice
        The field ([z,] y, x), in the scene's pixels.
    fitted_on : Image
        Patches from all over the scene, on which the features were measured.
    about : dict or None
        What the session's file says of the scene; see `napari_clusternet.session_scene`.
    """

    scene: Image | None
    region: Region
    fitted_on: Image
    about: dict[str, Any] | None = None

    @property
    def origin(self) -> npt.NDArray[np.int64]:
        """Pixel index ([z,] y, x) of the field's first pixel in the scene."""
        return np.array([part.start for part in self.region], dtype=np.int64)


def field_in_view(scene: Image, view: Region, limit: int) -> Region:
    """Return the field that shows what is in view ([z,] y, x), or the middle of that.

    It begins at a multiple of 64 pixels (of 16 voxels), and has at most `limit` pixels, about.
    """
    shape, unit = np.array(scene.shape), FIELD_UNIT[scene.ndim]
    low = np.array([part.start for part in view], dtype=float)
    high = np.array([part.stop for part in view], dtype=float)
    size = np.minimum(np.maximum(high - low, SMALLEST_FIELD[scene.ndim]), shape)
    while size.prod() > limit:  # the longest sides give way first
        size[size >= size.max() * 0.999] *= 0.98
    start = np.clip((low + high - size) / 2, 0, shape - size) // unit * unit
    stop = np.minimum(start + np.ceil(size / unit) * unit, shape)
    return _region(start.astype(np.int64), stop.astype(np.int64))


def field_region(scene: Image, region: Any, multiple: tuple[int, ...]) -> Region:
    """Return a region inside a scene, widened so that it begins at a multiple of the stride.

    Raises
    ------
    InputError
        If it is no region, or lies outside.
    """
    remedy = f"Give {scene.ndim} slices inside {scene.shape}"
    try:
        spans = [part.indices(size) for part, size in zip(region, scene.shape, strict=True)]
    except (AttributeError, TypeError, ValueError):
        invalid("region", region, "not a slice for each spatial axis", remedy)
    if any(step != 1 or stop <= start for start, stop, step in spans):
        invalid("region", region, f"it holds no pixel of the scene {scene.shape}", remedy)
    return tuple(
        slice(start // unit * unit, stop)
        for (start, stop, _), unit in zip(spans, multiple, strict=True)
    )


def crop(scene: Image, region: Region) -> Image:
    """Return a region of a scene as an image in memory, at its place in the world."""
    start = np.array([part.start for part in region])
    affine = scene.affine.copy()
    affine[:-1, -1] += affine[:-1, :-1] @ start
    mask = None if scene.mask is None else np.asarray(scene.mask[region])
    data = np.asarray(scene.data[(slice(None), *region)])
    name = f"{scene.name} {', '.join(str(place) for place in start)}"
    return replace(
        scene, data=data, affine=affine, mask=mask, name=name, source=None, levels=(), extra={}
    )


@dataclass(frozen=True, eq=False)
class Patch:
    """A small part of a scene, in memory.

    Attributes
    ----------
    image : Image
        The part and what is around it.
    inner : tuple of slice
        The part itself ([z,] y, x), in the image's pixels.
    origin : numpy.ndarray of int64, shape (ndim,)
        Pixel index of the image's first pixel in the scene.
    """

    image: Image
    inner: Region
    origin: npt.NDArray[np.int64]


def sample_patches(scene: Image, random_state: int) -> list[Patch]:
    """Read patches all over a scene that have valid pixels, at random places.

    Raises
    ------
    InputError
        If none was found.
    """
    shape, wanted = np.array(scene.shape), SAMPLE_PATCHES[scene.ndim]
    edges, context = np.minimum(SAMPLE_EDGE[scene.ndim], shape), CONTEXT[scene.ndim]
    counts = -(-shape // edges)
    total, rng = math.prod(counts.tolist()), np.random.default_rng(random_state)
    order = rng.permutation(total) if total < 1 << 20 else rng.integers(total, size=_TRIES)
    at = np.stack(np.unravel_index(order[:_TRIES], counts), axis=1)
    places = list(dict.fromkeys(map(tuple, np.minimum(at * edges, shape - edges).tolist())))

    def read(place: tuple[int, ...]) -> Patch:
        low = np.array(place)
        origin = np.maximum(low - context, 0) // ALIGNED * ALIGNED
        image = crop(scene, _region(origin, np.minimum(low + edges + context, shape)))
        return Patch(image, _region(low - origin, low - origin + edges), origin)

    found: list[Patch] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(places), wanted):
            patches = pool.map(read, places[start : start + wanted])
            found += [patch for patch in patches if patch.image.read(patch.inner)[1].any()]
            if len(found) >= wanted:
                return found[:wanted]
    if not found:
        problem = f"no pixel of {len(places)} places is valid"
        invalid("scene", scene.name, problem, "Check nodata, the mask and NaN values")
    return found


def side_by_side(patches: Sequence[Patch]) -> Image:
    """Return patches of a scene as one image, one after the other along the first axis."""
    images = [crop(patch.image, patch.inner) for patch in patches]
    masks = [image.mask for image in images]
    data = np.concatenate([image.data for image in images], axis=1)
    mask = None if masks[0] is None else np.concatenate(masks)
    return replace(images[0], data=data, mask=mask)


def sample_steps(
    extractor: Extractor, patches: Sequence[Patch], random_state: int
) -> Generator[Progress, None, Outside]:
    """Compute the features of some valid pixels of each patch; places are the scene's."""
    rng = np.random.default_rng(random_state)
    whole: Outside | None = None
    for i, patch in enumerate(patches):
        found = _of_patch(extractor, patch, rng)
        whole = found if whole is None else whole + found
        yield Progress("looking at the scene", i + 1, len(patches))
    assert whole is not None
    return whole


def _of_patch(extractor: Extractor, patch: Patch, rng: np.random.Generator) -> Outside:
    matrix = drain(collect(extractor, patch.image))
    inner = np.zeros(matrix.valid.shape, dtype=bool)
    inner[patch.inner] = matrix.valid[patch.inner]
    pixels = np.sort(rng.permutation(np.flatnonzero(inner))[: PIXELS_PER_PATCH[inner.ndim]])
    maps = None if matrix.maps is None else matrix.take_maps(pixels).astype(np.float16)
    return Outside(matrix.places(pixels) + patch.origin, matrix.take(pixels), maps)


def _region(low: npt.NDArray[np.integer], high: npt.NDArray[np.integer]) -> Region:
    return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def relative(outside: Outside, origin: npt.NDArray[np.int64]) -> Outside:
    """Return pixels whose places count from another pixel of the scene."""
    return replace(outside, places=outside.places - origin)


def learned_from(matrix: FeatureMatrix, random_state: int) -> IntArray:
    """Choose the rows that clusters are learned from: some of the field, and all outside."""
    n_inside = len(matrix.rows) - matrix.n_outside
    rng = np.random.default_rng(random_state)
    inside = np.sort(rng.permutation(n_inside)[:FIELD_PIXELS])
    return np.concatenate([inside, np.arange(n_inside, len(matrix.rows))])


# ---- moving on -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Luggage:
    """What goes along to another field, places counted in the scene.

    Attributes
    ----------
    outside : Outside
        Pixels that will be outside the new field: stroked ones, and some of every cluster.
    ids : numpy.ndarray of uint16, shape (n,)
        Their clusters.
    strokes : numpy.ndarray of uint8 or uint16, shape (n,)
        Their strokes, 0 for none.
    here : numpy.ndarray of int64, shape (m, ndim)
        Stroked pixels of the new field, from its first pixel on.
    strokes_here : numpy.ndarray of int, shape (m,)
        Their strokes.
    """

    outside: Outside
    ids: npt.NDArray[np.uint16]
    strokes: LabelArray
    here: npt.NDArray[np.int64]
    strokes_here: LabelArray

    def strokes_on(self, cluster_map: npt.NDArray[np.uint16]) -> LabelArray:
        """Return the strokes of the new field's pixels, then of those outside, flat."""
        inside = np.zeros(cluster_map.shape, self.strokes.dtype)
        inside[tuple(self.here.T)] = self.strokes_here
        inside[cluster_map == 0] = 0
        return np.concatenate([inside.reshape(-1), self.strokes])


def pack(engine: ClusterEngine, origin: npt.NDArray[np.int64], region: Region) -> Luggage:
    """Return what of a session goes along from the field at `origin` to another `region`."""
    matrix, partition, size = engine.matrix, engine.partition, engine.matrix.valid.size
    stroked = np.flatnonzero(engine.strokes)
    before = np.arange(size, partition.n_pixels)  # outside, and not stroked
    before = before[engine.strokes[before] == 0]
    kept = np.bincount(partition.ids(before), minlength=partition.n_ids + 1)
    poor = [i for i in range(1, partition.n_ids + 1) if kept[i] < KEPT_PER_CLUSTER]
    some = [np.zeros(0, np.int64)]
    for i in poor:
        pixels = partition.inside(i)
        pixels = pixels[engine.strokes[pixels] == 0]
        n = min(len(pixels), KEPT_PER_CLUSTER - int(kept[i]))
        some.append(pixels[np.arange(n) * len(pixels) // max(1, n)].astype(np.int64))
    pixels = np.concatenate([before, *some, stroked])
    places = matrix.places(pixels) + origin
    low = np.array([part.start for part in region])
    high = np.array([part.stop for part in region])
    strokes = engine.strokes[pixels]
    here = ((places >= low) & (places < high)).all(axis=1) & (strokes > 0)
    away = pixels[~here]
    maps = None if matrix.maps is None else matrix.take_maps(away).astype(np.float16)
    return Luggage(
        Outside(places[~here], matrix.take(away), maps),
        partition.ids(away),
        strokes[~here],
        places[here] - low,
        strokes[here],
    )
