"""What every stroke method is, and the checks that all strokes pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

import numpy as np

from napari_clusternet.errors import StrokeError, invalid
from napari_clusternet.extractor import default_tile
from napari_clusternet.tiles import plan_tiles

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress
    from napari_clusternet.tiles import Region

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.integer]
    LabelArray = npt.NDArray[np.unsignedinteger]

#: Largest class: wider Labels layers cost napari ten times as much.
MAX_CLASS = 65535
#: Pixels compared at a time, small enough to stay in cache.
_COMPARED = 1 << 18


class StrokeMethod(Protocol):
    """A way from strokes to labels.

    A method with settings is a dataclass whose fields are its settings, each with a default; the
    class is their only home, and ``__post_init__`` refuses values that cannot be used. Fields
    named ``device``, ``mode``, ``n_clusters``, ``threshold`` and ``open_session`` are filled by
    `napari_clusternet.segment` with its own arguments (the last with `Session.open_steps`).

    Attributes
    ----------
    name, summary : str
        What users call it, and one line about it.
    ndims : tuple of int
        Numbers of spatial axes it handles.
    uses : str
        What ``features="auto"`` is for it: ``"features"``, the choice of `Session`; or
        ``"bands"``, the normalised bands, which the method was published with.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    ndims: ClassVar[tuple[int, ...]]
    uses: ClassVar[str]

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Extractor, random_state: int = 0
    ) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X), 0 only where the image is invalid.

        `strokes` have passed `check_strokes`, and `extractor` is fitted.
        """


def check_strokes(strokes: Any, image: Image, *, min_classes: int = 2) -> LabelArray:
    """Return strokes as an array that methods can use, or say what is wrong with them.

    Parameters
    ----------
    strokes : array-like of int, or napari Labels layer; shape ([Z,] Y, X)
        0 for none, 1..n for classes. A layer must lie where the image lies.
    image : Image
        The image that the strokes are for.
    min_classes : int
        Fewest different classes on valid pixels. With 0, nothing need be stroked, and the image
        is not read.

    Returns
    -------
    numpy.ndarray of uint8, or uint16 past class 255; shape ([Z,] Y, X)
        Not a view that writes through. Strokes on invalid pixels are 0, unless `min_classes` is 0.

    Raises
    ------
    StrokeError
        If shape, placement, values or number of classes do not fit.
    """
    array = _on_grid(strokes, image)
    painted = _as_classes(array, array)
    if min_classes:
        if not painted.any():
            _refuse(array, "nothing is stroked", "Paint at least two classes: 1, 2, ...")
        painted = _on_valid_pixels(painted, image)
    classes = np.flatnonzero(np.bincount(painted[painted > 0], minlength=1))
    if len(classes) < min_classes:
        problem = f"the strokes hold only class {', '.join(map(str, classes))}"
        count = {2: "two"}.get(min_classes, str(min_classes))
        _refuse(array, f"{problem}, and need at least {count} classes", "Stroke another class too")
    return painted


def changed_strokes(strokes: Any, image: Image, known: LabelArray) -> tuple[IntArray, LabelArray]:
    """Return where strokes are not as they were; only what is new is copied and checked.

    Parameters
    ----------
    strokes : array-like of int, or napari Labels layer; shape ([Z,] Y, X)
        As in `check_strokes`.
    image : Image
        The image that the strokes are for.
    known : numpy.ndarray of uint8 or uint16, shape (n_pixels,)
        The strokes as they were, which passed the checks.

    Returns
    -------
    pixels : numpy.ndarray of int64, shape (n,)
        Flat indices where they differ, in order.
    classes : numpy.ndarray of uint8, or uint16 past class 255; shape (n,)
        What they are there now.

    Raises
    ------
    StrokeError
        If shape, placement or new values do not fit.
    """
    array = _on_grid(strokes, image)
    flat = array.reshape(-1)
    parts = [np.zeros(0, np.int64)]
    for start in range(0, flat.size, _COMPARED):
        stop = start + _COMPARED
        differs = flat[start:stop] != known[start:stop]
        if differs.any():
            parts.append(np.flatnonzero(differs) + start)
    pixels = np.concatenate(parts)
    return pixels, _as_classes(flat[pixels], array)


def feature_tiles(
    extractor: Extractor, image: Image, wanted: BoolArray | None = None
) -> Iterator[tuple[int, int, Region, FloatArray, BoolArray]]:
    """Yield (number, count, region, features, valid) tile by tile.

    Parameters
    ----------
    extractor : Extractor
        A fitted extractor.
    image : Image
        An image with the extractor's bands.
    wanted : numpy.ndarray of bool, shape ([Z,] Y, X), optional
        Tiles without any such pixel are left out.

    Raises
    ------
    InputError
        If the image's bands are not the extractor's.
    """
    extractor.bands.check(image, "the feature extractor")
    plan = [
        tile
        for tile in plan_tiles(
            image.shape, default_tile(extractor, image.shape), extractor.halo, extractor.multiple
        )
        if wanted is None or wanted[tile.write].any()
    ]
    for i, tile in enumerate(plan):
        values, valid = image.read(tile.read)
        features = extractor(values, valid)[(slice(None), *tile.crop)]
        yield i + 1, len(plan), tile.write, features, valid[tile.crop]


def _refuse(strokes: Any, problem: str, remedy: str) -> NoReturn:
    invalid("strokes", strokes, problem, remedy, error=StrokeError)


def _on_grid(strokes: Any, image: Image) -> npt.NDArray[Any]:
    """Return strokes as an array of the image's shape, or refuse them; nothing is copied."""
    if hasattr(strokes, "data_to_world"):  # a napari layer, known by what it can do
        _check_placement(strokes, image)
        strokes = strokes.data
    array = np.asarray(strokes)
    if array.shape != image.shape:
        remedy = "Give strokes of the image's shape, without a band axis"
        _refuse(strokes, f"the image {image.name!r} has shape {image.shape}", remedy)
    return array


def _as_classes(values: npt.NDArray[Any], array: npt.NDArray[Any]) -> LabelArray:
    """Return a copy of values of `array` as uint8 or uint16, or refuse them."""
    remedy = f"Use whole numbers: 0 for none, 1 to {MAX_CLASS} for classes"
    if values.dtype.kind not in "biuf":
        _refuse(array, "not numbers", remedy)
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        _refuse(array, "some values are not whole numbers", remedy)
    lowest, highest = values.min(initial=0), values.max(initial=0)
    if lowest < 0:
        _refuse(array, f"the lowest value is {lowest}", remedy)
    if highest > MAX_CLASS:
        _refuse(array, f"the highest value is {highest}", remedy)
    return values.astype(np.uint8 if highest <= 255 else np.uint16)


def _on_valid_pixels(painted: LabelArray, image: Image) -> LabelArray:
    """Clear strokes on invalid pixels, in place; refuse them if none is left."""
    for region in image.blocks():
        if painted[region].any():
            painted[region] *= image.read(region)[1]
    if not painted.any():
        problem = f"every stroke lies on invalid pixels (nodata, masked or NaN) of {image.name!r}"
        _refuse(painted, problem, "Stroke pixels that hold data")
    return painted


def _check_placement(layer: Any, image: Image) -> None:
    """Refuse a layer whose corners are not where the image's are, by a tenth of a pixel."""
    shape = np.shape(layer.data)
    if shape != image.shape:
        remedy = "Give strokes of the image's shape, without a band axis"
        _refuse(layer.data, f"the image {image.name!r} has shape {image.shape}", remedy)
    for corner in np.ndindex(*(2,) * image.ndim):
        index = np.array(corner) * (np.array(shape) - 1)
        expected = (image.affine @ [*index, 1.0])[:-1]
        found = np.asarray(layer.data_to_world(index))
        if np.abs(found - expected).max() > 0.1 * min(image.spacing):
            _refuse(
                layer.data,
                f"pixel {index.tolist()} of layer {getattr(layer, 'name', '?')!r} is at "
                f"{found.tolist()}, that of {image.name!r} at {expected.tolist()}",
                "Give the layer the image's scale, translate and affine "
                "(image.layer_metadata), or pass layer.data",
            )
