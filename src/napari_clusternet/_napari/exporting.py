"""What the active session gives away: labels, polygons, its table, its certainty."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_clusternet.applying import Outcome, refuse_existing
from napari_clusternet.io.exports import (
    check_flat,
    class_paths,
    write_certainty,
    write_class_files,
    write_table,
)
from napari_clusternet.io.labels import write_labels
from napari_clusternet.io.polygons import write_polygons
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import os

    from napari_clusternet._napari.controller import Controller

    PathLike = str | os.PathLike[str]


class Exporting:
    """Part of `napari_clusternet._napari.controller.Controller`.

    All methods check what they can at once, then write in the background; they return False if
    something else is running.

    Attributes
    ----------
    transferred : Signal(list of Outcome)
        Files were written or opened, or a session was applied; in the window's thread.
    """

    transferred = Signal(list)

    def export_labels(
        self: Controller, path: PathLike, *, per_class: bool = False, overwrite: bool = False
    ) -> bool:
        """Write the classes of the active image, with its place in the world.

        Parameters
        ----------
        path : path-like
            The suffix chooses the format; see `napari_clusternet.write_labels`.
        per_class : bool
            Write one file for each class instead, named after it: ``labels_1_water.tif``.
        overwrite : bool
            Whether existing files may be replaced.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session, or a file exists and `overwrite` is False.
        """
        labels, image, names = self.need_session().labels, self.active.image, self.classes.names
        names = {k: name for k, name in names.items() if k <= self.session.n_classes}
        if not per_class:
            return self._export(
                path, overwrite, lambda: [write_labels(path, labels, image, class_names=names)]
            )
        for target in class_paths(path, names).values():
            refuse_existing(target, overwrite)
        return self._export(path, True, lambda: write_class_files(path, labels, image, names))

    def export_polygons(
        self: Controller,
        path: PathLike,
        *,
        min_pixels: int = 0,
        simplify: float = 0.0,
        overwrite: bool = False,
    ) -> bool:
        """Write the classes of the active image as polygons: GeoPackage or GeoJSON.

        Parameters
        ----------
        path : path-like
            ``*.gpkg`` or ``*.geojson``.
        min_pixels, simplify
            See `napari_clusternet.write_polygons`.
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session, the image is a volume, or the file exists and `overwrite` is
            False.
        """
        labels, image, names = self.need_session().labels, self.active.image, self.classes.names
        check_flat(image, "polygons")
        return self._export(path, overwrite, lambda: [write_polygons(
            path, labels, like=image, class_names=names, min_pixels=min_pixels, simplify=simplify,
        )])  # fmt: skip

    def export_table(self: Controller, path: PathLike, *, overwrite: bool = False) -> bool:
        """Write the table of the active session's clusters as CSV.

        Parameters
        ----------
        path : path-like
            The file; its ending says the format.
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session, or the file exists and `overwrite` is False.
        """
        table, names = self.need_session().clusters, self.classes.names
        return self._export(path, overwrite, lambda: [write_table(path, table, names)])

    def export_certainty(self: Controller, path: PathLike, *, overwrite: bool = False) -> bool:
        """Write how sure the classes of the active image are, in percent; formats as for labels.

        Parameters
        ----------
        path : path-like
            The file; its ending says the format.
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        bool
            False if something else is running, which the user is told.

        Raises
        ------
        InputError
            If there is no session, or the file exists and `overwrite` is False.
        """
        certainty, image = self.need_session().certainty, self.active.image
        return self._export(path, overwrite, lambda: [write_certainty(path, certainty, image)])

    def _export(
        self: Controller, path: PathLike, overwrite: bool, write: Callable[[], list[Path]]
    ) -> bool:
        target = Path(path).expanduser()
        refuse_existing(target, overwrite)
        return self._write(f"Writing {target.name}", write)

    def _write(
        self: Controller,
        title: str,
        write: Callable[[], list[Path]],
        then: Callable[[], object] = lambda: None,
    ) -> bool:
        """Write files in the background; call `then` once they are there."""

        def steps() -> Generator[Progress, None, list[Path]]:
            yield Progress("writing", 0, 1)
            return write()

        def done(paths: list[Path]) -> None:
            shown = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files in {paths[0].parent}"
            then()
            show_info(f"Written: {shown}")
            self.transferred.emit([Outcome(path.name, path) for path in paths])

        return self.runner.start(title, steps, done)
