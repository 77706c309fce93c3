"""Step 1 in the viewer."""

from __future__ import annotations


class Learning:
    """Part of `napari_clusternet._napari.controller.Controller`."""
