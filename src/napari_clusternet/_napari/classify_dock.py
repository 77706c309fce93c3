"""Classify: choose an image, paint strokes, see classes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, PushButton, SpinBox
from napari.layers import Labels, Layer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QWidget

from napari_clusternet._napari import classify_parts as parts
from napari_clusternet._napari.class_table import ClassTable
from napari_clusternet._napari.controller import current
from napari_clusternet._napari.frames import (
    attempt,
    enable,
    folded,
    row,
    section,
    show,
    stacked,
    text,
)
from napari_clusternet._napari.going import Going
from napari_clusternet._napari.ties import Ties
from napari_clusternet.api.strokes import CLUSTERNET
from napari_clusternet.config import SESSION

if TYPE_CHECKING:
    import napari

#: Milliseconds that the threshold slider must rest before its value is taken.
DEBOUNCE = 150
AGAIN = "Compute clusters anew: strokes are kept, changes of clusters by hand are not"
NO_IMAGE = "Open an image: drop a file on the window, or File > Open Sample > ClusterNet."
NOT_STARTED = "Press Start to segment the chosen image by strokes."
LARGE = (
    "This image is large: Start works on the part in view. Zoom to where you want to begin; the "
    "rest follows from the same strokes."
)
GO_ON_HERE = (
    "Work on the part that is in view now; clusters, classes and all strokes go along. The layer "
    "of the whole image's classes is filled in wherever you look"
)
PREPARING = "Features and clusters are being computed. You can paint strokes meanwhile."
#: While the classes may still change by themselves.
REFINING = "refining…"


class ClassifyDock(QWidget):
    """Forwards to `current(viewer)`, and follows it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    tab = "Classify"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._control = current(viewer)
        self._viewer = self._control.viewer
        self._painted: Labels | None = None  # the strokes layer whose class is followed
        self._strokes_wanted_for: tuple[Layer, ...] | None = None  # by an explicit choice
        self._refreshing = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE)
        self._timer.timeout.connect(self._take_threshold)
        self.message = text()
        stacked(
            self,
            self.message,
            self._image_section(),
            self._class_section(),
            self._result_section(),
            self._advanced(),
        )
        self._follow()
        self._list_layers()

    # ---- parts -----------------------------------------------------------------------------------

    def _image_section(self) -> QWidget:
        self.layer = ComboBox(tooltip="The image to segment; select several image layers in the "
                              "layer list to use them as the bands of one image")  # fmt: skip
        self.axes = ComboBox(tooltip="What the axes of this layer are; it does not say so itself")
        self.features = ComboBox(choices=list(parts.features()), value=parts.AUTO,
                                 tooltip="What the clusters are made of")  # fmt: skip
        self.strokes = ComboBox(tooltip="Where you paint: a new layer, or any Labels layer of the "
                                "image's shape")  # fmt: skip
        self.quicken = PushButton(text="Make strokes &quicker",
                                  tooltip="Store this layer's values in 8 bits, which is quicker "
                                  "to paint on; its own undo begins anew")  # fmt: skip
        self.start = PushButton(text="&Start")
        self.go_on = PushButton(text="Go on &here")
        self.going = Going(self._control.runner)
        self.layer.changed.connect(self._layer_chosen)
        self.quicken.clicked.connect(partial(attempt, self._control.quicken_strokes))
        self.strokes.changed.connect(self._strokes_chosen)
        self.start.clicked.connect(self._start)
        self.go_on.clicked.connect(partial(attempt, self._control.go_on_here))
        return section(
            "Image", ("Image", self.layer), ("Axes", self.axes), ("Features", self.features),
            ("Strokes", self.strokes), self.quicken, self.start, self.go_on, self.going,
        )  # fmt: skip

    def _class_section(self) -> QWidget:
        control = self._control
        self.segmentation = ComboBox(tooltip="The images that are being segmented; the classes "
                                     "are the same for all")  # fmt: skip
        self.table = ClassTable(control.classes)
        self.add = PushButton(text="&Add", tooltip="Add a class")
        self.rename = PushButton(text="Rena&me")
        self.recolour = PushButton(text="C&olour...")
        self.erase = PushButton(text="&Eraser")
        self.segmentation.changed.connect(self._segmentation_chosen)
        self.table.chosen.connect(self._class_chosen)
        self.add.clicked.connect(lambda: control.select_class(len(control.classes) + 1))
        self.rename.clicked.connect(self.table.rename_current)
        self.recolour.clicked.connect(self.table.recolour_current)
        self.erase.clicked.connect(control.erase)
        return section(
            "Classes and strokes", ("Painting on", self.segmentation), self.table,
            row(self.add, self.rename), row(self.recolour, self.erase),
        )  # fmt: skip

    def _result_section(self) -> QWidget:
        control = self._control
        self.undo, self.redo = PushButton(text="&Undo"), PushButton(text="&Redo")
        self.suggest = PushButton(text="Su&ggest a place")
        self.certainty = CheckBox(text="Show certai&nty")
        self.refining = QLabel()
        self.refining.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.refining.setToolTip(
            "The quick answer is being worked out anew with all strokes: the classes may change "
            "once more by themselves. You can paint on."
        )
        self.threshold = FloatSlider(
            value=control.threshold, min=0.05, max=0.95, step=0.05,
            tooltip="A class counts in a cluster if more than this share of the cluster's stroked "
            "pixels are of it. Lower: small strokes of another class split clusters sooner.",
        )  # fmt: skip
        # napari's style would make it wider than the slider
        number = self.threshold.native.findChild(QDoubleSpinBox)
        number.setStyleSheet(f"{number.styleSheet()}; min-width: 36px; padding: 0")
        number.setFixedWidth(number.fontMetrics().horizontalAdvance("0.000") + 4)
        self.undo.clicked.connect(partial(attempt, control.undo))
        self.redo.clicked.connect(partial(attempt, control.redo))
        self.suggest.clicked.connect(partial(attempt, control.suggest))
        self.certainty.changed.connect(self._certainty_wanted)
        self.threshold.changed.connect(self._threshold_moved)
        return section(
            "Result", row(self.undo, self.redo), self.suggest, row(self.certainty, self.refining),
            ("Threshold", self.threshold),
        )  # fmt: skip

    def _advanced(self) -> QWidget:
        self.method = ComboBox(tooltip="How strokes become classes; the other methods compute "
                               "their result once, into a layer of their own")  # fmt: skip
        self.mode = ComboBox(choices=list(parts.MODES), value=SESSION.mode,
                             tooltip="enhanced: every cluster gets a class; paper: clusters "
                             "without strokes stay unclassified")  # fmt: skip
        self.clusters = SpinBox(value=SESSION.n_clusters, min=1, max=65535,
                                tooltip="Clusters to start with; more catch finer differences, "
                                "fewer need fewer strokes")  # fmt: skip
        self.method.changed.connect(self._refresh)
        return folded(
            "Advanced", ("Method", self.method), ("Mode", self.mode), ("Clusters", self.clusters)
        )

    # ---- what it follows -------------------------------------------------------------------------

    def _follow(self) -> None:
        control, layers = self._control, self._viewer.layers.events
        self._ties, self._layer_ties = Ties(self), Ties(self)
        for signal, slot in (
            (control.active_changed, self._list_layers),
            (control.session_changed, self._refresh),
            (control.refining_changed, self._show_refining),
            (control.model_changed, self._refresh),
            (control.runner.changed, self._refresh),
            (control.classes.changed, self._refresh),
            *((event, self._list_layers) for event in
              (layers.inserted, layers.removed, layers.reordered, layers.renamed)),
            (self._viewer.layers.selection.events.changed, self._list_layers),
        ):  # fmt: skip
            self._ties.tie(signal, slot)

    def _list_layers(self, _: Any = None) -> None:
        if self._control.closed:
            return
        self._refreshing = True
        try:
            parts.set_choices(self.layer, parts.image_choices(self._control))
            parts.set_choices(self.axes, parts.axes_choices(self._layers()))
            active = self._control.active
            self._list_strokes()
            names = {s: s.name for s in self._control.segmentations}
            parts.set_choices(self.segmentation, [(name, s) for s, name in names.items()])
            parts.set_value(self.segmentation, active)
            ndim = 2 if active is None else active.image.ndim
            parts.set_choices(self.method, parts.method_choices(ndim))
        finally:
            self._refreshing = False
        self._refresh()

    def _list_strokes(self) -> None:
        """Offer what the chosen image could be stroked on."""
        layers = self._layers()
        made = self._control.made_of(layers)
        choices = parts.stroke_choices(self._control, layers, made)
        parts.set_choices(self.strokes, choices)
        if made is None and choices and self._strokes_wanted_for != layers:
            parts.set_value(self.strokes, choices[0][1])  # nobody chose another
        if made is not None:
            parts.set_value(self.strokes, made.strokes_layer)

    def _refresh(self, *_: Any) -> None:
        control, active = self._control, self._control.active
        if control.closed or self._refreshing:
            return
        self._follow_class()
        session = control.session
        self.message.setText(self._what_next())
        self._offer_start()
        show(self.axes, bool(self.axes.choices))
        show(self.segmentation, len(control.segmentations) > 1)
        show(self.quicken, active is not None and active.strokes_are_slow)
        no_session = "" if session is not None else "Press Start first"
        enable(self.undo, no_session or ("" if session.can_undo else "Nothing to take back"),
               "Take the last change back, clusters included")  # fmt: skip
        enable(self.redo, no_session or ("" if session.can_redo else "Nothing to apply again"),
               "Apply the last undone change again")  # fmt: skip
        enable(self.suggest, no_session, "Go to where the next stroke helps most, and mark it; "
               "the house in the lower left shows the whole image again")  # fmt: skip
        enable(self.certainty, no_session, "A layer that shows how sure the classes are: 1, "
               "yellow, is sure; 0, dark blue, is not")  # fmt: skip
        enable(self.erase, "" if active is not None else "Press Start first",
               "Erase strokes (key 0 over the image)")  # fmt: skip
        layer = None if active is None else active.certainty_layer
        with self.certainty.changed.blocked():
            self.certainty.value = layer is not None and layer.visible
        if session is not None and not self._timer.isActive():
            with self.threshold.changed.blocked():
                self.threshold.value = session.threshold
        self._show_classes()
        self._show_refining()

    def _offer_start(self) -> None:
        runner, layers = self._control.runner, self._layers()
        method, made = self.method.value or CLUSTERNET, self._control.made_of(layers)
        name, tooltip = "&Start", "Compute features and clusters, then paint"
        if method != CLUSTERNET:
            name, tooltip = f"&Run {method}", "Compute classes from the strokes"
        elif made is not None and made.session is not None:
            name, tooltip = "&Start anew", AGAIN
        why_not = f"{runner.title} is running" if runner.busy else "" if layers else NO_IMAGE
        enable(self.start, why_not, tooltip)
        self.start.text = name
        on_field = self._control.session is not None and self._control.session.field is not None
        show(self.go_on, on_field)
        enable(self.go_on, f"{runner.title} is running" if runner.busy else "", GO_ON_HERE)

    def _show_refining(self) -> None:
        active = self._control.active
        self.refining.setText(REFINING if active is not None and active.is_refining else "")

    def _what_next(self) -> str:
        control, active = self._control, self._control.active
        if active is None and self._layers():
            return LARGE if parts.is_large(self._layers(), self.axes.value) else NOT_STARTED
        if active is None:
            return NO_IMAGE
        if active.session is None and control.runner.busy:
            return PREPARING
        return active.message or ("" if active.session is not None else NOT_STARTED)

    def _follow_class(self) -> None:
        """Follow the class that is selected on the strokes layer, by whatever means."""
        layer = self._control.strokes_layer
        if layer is not self._painted:
            self._layer_ties.cut()
            self._painted = layer
            if layer is not None:
                for event in (layer.events.selected_label, layer.events.mode):
                    self._layer_ties.tie(event, self._show_classes)

    def _show_classes(self, _: Any = None) -> None:
        active, layer = self._control.active, self._painted
        counts = {} if active is None else active.stroke_counts()
        selected = 0 if layer is None or layer.mode == "erase" else int(layer.selected_label)
        if selected > len(self._control.classes):
            selected = 0
        self.table.show_classes(counts, selected)
        why_not = "" if self.table.current_class else "Select a class first"
        enable(self.rename, why_not, "Rename the selected class (F2)")
        enable(self.recolour, why_not, "Change the colour of the selected class")

    # ---- what the user does ----------------------------------------------------------------------

    def _layers(self) -> tuple[Layer, ...]:
        return self.layer.value or ()

    def _layer_chosen(self, _: Any = None) -> None:
        if self._refreshing:
            return
        parts.set_choices(self.axes, parts.axes_choices(self._layers()))
        self._list_strokes()
        self._refresh()

    def _start(self) -> None:
        attempt(self._start_chosen)
        self._list_layers()

    def _start_chosen(self) -> None:
        strokes = self.strokes.value if isinstance(self.strokes.value, Labels) else "new"
        made = self._control.made_of(self._layers())
        if made is not None and strokes is made.strokes_layer:
            strokes = None  # its own; with other axes it gets others
        options: dict[str, Any] = {
            "axes": self.axes.value,
            "features": parts.feature_value(self._control, self.features.value),
            "strokes": strokes,
        }
        if self.method.value == CLUSTERNET:
            options |= {"mode": self.mode.value, "n_clusters": self.clusters.value,
                        "threshold": self.threshold.value}  # fmt: skip
            self._control.segment(self._layers(), **options)
        else:
            self._control.run_method(self.method.value, self._layers(), **options)

    def _strokes_chosen(self, layer: Any) -> None:
        """Change the strokes of an image that is being segmented at once."""
        if self._refreshing:
            return
        self._strokes_wanted_for = self._layers()
        made = self._control.made_of(self._layers())
        if made is not None and isinstance(layer, Labels) and layer is not made.strokes_layer:
            self._control.active = made
            attempt(partial(self._control.use_strokes, layer))
            self._list_layers()

    def _segmentation_chosen(self, segmentation: Any) -> None:
        if not self._refreshing and segmentation is not None:
            self._control.active = segmentation
            segmentation.start_painting(max(1, self.table.current_class))

    def _class_chosen(self, class_: int) -> None:
        self._control.select_class(class_)

    def _certainty_wanted(self, wanted: bool) -> None:
        attempt(partial(self._control.show_certainty, wanted))

    def _threshold_moved(self, _: float) -> None:
        self._timer.start()

    def _take_threshold(self) -> None:
        if self._control.session is not None:
            attempt(partial(setattr, self._control, "threshold", round(self.threshold.value, 2)))
