"""A network that learned from masks, to keep: fit, predict, save, load."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from napari_clusternet.api.masks import DEFAULT_METHOD, make_mask_method, training_set
from napari_clusternet.errors import invalid
from napari_clusternet.io.opening import open_image
from napari_clusternet.progress import Callback, Progress, drain

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    LabelArray = npt.NDArray[np.unsignedinteger]


class MaskModel:
    """Learn from images with full masks once, label other images later.

    Parameters
    ----------
    method : str
        A method of kind ``"masks"`` of `methods`.
    random_state : int
        Seed; the same seed, data and device give the same network.
    **parameters
        Parameters of the method, such as ``steps=200``; `mask_parameters_of` lists them.

    Attributes
    ----------
    trained_ : napari_clusternet.supervised.trained.TrainedNetwork
        What was learned.
    spacing_, extent_ : tuple
        Pixel size of the training images, and their largest extent per axis, pixels: they decide
        where the network pools.

    Raises
    ------
    InputError
        If there is no such method, it has no such parameter, or a value cannot be used.

    Examples
    --------
    >>> model = cn.MaskModel("unet", steps=500)
    >>> model.fit(["a.tif", "b.tif"], ["a_mask.tif", "b_mask.tif"]).save("roofs.safetensors")
    >>> labels = cn.MaskModel.load("roofs.safetensors").predict("scene.tif")
    """

    def __init__(
        self, method: str = DEFAULT_METHOD, *, random_state: int = 0, **parameters: Any
    ) -> None:
        self.method, self.random_state, self.parameters = method, random_state, parameters
        self._maker = make_mask_method(method, **parameters)
        self.trained_: Any = None
        self.spacing_: tuple[float, ...] = ()
        self.extent_: tuple[int, ...] = ()

    def fit_steps(
        self,
        train_images: Any,
        train_masks: Any,
        *,
        axes: str | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Generator[Progress, None, Self]:
        """Learn as a generator of `Progress` that returns this model; see `fit`.

        Parameters
        ----------
        train_images, train_masks, axes, spacing
            See `fit`.

        Yields
        ------
        Progress
            After every step; the generator returns this model.
        """
        known = training_set(train_images, train_masks, self._maker.ndims, axes, spacing)
        trained = yield from self._maker.fit_steps(known.images, known.masks, self.random_state)
        shapes = [image.shape for image in known.images]
        self.trained_, self.spacing_ = trained, tuple(known.images[0].spacing)
        self.extent_ = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        return self

    def fit(
        self,
        train_images: Any,
        train_masks: Any,
        *,
        axes: str | None = None,
        spacing: Sequence[float] | None = None,
        callback: Callback | None = None,
    ) -> Self:
        """Learn from images with masks.

        Parameters
        ----------
        train_images, train_masks, axes, spacing
            See `napari_clusternet.supervised`.
        callback : callable, optional
            Called with a `Progress` at every step; may raise to cancel.

        Returns
        -------
        MaskModel
            This one.

        Raises
        ------
        InputError
            If images and masks do not fit each other.
        MissingExtraError
            If the method needs an extra that is not installed.
        """
        steps = self.fit_steps(train_images, train_masks, axes=axes, spacing=spacing)
        return drain(steps, callback)

    def predict_steps(
        self, image: Any, *, axes: str | None = None, spacing: Sequence[float] | None = None
    ) -> Generator[Progress, None, LabelArray]:
        """Label an image as a generator of `Progress` that returns the labels; see `predict`.

        Parameters
        ----------
        image, axes, spacing
            See `predict`.

        Yields
        ------
        Progress
            After every tile; the generator returns the labels ([Z,] Y, X).
        """
        if self.trained_ is None:
            invalid("model", self.method, "it has learned nothing yet", "Call fit first, or load")
        picture = open_image(image, axes=axes, spacing=spacing)
        self.trained_.bands.check(picture, "the training set")
        labels: LabelArray = yield from self.trained_.predict_steps(picture)
        return labels

    def predict(
        self,
        image: Any,
        *,
        axes: str | None = None,
        spacing: Sequence[float] | None = None,
        callback: Callback | None = None,
    ) -> LabelArray:
        """Label an image with the bands of the training images.

        Parameters
        ----------
        image : Image, array-like, path or napari layer
            What `open_image` takes; lazy images are labelled tile by tile.
        axes, spacing
            See `open_image`; for arrays.
        callback : callable, optional
            Called with a `Progress` at every step; may raise to cancel.

        Returns
        -------
        numpy.ndarray of uint8 (uint16 past class 255), shape ([Z,] Y, X)
            Class of every pixel; 0 only where the image is invalid.

        Raises
        ------
        InputError
            If nothing was learned, or the bands or axes are not those of the training images.
        """
        return drain(self.predict_steps(image, axes=axes, spacing=spacing), callback)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to one safetensors file, atomically.

        Parameters
        ----------
        path : path-like
            File to write, ``*.safetensors``.

        Raises
        ------
        InputError
            If nothing was learned, or the method is not one of this package.
        """
        from napari_clusternet.api.mask_files import write_mask_model

        if self.trained_ is None:
            invalid("model", self.method, "it has learned nothing yet", "Call fit first, or load")
        write_mask_model(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> MaskModel:
        """Read a model that `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path-like
            The file.
        device : str
            Where to compute; see `napari_clusternet.device.select_device`.

        Returns
        -------
        MaskModel
            Ready to predict.

        Raises
        ------
        FileFormatError
            If the file is damaged, of another kind or a newer version.
        MissingExtraError
            If the method needs an extra that is not installed.
        """
        from napari_clusternet.api.mask_files import read_mask_model

        return read_mask_model(path, device)
