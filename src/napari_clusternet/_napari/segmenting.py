"""Step 2 in the viewer: make images ready for strokes, and end that."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet._napari.stroking import Stroking
from napari_clusternet.api.strokes import segment_steps
from napari_clusternet.classify.base import check_strokes
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.errors import InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.layers import image_from_layers
from napari_clusternet.progress import Progress
from napari_clusternet.session import Session

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_clusternet._napari.controller import Controller


class Segmenting(Stroking):
    """Part of `napari_clusternet._napari.controller.Controller`."""

    _worked_on: Segmentation | None = None

    def segment(
        self: Controller,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        features: Any = None,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        strokes: Labels | str | None = None,
        regions: Any = None,
        random_state: int = 0,
    ) -> Segmentation:
        """Make an image ready for strokes; the session is opened in the background.

        Of an image of more than 32 million pixels it is the part in view, at the resolution that
        is seen; see `go_on_here`.

        Parameters
        ----------
        layers : Layer or sequence of Layer, optional
            One image: a layer, or several whose bands are put together; by default the selected
            image layers.
        axes : str, optional
            Order of the layers' axes, where they do not say; see `napari_clusternet.open_image`.
        bands : sequence of int, optional
            The bands to use; all by default.
        features : optional
            See `napari_clusternet.Session`; by default the model learned or loaded last, with the
            filter bank beside it, and without a model ``"auto"``.
        threshold, mode, n_clusters, random_state
            See `napari_clusternet.Session`.
        strokes : napari.layers.Labels or str, optional
            The layer to take strokes from, or "new" for a new one; by default "<image> strokes",
            made if need be.
        regions : array-like of int, shape ([Z,] Y, X), optional
            Regions of any method to start with instead of clusters; see `find_regions`.

        Returns
        -------
        Segmentation
            Its strokes layer can be painted at once; its session is None until computed.

        Raises
        ------
        InputError
            If the layers do not make one image.
        StrokeError
            If the strokes layer does not lie on it.
        """
        chosen = self.layers(layers)
        if self.runner.busy:  # said before anything is changed
            show_info(f"{self.runner.title} is still running. Cancel it first, or wait.")
            found = self.made_of(chosen)
            if found is not None:
                return found
        image = image_from_layers(chosen, axes=axes, bands=bands)
        if features is None:
            features = self._default_features(image)
        if self.is_large(image):
            options = {"features": features, "threshold": threshold, "mode": mode,
                       "n_clusters": n_clusters, "regions": regions,
                       "random_state": random_state}  # fmt: skip
            return self._segment_field(image, chosen, strokes, options)
        segmentation = self._segmentation(image, chosen, strokes)

        def steps() -> Generator[Progress, None, Session]:
            import sklearn.tree  # noqa: F401 - here, not at the first stroke

            return (
                yield from Session.open_steps(
                    image, features, threshold=threshold, mode=mode, n_clusters=n_clusters,
                    regions=regions, random_state=random_state,
                )
            )  # fmt: skip

        if not self.runner.busy:
            segmentation.regions = regions
            self._prepare(f"Preparing {segmentation.name}", segmentation, steps, segmentation.open)
        return segmentation

    def run_method(
        self: Controller,
        method: str,
        layers: Sequence[Layer] | Layer | None = None,
        *,
        axes: str | None = None,
        bands: Sequence[int] | None = None,
        features: Any = None,
        strokes: Labels | str | None = None,
        random_state: int = 0,
    ) -> Segmentation:
        """Segment an image by another stroke method, in the background; its labels get a layer.

        Parameters
        ----------
        method : str
            A method of kind ``"strokes"`` of `napari_clusternet.methods`.
        layers, axes, bands, features, strokes, random_state
            See `segment`.

        Returns
        -------
        Segmentation
            Its `method_layers` will hold the result.

        Raises
        ------
        InputError
            If the layers do not make one image.
        StrokeError
            If fewer than two classes are stroked.
        """
        chosen = self.layers(layers)
        image = image_from_layers(chosen, axes=axes, bands=bands)
        segmentation = self.made_of(chosen)
        if segmentation is None or segmentation.image.n_bands != image.n_bands:
            if self.is_large(image):
                invalid("layers", image.name, f"{image.shape} is too large for {method!r}",
                        "Press Start with the method clusternet first: the others then work on "
                        "that part of the image")  # fmt: skip
            segmentation = self._segmentation(image, chosen, strokes)
        elif isinstance(strokes, Labels) and strokes is not segmentation.strokes_layer:
            self.active = segmentation
            self.use_strokes(strokes)
        image = segmentation.image
        painted = check_strokes(segmentation.strokes_layer.data, image)
        features = self._default_features(image) if features is None else features

        def steps() -> Generator[Progress, None, Any]:
            return (
                yield from segment_steps(
                    image, painted, features=features, method=method, random_state=random_state
                )
            )

        self._prepare(
            f"{method} on {segmentation.name}", segmentation, steps,
            lambda labels: segmentation.show_method(method, labels),
        )  # fmt: skip
        return segmentation

    def _prepare(
        self: Controller,
        title: str,
        segmentation: Segmentation,
        steps: Callable[[], Generator[Progress, None, Any]],
        done: Callable[[Any], object],
    ) -> None:
        """Run work on an image, of which nothing is left if the image changes meanwhile."""
        image = segmentation.image

        def stale() -> str:
            if segmentation not in self.segmentations:
                return "its layers were removed or replaced meanwhile"
            return "" if segmentation.image is image else "the image was replaced meanwhile"

        def stopped() -> str:
            reason = stale()
            return f"The result was discarded, because {reason}." if reason else ""

        if self.runner.start(title, steps, done, stale, stopped):
            self._worked_on = segmentation

    def _default_features(self: Controller, image: Image) -> Any:
        model = self.model
        if model is None:
            return SESSION.features
        try:
            model.extractor_.bands.check(image, "the learned model")
            fits = model.extractor_.ndim == image.ndim
        except InputError:
            fits = False
        if not fits:
            show_warning(
                "The learned features are for other bands or dimensions, so they are not used "
                "here. Learn features of this image to use them."
            )
            return SESSION.features
        return (model, "filters")

    def made_of(self: Controller, layers: Sequence[Layer]) -> Segmentation | None:
        """Return the segmentation of exactly these image layers, if there is one.

        Parameters
        ----------
        layers : sequence of Layer
            The image's layers.

        Returns
        -------
        Segmentation or None
            None if they are not being segmented.
        """
        return next((s for s in self.segmentations if s.image_layers == tuple(layers)), None)

    def _segmentation(
        self: Controller,
        image: Image,
        layers: Sequence[Layer],
        strokes: Labels | str | None,
        is_field: bool = False,
    ) -> Segmentation:
        """Return the one of these layers, or a new one; its strokes are kept in any case."""
        if isinstance(strokes, Labels):
            check_strokes(strokes, image, min_classes=0)  # before anything is changed
        found = self.made_of(layers)
        if found is not None:
            if found.image.shape != image.shape:  # other axes: other strokes
                self.drop(found)
                found = None
            else:
                found.image = image
        if found is None:
            found = Segmentation(
                self.viewer, image, layers, self.classes, self.session_changed.emit,
                self.refining_changed.emit, strokes, is_field,
            )  # fmt: skip
            self.segmentations.append(found)
            for layer in layers:
                layer.events.data.connect(self._image_replaced)
            self._follow_strokes(found)
        elif isinstance(strokes, Labels) and strokes is not found.strokes_layer:
            found.use_strokes(strokes)
            self._follow_strokes(found)
        self.active = found
        found.start_painting(1)
        return found

    def _image_replaced(self: Controller, event: Any) -> None:
        segmentation = self.segmentation_of(event.source)
        if segmentation is not None:
            self.drop(segmentation, f"the data of {event.source.name!r} were replaced")

    def drop(self: Controller, segmentation: Segmentation, reason: str = "") -> None:
        """Stop segmenting an image; its layers, strokes included, stay in the viewer.

        Parameters
        ----------
        segmentation : Segmentation
            Which.
        reason : str
            Why, for the user, who is told if there was a session.
        """
        if segmentation not in self.segmentations:
            return
        had_session = segmentation.session is not None
        segmentation.stop()
        self._unmark()
        for layer in segmentation.image_layers:
            layer.events.data.disconnect(self._image_replaced)
        self.segmentations.remove(segmentation)
        if self._worked_on is segmentation:
            self._worked_on = None
            if self.runner.busy:
                self.runner.cancel()
        if self.active is segmentation:
            self.active = self.segmentations[-1] if self.segmentations else None
        self._forget_clusters(segmentation)
        if reason and had_session:
            message = (
                f"Segmenting {segmentation.name!r} has ended, because {reason}. "
                "Press Start in Classify to begin again; strokes that are still there are kept."
            )
            # later: a closing viewer removes its layers too, and then nobody need be told
            QTimer.singleShot(0, lambda: None if self.closed else show_warning(message))
