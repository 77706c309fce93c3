"""Checkpoints of step 1: everything a run needs to go on exactly where it was."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.io.model_files import load_model, save_model

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.config import ClusterNetDefaults
    from napari_clusternet.image import Image

KIND = "clusternet-checkpoint"

#: Parameters that may differ between a checkpoint and the run that goes on from it.
FREE = ("device", "precision", "checkpoint_seconds", "random_state")


@dataclass
class Position:
    """Where a run is between two clustering batches, and what it noted so far.

    Attributes
    ----------
    epoch, round : int
        The clustering batch to do next.
    history : list of dict
        Figures of the finished epochs.
    epoch_figures, round_figures : list of dict
        Figures of the unfinished epoch's training and clustering batches.
    best_perplexity, rank_before : float
        What the collapse guard compares with.
    """

    epoch: int = 0
    round: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    epoch_figures: list[dict[str, float]] = field(default_factory=list)
    round_figures: list[dict[str, float]] = field(default_factory=list)
    best_perplexity: float = 0.0
    rank_before: float = 0.0


def fingerprint(images: Sequence[Image]) -> list[dict[str, Any]]:
    """Describe images well enough to tell whether a run goes on with the same ones.

    Shape, bands, spacing and a checksum of the central block of at most 64 pixels a side.
    """
    found = []
    for image in images:
        centre = tuple(slice(max(0, n // 2 - 32), n // 2 + 32) for n in image.shape)
        values, _ = image.read(centre)
        found.append(
            {
                "shape": list(image.shape),
                "bands": list(image.bands.names),
                "dtype": image.bands.dtype,
                "spacing": list(image.spacing),
                "checksum": zlib.crc32(np.ascontiguousarray(values).tobytes()),
            }
        )
    return found


class Checkpoint:
    """A checkpoint file that is written at most every so many seconds.

    Parameters
    ----------
    path : path-like
        The file.
    settings : ClusterNetDefaults
        Of the run, seed included.
    images : list
        The `fingerprint` of its images.
    """

    def __init__(
        self, path: str | Path, settings: ClusterNetDefaults, images: list[dict[str, Any]]
    ) -> None:
        self.path, self.settings, self.images = Path(path), settings, images
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._written >= self.settings.checkpoint_seconds

    def write(
        self,
        run: dict[str, npt.NDArray[Any]],
        best: dict[str, npt.NDArray[Any]] | None,
        position: Position,
    ) -> None:
        """Write the state of a run and its best snapshot, atomically."""
        tensors = {f"run.{name}": value for name, value in run.items()}
        tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
        metadata = {
            "settings": asdict(self.settings),
            "images": self.images,
            "position": asdict(position),
        }
        save_model(self.path, tensors, metadata, kind=KIND)
        self._written = time.monotonic()

    def read(
        self,
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]] | None, Position, int]:
        """Read the file if it belongs to these settings and images.

        Returns
        -------
        run, best : dict of arrays
            State to restore, and the best snapshot if there is one.
        position : Position
        seed : int

        Raises
        ------
        FileFormatError
            If it is damaged or belongs to another run; what differs is named.
        """
        tensors, metadata = load_model(
            self.path, kind=KIND, required=("settings", "images", "position")
        )
        self._compare(metadata)
        run = {k.removeprefix("run."): v for k, v in tensors.items() if k.startswith("run.")}
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        position = Position(**metadata["position"])
        return run, best or None, position, int(metadata["settings"]["random_state"])

    def _compare(self, metadata: dict[str, Any]) -> None:
        ours = asdict(self.settings)
        theirs = {"sampling": "uniform"} | metadata["settings"]  # older ones do not say
        fixed = [name for name in ours if name not in FREE]
        if ours["random_state"] is not None:
            fixed.append("random_state")
        problems = [
            f"{name} was {theirs.get(name)!r}, is {ours[name]!r}"
            for name in fixed
            if _plain(ours[name]) != _plain(theirs.get(name))
        ]
        if len(metadata["images"]) != len(self.images):
            problems.append(f"it had {len(metadata['images'])} images, now {len(self.images)}")
        for i, (old, new) in enumerate(zip(metadata["images"], self.images, strict=False)):
            problems += [
                f"image {i}: {name} was {old.get(name)!r}, is {new[name]!r}"
                for name in new
                if old.get(name) != new[name]
            ]
        if problems:
            invalid(
                "checkpoint", str(self.path), "it belongs to another run: " + "; ".join(problems),
                "Give the same parameters and images, another file name, or resume=False",
                error=FileFormatError,
            )  # fmt: skip


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
