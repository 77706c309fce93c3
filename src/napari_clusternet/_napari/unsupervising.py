"""Regions without strokes in the viewer, and strokes that classify such regions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_clusternet._napari.watched import Watched
from napari_clusternet.api.regions import make_method, unsupervised_steps
from napari_clusternet.config import UNSUPERVISED_METHOD
from napari_clusternet.errors import invalid
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.progress import Progress
from napari_clusternet.unsupervised.base import number_regions

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet._napari.segmentation import Segmentation
    from napari_clusternet.image import Image

#: Shortest time between two previews, seconds.
PREVIEW_EVERY = 1.0


@dataclass(eq=False)
class FoundRegions:
    """Regions of an image, and what they were made of.

    Attributes
    ----------
    method : str
        The method's name.
    image_layers : tuple of Layer
        The layers the image was made of.
    axes, bands
        How; see `napari_clusternet.io.layers.image_from_layers`.
    layer : napari.layers.Labels or None
        Where they are shown; None before there is anything to show.
    last : Progress or None
        The last step of a run that goes on.
    used : numpy.ndarray or None
        A copy that became clusters.
    """

    method: str
    image_layers: tuple[Layer, ...]
    axes: str | None
    bands: Sequence[int] | None
    layer: Labels | None = None
    last: Progress | None = None
    used: Any = None

    @property
    def name(self) -> str:
        """What the layer is called at first."""
        return f"{self.image_layers[0].name} regions ({self.method})"


class Unsupervising:
    """Part of `napari_clusternet._napari.controller.Controller`.

    Attributes
    ----------
    found_regions : tuple of FoundRegions
        The results whose layers are in the viewer, newest last.
    finding : FoundRegions or None
        What is being found now.
    regions_changed : Signal
        There are other results, or a preview is shown.
    """

    regions_changed = Signal()

    found_regions: tuple[FoundRegions, ...] = ()
    finding: FoundRegions | None = None
    _previewed: float = 0.0

    def find_regions(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        method: str = UNSUPERVISED_METHOD,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        device: str = "auto",
        random_state: int = 0,
        **parameters: Any,
    ) -> bool:
        """Divide an image into regions without strokes, in the background.

        They are shown in a Labels layer "<image> regions (<method>)"; another run of the same
        method on the same image replaces them, unless the layer has another name by then. Methods
        that have regions while they learn show these, and what they have is kept after `cancel`.

        Parameters
        ----------
        layers, axes, bands
            One image, as in `segment`; by default the selected image layers.
        method : str
            A method of kind ``"unsupervised"`` of `napari_clusternet.methods`.
        device : str
            ``"auto"``, ``"cpu"`` or another torch device.
        random_state : int
            Seed; the same seed, data and device give the same regions.
        **parameters
            Parameters of the method; see `napari_clusternet.unsupervised`. `scribbles` may be a
            Labels layer.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If the layers do not make one image, the method does not take it, or there is no such
            method or parameter.
        """
        chosen = self.layers(layers)
        image = image_from_layers(chosen, axes=axes, bands=bands)
        if isinstance(parameters.get("scribbles"), Labels):
            parameters["scribbles"] = np.array(parameters["scribbles"].data)
        _check(method, image, parameters)
        found, watched = FoundRegions(method, chosen, axes, bands), Watched(self.viewer, chosen)

        def stopped() -> str:
            return self._stop_finding(found, image, watched.why_gone())

        if not self.runner.start(
            f"{method} on {chosen[0].name}",
            lambda: unsupervised_steps(
                image, method=method, random_state=random_state, device=device, **parameters
            ),
            lambda regions: self._take_regions(found, image, regions), watched.why_gone, stopped,
        ):  # fmt: skip
            return False
        self.finding, self._previewed = found, time.monotonic()
        self.runner.progressed.connect(self._preview_regions, unique=True)
        self.runner.changed.connect(self._finding_ended, unique=True)
        return True

    def use_as_clusters(
        self: Controller, layer: Labels | None = None, **options: Any
    ) -> Segmentation:
        """Let strokes classify regions: they become the clusters of a session.

        Parameters
        ----------
        layer : napari.layers.Labels, optional
            A result of `find_regions`; by default the selected one, or the newest.
        **options
            Further arguments of `segment`, such as `features` or `strokes`.

        Returns
        -------
        Segmentation
            As `segment` returns it.

        Raises
        ------
        InputError
            If there is no such result, or its image is gone. For regions from elsewhere use
            ``segment(layer, regions=array)``.
        """
        found = self._regions_of(layer)
        for needed in found.image_layers:
            if needed not in self.viewer.layers:
                invalid("layer", found.layer.name, f"its image {needed.name!r} was removed",
                        "Open the image again, and find regions of it")  # fmt: skip
        found.used = np.array(found.layer.data)  # the layer may change later
        segmentation = self.segment(
            found.image_layers, axes=found.axes, bands=found.bands, regions=found.used, **options
        )
        found.layer.visible = False  # its colours would mix with those of the classes
        return segmentation

    # ---- what happens meanwhile ------------------------------------------------------------------

    def _preview_regions(self: Controller, step: Progress) -> None:
        found = self.finding
        if found is None or step.preview is None:
            return
        found.last = step
        if time.monotonic() - self._previewed > PREVIEW_EVERY:
            self._show_regions(found, step.preview)
            self._previewed = time.monotonic()

    def _finding_ended(self: Controller) -> None:
        if not self.runner.busy:
            self.finding = None

    def _take_regions(self: Controller, found: FoundRegions, image: Image, regions: Any) -> None:
        found.last = None
        self._show_regions(found, regions, image)

    def _stop_finding(self: Controller, found: FoundRegions, image: Image, gone: str) -> str:
        """Keep what a method that was stopped had found so far, and say so."""
        step, found.last = found.last, None
        if gone and found.layer in self.viewer.layers:
            self.viewer.layers.remove(found.layer)
        if step is None or gone:
            return f"The result was discarded, because {gone}." if gone else ""
        valid = step.preview > 0
        self._show_regions(found, number_regions(step.preview, valid), image)
        return f"The regions of step {step.done} of {step.total} are kept."

    # ---- layers ----------------------------------------------------------------------------------

    def _show_regions(
        self: Controller, found: FoundRegions, regions: Any, image: Image | None = None
    ) -> None:
        if found.layer is None or found.layer not in self.viewer.layers:
            found.layer = self._region_layer(found, regions, image)
        else:
            found.layer.data = regions
        others = [f for f in self.found_regions if f.layer is not found.layer]
        self.found_regions = (*others, found)
        self.regions_changed.emit()

    def _region_layer(
        self: Controller, found: FoundRegions, regions: Any, image: Image | None
    ) -> Labels:
        """Return the layer of the same method's last result if it has that name, or a new one."""
        for other in self.found_regions:
            same = other.image_layers == found.image_layers and other.layer.name == found.name
            if same and np.shape(other.layer.data) == np.shape(regions):
                other.layer.data = regions
                other.layer.visible = True
                return other.layer
        if image is None:
            image = image_from_layers(found.image_layers, axes=found.axes, bands=found.bands)
        selected = self.viewer.layers.selection.active
        layers = self.viewer.layers
        layer = self.viewer.add_labels(
            regions, name=found.name, opacity=0.5, **image.layer_metadata
        )
        above = max(layers.index(one) for one in found.image_layers if one in layers) + 1
        layers.move(layers.index(layer), above)
        layers.selection.active = selected
        return layer

    def _regions_of(self: Controller, layer: Labels | None) -> FoundRegions:
        if layer is None:
            active = self.viewer.layers.selection.active
            known = [found for found in self.found_regions if found.layer is active]
            known = known or list(self.found_regions[-1:])
        else:
            known = [found for found in self.found_regions if found.layer is layer]
        if not known:
            problem = "there are no regions" if layer is None else "not a result of find_regions"
            invalid("layer", layer, problem, "Press Run in Segment without strokes first")
        return known[0]

    def _forget_regions(self: Controller, layer: Layer) -> None:
        kept = tuple(found for found in self.found_regions if found.layer is not layer)
        if len(kept) < len(self.found_regions):
            self.found_regions = kept
            self.regions_changed.emit()


def _check(method: str, image: Image, parameters: dict[str, Any]) -> None:
    """Refuse what cannot be used before anything runs in the background."""
    opened = {"scribbles": None, "references": ()}  # these are checked when they are opened
    chosen = make_method(method, **{k: opened.get(k, v) for k, v in parameters.items()})
    if image.ndim not in chosen.ndims:
        invalid("method", method, f"it does not handle images with {image.ndim} spatial axes",
                "Choose another method")  # fmt: skip
