"""A window that is driven by a script, to go on by hand.

    python examples/napari_script.py

Or paste the lines of `main` into napari's console, where `viewer` is known already.
"""

from __future__ import annotations

from typing import Any

import napari

import napari_clusternet as cn


def main(viewer: Any) -> Any:
    """Open a sample, classify it by its strokes, open the dock; return the controller."""
    image = viewer.open_sample("napari-clusternet", "sentinel2")[0]
    control = cn.current(viewer)
    control.segment(image, features="filters", n_clusters=200)
    control.runner.wait()
    print(control.session.clusters.head())  # a table in pandas, one row a cluster
    control.show_certainty()
    viewer.window.add_plugin_dock_widget("napari-clusternet", "Classify")
    return control


if __name__ == "__main__":
    main(napari.Viewer())
    napari.run()
