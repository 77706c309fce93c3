"""Looking at clusters in the viewer, and changing them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components._viewer_mouse_bindings import double_click_to_zoom

from napari_clusternet._napari.cluster_layer import ClusterLayer
from napari_clusternet._napari.runner import Runner
from napari_clusternet._napari.segmentation import Segmentation
from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels, Layer

    from napari_clusternet._napari.controller import Controller
    from napari_clusternet.inspection import Place

#: Values that are read for band means while the window waits; more are read beside it.
DIRECT = 1 << 20
#: Example places that `show_place` goes through, and of how many selected clusters.
PLACES, PLACES_OF = 50, 100
#: Modes of a layer in which a double click does not draw.
_NO_DRAWING = ("pan_zoom", "transform", "pick")


class Inspecting:
    """Part of `napari_clusternet._napari.controller.Controller`.

    Attributes
    ----------
    isolated : bool
        Whether everything but the selected clusters is dimmed.
    """

    def _start_inspecting(self: Controller) -> None:
        self.isolated = False
        self._views: dict[Segmentation, ClusterLayer] = {}
        self._places: list[Place] = []
        self._place = -1
        self._averaging = Runner()
        self.session_changed.connect(self._follow_clusters)
        clicks = self.viewer.mouse_double_click_callbacks
        if double_click_to_zoom in clicks:  # it comes where no cluster is meant: `_double_clicked`
            clicks.remove(double_click_to_zoom)
        clicks.append(self._double_clicked)

    def _stop_inspecting(self: Controller) -> None:
        self._averaging.close()
        self._views.clear()
        self.session_changed.disconnect(self._follow_clusters)
        clicks = self.viewer.mouse_double_click_callbacks
        if self._double_clicked in clicks:
            clicks.remove(self._double_clicked)
            clicks.append(double_click_to_zoom)

    # ---- selecting -----------------------------------------------------------------------------

    @property
    def clusters_layer(self: Controller) -> Labels | None:
        """The layer that shows the active image's clusters, once there was something to show."""
        view = None if self.active is None else self._views.get(self.active)
        return None if view is None else view.layer

    def select(self: Controller, clusters: Sequence[int] | int) -> None:
        """Select clusters of the active image and show them brightly on the canvas.

        Parameters
        ----------
        clusters : sequence of int, or int
            Cluster ids, as in ``session.clusters`` and ``session.cluster_map``; ``()`` for none.

        Raises
        ------
        InputError
            If there is no session, or no such cluster.
        """
        ids = _as_ids(clusters)
        if ids:
            found = self.need_session().inspector.existing(ids)
            missing = sorted(set(ids) - set(found))
            if missing:
                invalid("clusters", missing, "no such cluster", "Take ids of session.clusters")
            ids = found
        changed = ids != self.selected
        self.selected = ids
        self._show_selection()
        if changed:
            self._places, self._place = [], -1
            self.selection_changed.emit()

    def isolate(self: Controller, clusters: Sequence[int] | int | None = None) -> None:
        """Dim everything but some clusters; if they are isolated already, end that.

        Parameters
        ----------
        clusters : sequence of int, or int, optional
            Cluster ids, selected by this; by default those that are selected.
        """
        ids = self._chosen(clusters)
        on = not (self.isolated and set(ids) == set(self.selected))
        self.select(ids)
        self.isolated = on
        self._show_selection()
        self.selection_changed.emit()

    def show_clusters(self: Controller, visible: bool = True) -> None:
        """Show all clusters of the active image in distinct colours, or hide them.

        While clusters are selected, only they are shown.

        Parameters
        ----------
        visible : bool
            Whether to show them.
        """
        self.need_session()
        self._view(self.active).show_all(visible)

    def cluster_at(self: Controller, position: Sequence[float]) -> int:
        """Return the cluster at a place of the world ([z,] y, x), 0 if there is none.

        Parameters
        ----------
        position : sequence of float
            World coordinates, as ``viewer.cursor.position``; leading axes that the image does not
            have, such as bands, are ignored.

        Returns
        -------
        int
            The cluster's id.

        Raises
        ------
        InputError
            If there is no session.
        """
        ids = self.need_session().cluster_map
        index = np.rint(self.strokes_layer.world_to_data(position)).astype(int)
        inside = (index >= 0).all() and (index < ids.shape).all()
        return int(ids[tuple(index)]) if inside else 0

    def show_place(self: Controller, step: int = 1) -> tuple[int, ...]:
        """Move the camera to the next example of the selected clusters, the largest part first.

        Parameters
        ----------
        step : int
            How many places further; -1 goes back. After the last comes the first.

        Returns
        -------
        tuple of int
            The pixel ([z,] y, x), well inside a connected part of a cluster.

        Raises
        ------
        InputError
            If no cluster is selected.
        """
        session, ids = self.need_session(), self._chosen(None)
        if not self._places:
            self._places = session.inspector.places(ids[:PLACES_OF], PLACES)
            self._place = -1 if step > 0 else 0
        self._place = (self._place + step) % len(self._places)
        position = self._places[self._place].position
        self.look_at(position)
        return position

    # ---- changing ------------------------------------------------------------------------------

    def assign(self: Controller, clusters: Sequence[int] | int | None, class_: int) -> None:
        """Give clusters a class by hand, in one step of undo; 0 takes it back.

        Parameters
        ----------
        clusters : sequence of int, int or None
            Cluster ids; None for those that are selected.
        class_ : int
            The class; it is added to the list if it is not there.

        Raises
        ------
        InputError
            If there is no such cluster or class.
        """
        ids = self._chosen(clusters)
        self.need_session().assign(ids, class_)
        self.classes.ensure(class_)

    def split(self: Controller, clusters: Sequence[int] | int | None = None) -> None:
        """Split each cluster in two, in one step of undo; the parts are selected.

        Parameters
        ----------
        clusters : sequence of int, or int, optional
            Cluster ids; by default those that are selected.

        Raises
        ------
        InputError
            If there is no such cluster, or none can be split.
        """
        ids, session = self._chosen(clusters), self.need_session()
        before = int(session.centroids.shape[0])
        session.split(ids)
        self.select((*ids, *range(before + 1, session.centroids.shape[0] + 1)))

    def merge(self: Controller, clusters: Sequence[int] | int | None = None) -> None:
        """Merge clusters into the one with the lowest id, which is selected.

        Parameters
        ----------
        clusters : sequence of int, optional
            Cluster ids, at least two; by default those that are selected.

        Raises
        ------
        InputError
            If there are fewer than two, or one does not exist.
        """
        ids = self._chosen(clusters)
        self.need_session().merge(ids)
        self.select(min(ids))

    def cluster_table(self: Controller) -> pd.DataFrame:
        """Return ``session.clusters`` without waiting for a long look at the image.

        Band means that are not known yet are NaN; they are computed beside the window, and
        `session_changed` is emitted when they are there.

        Returns
        -------
        pandas.DataFrame
            One row a cluster; means of bands are NaN until they are computed.

        Raises
        ------
        InputError
            If there is no session.
        """
        session, segmentation = self.need_session(), self.active
        means = session.inspector.band_means
        pending = means.pending
        if pending == 0 or (pending <= DIRECT and not segmentation.image.is_lazy):
            return session.clusters
        if not self._averaging.busy:
            steps = means.steps()  # here, in the window's thread: it looks at the clusters as now
            self._averaging.start(
                f"Band means of {segmentation.name}", lambda: steps,
                lambda _: self.session_changed.emit(segmentation),
            )  # fmt: skip
        return session.inspector.table(wait=False)

    # ---- following -----------------------------------------------------------------------------

    def _chosen(self: Controller, clusters: Sequence[int] | int | None) -> tuple[int, ...]:
        ids = self.selected if clusters is None else _as_ids(clusters)
        if not ids:
            invalid("clusters", clusters, "no cluster is selected",
                    "Select some in the Clusters table, or double-click the image")  # fmt: skip
        return ids

    def _view(self: Controller, segmentation: Segmentation) -> ClusterLayer:
        if segmentation not in self._views:
            self._views[segmentation] = ClusterLayer(self.viewer, segmentation)
        return self._views[segmentation]

    def _show_selection(self: Controller) -> None:
        self.isolated = self.isolated and bool(self.selected)
        for segmentation, view in tuple(self._views.items()):
            if segmentation is not self.active:
                view.show((), False)
        if self.active is not None and self.active.session is not None:
            self._view(self.active).show(self.selected, self.isolated)

    def _follow_clusters(self: Controller, segmentation: Segmentation) -> None:
        """Draw again, and deselect what is gone, whoever changed the session."""
        session = segmentation.session
        if session is None:
            return
        moved = self._view(segmentation).follow()
        if moved and segmentation is self.active:
            self._places, self._place = [], -1
            left = session.inspector.existing(self.selected)
            if left != self.selected:
                self.select(left)

    def _forget_layer(self: Controller, layer: Layer) -> None:
        """Forget a layer that was removed."""
        for view in self._views.values():
            view.forget(layer)

    def _forget_clusters(self: Controller, segmentation: Segmentation) -> None:
        """Forget what shows the clusters of an image that is not segmented any more."""
        self._views.pop(segmentation, None)

    def _double_clicked(self: Controller, viewer: Any, event: Any) -> None:
        """Select the cluster under the pointer, with Shift one more; else zoom, as napari does."""
        active = viewer.layers.selection.active
        if active is not None and active.mode not in _NO_DRAWING:
            return  # two quick dabs of the brush
        flat = viewer.dims.ndisplay == 2 and "Alt" not in event.modifiers
        found = self.cluster_at(event.position) if flat and self.session is not None else 0
        if not found:
            double_click_to_zoom(viewer, event)
        elif "Shift" not in event.modifiers:
            self.select(found)
        elif found in self.selected:
            self.select([i for i in self.selected if i != found])
        else:
            self.select((*self.selected, found))


def _as_ids(clusters: Sequence[int] | int) -> tuple[int, ...]:
    ids = [clusters] if isinstance(clusters, int | np.integer) else clusters
    return tuple(dict.fromkeys(int(i) for i in ids))
