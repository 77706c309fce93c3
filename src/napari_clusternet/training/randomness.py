"""Counter-based randomness: a decision depends on when it is made, not on how many came before.

So a run that resumes at (epoch, round) draws exactly what the uninterrupted run drew there, and a
checkpoint needs no generator state.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random decision is for; keeps the streams of one moment apart."""

    ORDER = 0
    ORIGIN = 1
    CLUSTERING = 2
    PIXELS = 3
    VIEWS = 4
    TRAINING_ORDER = 5
    PROBE = 6
    INTEREST = 7


def generator(seed: int, purpose: Purpose, *moment: int) -> np.random.Generator:
    """Return the generator of one decision at one moment (epoch, round, step)."""
    return np.random.default_rng([seed, int(purpose), *moment])
