"""Checks of parameters and images, before any long work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_clusternet.clustering import CLUSTERERS
from napari_clusternet.config import Mode, Sampling
from napari_clusternet.errors import describe, invalid
from napari_clusternet.image import Image

if TYPE_CHECKING:
    from napari_clusternet.config import ClusterNetDefaults

#: Smallest value of each whole number, and whether None is allowed.
_COUNTS = {
    "n_features": (1, False),
    "n_clusters": (2, False),
    "n_epochs": (1, False),
    "cluster_batch": (1, False),
    "train_batch": (1, False),
    "patch": (8, False),
    "random_state": (0, True),
    "loss_pixels": (2, True),
    "cluster_pixels": (2, True),
    "cluster_iterations": (1, False),
    "patience": (1, True),
}
#: Real numbers, and whether they may be 0.
_REALS = {
    "learning_rate": False,
    "temperature": False,
    "sharpness": False,
    "jitter": True,
    "reconstruction": True,
    "checkpoint_seconds": True,
}
#: Cluster ids are uint16 and 0 is kept for invalid pixels.
MAX_CLUSTERS = 65_535


def check_settings(settings: ClusterNetDefaults) -> None:
    """Check every parameter of `ClusterNet`.

    Raises
    ------
    InputError
        For the first one that cannot be used, with its value and the remedy.
    """
    for name, (least, optional) in _COUNTS.items():
        value = getattr(settings, name)
        if value is None and optional:
            continue
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            remedy = f"Give {least} or more" + (", or None" if optional else "")
            invalid(name, value, "not a whole number in range", remedy)
    for name, zero in _REALS.items():
        value = getattr(settings, name)
        number = isinstance(value, Real) and np.isfinite(float(value))
        if not number or value < 0 or (value == 0 and not zero):
            invalid(name, value, "not a number in range", "Give a positive number")
    if settings.n_clusters > MAX_CLUSTERS:
        invalid("n_clusters", settings.n_clusters, "too many", f"Give at most {MAX_CLUSTERS}")
    if settings.train_batch > settings.cluster_batch:
        invalid(
            "train_batch", settings.train_batch, "larger than the clustering batch",
            f"Give at most cluster_batch={settings.cluster_batch}",
        )  # fmt: skip
    for name, kind in (("mode", Mode), ("sampling", Sampling)):
        value, known = getattr(settings, name), get_args(kind)
        if value not in known:
            invalid(name, value, "unknown", f"Use {' or '.join(map(repr, known))}")
    CLUSTERERS.load(settings.clusterer, "clusterer")
    _check_channels(settings.channels)


def _check_channels(channels: Any) -> None:
    if channels is None:
        return
    whole = isinstance(channels, (tuple, list)) and len(channels) > 0
    if not whole or not all(isinstance(n, Integral) and int(n) >= 1 for n in channels):
        invalid("channels", channels, "not widths of levels", "Give e.g. (16, 24, 32, 48)")


def as_images(images: Any) -> list[Image]:
    """Return one image, or several, as a list of `Image` that can be learned from together.

    Parameters
    ----------
    images : Image, array, path, napari layer, or a sequence of them
        Arrays and paths are opened with `napari_clusternet.open_image`.

    Raises
    ------
    InputError
        If there are none, or they differ in axes, bands or spacing.
    """
    several = isinstance(images, Sequence) and not isinstance(images, (str, bytes, os.PathLike))
    items = list(images) if several else [images]
    if not items:
        invalid("images", images, "there are none", "Give at least one image")
    pictures = [_as_image(item) for item in items]
    first = pictures[0]
    for other in pictures[1:]:
        if other.ndim != first.ndim:
            axes = [picture.axes for picture in pictures]
            invalid("images", axes, "2D and 3D images are mixed", "Learn from each kind apart")
        first.bands.check(other, f"the first image, {first.name!r},")
        ratio = np.array(other.spacing) / first.spacing
        if other.ndim == 3 and not np.allclose(ratio, ratio[0], rtol=0.5):
            invalid(
                "images", [picture.spacing for picture in pictures],
                "the voxels have different proportions",
                "Resample the volumes to one spacing, or learn from each kind apart",
            )  # fmt: skip
    return pictures


def _as_image(item: Any) -> Image:
    if isinstance(item, Image):
        return item
    if item is None:
        invalid("images", describe(item), "not an image", "Give an Image, an array or a path")
    from napari_clusternet.io.opening import open_image

    image: Image = open_image(item)
    return image
