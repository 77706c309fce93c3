"""The dock Learn features: step 1 by buttons. It only forwards to the controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, ProgressBar, PushButton
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QVBoxLayout,
    QWidget,
)

from napari_clusternet._napari.controller import current
from napari_clusternet._napari.frames import attempt, enable, folded, row, scrolled, text
from napari_clusternet._napari.going import STOPPING
from napari_clusternet._napari.layer_choice import LayerChoice
from napari_clusternet._napari.learn_form import PURPOSES, ParameterForm, parse_bands
from napari_clusternet._napari.learn_plots import Curves
from napari_clusternet._napari.preferences import preferences
from napari_clusternet._napari.runner import in_words
from napari_clusternet._napari.ties import Ties
from napari_clusternet.errors import ClusterNetError

if TYPE_CHECKING:
    import napari

    from napari_clusternet.progress import Progress

#: What the axes of a layer can be, by their number.
_AXES = {
    3: {"bands, rows, columns": "CYX", "rows, columns, bands": "YXC", "volume": "ZYX"},
    4: {"bands, then volume": "CZYX", "volume, bands last": "ZYXC"},
}
_AS_LAYER = "as the layer says"
_TOGETHER, _APART = "bands of one image", "separate images"
NO_FEATURES = "No features yet: check an image and press Train, or load what was saved."
NEXT = "In Classify, Automatic takes them from now on."
COMING = "Features are there at the end. Cancel keeps what is learned by then."
_FILES = "Learned features (*.safetensors)"


class LearnDock(QWidget):
    """Choose images, train, watch, keep the model.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Its controller has all the state; any number of these docks show the same.
    """

    tab = "Learn"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.controller, self._docked = current(viewer), False
        self._make_widgets()
        self._lay_out()
        self._ties = ties = Ties(self)
        ties.tie(self.controller.runner.changed, self._follow)
        ties.tie(self.controller.learning_progressed, self._show_step)
        ties.tie(self.controller.model_changed, self._follow)
        ties.tie(self.layers.changed, self._follow)
        ties.tie(self.form.changed, self._follow)
        ties.tie(viewer.events.theme, self._paint)
        self._choose_preset()
        self._paint()

    # ---- widgets ---------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.layers, self.form, self.curves = (
            LayerChoice(self.controller),
            ParameterForm(),
            Curves(),
        )
        self.empty = text("No image yet. Open one, or try File > Open Sample > ClusterNet.")
        self.preset = ComboBox(
            choices=[(words.partition(":")[0], name) for name, words in PURPOSES.items()],
            value=preferences().preset,
            tooltip="How thoroughly to learn; Advanced shows the numbers",
        )
        device = self.form.widgets["device"]
        if preferences().device in device.choices:
            device.value = preferences().device
        self.purpose, self.device, self.status = text(), text(), text()
        self.summary = text()
        self.together = ComboBox(
            choices=[_TOGETHER, _APART],
            tooltip="What several checked layers of one grid are; other grids are other images",
        )
        self.axes = ComboBox(
            choices=[_AS_LAYER], tooltip="Which axis of the layer is which, where it does not say"
        )
        self.bar = ProgressBar(min=0, max=1, value=0)
        self.train, self.pause = PushButton(text="&Train"), PushButton(text="&Pause")
        self.cancel, self.show_ = PushButton(text="&Cancel"), PushButton(text="Show &features")
        self.save, self.load = PushButton(text="&Save..."), PushButton(text="&Load...")
        self.load.tooltip = "Load features that were saved"
        for button, action in (
            (self.train, self._train), (self.pause, self._pause), (self.cancel, self._cancel),
            (self.show_, self._show), (self.save, self._save), (self.load, self._load),
        ):  # fmt: skip
            button.clicked.connect(action)
        self.preset.changed.connect(self._choose_preset)
        self.together.changed.connect(self._follow)
        self.axes.changed.connect(self._follow)

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 6, 6, 6)
        options = QFormLayout()
        options.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for label, widget in (("These are", self.together), ("Axes", self.axes),
                              ("Preset", self.preset)):  # fmt: skip
            options.addRow(label, widget.native)
        self._options = options
        advanced = folded("Advanced", self.form)
        for part in (self.layers, self.empty, options, self.purpose, self.device,
                     row(self.train, self.pause, self.cancel), self.bar, self.status,
                     self.curves, self.summary, self.show_, row(self.save, self.load),
                     advanced):  # fmt: skip
            if isinstance(part, QFormLayout):
                column.addLayout(part)
            else:
                column.addWidget(getattr(part, "native", part))
        column.addStretch()
        scrolled(self, inside)
        self.setMinimumWidth(260)

    def event(self, event: QEvent) -> bool:
        """Note when the window takes the dock in, and when its user closes it."""
        if event.type() == QEvent.Type.ParentChange and self._docked != bool(self.parent()):
            self._docked = not self._docked
            if self._docked:
                self.controller.dock_opened()
            else:
                self.controller.dock_closed()
        return bool(super().event(event))

    # ---- what the buttons do ---------------------------------------------------------------------

    @property
    def _place(self) -> dict[str, Any]:
        """Axes and bands, as keyword arguments of the controller's methods."""
        axes = self.axes.value
        return {"axes": None if axes == _AS_LAYER else axes,
                "bands": parse_bands(self.form.bands.value)}  # fmt: skip

    def _train(self) -> None:
        # a training that the user stopped begins anew; one that was cut off goes on
        resume = self.controller.unfinished is None
        chosen = self.layers.checked
        apart = len(chosen) > 1 and self.together.value == _APART
        images = {"images": chosen} if apart else {"layers": chosen}
        self._try(lambda: self.controller.learn(
            **images, **self._place, preset=self.preset.value, resume=resume,
            **self.form.parameters,
        ))  # fmt: skip

    def _pause(self) -> None:
        running = self.controller.runner.busy and not self.controller.runner.paused
        self._try(self.controller.pause if running else self.controller.resume)

    def _cancel(self) -> None:
        self.status.setText(STOPPING)
        self.controller.cancel()

    def _show(self) -> None:
        chosen = self.layers.checked
        first = chosen[:1] if self.together.value == _APART else chosen
        self._try(lambda: self.controller.show_features(first, **self._place))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save learned features", "", _FILES)
        if path:
            self._try(lambda: self.controller.save_model(path))

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load learned features", "", _FILES)
        if path:
            self._try(lambda: self.controller.load_model(path))

    def _try(self, action: Callable[[], object]) -> None:
        attempt(action)
        self._follow()

    def _choose_preset(self, *_: object) -> None:
        self.form.fill(self.preset.value)  # its signal leads to _follow

    def _paint(self, *_: object) -> None:
        self.curves.paint(get_theme(self.controller.viewer.theme).text.as_hex())

    # ---- what is shown ---------------------------------------------------------------------------

    def _follow(self, *_: object) -> None:
        """Show the controller's state."""
        runner, chosen = self.controller.runner, self.layers.checked
        self.layers.setVisible(self.layers.count() > 0)
        self.empty.setVisible(self.layers.count() == 0)
        self._options.setRowVisible(self.together.native, len(chosen) > 1)
        self._offer_axes(chosen)
        why_not, expected = self._outlook(chosen)
        self.purpose.setText(
            f"{PURPOSES[self.preset.value].partition(': ')[2].capitalize()} {expected}"
        )
        self.device.setText(self.controller.device_in_words(self.form.parameters))
        none = "Learn or load features first" if self.controller.model is None else ""
        busy = f"{runner.title} is running" if runner.busy else ""
        for button, reason, tooltip in (
            (self.train, why_not, "Learn features of the checked images"),
            (self.pause, self._why_no_pause(), "Wait after the current step, and go on later"),
            (self.cancel, "" if busy else "Nothing is running",
             "Stop after the current step; what is learned by then is kept"),
            (self.show_, none or busy, "The checked image in colours of its features"),
            (self.save, none, "Keep the features in a file"),
        ):  # fmt: skip
            enable(button, reason, tooltip)
        going = runner.busy and not runner.paused
        self.pause.text = "&Pause" if going or not self.pause.enabled else "&Resume"
        self.bar.visible = runner.busy
        self.curves.setVisible(bool(self.controller.curve))
        self.curves.show_steps(self.controller.curve)
        summary = self.controller.model_summary
        nothing = NO_FEATURES if self.controller.training is None else COMING
        self.summary.setText(f"{summary} {NEXT}" if summary else nothing)
        self._show_status()

    def _why_no_pause(self) -> str:
        runner, unfinished = self.controller.runner, self.controller.unfinished
        return "" if runner.busy or unfinished is not None else "Nothing is running or unfinished"

    def _outlook(self, chosen: list[Any]) -> tuple[str, str]:
        """Return why Train cannot be pressed, or "", and how long it will take."""
        runner = self.controller.runner
        if not chosen:
            return "Check an image first", ""
        try:
            apart = len(chosen) > 1 and self.together.value == _APART
            images = {"images": chosen} if apart else {"layers": chosen}
            expected = self.controller.expected_time(
                **images,
                axes=self._place["axes"],
                preset=self.preset.value,
                **self.form.parameters,
            )
        except ClusterNetError as error:
            return str(error), ""
        return f"{runner.title} is running" if runner.busy else "", expected

    def _offer_axes(self, chosen: list[Any]) -> None:
        """Offer what the axes of the first layer can be."""
        first = chosen[0] if chosen else None
        data = getattr(first, "data", None)
        shape = () if first is None else (data[0] if first.multiscale else data).shape
        known = {} if first is None or first.rgb else _AXES.get(len(shape), {})
        choices = ((_AS_LAYER, _AS_LAYER), *((words, axes) for words, axes in known.items()))
        self._options.setRowVisible(self.axes.native, bool(known))
        if tuple(self.axes.choices) != tuple(value for _, value in choices):
            with self.axes.changed.blocked():
                self.axes.choices = choices
                self.axes.value = _AS_LAYER

    def _show_step(self, step: Progress) -> None:
        self.curves.setVisible(True)
        self.curves.show_steps(self.controller.curve)
        self.bar.max, self.bar.value = max(step.total, 1), step.done
        self._show_status()

    def _show_status(self) -> None:
        runner, why_not = self.controller.runner, ""
        if runner.busy:
            steps = self.controller.curve if self.controller.training is not None else []
            said = [runner.title]
            if steps:
                last = steps[-1]
                self.bar.max, self.bar.value = max(last.total, 1), last.done
                said += [f"{100 * last.done // max(1, last.total)} %"]
                said += [f"loss {last.metrics['loss']:.3g}"] if "loss" in last.metrics else []
            else:
                self.bar.max = 0  # moves to and fro
            said += ["paused"] if runner.paused else []
            if runner.seconds_left is not None and not runner.paused:
                said.append(f"{in_words(runner.seconds_left)} left")
            why_not = " · ".join(said)
        elif self.controller.unfinished is not None:
            why_not = "Training was stopped. Resume goes on from there; Train begins anew."
        elif not self.train.enabled and self.layers.checked:
            why_not = self.train.tooltip
        self.status.setText(why_not)
        self.status.setVisible(bool(why_not))
