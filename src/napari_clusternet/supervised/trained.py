"""A trained network that labels images, tile by tile."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from napari_clusternet.errors import invalid
from napari_clusternet.extractor import WHOLE_PIXELS, iter_tiles
from napari_clusternet.networks.unet import pad_to_multiple
from napari_clusternet.tiles import plan_tiles, round_up

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.device import Device
    from napari_clusternet.image import Bands, BoolArray, FloatArray, Image
    from napari_clusternet.normalization import Normalizer
    from napari_clusternet.progress import Progress

    LabelArray = npt.NDArray[np.unsignedinteger]

logger = logging.getLogger(__name__)


class ScoreNetwork(Protocol):
    """A network from bands (B, C, [Z,] Y, X) to scores of classes (B, K, [Z,] Y, X).

    Attributes
    ----------
    ndim, n_classes : int
        Spatial axes; classes.
    multiple : tuple of int
        Total stride per axis: input extents must be multiples of it.
    halo : tuple of int
        Context per axis and side, pixels.
    exact : bool
        Whether tiles read with `halo` give the whole-image result. Networks that average over the
        whole image cannot.
    """

    ndim: int
    n_classes: int
    multiple: tuple[int, ...]
    exact: bool

    @property
    def halo(self) -> tuple[int, ...]: ...  # noqa: D102

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...  # noqa: D102


class TrainedNetwork:
    """A network with all it needs to label an image; see `supervised.base.Trained`.

    Also a `napari_clusternet.extractor.Extractor` whose features are the scores of the classes.

    Parameters
    ----------
    network : ScoreNetwork
        Put into evaluation mode and moved to `device`.
    normalizer : Normalizer
        Of the training images.
    bands : Bands
        Of the training images.
    device : Device
        Where to compute.
    classes : numpy.ndarray of int
        The class of each score.
    """

    def __init__(
        self,
        network: Any,
        normalizer: Normalizer,
        bands: Bands,
        device: Device,
        classes: npt.NDArray[np.int64],
    ) -> None:
        self.network = network.eval().to(device.torch)
        self.normalizer, self.bands, self.device, self.classes = normalizer, bands, device, classes
        self.ndim, self.n_features = int(network.ndim), len(classes)
        self.halo: tuple[int, ...] = network.halo
        self.multiple: tuple[int, ...] = network.multiple

    def predict_steps(self, image: Image) -> Generator[Progress, None, LabelArray]:
        """Yield progress; return labels ([Z,] Y, X): 1..K, 0 only where the image is invalid.

        Images of more than about a million pixels are labelled in tiles, with the same result.

        Raises
        ------
        InputError
            If the image's bands or axes are not those of the training images.

        Warns
        -----
        UserWarning
            If tiles are used with a network whose scores depend on the whole image.
        """
        if image.ndim != self.ndim:
            invalid("image", image.name, f"it has {image.ndim} spatial axes, the training images "
                    f"had {self.ndim}", "Give an image like those")  # fmt: skip
        if not self.network.exact and np.prod(image.shape) > WHOLE_PIXELS:
            warnings.warn(
                f"{image.name!r} is labelled in tiles, and this network looks at a whole image: "
                "labels may differ a little between tiles. unet and ternausnet do not",
                UserWarning,
                stacklevel=2,
            )
        kind = np.uint8 if int(self.classes.max()) <= np.iinfo(np.uint8).max else np.uint16
        labels = np.zeros(image.shape, kind)
        for progress, region, scores in iter_tiles(self, image):
            found = self.classes[scores.argmax(axis=0)]
            found[~image.read(region)[1]] = 0
            labels[region] = found
            yield type(progress)("labelling", progress.done, progress.total)
        return labels

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return scores (K, [Z,] Y, X) of `values` (C, [Z,] Y, X).

        The block is padded at its ends to the network's stride, which exactness allows only at
        the image's true borders: `plan_tiles` sees to that. When the device runs out of memory
        the block is computed in halves, quarters and so on; of a network with `exact`, the result
        is the same.

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
                smaller = tuple(
                    max(m, n // 2 // m * m) for n, m in zip(piece, self.multiple, strict=True)
                )
                if smaller == piece:
                    raise
                logger.warning("out of memory: piece %s becomes %s", piece, smaller)
                piece = smaller
                torch.cuda.empty_cache()

    def _in_pieces(
        self, values: FloatArray, valid: BoolArray, piece: tuple[int, ...]
    ) -> FloatArray:
        scores = np.empty((self.n_features, *valid.shape), dtype=np.float32)
        for tile in plan_tiles(valid.shape, piece, self.halo, self.multiple):
            block = self._forward(values[(slice(None), *tile.read)], valid[tile.read])
            scores[(slice(None), *tile.write)] = block[(slice(None), *tile.crop)]
        return scores

    def _forward(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        layout = torch.channels_last if self.ndim == 2 else torch.channels_last_3d
        block = torch.from_numpy(self.normalizer(values, valid))[None]
        padded = pad_to_multiple(block, self.multiple)
        inside = tuple(slice(0, n) for n in valid.shape)
        with torch.inference_mode():
            inputs = padded.to(self.device.torch, memory_format=layout)
            scores: FloatArray = self.network(inputs)[0].float().cpu().numpy()
        return scores[(slice(None), *inside)]
