"""Step 1 in the viewer: learn features, see them, save and load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from napari.utils.notifications import show_info
from psygnal import Signal
from sklearn.base import clone

from napari_clusternet._napari.runner import in_words
from napari_clusternet._napari.training import (
    Training,
    epochs,
    estimator,
    training_images,
    training_shapes,
)
from napari_clusternet._napari.watched import Watched
from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import ClusterNetDefaults
from napari_clusternet.device import select_device
from napari_clusternet.errors import ClusterNetError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.preview import preview_steps
from napari_clusternet.progress import Progress
from napari_clusternet.training.expectation import expected_seconds

if TYPE_CHECKING:
    from napari_clusternet._napari.controller import Controller

#: Marks the layers that `Learning.show_features` makes, in their metadata.
PREVIEW = "napari-clusternet features of"
#: Points of the curves that are kept; then every second one is dropped.
_POINTS = 4000


class Learning:
    """Part of `napari_clusternet._napari.controller.Controller`.

    Attributes
    ----------
    training : Training or None
        What is being learned now.
    unfinished : Training or None
        The training that was stopped last; `resume` goes on with it.
    curve : list of Progress
        Steps of the training that runs or ran last, thinned out.
    model_source : str
        What the model was learned from, or which file it was loaded from.
    learning_progressed : Signal(Progress)
        A training step was done and is in `curve`; at most ten times a second.
    """

    learning_progressed = Signal(Progress)

    training: Training | None = None
    unfinished: Training | None = None
    curve: list[Progress] = []  # noqa: RUF012 - replaced, never changed, before a training
    model_source: str = ""
    _docks: int = 0

    # ---- training --------------------------------------------------------------------------------

    def learn(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        images: Sequence[Any] | None = None,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        preset: str = "quick",
        checkpoint: str | Path | None = None,
        resume: bool = True,
        **parameters: Any,
    ) -> ClusterNet | None:
        """Learn features in the background; then they are `model`.

        Parameters
        ----------
        layers : Layer or sequence of Layer, optional
            What to learn from; by default the selected image layers. Layers of one grid (the same
            shape and place) are bands of one image, layers of different grids are several images
            with the same bands.
        images : sequence, optional
            In place of `layers`: several images, each a layer, a sequence of layers (its bands),
            or anything else that `napari_clusternet.open_image` takes.
        axes : str, optional
            Order of the layers' axes, where they do not say; see `napari_clusternet.open_image`.
        bands : sequence of int, optional
            Bands of the layers to learn from, 0 is the first; all by default.
        preset : {"quick", "balanced", "paper"}
            See `napari_clusternet.ClusterNet.from_preset`.
        checkpoint : path-like, optional
            File to keep the state of the training in; by default one in the user's data folder,
            found again for the same images and parameters, and removed at the end.
        resume : bool
            Whether to go on from the checkpoint if there is one.
        **parameters
            Parameters of `napari_clusternet.ClusterNet` that replace the preset's.

        Returns
        -------
        ClusterNet or None
            The model, fitted when the training ends; None if something else is running, which
            the user is told.

        Raises
        ------
        InputError
            If the layers make no images with the same bands, or a parameter cannot be used.

        Notes
        -----
        A model stays of use without the layer it was learned from: it is kept when the layer is
        removed or its pixels are replaced during the training, and the user is told. After
        `cancel`, what was learned so far is kept too, and `resume` goes on from there.
        """
        model = estimator(preset, parameters)
        pictures, chosen = self._images(layers, images, axes, bands)
        if self.runner.busy:
            show_info(f"{self.runner.title} is still running. Cancel it first, or wait.")
            return None
        path = None if checkpoint is None else Path(checkpoint).expanduser()
        name = ", ".join(dict.fromkeys(picture.name for picture in pictures))
        watched = Watched(self.viewer, chosen)
        training = Training(model, pictures, name, watched, path, checkpoint is None)
        return model if self._train(training, resume) else None

    def expected_time(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        images: Sequence[Any] | None = None,
        axes: str | None = None,
        preset: str = "quick",
        **parameters: Any,
    ) -> str:
        """Say what `learn` would do with these arguments, and about how long it would take.

        Parameters
        ----------
        layers, images, axes, preset
            See `learn`.
        **parameters
            Parameters of `napari_clusternet.ClusterNet` that replace the preset's.

        Returns
        -------
        str
            A sentence.

        Raises
        ------
        InputError
            If the layers' axes are ambiguous or a parameter cannot be used.
        """
        model = estimator(preset, parameters)
        shapes = training_shapes(self.layers(layers) if images is None else (), images, axes)
        settings = ClusterNetDefaults(**model.get_params())
        device = select_device(model.device, model.precision)
        seconds = expected_seconds(settings, shapes, device)
        what = f"{model.n_clusters} clusters, {model.n_epochs} epochs"
        return f"{what}; takes {in_words(seconds)} here."

    def device_in_words(self: Controller, parameters: Mapping[str, Any] | None = None) -> str:
        """Say where training runs and in which precision, given parameters of `learn`.

        Parameters
        ----------
        parameters : mapping, optional
            Parameters of `learn`; ``device`` and ``precision`` count.

        Returns
        -------
        str
            A sentence; if the device cannot be used, why.
        """
        asked = {k: v for k, v in (parameters or {}).items() if k in ("device", "precision")}
        try:
            return f"Runs on {select_device(**asked).reason}."
        except ClusterNetError as error:
            return str(error)

    def _train(self: Controller, training: Training, resume: bool) -> bool:
        before = self.training, self.unfinished, self.curve
        self.training, self.unfinished, self.curve = training, None, []
        self.runner.progressed.connect(self._note_step, unique=True)
        started = self.runner.start(
            f"Learning features of {training.name}", lambda: training.steps(resume),
            lambda _: self._learned(training), stopped=lambda: self._stopped(training),
        )  # fmt: skip
        if not started:
            self.training, self.unfinished, self.curve = before
        return started

    def _images(
        self: Controller, layers: Any, images: Any, axes: str | None, bands: Sequence[int] | None
    ) -> tuple[list[Image], list[Layer]]:
        if layers is not None and images is not None:
            invalid("images", images, "layers are given too", "Give either layers or images")
        chosen = self.layers(layers) if images is None else ()
        return training_images(chosen, images, axes, bands)

    def _note_step(self: Controller, step: Progress) -> None:
        if self.training is not None:
            self.curve.append(step)
            if len(self.curve) > _POINTS:
                del self.curve[1:-1:2]
            self.learning_progressed.emit(step)

    def _learned(self: Controller, training: Training) -> None:
        self.training = None
        self._take_model(training.model, training.name)
        gone = training.watched.why_gone()
        more = f" They are kept, although {gone}." if gone else ""
        show_info(f"Features of {training.name} are learned.{more}")

    def _stopped(self: Controller, training: Training) -> str:
        """Keep what a training that was stopped has learned, and say so."""
        self.training, said = None, []
        if hasattr(training.model, "network_"):
            self._take_model(training.model, training.name)
            said.append(f"What was learned in {epochs(training.model)} is kept.")
        if training.resumable:
            self.unfinished = training
            said.append("Resume goes on from there.")
        return " ".join(said) or "Nothing was learned yet."

    # ---- pause, resume, cancel -------------------------------------------------------------------

    def pause(self: Controller) -> None:
        """Let what is running wait after its current step."""
        self.runner.pause()

    def cancel(self: Controller) -> None:
        """Stop what is running after its current step; what it promised to keep is kept."""
        self.runner.cancel()

    def resume(self: Controller) -> None:
        """Go on after `pause`, or with the training that was stopped last.

        Raises
        ------
        InputError
            If there is neither.
        """
        if self.runner.busy:
            self.runner.resume()
        elif self.unfinished is None or not self.unfinished.resumable:
            self.unfinished = None
            problem = "nothing is paused, and no training was stopped"
            invalid("training", None, problem, "Start one with learn")
        else:
            # a new estimator: the one that was stopped is in use
            old = self.unfinished
            again = Training(clone(old.model), old.images, old.name, old.watched,
                             old.checkpoint, old.own)  # fmt: skip
            self._train(again, resume=True)

    def dock_opened(self: Controller) -> None:
        """Note that a dock shows the training."""
        self._docks += 1

    def dock_closed(self: Controller) -> None:
        """Stop the training when its last dock is closed; it can be resumed."""
        self._docks -= 1
        if self._docks == 0 and self.training is not None:
            self.cancel()

    # ---- the model -------------------------------------------------------------------------------

    @property
    def image_layers(self: Controller) -> list[ImageLayer]:
        """The image layers to learn from or to segment: all but those that show results."""
        own = {id(s.certainty_layer) for s in self.segmentations}
        named = {f"{s.name} certainty" for s in self.segmentations}  # before it is known as such
        return [
            layer for layer in self.viewer.layers
            if isinstance(layer, ImageLayer) and id(layer) not in own
            and PREVIEW not in layer.metadata and layer.name not in named
        ]  # fmt: skip

    def _take_model(self: Controller, model: ClusterNet, source: str) -> None:
        self.model, self.model_source = model, source
        self.model_changed.emit()

    def need_model(self: Controller) -> ClusterNet:
        """Return the model, or say how to get one.

        Returns
        -------
        ClusterNet
            The model.

        Raises
        ------
        InputError
            If there is none.
        """
        if self.model is None:
            invalid("model", None, "no features are learned yet", "Press Train, or load a model")
        return self.model

    @property
    def model_summary(self: Controller) -> str:
        """The model in a sentence: bands, features, epochs, what it was learned from."""
        model = self.model
        if model is None:
            return ""
        names = model.bands_.names
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        bands = f"{len(names)} bands ({shown})" if len(names) > 1 else "1 band"
        kind = "volumes" if model.extractor_.ndim == 3 else "images"
        clusters = f"{len(model.cluster_centers_)} clusters"
        return (
            f"{model.n_features} features of {kind} with {bands}, learned in {epochs(model)} with "
            f"{clusters}, from {self.model_source}."
        )

    def show_features(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
    ) -> bool:
        """Show the model's features of an image as colours, in a layer "<image> features".

        Similar colours mean similar features: red, green and blue are their first principal
        components. Computed in the background; discarded, with a notice, if the layers are
        removed or replaced meanwhile.

        Parameters
        ----------
        layers, axes, bands
            One image, as in `learn`; by default the selected image layers.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no model, or the image has other bands than its.
        """
        model, chosen = self.need_model(), self.layers(layers)
        image = image_from_layers(chosen, axes=axes, bands=bands)
        model.extractor_.bands.check(image, "the learned model")
        watched = Watched(self.viewer, chosen)
        name = f"{chosen[0].name} features"
        return self.runner.start(
            f"Painting {name}", lambda: preview_steps(model.extractor_, image),
            lambda picture: self._show_preview(chosen[-1], picture, image, name), watched.why_gone,
        )  # fmt: skip

    def _show_preview(self: Controller, over: Layer, picture: Any, image: Image, name: str) -> None:
        for layer in self.viewer.layers:
            same = PREVIEW in layer.metadata and layer.name == name
            if same and not layer.multiscale and np.shape(layer.data) == np.shape(picture):
                layer.data = picture
                layer.visible = True
                return
        selected = self.viewer.layers.selection.active
        place = image.layer_metadata
        place["metadata"] = {**place.get("metadata", {}), PREVIEW: over.name}
        layer = self.viewer.add_image(picture, name=name, rgb=True, **place)
        above = self.viewer.layers.index(over) + 1
        self.viewer.layers.move(self.viewer.layers.index(layer), above)
        self.viewer.layers.selection.active = selected

    def save_model(self: Controller, path: str | Path) -> Path:
        """Save the model to a file; ``.safetensors`` is added to a name without an ending.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        InputError
            If there is no model.
        OSError
            If the file cannot be written.
        """
        file = Path(path).expanduser()
        file = file if file.suffix else file.with_suffix(".safetensors")
        self.need_model().save(file)
        return file

    def load_model(self: Controller, path: str | Path, device: str = "auto") -> ClusterNet:
        """Load a model that was saved; it becomes `model`.

        Parameters
        ----------
        path : path-like
            The file.
        device : str
            Where to compute with it; see `napari_clusternet.device.select_device`.

        Returns
        -------
        ClusterNet
            The model.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, or no model.
        """
        file = Path(path).expanduser()
        model = ClusterNet.load(file, device)
        self._take_model(model, f"the file {file.name}")
        return model
