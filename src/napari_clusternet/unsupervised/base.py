"""What every method without strokes is, and what they share: reading pixels, numbering regions."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.progress import Progress

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    RegionArray = npt.NDArray[np.uint16]

#: Largest region id: wider Labels layers cost napari ten times as much.
MAX_REGION = 65535
#: What of an image that is not 8 bits is black and what is white, percent.
_RANGE = (0.1, 99.9)
#: Valid pixels a band that the range is measured on at most.
_RANGE_PIXELS = 1_000_000


@dataclass(frozen=True)
class Tools:
    """What a method may use of other families; the caller brings it, methods never import it.

    Attributes
    ----------
    make_clusterer : callable
        ``(name, n_clusters, random_state)`` -> unfitted estimator with ``fit_steps`` or ``fit``,
        and ``predict``.
    extractor : callable
        ``(image, features, random_state)`` -> fitted `Extractor`; `features` as in `cn.segment`
        (a name, a fitted model, or a tuple of those).
    device : str
        What `napari_clusternet.device.select_device` takes.
    learn_steps : callable, optional
        ``(image, random_state, **parameters)`` -> generator of `Progress` that returns a
        `ClusterNet` trained on the image; `parameters` replace those of the quick preset.
    """

    make_clusterer: Callable[[str, int, int], Any]
    extractor: Callable[[Image, Any, int], Extractor]
    device: str = "auto"
    learn_steps: Callable[..., Generator[Progress, None, Any]] | None = None


class RegionMethod(Protocol):
    """A way from an image alone to regions.

    A method is a dataclass whose fields are its parameters, each with a default; the class is the
    only home of these defaults, and ``__post_init__`` refuses values that cannot be used. A run
    changes no parameter. What a run finds beside the regions is kept in attributes whose names end
    with ``_`` (``field(init=False)``), documented in the class.

    Attributes
    ----------
    name, summary : str
        What users call it, and one line about it.
    ndims : tuple of int
        Numbers of spatial axes it handles.
    needs : str
        What it takes of `Tools`: ``""``, ``"features"``, ``"clusterer"`` or ``"learning"``.
    advice : str
        What it is good for and how long it takes, in plain words.
    main : tuple of str
        The parameters that people change first; forms show these, and fold the others.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    ndims: ClassVar[tuple[int, ...]]
    needs: ClassVar[str]
    advice: ClassVar[str]
    main: ClassVar[tuple[str, ...]]

    def region_steps(
        self, image: Image, tools: Tools, random_state: int = 0
    ) -> Generator[Progress, None, RegionArray]:
        """Yield progress; return regions ([Z,] Y, X), uint16.

        0 only where the image is invalid; regions are numbered 1..n without gaps. Pixels of one
        region need not touch. At least one `Progress` comes before long work.
        """


def read_unit(image: Image) -> tuple[FloatArray, BoolArray]:
    """Read a whole image with values from 0 to 1, as networks without normalisation take it.

    8-bit values are divided by 255, as the papers do. Of others, each band's 0.1 and 99.9
    percentiles become 0 and 1, and what lies outside is clipped; a constant band becomes 0.

    Returns
    -------
    values : numpy.ndarray of float32, shape (C, [Z,] Y, X)
        0 where invalid.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)

    Raises
    ------
    InputError
        If no pixel is valid.
    """
    values, valid = image.read()
    refuse_empty(image, valid)
    if np.dtype(image.data.dtype) == np.uint8:
        values /= 255.0
        return values, valid
    for band in values:
        inside = band[valid]
        low, high = np.percentile(inside[:: -(-inside.size // _RANGE_PIXELS)], _RANGE)
        scale = 1.0 / (high - low) if high > low else 0.0
        np.clip((band - low) * scale, 0.0, 1.0, out=band)
    values[:, ~valid] = 0
    return values, valid


def learn_steps(
    tools: Tools, image: Image, random_state: int, **parameters: Any
) -> Generator[Progress, None, Any]:
    """Yield progress; return a `ClusterNet` trained on the image by ``tools.learn_steps``.

    Raises
    ------
    InputError
        If `tools` cannot learn.
    """
    if tools.learn_steps is None:
        invalid("tools", tools, "it has no learn_steps", "Use cn.unsupervised, or give it one")
    model = yield from tools.learn_steps(image, random_state, **parameters)
    return model


def check_number(argument: str, value: Any, lowest: float, *, whole: bool = False) -> None:
    """Refuse a parameter that is no finite number of at least `lowest`, or no whole one.

    Raises
    ------
    InputError
        Naming the parameter, its value and what it may be.
    """
    number = isinstance(value, int | float | np.integer | np.floating)
    kind = "whole number" if whole else "number"
    if (
        isinstance(value, bool)
        or not number
        or not np.isfinite(value)
        or (whole and value != int(value))
        or value < lowest
    ):
        problem = f"not a {kind} of at least {lowest:g}"
        invalid(argument, value, problem, f"Give a {kind} of at least {lowest:g}")


def check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a parameter that is none of `choices`.

    Raises
    ------
    InputError
        Naming the parameter, its value and the choices.
    """
    if value not in choices:
        invalid(argument, value, "not a choice", f"Use one of {', '.join(map(repr, choices))}")


def refuse_empty(image: Image, valid: BoolArray) -> None:
    """Refuse an image without a valid pixel.

    Raises
    ------
    InputError
        If no pixel is valid.
    """
    if not valid.any():
        invalid("image", image.name, "no valid pixel", "Check nodata, the mask and NaN values")


def number_regions(labels: npt.NDArray[Any], valid: BoolArray) -> RegionArray:
    """Return labels numbered 1..n without gaps, in the order of their values; 0 where invalid.

    Parameters
    ----------
    labels : numpy.ndarray of int, shape ([Z,] Y, X)
        Any integers; what they are where `valid` is False does not matter.
    valid : numpy.ndarray of bool, shape ([Z,] Y, X)

    Raises
    ------
    InputError
        If there are more regions than uint16 can tell apart.
    """
    regions = np.zeros(labels.shape, np.uint16)
    found, numbers = np.unique(labels[valid], return_inverse=True)
    if len(found) > MAX_REGION:
        invalid(
            "image", labels, f"it falls into {len(found)} regions, more than {MAX_REGION}",
            "Ask for larger or fewer regions, or cut the image into parts",
        )  # fmt: skip
    regions[valid] = numbers.reshape(-1) + 1
    return regions
