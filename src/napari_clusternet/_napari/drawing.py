"""What napari needs when layers go, so that the graphics driver does not crash."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel


class ContextKeeper:
    """Makes the canvas's own OpenGL context the current one when a layer is removed.

    napari 0.9 then deletes the layer's textures and shaders at once, in whichever context is
    current. Once the window was drawn, that is the one that Qt puts windows together with: the
    canvas goes on with shaders that are gone, and Mesa's llvmpipe ends with a segmentation fault
    in the second picture after it.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        A viewer; one without a window needs nothing.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        # napari's own listeners come before ours: one layer is deleted between the two events,
        # many at once after the last of them
        self._moments = (viewer.layers.events.removing, viewer.layers.events.removed)
        for moment in self._moments:
            moment.connect(self._make_current)

    def _make_current(self, _: Any) -> None:
        # other versions of napari may have it elsewhere; a window that closes may have none
        with suppress(AttributeError, RuntimeError):
            self._viewer.window._qt_viewer.canvas.native.makeCurrent()

    def stop(self) -> None:
        """Leave the viewer alone."""
        for moment in self._moments:
            moment.disconnect(self._make_current)


def camera_of(viewer: ViewerModel) -> Any:
    """Return a viewer's camera; napari 0.9 has it in another place than those before."""
    return getattr(viewer, "scene", viewer).camera
