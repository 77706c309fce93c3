"""The folded part of the Learn features dock: what `ClusterNet` takes, with its own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from docstring_parser import parse
from magicgui.widgets import ComboBox, LineEdit, SpinBox
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_clusternet.clustering import CLUSTERERS
from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.config import CLUSTERNET, CLUSTERNET_PRESETS, Mode, Sampling
from napari_clusternet.errors import invalid

#: What each preset is for; its numbers come from `napari_clusternet.config`.
PURPOSES = {
    "quick": "Quick look: to see what comes out.",
    "balanced": "Balanced: for results to keep.",
    "paper": "As published: the paper's method and numbers, slow.",
}


@dataclass(frozen=True)
class Field:
    """A parameter of `ClusterNet` as a line of a form.

    Attributes
    ----------
    name, label, unit : str
        The parameter, and what people call and count it in.
    choices : tuple of str
        What there is to choose from; empty for a number.
    least : int
        The smallest number.
    """

    name: str
    label: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    least: int = 1


FIELDS = (
    Field("n_clusters", "Clusters", least=2),
    Field("n_epochs", "Epochs"),
    Field("n_features", "Features", "per pixel"),
    Field("patch", "Patch side", "px", least=8),
    Field("sampling", "Patches drawn", choices=get_args(Sampling)),
    Field("cluster_batch", "Clustering batch", "patches"),
    Field("train_batch", "Training batch", "patches"),
    Field("mode", "Mode", choices=get_args(Mode)),
    Field("clusterer", "Clusters by", choices=tuple(CLUSTERERS)),
    Field("device", "Device"),
    Field("precision", "Precision", choices=("auto", "float32", "bfloat16")),
    Field("random_state", "Seed", least=0),
)


@cache
def described() -> dict[str, str]:
    """Return what the documentation of `ClusterNet` says of each parameter, as plain text."""
    texts: dict[str, str] = {}
    for parameter in parse(ClusterNet.__doc__ or "").params:
        plain = " ".join((parameter.description or "").replace("`", "").split())
        plain = plain.replace('""', '"').replace("*", "")
        for name in parameter.arg_name.split(","):
            texts[name.strip()] = re.sub(r'"(\w+)"', r"\1", plain)
    return texts


def devices() -> tuple[str, ...]:
    """Return the names of the devices of this machine, "auto" first."""
    import torch

    found = ["auto", "cpu"]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found += ["cuda"] if count == 1 else [f"cuda:{i}" for i in range(count)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)


def parse_bands(text: str) -> list[int] | None:
    """Return band numbers, 0 the first, from what people write, 1 the first: "1-4, 7".

    Returns None for all bands: an empty text or "all".

    Raises
    ------
    InputError
        If it is neither.
    """
    if text.strip().lower() in ("", "all"):
        return None
    bands: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not 1 <= first <= last:
            invalid("bands", text, "not numbers of bands", "Write all, or numbers such as 1-4, 7")
        bands += range(first - 1, last)
    return bands


class NoWheel(QObject):
    """Keeps the mouse wheel, which scrolls the dock, from changing numbers on its way."""

    def eventFilter(self, widget: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.Wheel and not widget.hasFocus():
            event.ignore()
            return True
        return False


class ParameterForm(QWidget):
    """A form of the bands and the parameters.

    Attributes
    ----------
    changed : psygnal.Signal
        Something was edited.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._preset, self._filling, self._filter = "quick", False, NoWheel(self)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.bands = LineEdit(
            value="all",
            tooltip="Bands to learn from: all, or numbers such as 1-4, 7; the first band is 1",
        )
        self._add(layout, "Bands", self.bands)
        self.widgets: dict[str, Any] = {}
        for field in FIELDS:
            self.widgets[field.name] = widget = _widget(field)
            label = f"{field.label} ({field.unit})" if field.unit else field.label
            self._add(layout, label, widget)
        self.fill("quick")

    def _add(self, layout: QFormLayout, label: str, widget: Any) -> None:
        widget.native.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.native.installEventFilter(self._filter)
        widget.native.setMinimumWidth(115)
        widget.changed.connect(self._edited)
        layout.addRow(label, widget.native)
        layout.labelForField(widget.native).setToolTip(widget.tooltip)

    def _edited(self) -> None:
        if not self._filling:
            self.changed.emit()

    def fill(self, preset: str) -> None:
        """Show the numbers of a preset; device, precision and seed stay as they are."""
        self._preset, self._filling = preset, True
        try:
            for name, value in preset_values(preset).items():
                if name not in ("device", "precision", "random_state"):
                    self.widgets[name].value = value
        finally:
            self._filling = False
        self.changed.emit()

    @property
    def parameters(self) -> dict[str, Any]:
        """What differs from the preset, as keyword arguments."""
        values = {name: widget.value for name, widget in self.widgets.items()}
        seed = values["random_state"].strip()
        values["random_state"] = int(seed) if seed.isdecimal() else seed or None
        preset = preset_values(self._preset)
        return {name: value for name, value in values.items() if value != preset[name]}


def preset_values(preset: str) -> dict[str, Any]:
    """Return the values of the form's fields in a preset."""
    changes = CLUSTERNET_PRESETS[preset]
    return {f.name: changes.get(f.name, getattr(CLUSTERNET, f.name)) for f in FIELDS}


def _widget(field: Field) -> Any:
    tooltip = described().get(field.name, "")
    choices = devices() if field.name == "device" else field.choices
    if choices:
        return ComboBox(choices=choices, value=choices[0], tooltip=tooltip)
    if field.name == "random_state":
        widget = LineEdit(value="", tooltip=tooltip)
        widget.native.setPlaceholderText("another each time")
        return widget
    return SpinBox(value=max(field.least, 1), min=field.least, max=65535, tooltip=tooltip)
