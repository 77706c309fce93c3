"""Where unfinished trainings of the window are kept until they go on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model
from napari_clusternet.training.checkpoints import FREE, KIND, fingerprint

#: Unfinished trainings that are kept; older ones are removed.
KEPT = 8


def folder() -> Path:
    """Return the user's folder for unfinished trainings, made if need be."""
    own = Path(platformdirs.user_data_dir("napari-clusternet", appauthor=False)) / "unfinished"
    try:
        own.mkdir(parents=True, exist_ok=True)
        if os.access(own, os.W_OK):
            return own
    except OSError:
        pass  # a home that cannot be written
    return Path(tempfile.mkdtemp(prefix="napari-clusternet-"))


def path_for(name: str, parameters: dict[str, Any], images: Sequence[Image]) -> Path:
    """Return the file of a training: the same for the same parameters and images.

    Parameters
    ----------
    name : str
        What the file's name begins with, for people.
    parameters : dict
        Of the `ClusterNet`.
    images : sequence of Image
        What it learns from.
    """
    fixed = {key: value for key, value in parameters.items() if key not in FREE}
    seed = parameters.get("random_state")
    what = json.dumps([fixed, seed, fingerprint(images)], sort_keys=True, default=str)
    mark = hashlib.sha256(what.encode()).hexdigest()[:12]
    plain = re.sub(r"\W+", "-", name).strip("-")[:40]
    place = folder()
    _tidy(place)
    return place / f"{plain or 'image'}-{mark}.safetensors"


def usable(path: Path) -> bool:
    """Whether there is a checkpoint that can be read."""
    try:
        return path.exists() and bool(load_model(path, kind=KIND))
    except FileFormatError:
        return False


def _tidy(place: Path) -> None:
    files = sorted(place.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    for old in files[: -KEPT + 1]:
        old.unlink(missing_ok=True)
