"""A form of a method's parameters, made from its class: names, defaults, choices and words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, LineEdit, SpinBox
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_clusternet._napari.learn_form import NoWheel
from napari_clusternet.api.parameters import Parameter, describe_parameters
from napari_clusternet.errors import invalid

#: Parameters whose names say too little.
_LABELS = {"k": "Number of regions (k)", "mu": "Weight (mu)", "lamb": "lambda",
           "reach": "Reach (T)", "rgb": "Bands for VGG-16", "vgg16": "VGG-16 file",
           "min_labels": "Fewest regions", "n_blocks": "Convolution blocks",
           "max_pixels": "Largest image (pixels)"}  # fmt: skip
#: How many parameters of a method that names no main ones are shown unfolded.
_SHOWN = 2
#: What stands for learned features among named ones.
LEARNED = "learned features"
NO_LAYER = "none"
_LARGEST = 2**31 - 1


def label_of(name: str) -> str:
    """Return what people call a parameter."""
    words = name.removeprefix("n_").replace("_", " ")
    plain = f"Number of {words}" if name.startswith("n_") else words.capitalize()
    return _LABELS.get(name, plain)


class MethodForm:
    """Two forms of one method's parameters: those people change first, and the others.

    Parameters
    ----------
    layers : callable
        Returns the (name, layer) choices of parameters that are strokes.

    Attributes
    ----------
    main, more : QWidget
        The two forms.
    changed : psygnal.Signal
        Something was edited.
    widgets : dict of str to magicgui widget
        By the parameter's name.
    """

    changed = Signal()

    def __init__(self, layers: Callable[[], Sequence[tuple[str, Any]]]) -> None:
        self.main, self.more = QWidget(), QWidget()
        self.widgets: dict[str, Any] = {}
        self._layers, self._method = layers, None
        self._parameters: dict[str, Parameter] = {}
        self._kept: dict[Any, dict[str, Any]] = {}  # what was entered for each method
        self._filter = NoWheel(self.main)
        for form in (self.main, self.more):
            layout = QFormLayout(form)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
            layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def show_method(self, method: type) -> None:
        """Show a method's parameters, with what was entered for it before."""
        if method is self._method:
            return
        if self._method is not None:
            self._kept[self._method] = {n: w.value for n, w in self.widgets.items()}
        self._clear()
        self._method = method
        described = describe_parameters(method)
        first = getattr(method, "main", tuple(p.name for p in described[:_SHOWN]))
        order = sorted(described, key=lambda p: first.index(p.name) if p.name in first else 99)
        for parameter in order:
            widget = self._widget(parameter)
            if widget is not None:
                self._parameters[parameter.name] = parameter
                self.widgets[parameter.name] = widget
                self._add(self.main if parameter.name in first else self.more, parameter, widget)
        for name, value in self._kept.get(method, {}).items():
            if not isinstance(self.widgets[name], ComboBox) or value in self.widgets[name].choices:
                self.widgets[name].value = value
        self.changed.emit()

    @property
    def values(self) -> dict[str, Any]:
        """What differs from the method's defaults, as keyword arguments.

        Raises
        ------
        InputError
            If an entry cannot be read.
        """
        found = {}
        for name, parameter in self._parameters.items():
            value = _read(parameter, self.widgets[name].value)
            if value is not parameter.default and value != parameter.default:
                found[name] = value
        return found

    def refresh_layers(self) -> None:
        """Offer the layers that there are now."""
        for name, parameter in self._parameters.items():
            if "array" in parameter.kind:
                widget, value = self.widgets[name], self.widgets[name].value
                choices = [(NO_LAYER, None), *self._layers()]
                with widget.changed.blocked():
                    widget.choices = choices
                    if any(layer is value for _, layer in choices):
                        widget.value = value

    def _clear(self) -> None:
        for form in (self.main, self.more):
            while form.layout().rowCount():
                form.layout().removeRow(0)
        self.widgets.clear()
        self._parameters.clear()

    def _add(self, form: QWidget, parameter: Parameter, widget: Any) -> None:
        widget.tooltip = parameter.text
        native = widget.native
        native.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        native.installEventFilter(self._filter)
        native.setMinimumWidth(90)
        native.setAccessibleName(label_of(parameter.name))
        widget.changed.connect(lambda *_: self.changed.emit())
        form.layout().addRow(label_of(parameter.name), native)
        form.layout().labelForField(native).setToolTip(parameter.text)

    def _widget(self, parameter: Parameter) -> Any:
        """Return a widget for a parameter; None for what only the console can pass."""
        default = parameter.default
        if parameter.choices:
            more = (LEARNED,) if "ClusterNet" in parameter.kind else ()
            return ComboBox(choices=(*parameter.choices, *more), value=default)
        if isinstance(default, bool):
            return CheckBox(value=default, text="")
        if isinstance(default, int):
            return SpinBox(value=default, min=0, max=_LARGEST)
        if isinstance(default, float):
            digits = max(0, 2 - math.floor(math.log10(abs(default)))) if default else 2
            widget = FloatSpinBox(value=default, min=0, max=_LARGEST, step=10.0**-digits)
            widget.native.setDecimals(max(2, digits))
            widget.native.setSingleStep(10.0 ** (1 - digits))
            widget.value = default
            return widget
        if "path" in parameter.kind:
            return FileEdit(value="", nullable=True)
        if parameter.kind.startswith("tuple of int"):
            return LineEdit(value=", ".join(map(str, default)))
        if "array" in parameter.kind:
            return ComboBox(choices=[(NO_LAYER, None), *self._layers()], nullable=True)
        return None


def _read(parameter: Parameter, value: Any) -> Any:
    """Return what a widget's value means."""
    if parameter.kind.startswith("tuple of int"):
        numbers = value.replace(",", " ").split()
        if not all(number.isdecimal() for number in numbers):
            invalid(parameter.name, value, "not whole numbers", "Write them as 0, 1, 2")
        return tuple(int(number) for number in numbers)
    if isinstance(value, Path):
        return value if value.name else parameter.default
    if "path" in parameter.kind:
        return value or parameter.default
    return value
