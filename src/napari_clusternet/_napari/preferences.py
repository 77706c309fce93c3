"""The plugin's preferences: File > Preferences > ClusterNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_clusternet.config import CLUSTERNET

PLUGIN = "napari-clusternet"


@dataclass(frozen=True)
class Preferences:
    """What the user chose; `napari.yaml` describes each field, and must have these defaults.

    Attributes
    ----------
    preset : str
        Preset that Learn features starts with; see `napari_clusternet.ClusterNet.from_preset`.
    device : str
        Where to learn; see `napari_clusternet.device.select_device`.
    refine : bool
        Whether classes are refined between strokes; see `napari_clusternet.Session.refine`.
    field_megapixels : float
        Of an image of more than 32 megapixels, so much is worked on at a time.
    folder : str
        Folder for results; empty for the folder of the image.
    suffix : str
        Format for labels; empty for that of the image.
    """

    preset: str = "quick"
    device: str = CLUSTERNET.device
    refine: bool = True
    field_megapixels: float = 1.2
    folder: str = ""
    suffix: str = ""


def preferences() -> Preferences:
    """Return the preferences as they are now; the defaults where napari has none for plugins."""
    try:
        from napari.settings import get_plugin_settings

        stored: Any = get_plugin_settings(PLUGIN)
        return Preferences(
            preset=stored.learning.preset, device=stored.learning.device,
            refine=stored.classifying.refine,
            field_megapixels=stored.classifying.field_megapixels,
            folder=stored.results.folder, suffix=stored.results.suffix,
        )  # fmt: skip
    except (ImportError, KeyError, AttributeError):  # an older napari, or the plugin is disabled
        return Preferences()


def results_folder(source: Path | None) -> Path:
    """Return where results go by default: the preferred folder, the image's, or home."""
    preferred = preferences().folder
    if preferred and Path(preferred).expanduser().is_dir():
        return Path(preferred).expanduser()
    return source.parent if source is not None else Path.home()
