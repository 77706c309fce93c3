"""What every stroke method is, and the checks all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_clusternet.errors import StrokeError, invalid

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress

    LabelArray = npt.NDArray[np.unsignedinteger[Any]]

#: Highest class: labels are uint16 at most.
MAX_CLASS = 65535


class StrokeMethod(Protocol):
    """A method that labels an image from strokes; built without arguments."""

    #: One line for people.
    summary: str
    #: Numbers of spatial axes it handles.
    ndims: tuple[int, ...]

    def segment_steps(
        self, image: Image, strokes: LabelArray, extractor: Any, random_state: int
    ) -> Generator[Progress, None, LabelArray]:
        """Label every valid pixel.

        Parameters
        ----------
        image : Image
            The image.
        strokes : numpy.ndarray, shape ([Z,] Y, X)
            Checked strokes of at least two classes.
        extractor : Extractor
            A fitted feature extractor.
        random_state : int
            Seed.

        Returns
        -------
        numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
            Classes; 0 where the image is invalid.
        """


def check_strokes(strokes: Any, image: Image, min_classes: int = 2) -> LabelArray:
    """Check strokes against an image and return them as uint8 (uint16 past class 255).

    Parameters
    ----------
    strokes : array-like of int, shape ([Z,] Y, X), or a napari Labels layer
        0 for none, 1..n for classes.
    image : Image
        The image they were painted on.
    min_classes : int
        How many different classes are needed; 0 accepts no strokes at all.

    Returns
    -------
    numpy.ndarray of uint8 or uint16, shape ([Z,] Y, X)

    Raises
    ------
    StrokeError
        If shape, place or values do not fit, too few classes are painted, or every stroke lies on
        invalid pixels.
    """
    if hasattr(strokes, "data") and hasattr(strokes, "scale"):
        _check_place(strokes, image)
        strokes = strokes.data
    array = np.asarray(strokes)
    if array.shape != image.shape:
        _refuse(array, f"the image is {image.shape}", "Paint on a layer of the image's shape")
    painted = _check_values(array)
    classes = np.flatnonzero(np.bincount(painted[painted > 0])) if painted.any() else []
    if len(classes) < min_classes:
        found = "no strokes" if len(classes) == 0 else f"only class {int(classes[0])}"
        _refuse(array, f"{found}; need at least two classes", "Paint strokes of another class")
    if len(classes) and min_classes:
        _check_validity(painted, image)
    return painted


def _check_values(array: npt.NDArray[Any]) -> LabelArray:
    if array.dtype.kind == "f" and not (array == np.floor(array)).all():  # NaN fails too
        _refuse(array, "values are not whole numbers", "Give integers, 0 for none")
    if array.dtype.kind not in "biuf":
        _refuse(array, "not integers", "Give integers, 0 for none")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0 or high > MAX_CLASS:
        _refuse(array, f"values from {low} to {high}", f"Use 0 for none, classes 1 to {MAX_CLASS}")
    return array.astype(np.uint8 if high <= 255 else np.uint16, copy=False)


def _check_validity(painted: LabelArray, image: Image) -> None:
    for region in image.blocks():
        part = painted[region] > 0
        if part.any() and (image.read(region)[1] & part).any():
            return
    _refuse(painted, "every stroke lies on invalid (nodata) pixels", "Paint where there is data")


def _check_place(layer: Any, image: Image) -> None:
    """Compare a layer's place in the world with the image's."""
    matrix = np.asarray(layer.affine.affine_matrix, dtype=float)
    n = image.ndim
    local = np.diag([*np.asarray(layer.scale, dtype=float)[-n:], 1.0])
    local[:n, n] = np.asarray(layer.translate, dtype=float)[-n:]
    corner = matrix.shape[0] - 1 - n
    world = matrix[corner:, corner:] @ local
    if not np.allclose(world, image.affine, rtol=1e-6, atol=1e-9 * np.abs(image.affine).max()):
        invalid(
            "strokes",
            getattr(layer, "name", layer),
            f"its scale, translate or affine {world.tolist()} differ from the image's "
            f"{image.affine.tolist()}",
            "Give the layer the image's scale and affine, or pass its .data",
            error=StrokeError,
        )


def _refuse(array: npt.NDArray[Any], problem: str, remedy: str) -> None:
    invalid("strokes", array, problem, remedy, error=StrokeError)
