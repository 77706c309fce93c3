"""Features learned by step 1, as an extractor: exact in tiles, float32, frozen statistics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_clusternet import extractor as base
from napari_clusternet.networks.unet import UNet, pad_to_multiple
from napari_clusternet.tiles import plan_tiles, round_up

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.device import Device
    from napari_clusternet.extractor import BoolArray, FloatArray
    from napari_clusternet.image import Bands, Image
    from napari_clusternet.normalization import Normalizer

logger = logging.getLogger(__name__)


class LearnedFeatures:
    """A trained network with its normalisation: a pure function of a block of an image.

    Satisfies `napari_clusternet.extractor.Extractor`.

    Parameters
    ----------
    network : UNet
        The trained network; put into evaluation mode and moved to `device`.
    normalizer : Normalizer
        The global normalisation it was trained with.
    bands : Bands
        Bands of the images it takes.
    spacing : tuple of float
        Pixel size per axis the network was planned for.
    device : Device
        Where to compute.
    """

    def __init__(
        self,
        network: UNet,
        normalizer: Normalizer,
        bands: Bands,
        spacing: tuple[float, ...],
        device: Device,
    ) -> None:
        self.network = network.eval().to(device.torch)
        self.normalizer, self.bands = normalizer, bands
        self.spacing, self.device = spacing, device
        self.ndim, self.n_features = network.ndim, network.n_features
        self.halo, self.multiple = network.halo, network.multiple

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0.

        The block is padded at its ends to the network's stride, which exactness allows only at
        the image's true borders: `plan_tiles` sees to that. When the device runs out of memory
        the block is computed in halves, quarters and so on; the result is the same.

        Raises
        ------
        torch.cuda.OutOfMemoryError
            If not even a piece of the network's stride fits.
        """
        piece = tuple(round_up(n, m) for n, m in zip(valid.shape, self.multiple, strict=True))
        while True:
            try:
                return self._in_pieces(values, valid, piece)
            except torch.cuda.OutOfMemoryError:
                smaller = self._halved(piece)
                if smaller == piece:
                    raise
                logger.warning("out of memory: piece %s becomes %s", piece, smaller)
                piece = smaller
                torch.cuda.empty_cache()

    def _in_pieces(
        self, values: FloatArray, valid: BoolArray, piece: tuple[int, ...]
    ) -> FloatArray:
        features = np.empty((self.n_features, *valid.shape), dtype=np.float32)
        for tile in plan_tiles(valid.shape, piece, self.halo, self.multiple):
            block = self._forward(values[(slice(None), *tile.read)], valid[tile.read])
            features[(slice(None), *tile.write)] = block[(slice(None), *tile.crop)]
        features[:, ~valid] = 0
        return features

    def _forward(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        layout = torch.channels_last if self.ndim == 2 else torch.channels_last_3d
        block = torch.from_numpy(self.normalizer(values, valid))[None]
        padded = pad_to_multiple(block, self.multiple)
        with torch.inference_mode():
            inputs = padded.to(self.device.torch, memory_format=layout)
            result: FloatArray = self.network(inputs)[0].float().cpu().numpy()
        return result

    def _halved(self, piece: tuple[int, ...]) -> tuple[int, ...]:
        """Return half of `piece` per axis, aligned to the stride and no less than one stride."""
        return tuple(max(m, n // 2 // m * m) for n, m in zip(piece, self.multiple, strict=True))

    def transform(
        self,
        image: Image,
        tile: tuple[int, ...] | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> Any:
        """Return the features (F, [Z,] Y, X) of an image, lazy (dask) if the image is lazy.

        Raises
        ------
        InputError
            If the image's bands are not those the features were learned from.
        """
        return base.transform(self, image, tile, dtype)
