"""STEP 1: features for every pixel, learned without labels (section 2.1, Algorithm 1).

`ClusterNet.fit_steps` is Algorithm 1; the parts it calls are in `napari_clusternet.training`.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from napari_clusternet.config import CLUSTERNET, CLUSTERNET_PRESETS, ClusterNetDefaults
from napari_clusternet.device import select_device
from napari_clusternet.errors import invalid
from napari_clusternet.extractor import iter_tiles
from napari_clusternet.features.learned import LearnedFeatures
from napari_clusternet.normalization import Normalizer
from napari_clusternet.progress import Progress, drain
from napari_clusternet.training import parallel
from napari_clusternet.training.checkpoints import Checkpoint, Position, fingerprint
from napari_clusternet.training.files import read_model, write_model
from napari_clusternet.training.inputs import as_images, check_settings
from napari_clusternet.training.learner import CollapseError
from napari_clusternet.training.run import Run

if TYPE_CHECKING:
    import os
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_clusternet.image import Image
    from napari_clusternet.progress import Callback


class ClusterNet(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a feature vector for every pixel or voxel, without labels.

    A U-Net and a clustering of its features teach each other: clusters become pseudo-labels, the
    network learns to predict them, and so takes in the surroundings of each pixel.

    Parameters
    ----------
    n_features : int
        Features per pixel (f).
    n_clusters : int
        Clusters (k).
    n_epochs : int
        Passes over the patches.
    cluster_batch, train_batch : int
        Patches that are clustered together (b_c), and trained on together (b_t).
    patch : int
        Side of a 2D patch, pixels; a 3D patch has about as many voxels. Halved while small images
        give fewer than `cluster_batch` patches, down to 64 (2D) or 32 (3D).
    sampling : {"uniform", "interest"}
        Which patches an epoch sees. ``"uniform"``: every place once, as in the paper.
        ``"interest"``: as many, drawn more often where pixels are varied than where they are flat;
        a quarter are drawn anywhere. For scenes that are mostly water, sky or empty slide.
    mode : {"enhanced", "paper"}
        ``"paper"`` is Algorithm 1 to the letter. ``"enhanced"`` trains two views of each patch to
        agree on balanced assignments to the centroids, and to rebuild the bands.
    clusterer : {"kmeans", "gmm"}
        What makes the clusters.
    device, precision : str
        See `napari_clusternet.device.select_device`.
    random_state : int, optional
        Seed; drawn and kept in ``seed_`` if not given. The same seed, images and device give the
        same result.
    channels : tuple of int, optional
        Width of each level of the U-Net, finest first.
    learning_rate : float
        Peak of Adam's learning rate, which falls to 0 along a half cosine.
    loss_pixels : int, optional
        Pixels of a training batch that enter the loss; None is all.
    cluster_pixels : int, optional
        Pixels of a clustering batch that are clustered in enhanced mode; None is all.
    cluster_iterations : int
        Iterations of the clusterer on each batch after the first, which is clustered in full.
    temperature : float
        Enhanced mode: softness of the prediction over the clusters.
    sharpness : float
        Enhanced mode: softness of the balanced assignment that is predicted.
    jitter : float
        Enhanced mode: strength of the changes of gain, offset and noise between views, in
        standard deviations of a band.
    reconstruction : float
        Enhanced mode: weight of rebuilding the bands from the features.
    patience : int, optional
        Stop after so many epochs in which the loss did not fall by 1 %; None never stops early.
    checkpoint_seconds : float
        Least time between two writes of a checkpoint.

    Attributes
    ----------
    network_ : UNet
        The trained network.
    cluster_centers_ : array of shape (k, f)
        Centroids of the last clustering batch.
    bands_ : Bands
        Bands of the images.
    extractor_ : LearnedFeatures
        The features as `napari_clusternet.extractor.Extractor`.
    history_ : list of dict
        Figures of each epoch: ``loss``, ``perplexity`` (clusters in use), ``rank`` (directions the
        features vary along), ``agreement`` (pixels that kept their cluster) and others.
    n_iter_ : int
        Epochs done.
    seed_ : int
        The seed used.
    """

    def __init__(
        self,
        *,
        n_features: int = CLUSTERNET.n_features,
        n_clusters: int = CLUSTERNET.n_clusters,
        n_epochs: int = CLUSTERNET.n_epochs,
        cluster_batch: int = CLUSTERNET.cluster_batch,
        train_batch: int = CLUSTERNET.train_batch,
        patch: int = CLUSTERNET.patch,
        sampling: str = CLUSTERNET.sampling,
        mode: str = CLUSTERNET.mode,
        clusterer: str = CLUSTERNET.clusterer,
        device: str = CLUSTERNET.device,
        precision: str = CLUSTERNET.precision,
        random_state: int | None = CLUSTERNET.random_state,
        channels: tuple[int, ...] | None = CLUSTERNET.channels,
        learning_rate: float = CLUSTERNET.learning_rate,
        loss_pixels: int | None = CLUSTERNET.loss_pixels,
        cluster_pixels: int | None = CLUSTERNET.cluster_pixels,
        cluster_iterations: int = CLUSTERNET.cluster_iterations,
        temperature: float = CLUSTERNET.temperature,
        sharpness: float = CLUSTERNET.sharpness,
        jitter: float = CLUSTERNET.jitter,
        reconstruction: float = CLUSTERNET.reconstruction,
        patience: int | None = CLUSTERNET.patience,
        checkpoint_seconds: float = CLUSTERNET.checkpoint_seconds,
    ) -> None:
        self.n_features = n_features
        self.n_clusters = n_clusters
        self.n_epochs = n_epochs
        self.cluster_batch = cluster_batch
        self.train_batch = train_batch
        self.patch = patch
        self.sampling = sampling
        self.mode = mode
        self.clusterer = clusterer
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.channels = channels
        self.learning_rate = learning_rate
        self.loss_pixels = loss_pixels
        self.cluster_pixels = cluster_pixels
        self.cluster_iterations = cluster_iterations
        self.temperature = temperature
        self.sharpness = sharpness
        self.jitter = jitter
        self.reconstruction = reconstruction
        self.patience = patience
        self.checkpoint_seconds = checkpoint_seconds

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> Self:
        """Return an unfitted estimator with the parameters of a preset.

        Parameters
        ----------
        preset : {"quick", "balanced", "paper"}
            ``"quick"`` learns a megapixel in about a minute on two cores; ``"paper"`` is the
            paper's method and numbers.
        **overrides
            Parameters that replace the preset's.

        Returns
        -------
        ClusterNet
            Not fitted yet.

        Raises
        ------
        InputError
            If there is no such preset.
        """
        if preset not in CLUSTERNET_PRESETS:
            invalid("preset", preset, "unknown", f"Use one of {sorted(CLUSTERNET_PRESETS)}")
        return cls(**{**CLUSTERNET_PRESETS[preset], **overrides})

    # --- training ---------------------------------------------------------------------------

    def fit(
        self,
        images: Any,
        y: Any = None,
        *,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = True,
    ) -> Self:
        """Learn from one or several images.

        Parameters
        ----------
        images : Image, array, path, or a sequence of them
            The training set; lazy images are read patch by patch.
        y : None
            Ignored.
        callback : callable, optional
            Called with a `Progress` after every training batch.
        checkpoint : path-like, optional
            File to keep the state in, so that a stopped training can go on.
        resume : bool
            Whether to go on from `checkpoint` if it exists.

        Returns
        -------
        ClusterNet
            Itself, fitted.

        Raises
        ------
        InputError
            If a parameter or an image cannot be used.
        FileFormatError
            If the checkpoint is damaged or belongs to another training.

        Notes
        -----
        Where `torch.distributed` was initialised, all its processes train this one model, each on
        its part of every batch: call it in all of them with the same arguments. Gradients are those
        of the whole batch, but for BatchNorm, whose statistics while training are of a process's
        own part.
        """
        drain(self.fit_steps(images, checkpoint=checkpoint, resume=resume), callback)
        return self

    def fit_steps(
        self,
        images: Any,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = True,
    ) -> Generator[Progress, None, None]:
        """Do what `fit` does, yielding a `Progress` after every training batch.

        Closing the generator stops within a batch. Once a clustering batch has been learned from,
        the estimator is then fitted with what it has learned, and the checkpoint, if one is
        asked for, holds all that is needed to go on.

        Parameters
        ----------
        images, checkpoint, resume
            See `fit`.

        Yields
        ------
        Progress
            After every training batch: the figures of ``history_`` that are known by then.
        """
        settings = self._settings()
        device = select_device(self.device, self.precision)
        pictures = as_images(images)
        normalizer = Normalizer.fit(pictures)
        position, state, best = Position(), None, None
        keeper, together = None, parallel.group()
        if checkpoint is not None:
            keeper = Checkpoint(Path(checkpoint), settings, fingerprint(pictures))
            if resume and keeper.path.exists():
                state, best, position, seed = keeper.read()
                settings = replace(settings, random_state=seed)
        if settings.random_state is None:
            drawn = int(np.random.default_rng().integers(2**31))
            settings = replace(settings, random_state=together.all_of(drawn)[0])
        if keeper is not None:
            keeper.settings = settings
        run = Run(settings, pictures, normalizer, device, keeper if together.is_first else None)
        if state is not None:
            run.resume(state, best, position)
        done = False
        try:
            yield from self._algorithm_1(run)
            done = True
        except CollapseError as collapse:
            run.recover(collapse)
            done = True
        finally:
            if run.saved is not None:
                run.stop(done)
                self._take(run, pictures[0], device)

    def _algorithm_1(self, run: Run) -> Generator[Progress, None, None]:
        """Algorithm 1, line by line."""
        for epoch in range(run.position.epoch, run.settings.n_epochs):
            for number, places in enumerate(run.clustering_batches(epoch)):  # B_c in batch(I, b_c)
                if number < run.position.round:
                    continue  # done before the checkpoint was written
                batch = run.cluster(places, (epoch, number))  # L_c, K = kmeans(B_c, K)
                if batch is not None:
                    parts = run.training_batches(batch, (epoch, number))
                    for step, (part, labels) in enumerate(parts):  # B_t, L_t in batch(B_c, b_t)
                        run.train(part, labels, (epoch, number, step))  # M = train(M, B_t, L_t)
                        yield run.progress()
                run.note_round(epoch, number, batch)
            if run.end_epoch(epoch):
                break

    def _settings(self) -> ClusterNetDefaults:
        names = [f.name for f in fields(ClusterNetDefaults)]
        settings = ClusterNetDefaults(**{name: getattr(self, name) for name in names})
        check_settings(settings)
        return settings

    def _take(self, run: Run, image: Image, device: Any) -> None:
        """Set the fitted attributes from a run."""
        self.seed_ = run.seed
        self.network_ = run.network
        self.pseudo_labels_ = run.pseudo_labels
        self.cluster_centers_ = run.pseudo_labels.centers
        self.history_ = list(run.position.history)
        self.n_iter_ = len(self.history_)
        self.bands_ = image.bands
        self.extractor_ = LearnedFeatures(
            run.network, run.patches.normalizer, image.bands, image.spacing, device
        )

    # --- use --------------------------------------------------------------------------------

    def transform(
        self, image: Any, tile: tuple[int, ...] | None = None, dtype: npt.DTypeLike = np.float32
    ) -> Any:
        """Return the features (f, [Z,] Y, X) of an image; lazy (dask) if the image is lazy.

        Parameters
        ----------
        image : Image, array or path
            With the bands of the training images.
        tile : tuple of int, optional
            Tile extent ([Z,] Y, X), pixels; changes memory, not the result.
        dtype : dtype
            float32 or float16.

        Returns
        -------
        array of float, shape (f, [Z,] Y, X)
            NumPy, or dask for a lazy image; 0 where the image is invalid.

        Raises
        ------
        NotFittedError
            Before `fit`.
        InputError
            If the image's bands are not the training images'; both lists are named.
        """
        check_is_fitted(self, "network_")
        return self.extractor_.transform(as_images(image)[0], tile, dtype)

    def fit_transform(self, images: Any, y: Any = None, **fit_params: Any) -> Any:
        """Learn from images and return their features: an array, or a list for a list.

        Parameters
        ----------
        images, **fit_params
            See `fit`.
        y : object
            Not used; scikit-learn passes it.

        Returns
        -------
        array, or list of array, of float, shape (f, [Z,] Y, X)
            As `transform` returns them.
        """
        self.fit(images, **fit_params)
        if isinstance(images, (list, tuple)):
            return [self.transform(image) for image in images]
        return self.transform(images)

    def predict(self, image: Any) -> npt.NDArray[np.uint16]:
        """Return the cluster of each pixel ([Z,] Y, X): 1 .. k, and 0 where invalid.

        Parameters
        ----------
        image : what `napari_clusternet.open_image` takes
            With the bands of the training images.

        Returns
        -------
        numpy.ndarray of uint16, shape ([Z,] Y, X)
            Cluster of each pixel.

        Raises
        ------
        NotFittedError
            Before `fit`.
        InputError
            If the image's bands are not the training images'.
        """
        check_is_fitted(self, "network_")
        picture = as_images(image)[0]
        ids = np.zeros(picture.shape, dtype=np.uint16)
        for _, region, block in iter_tiles(self.extractor_, picture):
            _, valid = picture.read(region)
            if valid.any():
                rows = np.ascontiguousarray(block[:, valid].T)
                ids[region][valid] = self.pseudo_labels_.labels(rows) + 1
        return ids

    # --- files ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one safetensors file, atomically.

        Parameters
        ----------
        path : path-like
            File to write, ``*.safetensors``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "network_")
        fitted = {"seed": self.seed_, "history": self.history_}
        write_model(path, self.extractor_, self.pseudo_labels_, asdict(self._settings()), fitted)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = CLUSTERNET.device) -> Self:
        """Read an estimator that `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path-like
            The file.
        device : str
            Where to compute; see `napari_clusternet.device.select_device`.

        Returns
        -------
        ClusterNet
            Fitted.

        Raises
        ------
        FileFormatError
            If the file is damaged, of another kind or a newer version.
        """
        extractor, clusters, parameters, fitted = read_model(path, select_device(device))
        model = cls(**{**parameters, "device": device})
        model.extractor_, model.network_ = extractor, extractor.network
        model.pseudo_labels_, model.cluster_centers_ = clusters, clusters.centers
        model.bands_ = extractor.bands
        model.seed_, model.history_ = fitted["seed"], fitted["history"]
        model.n_iter_ = len(model.history_)
        return model
