"""Segment satellite scenes and medical volumes by labelling clusters, not pixels.

Everything named in `__all__` is imported when first used, so that importing the package loads
neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_clusternet._napari.controller import current
    from napari_clusternet.api.listing import methods
    from napari_clusternet.api.mask_model import MaskModel
    from napari_clusternet.api.masks import supervised
    from napari_clusternet.api.regions import unsupervised
    from napari_clusternet.api.strokes import segment
    from napari_clusternet.clusternet import ClusterNet
    from napari_clusternet.image import Image
    from napari_clusternet.io.labels import read_labels, write_labels
    from napari_clusternet.io.opening import open_image
    from napari_clusternet.io.polygons import write_polygons
    from napari_clusternet.scaling.apply import apply
    from napari_clusternet.session import Session

    __version__: str

#: Public name -> the module that defines it.
_HOMES = {
    "ClusterNet": "napari_clusternet.clusternet",
    "MaskModel": "napari_clusternet.api.mask_model",
    "Image": "napari_clusternet.image",
    "Session": "napari_clusternet.session",
    "apply": "napari_clusternet.scaling.apply",
    "current": "napari_clusternet._napari.controller",
    "methods": "napari_clusternet.api.listing",
    "open_image": "napari_clusternet.io.opening",
    "read_labels": "napari_clusternet.io.labels",
    "segment": "napari_clusternet.api.strokes",
    "supervised": "napari_clusternet.api.masks",
    "unsupervised": "napari_clusternet.api.regions",
    "write_labels": "napari_clusternet.io.labels",
    "write_polygons": "napari_clusternet.io.polygons",
}

__all__ = [
    "ClusterNet",
    "Image",
    "MaskModel",
    "Session",
    "__version__",
    "apply",
    "current",
    "methods",
    "open_image",
    "read_labels",
    "segment",
    "supervised",
    "unsupervised",
    "write_labels",
    "write_polygons",
]

#: Public functions whose name is also that of a subpackage.
_SHARED_NAMES = ("supervised", "unsupervised")
for _name in _SHARED_NAMES:
    # The first import of a subpackage binds its name here, over the function. So let that happen
    # now, which loads a table and no more, and free the name for __getattr__.
    import_module(f"{__name__}.{_name}")
    del globals()[_name]


def __getattr__(name: str) -> Any:
    """Import a public name on first use and keep it (PEP 562)."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("napari-clusternet")
    elif name in _HOMES:
        value = getattr(_module_of(name), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _module_of(name: str) -> ModuleType:
    try:
        return import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        from napari_clusternet.errors import missing_extra

        if name == "current" and error.name in ("napari", "qtpy", "magicgui"):
            missing_extra(error.name, "napari", "the viewer")
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
