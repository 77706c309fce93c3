"""A training of the window: what it learns from, its checkpoint, and its end."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_clusternet._napari import checkpoints
from napari_clusternet._napari.watched import Watched
from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import ClusterNetDefaults
from napari_clusternet.device import select_device
from napari_clusternet.errors import invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Progress
from napari_clusternet.training.inputs import as_images, check_settings


@dataclass
class Training:
    """A training that runs, or was stopped before its end.

    Attributes
    ----------
    model : ClusterNet
        Fitted once something was learned.
    images : list of Image
        What it learns from.
    name : str
        Names of the images, for people.
    watched : Watched
        The layers they came from.
    checkpoint : Path or None
        Where its state is kept; None until the default place is known.
    own : bool
        Whether the checkpoint is removed at the end.
    """

    model: ClusterNet
    images: list[Image]
    name: str
    watched: Watched
    checkpoint: Path | None
    own: bool

    def steps(self, resume: bool) -> Generator[Progress, None, ClusterNet]:
        """Train; return the model."""
        if self.checkpoint is None:
            self.checkpoint = checkpoints.path_for(self.name, self.model.get_params(), self.images)
        if self.own:
            resume = resume and checkpoints.usable(self.checkpoint)
        yield from self.model.fit_steps(self.images, checkpoint=self.checkpoint, resume=resume)
        if self.own:
            self.checkpoint.unlink(missing_ok=True)
        return self.model

    @property
    def resumable(self) -> bool:
        """Whether it can go on."""
        return self.checkpoint is not None and self.checkpoint.exists()


def epochs(model: ClusterNet) -> str:
    """Say how many epochs a model has learned for."""
    done = "less than one" if model.n_iter_ == 0 else str(model.n_iter_)
    return f"{done} of {model.n_epochs} epochs"


def estimator(preset: str, parameters: dict[str, Any]) -> ClusterNet:
    """Return an estimator whose parameters, and device, are known to be good."""
    known = {field.name for field in fields(ClusterNetDefaults)}
    for name, value in parameters.items():
        if name not in known:
            invalid(name, value, "no such parameter", f"Use {', '.join(sorted(known))}")
    model = ClusterNet.from_preset(preset, **parameters)
    check_settings(ClusterNetDefaults(**model.get_params()))
    select_device(model.device, model.precision)
    return model


def training_images(
    layers: Sequence[Layer], images: Any, axes: str | None, bands: Sequence[int] | None
) -> tuple[list[Image], list[Layer]]:
    """Return images to learn from, checked, and the layers they are made of.

    Parameters
    ----------
    layers : sequence of Layer
        Those of one grid are bands of one image; used if `images` is None.
    images, axes, bands
        See `napari_clusternet._napari.learning.Learning.learn`.

    Raises
    ------
    InputError
        If they make no images with the same bands.
    """
    if images is None:
        groups: list[Any] = _by_grid(layers, axes)
    else:
        groups = list(images) if isinstance(images, list | tuple) else [images]
    pictures: list[Image] = []
    chosen: list[Layer] = []
    for group in groups:
        members = [group] if isinstance(group, Layer) else group
        if isinstance(members, list | tuple) and all(isinstance(m, Layer) for m in members):
            pictures.append(image_from_layers(members, axes=axes, bands=bands))
            chosen += members
        else:
            pictures.append(open_image(group, axes=axes))
    return as_images(pictures), chosen


def training_shapes(layers: Sequence[Layer], images: Any, axes: str | None) -> list[Any]:
    """Return the shape ([Z,] Y, X) of each image that `training_images` would make.

    It costs nothing: no bands are put together.

    Raises
    ------
    InputError
        If a layer's axes are ambiguous.
    """
    groups = _by_grid(layers, axes) if images is None else list(images)
    firsts = [group[0] if isinstance(group, list | tuple) else group for group in groups]
    return [open_image(first, axes=axes).shape for first in firsts]


def _by_grid(layers: Sequence[Layer], axes: str | None) -> list[list[Layer]]:
    """Return layers in groups of the same shape and place."""
    groups: list[tuple[Image, list[Layer]]] = []
    for layer in layers:
        image = image_from_layers([layer], axes=axes)
        for other, members in groups:
            if image.shape == other.shape and np.allclose(image.affine, other.affine):
                members.append(layer)
                break
        else:
            groups.append((image, [layer]))
    return [members for _, members in groups]
