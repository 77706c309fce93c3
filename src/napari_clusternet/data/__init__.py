"""Sample images with strokes, and where they come from (README.md in this folder)."""

from __future__ import annotations

from napari_clusternet.data.samples import SAMPLES, Sample, load_sample

__all__ = ["SAMPLES", "Sample", "load_sample"]
