"""Apply and export: results to files, the session on other images, the session as a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, FileEdit, PushButton
from qtpy.QtWidgets import (
    QFileDialog,
    QGroupBox,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_clusternet._napari.controller import current
from napari_clusternet._napari.frames import attempt, enable, row, stacked, text
from napari_clusternet._napari.going import Going
from napari_clusternet._napari.preferences import preferences, results_folder
from napari_clusternet._napari.readers import SESSION_SUFFIX
from napari_clusternet._napari.ties import Ties
from napari_clusternet._napari.transfer_targets import TargetList
from napari_clusternet.applying import Outcome

if TYPE_CHECKING:
    import napari

#: What can be exported -> (ending of the file name, suffix; "" for that of labels).
KINDS = {
    "Labels, all classes in one file": ("_classes", ""),
    "Labels, one file per class": ("_classes", ""),
    "Polygons": ("_polygons", ".gpkg"),
    "Table of clusters": ("_clusters", ".csv"),
    "Certainty, in percent": ("_certainty", ""),
}
LABELS, PER_CLASS, POLYGONS, TABLE, CERTAINTY = KINDS
#: Formats of labels -> suffix.
FORMATS = {
    "As the image": "",
    "TIFF, GeoTIFF (.tif)": ".tif",
    "NIfTI (.nii.gz)": ".nii.gz",
    "OME-Zarr (.zarr)": ".zarr",
}
NO_SESSION = "Nothing to export yet: press Start in Classify and paint a stroke of each class."


class TransferDock(QWidget):
    """Forwards to `current(viewer)`; holds nothing but what is typed into it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    tab = "Export"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._control = current(viewer)
        self._viewer = self._control.viewer
        self._suggested = ""
        self._status, self._outcome = text(), text()
        self.going = Going(self._control.runner)
        stacked(
            self, self._status, self._export_section(), self._apply_section(),
            self._session_section(), self.going, self._outcome,
        )  # fmt: skip
        self._follow()
        self._list_layers()
        self._refresh()

    # ---- parts -----------------------------------------------------------------------------------

    def _export_section(self) -> QGroupBox:
        self.what = ComboBox(choices=list(KINDS), tooltip="What to write")
        self.path = FileEdit(mode="w", tooltip="The file to write; its ending says the format: "
                             ".tif, .nii.gz, .zarr; .gpkg, .geojson; .csv")  # fmt: skip
        self.replace = CheckBox(text="Replace existing files",
                                tooltip="Otherwise a file that exists stays")  # fmt: skip
        self.export = PushButton(text="&Export")
        self.what.changed.connect(self._suggest_path)
        self.path.changed.connect(self._refresh)
        self.export.clicked.connect(self._export)
        return _section("Export", ("What", self.what), ("File", self.path), self.replace,
                        self.export)  # fmt: skip

    def _apply_section(self) -> QGroupBox:
        self.targets = TargetList()
        self.targets.changed.connect(self._refresh)
        self.folder = FileEdit(mode="d", nullable=True, value=None,
                               tooltip="Where result files go; empty to get layers")  # fmt: skip
        self.format = ComboBox(choices=list(FORMATS), tooltip="Format of the result files")
        preferred = preferences().suffix
        self.format.value = next((f for f, s in FORMATS.items() if s == preferred), "As the image")
        self.replace_results = CheckBox(
            text="Replace existing results", tooltip="Otherwise nothing is done if one exists"
        )
        self.apply = PushButton(text="&Apply")
        self._hint = text()
        self.folder.changed.connect(self._refresh)
        self.apply.clicked.connect(self._apply)
        return _section(
            "Apply to other images", self.targets, ("Folder for results", self.folder),
            ("Format", self.format), self.replace_results, self._hint, self.apply,
        )  # fmt: skip

    def _session_section(self) -> QGroupBox:
        self.save = PushButton(text="&Save...")
        self.open = PushButton(text="Ope&n...")
        self.save.clicked.connect(self._save)
        self.open.clicked.connect(self._open)
        return _section("Session", row(self.save, self.open))

    # ---- what it follows -------------------------------------------------------------------------

    def _follow(self) -> None:
        control, layers = self._control, self._viewer.layers.events
        self._ties = Ties(self)
        for signal, slot in (
            (control.active_changed, self._active_changed),
            (control.session_changed, self._refresh),
            (control.runner.changed, self._refresh),
            (control.transferred, self._transferred),
            *((event, self._list_layers) for event in
              (layers.inserted, layers.removed, layers.reordered, layers.renamed)),
        ):  # fmt: skip
            self._ties.tie(signal, slot)

    def _active_changed(self) -> None:
        self._list_layers()
        self._suggest_path()

    def _list_layers(self, _: Any = None) -> None:
        active = self._control.active
        own = () if active is None else active.image_layers
        self.targets.show_layers([
            layer for layer in self._control.image_layers if layer not in own
        ])  # fmt: skip

    def _suggest_path(self, _: Any = None) -> None:
        """Name the file after the image, unless the user chose another name."""
        image = self._control.image
        typed = str(self.path.value or "")
        if image is not None and typed in ("", ".", self._suggested):
            ending, suffix = KINDS[self.what.value]
            own = ".nii.gz" if image.ndim == 3 else ".tif"
            name = self._control.active.name.split(".")[0] or "image"
            folder = results_folder(image.source)
            path = folder / f"{name}{ending}{suffix or preferences().suffix or own}"
            self._suggested = str(path)
            self.path.value = path
        elif image is not None:
            self._suit_suffix(Path(typed))
        self._refresh()

    def _suit_suffix(self, path: Path) -> None:
        """Keep the user's name, but not the suffix of another kind of file."""
        wanted = KINDS[self.what.value][1]
        stem = path.name.split(".")[0]
        if wanted and path.suffix != wanted and path.suffix != ".geojson":
            self.path.value = path.with_name(stem + wanted)
        elif not wanted and path.suffix in (".gpkg", ".geojson", ".csv"):
            self.path.value = path.with_name(stem + ".tif")

    def _refresh(self, *_: Any) -> None:
        session, runner = self._control.session, self._control.runner
        if not self._suggested and session is not None:
            self._suggest_path()
        if session is None:
            self._status.setText(NO_SESSION)
        else:
            n = session.n_classes
            self._status.setText(f"Session of {self._control.active.name!r}, {n} classes.")
        busy = f"{runner.title} is running" if runner.busy else ""
        none = busy or ("" if session is not None else NO_SESSION)
        targets = self.targets.chosen()
        enable(self.export, none or ("" if self._typed() else "Choose a file first"), "Write it")
        enable(self.save, none, "Image, strokes, clusters and classes in one file")
        enable(self.open, busy, "You can also drop the file on the window")
        enable(self.apply, none or self._why_not(targets), "Classify the ticked images")
        self._hint.setText("" if busy else self._why_not(targets))
        self._hint.setVisible(bool(self._hint.text()))
        count = f" to {len(targets)} image{'s' if len(targets) > 1 else ''}" if targets else ""
        self.apply.text = f"&Apply{count}"

    def _typed(self) -> bool:
        return str(self.path.value or "") not in ("", ".")

    def _why_not(self, targets: list[Any]) -> str:
        if not targets:
            return "Tick an image, or add a file or folder"
        files = any(isinstance(target, Path) for target in targets)
        return "Choose a folder for the results" if files and not self._folder() else ""

    def _folder(self) -> Path | None:
        return self.folder.value if str(self.folder.value or "") not in ("", ".") else None

    def _transferred(self, outcomes: list[Outcome]) -> None:
        failed = [one for one in outcomes if one.error]
        lines = [f"{one.name}: {one.error}" for one in failed]
        done = [one for one in outcomes if not one.error]
        if done:
            what = str(done[0].output or done[0].name)
            lines.insert(0, f"Done: {what}" if len(done) == 1 else f"Done: {len(done)} images")
        self._outcome.setText("\n".join(lines))

    # ---- what the buttons do ---------------------------------------------------------------------

    def _export(self) -> None:
        control, options = self._control, {"overwrite": self.replace.value}
        act: dict[str, Callable[..., bool]] = {
            LABELS: control.export_labels,
            PER_CLASS: partial(control.export_labels, per_class=True),
            POLYGONS: control.export_polygons,
            TABLE: control.export_table,
            CERTAINTY: control.export_certainty,
        }
        attempt(partial(act[self.what.value], self.path.value, **options))

    def _apply(self) -> None:
        attempt(partial(
            self._control.apply, self.targets.chosen(), self._folder(),
            FORMATS[self.format.value], overwrite=self.replace_results.value,
        ))  # fmt: skip

    def _save(self) -> None:
        image = self._control.image
        name = self._control.active.name.split(".")[0]
        start = results_folder(image.source) / f"{name}{SESSION_SUFFIX}"
        kinds = f"ClusterNet session (*{SESSION_SUFFIX})"
        path, _ = QFileDialog.getSaveFileName(self, "Save the session", str(start), kinds)
        if path:
            whole = path if path.endswith(SESSION_SUFFIX) else path + SESSION_SUFFIX
            attempt(partial(self._control.save_session, whole))

    def _open(self) -> None:
        image = self._control.image
        start = str(results_folder(None if image is None else image.source))
        kinds = f"ClusterNet session (*{SESSION_SUFFIX})"
        path, _ = QFileDialog.getOpenFileName(self, "Open a session", start, kinds)
        if path:
            attempt(partial(self._control.open_session, path))


def _section(title: str, *rows: Any) -> QGroupBox:
    """Return a titled box; a row is a widget, or a label and a widget below it."""
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    for one in rows:
        name, widget = one if isinstance(one, tuple) else ("", one)
        native = getattr(widget, "native", widget)
        if name:
            label = QLabel(name)
            label.setBuddy(native)
            layout.addWidget(label)
            native.setAccessibleName(name)
        native.setMinimumWidth(0)
        layout.addWidget(native)
    return box
