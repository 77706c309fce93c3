"""How long step 1 will take, roughly, before it begins."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_clusternet.config import ClusterNetDefaults
    from napari_clusternet.device import Device

#: Core seconds for a megapixel, an epoch long, in float32 on a CPU (docs/benchmarks.md: the quick
#: preset, and the paper's, whose loss on every pixel costs more).
_CPU = {"enhanced": 19.0, "paper": 45.0}
#: Seconds for what is prepared before and done after, on any device.
_AROUND = 8.0
#: How much faster: bfloat16 where it is native, and other devices than the CPU, all its cores.
_BFLOAT16, _DEVICES = 2.0, {"cuda": 100.0, "mps": 5.0}
#: Cores beyond this many bring little.
_USEFUL_CORES = 16


def expected_seconds(
    settings: ClusterNetDefaults, shapes: Sequence[Sequence[int]], device: Device
) -> float:
    """Return about how long training takes; right within a factor of two or three.

    Parameters
    ----------
    settings : ClusterNetDefaults
        Parameters of `ClusterNet`.
    shapes : sequence of shapes
        Spatial shape ([Z,] Y, X) of each image, pixels.
    device : Device
        Where it is to run.
    """
    megapixels = sum(math.prod(shape) for shape in shapes) / 1e6
    seconds = _CPU[settings.mode] * megapixels * settings.n_epochs
    if device.type == "cpu":
        speed = min(os.cpu_count() or 1, _USEFUL_CORES)
        return _AROUND + seconds / (
            speed * (_BFLOAT16 if device.training_dtype == "bfloat16" else 1.0)
        )
    return _AROUND + seconds / _DEVICES.get(device.type, 1.0)
