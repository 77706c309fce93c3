"""What the Classify dock offers to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer

from napari_clusternet._napari.scenes import Scenes
from napari_clusternet.api.listing import methods
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.features import EXTRACTORS
from napari_clusternet.io.base import OpenOptions
from napari_clusternet.io.layers import image_from_layer

if TYPE_CHECKING:
    from napari_clusternet._napari.controller import Controller
    from napari_clusternet._napari.segmentation import Segmentation

MODES = ("enhanced", "paper")
AUTO = "Automatic"
LEARNED, LEARNED_ONLY = "Learned features and filters", "Learned features only"
#: What users read -> what `Session` takes.
_FEATURES = {
    AUTO: None,
    "Bands as they are": "bands",
    "Filters: colour, edges, texture": "filters",
    "Filters, and what lies around": "context",
    "Filters, and the generic network": "generic",
    LEARNED: LEARNED,
    LEARNED_ONLY: LEARNED_ONLY,
    "Learn now, on this image (minutes)": "learn",
}
#: Axes to offer, by number of axes of the array.
_AXES = {
    3: {"Bands, rows, columns": "CYX", "Rows, columns, bands": "YXC",
        "Volume: planes, rows, columns": "ZYX"},
    4: {"Bands, planes, rows, columns": "CZYX", "Planes, bands, rows, columns": "ZCYX",
        "Planes, rows, columns, bands": "ZYXC"},
}  # fmt: skip
NEW_STROKES = "New layer"


def features() -> dict[str, Any]:
    """Kinds of features: what users read -> what stands for it."""
    named = set(_FEATURES.values())
    return _FEATURES | {name: name for name in EXTRACTORS if name not in named}


def feature_value(control: Controller, chosen: str) -> Any:
    """Return what `Controller.segment` takes for a kind of features.

    Raises
    ------
    InputError
        If learned features are wanted and there are none.
    """
    value = features()[chosen]
    if value not in (LEARNED, LEARNED_ONLY):
        return value
    model = control.need_model()
    return model if value == LEARNED_ONLY else (model, "filters")


def image_choices(control: Controller) -> list[tuple[str, tuple[Layer, ...]]]:
    """Image layers, and those that are selected together as bands of one image."""
    layers = control.image_layers
    together = [layer for layer in layers if layer in control.viewer.layers.selection]
    choices = [(layer.name, (layer,)) for layer in layers]
    if len(together) > 1:
        choices.insert(0, (f"{len(together)} selected layers", tuple(together)))
    made = [s.image_layers for s in control.segmentations if len(s.image_layers) > 1]
    known = [layers for _, layers in choices]
    choices += [(f"{some[0].name} and others", some) for some in made if some not in known]
    return choices


def axes_choices(layers: Sequence[Layer]) -> list[tuple[str, str]]:
    """Axes to choose from, where the layers do not say; else none."""
    if not layers:
        return []
    try:
        image_from_layer(layers[0], OpenOptions(None))
    except ClusterNetError:
        data = layers[0].data[0] if layers[0].multiscale else layers[0].data
        return list(_AXES.get(len(data.shape), {}).items())
    return []


def is_large(layers: Sequence[Layer], axes: str | None) -> bool:
    """Whether these layers are segmented field by field."""
    try:
        return Scenes.is_large(image_from_layer(layers[0], OpenOptions(axes)))
    except ClusterNetError:  # Start says what is wrong
        return False


def stroke_choices(
    control: Controller, layers: Sequence[Layer], made: Segmentation | None
) -> list[tuple[str, Labels | str]]:
    """Labels layers that lie on the image, and a new one."""
    if made is not None:
        shapes = {made.image.shape}
    elif layers:
        shapes = _shapes(layers[0])
    else:
        return []
    own: list[Any] = [found.layer for found in control.found_regions]
    for segmentation in control.segmentations:
        own += [segmentation.labels_layer, *segmentation.method_layers.values()]
    fitting = [
        (layer.name, layer) for layer in control.viewer.layers
        if isinstance(layer, Labels) and layer not in own and not layer.multiscale
        and tuple(layer.data.shape) in shapes
    ]  # fmt: skip
    wanted = f"{layers[0].name} strokes" if layers else ""
    fitting.sort(key=lambda choice: choice[0] != wanted)
    named = any(name == wanted for name, _ in fitting)
    new = [] if made is not None else [(NEW_STROKES, NEW_STROKES)]
    return [*fitting, *new] if named else [*new, *fitting]


def _shapes(layer: Layer) -> set[tuple[int, ...]]:
    """Shapes that strokes on a layer could have, its axes being unknown."""
    try:
        return {image_from_layer(layer, OpenOptions(None)).shape}
    except ClusterNetError:
        data = layer.data[0] if layer.multiscale else layer.data
        shape = tuple(data.shape)
        return {shape, shape[1:], shape[:-1]}


def method_choices(ndim: int) -> list[tuple[str, str]]:
    """Stroke methods for images of so many axes."""
    return [
        (method.name, method.name)
        for method in methods()
        if method.kind == "strokes" and ndim in method.ndims
    ]


def set_choices(widget: Any, choices: list[tuple[str, Any]]) -> None:
    """Offer choices, the same as before if nothing changed; the value stays if it can."""
    seen: dict[str, int] = {}
    named = []
    for name, value in choices:  # equal names are told apart
        seen[name] = seen.get(name, 0) + 1
        named.append((name if seen[name] == 1 else f"{name} ({seen[name]})", value))
    if named == getattr(widget, "offered", None):
        return
    value = widget.value
    widget.offered = named
    with widget.changed.blocked():
        widget.choices = named
        if any(other == value for _, other in named):
            widget.value = value


def set_value(widget: Any, value: Any) -> None:
    """Show a value, if it is among the choices; it is not among them while layers come and go."""
    if any(other is value for _, other in widget.offered):
        with widget.changed.blocked():
            widget.value = value
