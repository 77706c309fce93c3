"""What every method that learns from masks is, and the checks that all training sets pass."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress

    LabelArray = npt.NDArray[np.unsignedinteger]

#: Largest class; scores of all classes are held for every pixel of a tile.
MAX_CLASS = 1023


class Trained(Protocol):
    """What a method has learned: labels for other images."""

    def predict_steps(self, image: Image) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X): 1..K, 0 only where the image is invalid.

        Raises
        ------
        InputError
            If the image's bands or axes are not those of the training images.
        """


class MaskMethod(Protocol):
    """A way from images with masks to labels for other images.

    A method is a dataclass whose fields are its parameters, each with a default; the class is the
    only home of these defaults, and ``__post_init__`` refuses values that cannot be used.

    Attributes
    ----------
    name, summary : str
        What users call it, and one line about it.
    ndims : tuple of int
        Numbers of spatial axes it handles.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    ndims: ClassVar[tuple[int, ...]]

    def fit_steps(
        self, images: Sequence[Image], masks: Sequence[LabelArray], random_state: int = 0
    ) -> Generator[Progress, None, Trained]:
        """Yield progress; return what was learned.

        `images` and `masks` have passed `check_training`. At least one `Progress` comes before
        long work.
        """


@dataclass(frozen=True)
class TrainingSet:
    """Images with masks that fit each other.

    Attributes
    ----------
    images : tuple of Image
        All with the same bands and number of axes.
    masks : tuple of numpy.ndarray of uint8 or uint16, shape ([Z,] Y, X)
        0 for no class, 1..K; copies.
    """

    images: tuple[Image, ...]
    masks: tuple[LabelArray, ...]

    @property
    def n_classes(self) -> int:
        """K, the highest class of any mask."""
        return max(int(mask.max()) for mask in self.masks)


def check_training(
    images: Sequence[Image], masks: Sequence[Any], ndims: Sequence[int] = (2, 3)
) -> TrainingSet:
    """Return images and masks that methods can learn from, or say what is wrong with them.

    Parameters
    ----------
    images : sequence of Image
    masks : sequence of array-like of int, shape ([Z,] Y, X) of the image in the same place
        0 for no class (ignored), 1..K for classes.
    ndims : sequence of int
        Numbers of spatial axes the method handles.

    Raises
    ------
    InputError
        If there are none, their numbers or shapes differ, a mask holds no whole numbers from 0
        to 1023, the images differ in their bands, or fewer than two classes are in all masks.
    """
    if not images or len(images) != len(masks):
        invalid(
            "train_masks", f"{len(masks)} masks", f"there are {len(images)} training images",
            "Give one mask for each image, and at least one of each",
        )  # fmt: skip
    first = images[0]
    if first.ndim not in ndims:
        invalid("train_images", first.name, f"it has {first.ndim} spatial axes",
                f"This method takes images of {' or '.join(map(str, ndims))}")  # fmt: skip
    for image in images:
        first.bands.check(image, f"the training set, beginning with {first.name!r},")
        if image.ndim != first.ndim:
            invalid("train_images", image.name, f"it has {image.ndim} spatial axes, "
                    f"{first.name!r} has {first.ndim}", "Give images alike")  # fmt: skip
    checked = tuple(_mask(mask, image) for mask, image in zip(masks, images, strict=True))
    found = np.unique(np.concatenate([np.unique(mask) for mask in checked]))
    classes = found[found > 0].tolist()
    if len(classes) < 2:
        invalid(
            "train_masks", f"{len(masks)} masks", f"they hold only the classes {classes}",
            "Give at least two classes; 0 is no class but 'unknown', so number a background too",
        )  # fmt: skip
    return TrainingSet(tuple(images), checked)


def _mask(mask: Any, image: Image) -> LabelArray:
    array = np.asarray(mask)
    if array.shape != image.shape:
        invalid("train_masks", array, f"its image {image.name!r} has shape {image.shape}",
                "Give a mask of that shape, without a band axis")  # fmt: skip
    if array.dtype.kind not in "biu":
        invalid("train_masks", array, f"{array.dtype} values are not classes",
                "Give whole numbers: 0 unknown, 1..K")  # fmt: skip
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MAX_CLASS:
        invalid("train_masks", array, f"values from {low} to {high}",
                f"Classes are 1 to {MAX_CLASS}, 0 is unknown")  # fmt: skip
    return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
