"""What is trained and how: network, optimiser and clusters of one run of step 1."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from napari_clusternet.config import UNET_CHANNELS, ClusterNetDefaults
from napari_clusternet.networks.unet import UNet, plan_levels
from napari_clusternet.training import monitor, parallel
from napari_clusternet.training.modes import Mode, make_mode, take_pixels
from napari_clusternet.training.patches import PatchSet, choose_extent
from napari_clusternet.training.pseudo_labels import PseudoLabels
from napari_clusternet.training.randomness import Purpose, generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_clusternet.device import Device
    from napari_clusternet.image import BoolArray, Image
    from napari_clusternet.normalization import Normalizer

    Place = tuple[int, tuple[int, ...]]
    Labels = npt.NDArray[np.int32]

logger = logging.getLogger(__name__)

#: Pixels that the probe follows from epoch to epoch, and patches they come from.
PROBE_PIXELS, PROBE_PATCHES = 2048, 4

#: Patches that BatchNorm statistics are taken from before features are computed.
CALIBRATION_PATCHES = 8


@dataclass(frozen=True)
class ClusteredBatch:
    """A clustering batch with its pseudo-labels.

    Attributes
    ----------
    places : list
        Its patches that have valid pixels.
    labels : array of int32, shape (len(places), [Z,] Y, X), or None
        -1 where invalid; None where the mode needs the centroids only.
    figures : dict
        ``perplexity`` of the clusters' sizes and effective ``rank`` of the features.
    """

    places: list[Place]
    labels: Labels | None
    figures: dict[str, float]


class CollapseError(Exception):
    """Training has failed: numbers overflow, or all pixels get nearly the same features."""


class Learner:
    """The network with all that is trained beside it, and the two steps of a clustering batch.

    Parameters
    ----------
    settings : ClusterNetDefaults
        With `random_state` drawn.
    images : sequence of Image
        The training set, all with the same bands.
    normalizer : Normalizer
        Its global normalisation.
    device : Device
    """

    def __init__(
        self,
        settings: ClusterNetDefaults,
        images: Sequence[Image],
        normalizer: Normalizer,
        device: Device,
    ) -> None:
        assert settings.random_state is not None
        self.settings, self.device, self.seed = settings, device, settings.random_state
        self.group = parallel.group()
        first = images[0]
        channels = settings.channels or UNET_CHANNELS[first.ndim]
        shape = tuple(np.max([image.shape for image in images], axis=0).tolist())
        plan = plan_levels(first.spacing, shape, len(channels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = UNet(first.n_bands, settings.n_features, channels, plan)
        multiple = self.network.multiple
        extent = choose_extent(images, settings.patch, settings.cluster_batch, multiple)
        self.patches = PatchSet.over(images, normalizer, extent)
        logger.info("%d patches of %s pixels", len(self.patches), extent)
        self._layout = torch.channels_last if first.ndim == 2 else torch.channels_last_3d
        self.network.to(device.torch)
        # more clusters than pixels would leave some without any
        n_clusters = min(settings.n_clusters, sum(math.prod(image.shape) for image in images))
        self.pseudo_labels = PseudoLabels(
            settings.clusterer, n_clusters, settings.cluster_iterations, device.name
        )
        self.mode: Mode | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.probe: Labels | None = None
        self.micro_batch = settings.train_batch
        self.rank_before = math.inf  # of the untrained features, for the collapse guard

    @property
    def rounds_per_epoch(self) -> int:
        """Clustering batches in an epoch."""
        return -(-len(self.patches) // self.settings.cluster_batch)

    @property
    def steps_per_epoch(self) -> int:
        """Training batches in an epoch."""
        full, rest = divmod(len(self.patches), self.settings.cluster_batch)
        per_batch = -(-self.settings.cluster_batch // self.settings.train_batch)
        return full * per_batch + -(-rest // self.settings.train_batch)

    # --- clustering -------------------------------------------------------------------------

    def calibrate(self, places: Sequence[Place]) -> None:
        """Set the BatchNorm statistics to those of some patches, as the weights are now.

        The running averages lag behind weights that still change fast: features computed with
        them would be off scale, and the clusters with them.
        """
        kind = nn.modules.batchnorm._BatchNorm
        norms = [module for module in self.network.modules() if isinstance(module, kind)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average
        self.network.train()
        size = self.micro_batch
        for start in range(0, min(len(places), CALIBRATION_PATCHES), size):
            values, _ = self.patches.read(places[start : start + size])
            if len(values):
                with torch.no_grad():
                    self.network(self._tensor(values))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def cluster(self, batch: Sequence[Place], moment: tuple[int, int]) -> ClusteredBatch | None:
        """Cluster a batch's features, carrying the centroids on: L_c, K = kmeans(B_c, K).

        Returns None if no patch of the batch has a valid pixel.
        """
        self.calibrate(batch)
        places, rows, masks = self.features(batch, moment)
        if not places:
            return None
        seed = int(generator(self.seed, Purpose.CLUSTERING, *moment).integers(2**31))
        self.pseudo_labels.update(rows, seed)
        found = self.pseudo_labels.labels(rows)
        figures = {
            "perplexity": monitor.perplexity(found, len(self.pseudo_labels.centers)),
            "rank": monitor.effective_rank(rows[:: max(1, len(rows) // 4096)]),
        }
        if self.mode is None:
            self.start_mode()
            self.rank_before = figures["rank"]
        assert self.mode is not None
        self.mode.recluster(self.pseudo_labels.centers)
        labels = None
        if self.mode.dense_labels:
            labels = np.full(masks.shape, -1, dtype=np.int32)
            labels[masks] = found
        return ClusteredBatch(places, labels, figures)

    def features(
        self, batch: Sequence[Place], moment: tuple[int, ...]
    ) -> tuple[list[Place], npt.NDArray[np.float32], BoolArray]:
        """Compute features of a batch's valid pixels in evaluation mode: all, or a sample.

        Returns
        -------
        places : list
            The patches that have valid pixels.
        rows : array of float32, shape (n, f)
            Features of `cluster_pixels` of their valid pixels, patch after patch.
        masks : array of bool, shape (len(places), [Z,] Y, X)
            The valid pixels that `rows` belongs to.
        """
        count = None if self.settings.mode == "paper" else self.settings.cluster_pixels
        rng = generator(self.seed, Purpose.PIXELS, *moment)
        places, masks = [], []
        own: dict[int, npt.NDArray[np.float32]] = {}  # of the patches that are this process's
        mine = self.group.part(len(batch))
        self.network.eval()
        for number, place in enumerate(batch):
            values, valid = self.patches.read([place])
            if not len(values):
                continue
            flat = np.flatnonzero(valid[0])
            if count is not None and flat.size > max(2, count // len(batch)):
                flat = np.sort(rng.choice(flat, max(2, count // len(batch)), replace=False))
                valid = np.zeros_like(valid)
                valid.reshape(-1)[flat] = True
            places.append(place)
            masks.append(valid[0])
            if number not in mine:
                continue
            with torch.inference_mode():
                maps = self.network.body(self._tensor(values))
                picked = take_pixels(maps, torch.from_numpy(flat).to(maps.device))
                own[number] = self.network.pixels(picked).float().cpu().numpy()
        empty = np.zeros((0, self.settings.n_features), np.float32)
        rows = np.concatenate([empty, *parallel.in_order(self.group.all_of(own))])
        if not np.isfinite(rows[:: max(1, len(rows) // 4096)]).all():
            raise CollapseError("features are not finite")
        return places, rows, np.array(masks, dtype=bool)

    def start_mode(self) -> None:
        """Make what is trained beside the network, now that the number of clusters is known."""
        asked, found = self.settings.n_clusters, len(self.pseudo_labels.centers)
        if found < asked:
            warnings.warn(
                f"n_clusters={asked}: the pixels form only {found} distinct groups, so there are "
                f"{found} clusters. Ask for fewer, or give larger or more varied images",
                UserWarning,
                stacklevel=2,
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            mode = make_mode(self.settings, self.pseudo_labels.centers, self.network.in_channels)
        self.mode = mode.to(self.device.torch)
        self.optimizer = torch.optim.Adam(self._parameters(), lr=self.settings.learning_rate)

    # --- training ---------------------------------------------------------------------------

    def step(
        self, places: Sequence[Place], labels: Labels | None, moment: tuple[int, int, int]
    ) -> dict[str, float]:
        """Take one optimiser step on a training batch; return its ``loss`` and other figures.

        Raises
        ------
        CollapseError
            If the loss is not finite.
        """
        assert self.mode is not None
        assert self.optimizer is not None
        values, valid = self.patches.read(places)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(moment)
        while True:
            try:
                figures = self._accumulate(values, valid, labels, moment)
                break
            except torch.cuda.OutOfMemoryError:
                if self.micro_batch == 1:
                    raise
                self.micro_batch = -(-self.micro_batch // 2)
                logger.warning("out of memory: %d patches at a time from now on", self.micro_batch)
                torch.cuda.empty_cache()
        if not math.isfinite(figures["loss"]):
            raise CollapseError(f"loss {figures['loss']}")
        self.optimizer.step()
        return figures

    def _accumulate(
        self, values: npt.NDArray[np.float32], valid: BoolArray, labels: Labels | None,
        moment: tuple[int, int, int],
    ) -> dict[str, float]:  # fmt: skip
        assert self.mode is not None
        assert self.optimizer is not None
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, float] = {}
        low_precision = self.device.training_dtype != "float32"
        mine = self.group.part(len(values))
        for start in range(mine.start, mine.stop, self.micro_batch):
            part = slice(start, min(start + self.micro_batch, mine.stop))
            share = len(values[part]) / len(values)
            with torch.autocast(self.device.type, self.device.dtype, enabled=low_precision):
                loss, figures = self.mode.loss(
                    self.network, self._tensor(values[part]), valid[part],
                    None if labels is None else labels[part], (*moment, start),
                )  # fmt: skip
            (loss * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": float(loss.detach()), **figures}.items():
                totals[name] = totals.get(name, 0.0) + share * value
        self.group.add_gradients(self._parameters())
        return self.group.add_figures(totals)

    def _parameters(self) -> list[nn.Parameter]:
        assert self.mode is not None
        return [*self.network.parameters(), *self.mode.parameters()]

    def learning_rate(self, moment: tuple[int, int, int]) -> float:
        """Return the learning rate at (epoch, round, step): a short rise, then a half cosine."""
        per_round = -(-self.settings.cluster_batch // self.settings.train_batch)
        epoch, round_, step = moment
        done = epoch * self.steps_per_epoch + round_ * per_round + step
        total = max(1, self.settings.n_epochs * self.steps_per_epoch)
        rise = min(1.0, (done + 1) / min(20, max(1, total // 10)))
        return self.settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done / total))

    def follow_probe(self) -> float:
        """Return the share of probe pixels that kept their cluster since the last call."""
        step = max(1, len(self.patches) // PROBE_PATCHES)
        places = self.patches.origins(range(0, len(self.patches), step)[:PROBE_PATCHES])
        self.calibrate(places)
        _, rows, _ = self.features(places, (0,))
        if not len(rows):
            return 0.0
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), PROBE_PIXELS)).astype(int)]
        before, self.probe = self.probe, self.pseudo_labels.labels(rows)
        return 0.0 if before is None else monitor.agreement(before, self.probe)

    def _tensor(self, values: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device.torch, memory_format=self._layout)
