"""The only home of defaults, presets and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["enhanced", "paper"]


@dataclass(frozen=True)
class ClusterNetDefaults:
    """Step 1 (`napari_clusternet.ClusterNet`); the paper's section 3.4 where it names a value."""

    n_features: int = 64
    n_clusters: int = 800
    n_epochs: int = 35
    cluster_batch: int = 16
    train_batch: int = 4
    patch: int = 512
    mode: Mode = "enhanced"
    clusterer: str = "kmeans"


@dataclass(frozen=True)
class SessionDefaults:
    """Step 2 (`napari_clusternet.Session`); threshold from the paper's section 3.4."""

    n_clusters: int = 800
    threshold: float = 0.3
    mode: Mode = "enhanced"
    features: str = "auto"
    history_limit: int = 100


@dataclass(frozen=True)
class FileLimits:
    """What a file may claim before it is refused, so that no header can exhaust the machine."""

    max_pixels: int = 1 << 40
    max_axis: int = 1 << 24
    max_bands: int = 4096
    max_eager_bytes: int = 8 << 30


CLUSTERNET = ClusterNetDefaults()
SESSION = SessionDefaults()
FILES = FileLimits()
