"""Segment without strokes: choose an image and a method, get regions. It only forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, LineEdit, PushButton, SpinBox
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QWidget

from napari_clusternet._napari import classify_parts as parts
from napari_clusternet._napari.classify_dock import ClassifyDock
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.docking import open_dock
from napari_clusternet._napari.frames import attempt, enable, folded, section, show, stacked, text
from napari_clusternet._napari.going import Going
from napari_clusternet._napari.learn_form import devices, parse_bands
from napari_clusternet._napari.method_form import LEARNED, MethodForm
from napari_clusternet._napari.preferences import preferences
from napari_clusternet._napari.ties import Ties
from napari_clusternet.api.listing import Method, methods
from napari_clusternet.unsupervised import UNSUPERVISED

if TYPE_CHECKING:
    import napari

    from napari_clusternet._napari.unsupervising import FoundRegions

NO_IMAGE = "Open an image: drop a file on the window, or File > Open Sample > ClusterNet."
RUNNING = "Regions are being found. Where they are shown meanwhile, Cancel keeps them."
NOT_RUN = "Choose a method and press Run. Regions come into a layer of their own."
DONE = (
    "{n} regions in the layer {name}. Try another method, or press Use as clusters and paint: "
    "each stroke then gives whole regions a class."
)
CLUSTERS = "The regions are the clusters of {name} now. Paint a stroke of each class on them."


class UnsupervisedDock(QWidget):
    """Forwards to `current(viewer)`, and follows it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    tab = "Regions"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._control = current(viewer)
        self._viewer = viewer
        self._refreshing = False
        self._methods: dict[str, Method] = {m.name: m for m in methods("unsupervised")}
        self.form = MethodForm(self._stroke_layers)
        self.message, self.about = text(), text()
        stacked(
            self,
            self.message,
            self._image_section(),
            self._method_section(),
            self._result_section(),
            self._advanced(),
        )
        self._follow()
        self._list_layers()

    # ---- parts -----------------------------------------------------------------------------------

    def _image_section(self) -> QWidget:
        self.layer = ComboBox(tooltip="The image; select several image layers in the layer list "
                              "to use them as the bands of one image")  # fmt: skip
        self.axes = ComboBox(tooltip="What the axes of this layer are; it does not say so itself")
        self.layer.changed.connect(self._layer_chosen)
        self.axes.changed.connect(self._layer_chosen)
        return section("Image", ("Image", self.layer), ("Axes", self.axes))

    def _method_section(self) -> QWidget:
        self.method = ComboBox(tooltip="How the image is divided")
        self.run = PushButton(text="&Run")
        self.going = Going(self._control.runner, "Stop after the current step; a method that "
                           "shows regions meanwhile keeps them", figures=True)  # fmt: skip
        self.method.changed.connect(self._method_chosen)
        self.run.clicked.connect(self._run)
        return section(
            "Method", ("Method", self.method), self.about, self.form.main, self.run, self.going
        )

    def _result_section(self) -> QWidget:
        self.result = ComboBox(tooltip="Regions found so far")
        self.use = PushButton(text="&Use as clusters")
        self.use.clicked.connect(self._use)
        self.result.changed.connect(self._refresh)
        return section("Result", ("Regions", self.result), self.use)

    def _advanced(self) -> QWidget:
        self.bands = LineEdit(value="all", tooltip="Bands to look at: all, or numbers such as "
                              "1-4, 7; the first band is 1")  # fmt: skip
        self.seed = SpinBox(value=0, min=0, max=2**31 - 1, tooltip="The same seed, image and "
                            "device give the same regions")  # fmt: skip
        choices = devices()
        wanted = preferences().device
        self.device = ComboBox(choices=choices, value=wanted if wanted in choices else "auto",
                               tooltip="Where networks learn")  # fmt: skip
        return folded("Advanced", ("Bands", self.bands), self.form.more, ("Seed", self.seed),
                      ("Device", self.device))  # fmt: skip

    # ---- what it follows -------------------------------------------------------------------------

    def _follow(self) -> None:
        control, layers = self._control, self._control.viewer.layers
        self._ties = ties = Ties(self)
        for signal in (control.regions_changed, control.session_changed, control.active_changed,
                       control.runner.changed, control.model_changed):  # fmt: skip
            ties.tie(signal, self._refresh)
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered,
                      layers.events.renamed, layers.selection.events.changed):  # fmt: skip
            ties.tie(event, self._list_layers)

    def _list_layers(self, _: Any = None) -> None:
        if self._control.closed:
            return
        self._refreshing = True
        try:
            parts.set_choices(self.layer, parts.image_choices(self._control))
            parts.set_choices(self.axes, parts.axes_choices(self._layers()))
            self.form.refresh_layers()
            self._list_methods()
        finally:
            self._refreshing = False
        self._refresh()

    def _list_methods(self) -> None:
        """Offer the methods that take the chosen image."""
        ndim = self._ndim()
        fitting = [m.name for m in self._methods.values() if ndim is None or ndim in m.ndims]
        parts.set_choices(self.method, [(name, name) for name in fitting])
        self._show_method()

    def _show_method(self) -> None:
        method = self._methods[self.method.value]
        summary = method.summary[0].upper() + method.summary[1:]
        self.about.setText(f"{summary}. {method.advice}")
        self.form.show_method(UNSUPERVISED.load(method.name))

    def _refresh(self, *_: Any) -> None:
        control = self._control
        if control.closed or self._refreshing:
            return
        busy, found = control.runner.busy, control.found_regions
        named = [(f.layer.name, f) for f in reversed(found)]
        newest = found[-1] if found else None
        known = getattr(self.result, "offered", [])
        parts.set_choices(self.result, named)
        if newest is not None and all(f is not newest for _, f in known):
            parts.set_value(self.result, newest)
        self.message.setText(self._what_next())
        running = f"{control.runner.title} is running" if busy else ""
        enable(self.run, running or ("" if self._layers() else "Open an image first"),
               "Divide the image into regions")  # fmt: skip
        enable(self.use, running or ("" if found else "Press Run first"),
               "Make these regions the clusters that strokes give classes to")  # fmt: skip
        show(self.axes, bool(self.axes.choices))
        show(self.result, bool(found))

    def _what_next(self) -> str:
        found, active = self._chosen_regions(), self._control.active
        if not self._layers():
            return NO_IMAGE
        if self._control.runner.busy and self._control.finding is not None:
            return RUNNING
        if found is None:
            return NOT_RUN
        if active is not None and found.used is not None and active.regions is found.used:
            return CLUSTERS.format(name=active.name)
        return DONE.format(n=int(found.layer.data.max()), name=found.layer.name)

    # ---- what the user does ----------------------------------------------------------------------

    def _layers(self) -> tuple[Layer, ...]:
        return self.layer.value or ()

    def _ndim(self) -> int | None:
        """Spatial axes of the chosen image; None if they are not known."""
        layers = self._layers()
        if not layers:
            return None
        axes = self.axes.value
        if axes is None:
            first = layers[0]
            return int(first.ndim) - sum(a.lower() in ("c", "band", "bands", "channel")
                                         for a in first.axis_labels)  # fmt: skip
        return len(set(axes) & set("ZYX"))

    def _stroke_layers(self) -> list[tuple[str, Labels]]:
        own = [found.layer for found in self._control.found_regions]
        return [
            (layer.name, layer) for layer in self._control.viewer.layers
            if isinstance(layer, Labels) and layer not in own
        ]  # fmt: skip

    def _chosen_regions(self) -> FoundRegions | None:
        return self.result.value if self._control.found_regions else None

    def _layer_chosen(self, _: Any = None) -> None:
        if not self._refreshing:
            self._list_layers()

    def _method_chosen(self, _: Any = None) -> None:
        if not self._refreshing:
            self._show_method()
            self._refresh()

    def _run(self) -> None:
        self._try(self._run_chosen)

    def _run_chosen(self) -> None:
        control, values = self._control, self.form.values
        if values.get("features") == LEARNED:
            values["features"] = control.need_model()
        control.find_regions(
            self._layers(), method=self.method.value, axes=self.axes.value,
            bands=parse_bands(self.bands.value), device=self.device.value,
            random_state=self.seed.value, **values,
        )  # fmt: skip

    def _use(self) -> None:
        self._try(self._use_chosen)

    def _use_chosen(self) -> None:
        self._control.use_as_clusters(self._chosen_regions().layer)
        if getattr(self._viewer, "window", None) is not None:  # that is where classes are chosen
            open_dock(self._viewer, ClassifyDock, "Classify")

    def _try(self, act: Any) -> None:
        attempt(act)
        self._refresh()
