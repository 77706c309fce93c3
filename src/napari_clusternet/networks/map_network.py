"""What a network is that turns a picture into maps."""

from __future__ import annotations

from torch import nn


class MapNetwork(nn.Module):
    """A network (N, 3, Y, X) -> list of maps (N, c, Y / s, X / s).

    It takes colours of about -1 to 1; sides must be multiples of all strides. Cell j of a map of
    stride s is centred on pixel s j + s - 1, where `place` puts it.

    Attributes
    ----------
    map_channels, map_strides : tuple of int
        Channels c and stride s of each map.
    """

    map_channels: tuple[int, ...]
    map_strides: tuple[int, ...]

    @property
    def halo(self) -> int:
        """Pixels on each side that the widest map looks at, from where it is placed."""
        raise NotImplementedError
