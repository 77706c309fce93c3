"""Sessions, models and labels to and from files; sessions on other images."""

from __future__ import annotations


class Transfer:
    """Part of `napari_clusternet._napari.controller.Controller`."""
