"""One training run: the batches of Algorithm 1, and what is noted and kept on the way."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_clusternet.errors import ClusterNetError, invalid
from napari_clusternet.progress import Progress
from napari_clusternet.training import monitor
from napari_clusternet.training.checkpoints import Position
from napari_clusternet.training.interest import draw_chances
from napari_clusternet.training.learner import ClusteredBatch, CollapseError, Learner
from napari_clusternet.training.randomness import Purpose, generator
from napari_clusternet.training.state import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_clusternet.config import ClusterNetDefaults
    from napari_clusternet.device import Device
    from napari_clusternet.image import Image
    from napari_clusternet.normalization import Normalizer
    from napari_clusternet.training.checkpoints import Checkpoint
    from napari_clusternet.training.learner import Labels, Place
    from napari_clusternet.training.state import State


class Run(Learner):
    """A learner with its place in the training, its history and its checkpoint.

    Parameters
    ----------
    settings, images, normalizer, device
        See `Learner`.
    checkpoint : Checkpoint, optional
        Where to keep the state.

    Attributes
    ----------
    position : Position
        What to do next and what was noted so far.
    saved : (dict of arrays, Position), or None
        State and position at the last end of a clustering batch.
    best : dict of arrays, or None
        State of the last healthy epoch.
    """

    def __init__(
        self,
        settings: ClusterNetDefaults,
        images: Sequence[Image],
        normalizer: Normalizer,
        device: Device,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__(settings, images, normalizer, device)
        self.checkpoint, self.position = checkpoint, Position()
        self.saved: tuple[State, Position] | None = None
        self.best: State | None = None

    def clustering_batches(self, epoch: int) -> Iterator[list[Place]]:
        """Yield the epoch's clustering batches: patches in random order, in groups of b_c."""
        order = self._order(epoch)
        size = self.settings.cluster_batch
        move = self.settings.mode == "enhanced"
        rng = generator(self.seed, Purpose.ORIGIN, epoch) if move else None
        for start in range(0, len(order), size):
            yield self.patches.origins(order[start : start + size], rng)

    def _order(self, epoch: int) -> list[int]:
        """Return the epoch's patches: each once, or as many drawn by what they show."""
        rng, count = generator(self.seed, Purpose.ORDER, epoch), len(self.patches)
        if self.settings.sampling == "uniform":
            order = rng.permutation(count)
        else:
            order = rng.choice(count, count, p=self._chances)
        return [int(i) for i in order]

    @cached_property
    def _chances(self) -> npt.NDArray[np.float64]:
        return draw_chances(self.patches, self.seed)

    def training_batches(
        self, batch: ClusteredBatch, moment: tuple[int, int]
    ) -> Iterator[tuple[list[Place], Labels | None]]:
        """Yield the clustering batch in shuffled groups of b_t, with their pseudo-labels."""
        order = generator(self.seed, Purpose.TRAINING_ORDER, *moment).permutation(len(batch.places))
        size = self.settings.train_batch
        for start in range(0, len(order), size):
            part = order[start : start + size].tolist()
            labels = None if batch.labels is None else batch.labels[part]
            yield [batch.places[i] for i in part], labels

    def train(
        self, places: Sequence[Place], labels: Labels | None, moment: tuple[int, int, int]
    ) -> None:
        """Train on a training batch, M = train(M, B_t, L_t), and note its figures.

        Raises
        ------
        CollapseError
            If the loss is not finite.
        """
        self.position.epoch_figures.append(self.step(places, labels, moment))

    def progress(self) -> Progress:
        """Return where training is, with the last batch's figures."""
        done = self.position.epoch * self.steps_per_epoch + len(self.position.epoch_figures)
        last: dict[str, float] = self.position.history[-1] if self.position.history else {}
        kept = {name: last[name] for name in ("perplexity", "agreement") if name in last}
        figures = kept | self.position.epoch_figures[-1]
        return Progress("training", done, self.settings.n_epochs * self.steps_per_epoch, figures)

    def note_round(self, epoch: int, number: int, batch: ClusteredBatch | None) -> None:
        """Note that a clustering batch is done; keep the state."""
        position = self.position
        if batch is not None:
            position.round_figures.append(batch.figures)
        position.epoch, position.round = epoch, number + 1
        if self.mode is not None:
            position.rank_before = self.rank_before
            self._save(pack(self))

    def end_epoch(self, epoch: int) -> bool:
        """Note an epoch's figures; return whether `patience` is over.

        Raises
        ------
        CollapseError
            If the figures show that training has failed.
        """
        position = self.position
        if self.mode is None:
            names = [image.name for image in self.patches.images]
            invalid("images", names, "no patch has a valid pixel", "Check nodata and the mask")
        figures = {"epoch": float(epoch + 1), **_means(position.epoch_figures)}
        figures |= _means(position.round_figures)
        figures["agreement"] = self.follow_probe()
        if monitor.collapsed(figures, position.best_perplexity, self.rank_before):
            raise CollapseError(", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
        position.history.append(figures)
        position.best_perplexity = max(position.best_perplexity, figures["perplexity"])
        position.epoch, position.round = epoch + 1, 0
        position.epoch_figures, position.round_figures = [], []
        self.best = pack(self)
        if stop := self._patience_is_over():
            position.epoch = self.settings.n_epochs  # nothing is left to do on resuming
        self._save(self.best)
        return stop

    def recover(self, collapse: CollapseError) -> None:
        """Go back to the last healthy epoch, and leave it at that.

        Raises
        ------
        ClusterNetError
            If there is none.
        """
        position = self.position
        if self.best is None:
            self.saved = None
            invalid(
                "learning_rate", self.settings.learning_rate, f"training collapsed ({collapse})",
                "Give a smaller one, or fewer clusters", error=ClusterNetError,
            )  # fmt: skip
        warnings.warn(
            f"training collapsed in epoch {len(position.history) + 1} ({collapse}); the state "
            f"after epoch {len(position.history)} is kept. A smaller learning_rate may help",
            UserWarning,
            stacklevel=2,
        )
        unpack(self, self.best)
        position.epoch, position.round = self.settings.n_epochs, 0
        position.epoch_figures, position.round_figures = [], []
        self._save(self.best)

    def _patience_is_over(self) -> bool:
        patience = self.settings.patience
        losses = [figures["loss"] for figures in self.position.history]
        if patience is None or len(losses) <= patience:
            return False
        return min(losses[-patience:]) > 0.99 * min(losses[:-patience])

    def _save(self, state: State) -> None:
        self.saved = state, deepcopy(self.position)
        if self.checkpoint is not None and self.checkpoint.due:
            self.checkpoint.write(state, self.best, self.position)

    def resume(self, state: State, best: State | None, position: Position) -> None:
        """Go on from what a checkpoint holds."""
        unpack(self, state)
        self.best, self.position = best, position
        self.rank_before = position.rank_before
        self.saved = state, deepcopy(position)

    def stop(self, finished: bool) -> None:
        """Leave everything at the end of the last clustering batch, on disk too if asked for.

        Where training `finished`, the centroids are fitted to the trained network once more, on
        patches spread over all images.
        """
        assert self.saved is not None
        state, self.position = self.saved
        if self.checkpoint is not None:
            self.checkpoint.write(state, self.best, self.position)
        if not finished:
            unpack(self, state)
            return
        count = min(len(self.patches), self.settings.cluster_batch)
        spread = np.linspace(0, len(self.patches) - 1, count).astype(int).tolist()
        moment = (self.settings.n_epochs, 0)
        places, rows, _ = self.features(self.patches.origins(spread), moment)
        if places:
            seed = int(generator(self.seed, Purpose.CLUSTERING, *moment).integers(2**31))
            self.pseudo_labels.update(rows, seed)


def _means(figures: list[dict[str, float]]) -> dict[str, float]:
    names = figures[0] if figures else {}
    return {name: float(np.mean([f[name] for f in figures])) for name in names}
