"""The only home of defaults, presets and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["enhanced", "paper"]
Sampling = Literal["uniform", "interest"]


@dataclass(frozen=True)
class ClusterNetDefaults:
    """Step 1 (`napari_clusternet.ClusterNet`); the paper's section 3.4 where it names a value.

    Each field is described at the parameter of the same name of `napari_clusternet.ClusterNet`.
    """

    n_features: int = 64
    n_clusters: int = 800
    n_epochs: int = 35
    cluster_batch: int = 16
    train_batch: int = 4
    patch: int = 512
    sampling: Sampling = "uniform"
    mode: Mode = "enhanced"
    clusterer: str = "kmeans"
    device: str = "auto"
    precision: str = "auto"
    random_state: int | None = None
    channels: tuple[int, ...] | None = None
    learning_rate: float = 5e-4
    loss_pixels: int | None = 8192
    cluster_pixels: int | None = 65536
    cluster_iterations: int = 3
    temperature: float = 0.1
    sharpness: float = 0.05
    jitter: float = 0.1
    reconstruction: float = 1.0
    patience: int | None = None
    checkpoint_seconds: float = 30.0


#: Changes to `ClusterNetDefaults`, by preset (`ClusterNet.from_preset`).
CLUSTERNET_PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n_clusters": 256, "n_epochs": 8, "patch": 128, "cluster_pixels": 16384},
    "balanced": {"patch": 256},
    "paper": {
        "mode": "paper",
        "loss_pixels": None,
        "cluster_pixels": None,
    },
}

#: U-Net widths, finest level first, by number of spatial axes: well under a million parameters.
UNET_CHANNELS = {2: (16, 24, 32, 48), 3: (16, 24, 32)}


@dataclass(frozen=True)
class SessionDefaults:
    """Step 2 (`napari_clusternet.Session`); threshold from the paper's section 3.4."""

    n_clusters: int = 800
    threshold: float = 0.3
    mode: Mode = "enhanced"
    features: str = "auto"
    history_limit: int = 100
    #: Largest image, bytes, whose pixels go into a session file where no file of its own has them.
    embed_bytes: int = 2 << 30


@dataclass
class FileLimits:
    """What a file may claim before it is refused, so that no header can exhaust the machine.

    Those of `FILES` may be changed, before a file is opened.
    """

    max_pixels: int = 1 << 40
    max_axis: int = 1 << 24
    max_bands: int = 4096
    max_eager_bytes: int = 8 << 30


@dataclass(frozen=True)
class AutosaveLimits:
    """What the viewer keeps of unsaved strokes in the user's data folder, in case of a crash."""

    #: Seconds from a change to its file.
    seconds: float = 2.0
    #: Strokes of more bytes are not kept; the user is told.
    max_file_bytes: int = 32 << 20
    #: Files of earlier crashes that are kept; the oldest go.
    max_files: int = 16


CLUSTERNET = ClusterNetDefaults()
SESSION = SessionDefaults()
FILES = FileLimits()
AUTOSAVE = AutosaveLimits()

#: Method of `napari_clusternet.unsupervised` where none is named.
UNSUPERVISED_METHOD = "fsf"
