"""STEP 2 of ClusterNet (section 2.2): strokes give classes to clusters, not to pixels.

`Session` is what every door shares: viewer, console, command line. The arithmetic is in
`napari_clusternet.engine`, the three cases of the paper in `napari_clusternet.classify.clusters`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet import inspection
from napari_clusternet.classify.base import changed_strokes
from napari_clusternet.config import SESSION, Mode
from napari_clusternet.engine import ClusterEngine, Refinement, with_zero
from napari_clusternet.errors import invalid
from napari_clusternet.extraction import (
    cluster_steps,
    matrix_steps,
    resolve_steps,
    take_regions,
)
from napari_clusternet.history import ClusterState, Entry, History
from napari_clusternet.image import Image
from napari_clusternet.partition import MAX_CLUSTER_ID, Move, Partition, look_up
from napari_clusternet.predictor import Predictor
from napari_clusternet.progress import Callback, Progress, drain

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    from napari_clusternet.extractor import Extractor
    from napari_clusternet.features.matrix import FeatureMatrix
    from napari_clusternet.field import Field
    from napari_clusternet.tiles import Region

    FloatArray = npt.NDArray[np.float32]
    LabelArray = npt.NDArray[np.unsignedinteger]
    IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Refined:
    """What `Session.refine_steps` worked out, for the session as it was then."""

    version: int
    changes: Refinement


class Session:
    """Clusters of one image, and the classes that strokes give them.

    Parameters
    ----------
    image : Image
        The image to segment.
    features : ClusterNet, array-like, str or tuple
        A fitted `ClusterNet`, features (n_features, [Z,] Y, X) of your own, or a name:
        ``"auto"``, ``"bands"``, ``"filters"``, ``"context"``, ``"learn"`` (trains on this image
        now). A tuple of models and names puts their features side by side: ``(model, "filters")``.
    threshold : float
        t of section 3.4, in (0, 1): share of a cluster's stroked pixels above which a class counts.
    mode : {"enhanced", "paper"}
        ``"paper"`` leaves clusters without strokes unclassified, as section 2.2 does;
        ``"enhanced"`` classifies every cluster, by its strokes and by a classifier that learned
        from all strokes and looks at a sample of the cluster's pixels.
    n_clusters : int
        Clusters to start with (800 in section 3.4); fewer if the image has fewer distinct pixels.
    clusterer : {"kmeans", "gmm"}
        How the features are clustered.
    regions : array-like of int, shape ([Z,] Y, X), optional
        Regions of any method (`napari_clusternet.unsupervised`) to start with instead of clusters;
        at most 65535 of them. Pixels of region 0 form one more.
    random_state : int
        Seed; the same seed, data and device give the same session.
    callback : callable, optional
        Called with a `Progress` while features and clusters are computed.

    Raises
    ------
    InputError
        If an argument does not fit, or the image has no valid pixel.

    Notes
    -----
    After a split the larger part keeps the cluster's id and the other parts get the next ids.
    """

    image: Image
    mode: Mode
    random_state: int
    features: Any
    _extractor: Extractor | None
    _base: FloatArray
    _engine: ClusterEngine
    _history: History
    _listeners: list[Callable[[Session], object]]
    _version: int = 0
    field: Field | None

    def __init__(
        self,
        image: Image,
        features: Any = SESSION.features,
        *,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        clusterer: str = "kmeans",
        regions: Any = None,
        random_state: int = 0,
        callback: Callback | None = None,
    ) -> None:
        drain(
            self.open_steps(
                image,
                features,
                threshold=threshold,
                mode=mode,
                n_clusters=n_clusters,
                clusterer=clusterer,
                regions=regions,
                random_state=random_state,
                session=self,
            ),
            callback,
        )

    @classmethod
    def open_steps(
        cls,
        image: Image,
        features: Any = SESSION.features,
        *,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        clusterer: str = "kmeans",
        regions: Any = None,
        random_state: int = 0,
        session: Session | None = None,
    ) -> Generator[Progress, None, Session]:
        """Open a session as a generator of `Progress` that returns it; see `Session`.

        Parameters
        ----------
        image, features, threshold, mode, n_clusters, clusterer, regions, random_state
            See `Session`.
        session : Session, optional
            A session to fill; a new one by default.

        Yields
        ------
        Progress
            Features, then clusters; the generator returns the session.
        """
        check_options(image, threshold, mode, n_clusters)
        self = cls.__new__(cls) if session is None else session
        features = yield from resolve_steps(image, features, mode, random_state, maps=True)
        extractor, matrix = yield from matrix_steps(image, features, random_state)
        if regions is None:
            ids, base = yield from cluster_steps(matrix, clusterer, n_clusters, mode, random_state)
        else:
            ids, base = take_regions(regions, matrix)
        yield Progress("clustering", 1, 1)
        self._begin(image, mode, random_state, features, extractor, base)
        state = ClusterState.initial(base, float(threshold))
        self._engine = self._new_engine(matrix, Partition(matrix.scatter(ids)), state)
        return self

    def _begin(
        self,
        image: Image,
        mode: Mode,
        random_state: int,
        features: Any,
        extractor: Extractor | None,
        base: FloatArray,
        field: Field | None = None,
    ) -> None:
        self.image, self.mode, self.random_state = image, mode, random_state
        self.features, self._extractor, self._base = features, extractor, base
        self.field = field
        self._history, self._listeners = History(SESSION.history_limit), []

    def _new_engine(
        self, matrix: FeatureMatrix, partition: Partition, state: ClusterState
    ) -> ClusterEngine:
        return ClusterEngine(
            matrix, partition, state, enhanced=self.mode == "enhanced",
            random_state=self.random_state, spacing=self.image.spacing,
        )  # fmt: skip

    # ---- fields of a large scene ---------------------------------------------------------------

    @classmethod
    def on_field(
        cls, scene: Image, region: Region, callback: Callback | None = None, **options: Any
    ) -> Session:
        """Open a session on a field of a scene that is too large to be worked on as a whole.

        Clusters are those of the field and of a sample of the rest of the scene, so that the
        session can `move` to any other field, and be applied to the whole
        (`napari_clusternet.apply`).

        Parameters
        ----------
        scene : Image
            The scene, lazy; or one of its coarser `levels`.
        region : tuple of slice
            The field ([Z,] Y, X), in the scene's pixels. It may be widened by some pixels.
        callback : callable, optional
            Called with a `Progress` while features and clusters are computed.
        **options
            ``features``, ``threshold``, ``mode``, ``n_clusters``, ``clusterer`` and
            ``random_state`` of `Session`; features may not be an array.

        Returns
        -------
        Session
            Its `image` is the field, in memory; strokes and labels are the field's.

        Raises
        ------
        InputError
            If an argument does not fit, or no valid pixel was found.
        """
        return drain(cls.on_field_steps(scene, region, **options), callback)

    @classmethod
    def on_field_steps(
        cls,
        scene: Image,
        region: Region,
        *,
        features: Any = SESSION.features,
        threshold: float = SESSION.threshold,
        mode: Mode = SESSION.mode,
        n_clusters: int = SESSION.n_clusters,
        clusterer: str = "kmeans",
        random_state: int = 0,
    ) -> Generator[Progress, None, Session]:
        """Do what `on_field` does as a generator of `Progress` that returns the session.

        Parameters
        ----------
        scene, region, features, threshold, mode, n_clusters, clusterer, random_state
            See `on_field`.

        Yields
        ------
        Progress
            At every step.
        """
        from napari_clusternet.session_field import on_field_steps

        check_options(scene, threshold, mode, n_clusters)
        return on_field_steps(
            cls, scene, region, features, threshold, mode, n_clusters, clusterer, random_state
        )

    def move(
        self, region: Region, scene: Image | None = None, callback: Callback | None = None
    ) -> Session:
        """Return a session on another field of the scene; clusters, classes and strokes go along.

        Strokes that were painted in the new field before are in its `strokes` again. There is
        nothing to undo in it yet. This session stays as it is.

        Parameters
        ----------
        region : tuple of slice
            The field ([Z,] Y, X), in the scene's pixels. It may be widened by some pixels.
        scene : Image, optional
            The scene, or the image of which it is a level, where the session was loaded from a
            file and did not find it.
        callback : callable, optional
            Called with a `Progress` at every step; may raise to cancel.

        Returns
        -------
        Session
            On the new field.

        Raises
        ------
        InputError
            If this session is not on a field, its scene is not known or the one given another,
            or the region is not inside the scene.
        """
        return drain(self.move_steps(region, scene), callback)

    def move_steps(
        self, region: Region, scene: Image | None = None
    ) -> Generator[Progress, None, Session]:
        """Do what `move` does as a generator of `Progress` that returns the session.

        What goes along is taken at this call; the rest may run in another thread.

        Parameters
        ----------
        region, scene
            See `move`.

        Yields
        ------
        Progress
            At every step.
        """
        from napari_clusternet.session_field import move_steps

        return move_steps(self, region, scene)

    # ---- results -------------------------------------------------------------------------------

    @property
    def labels(self) -> LabelArray:
        """Class of every pixel ([Z,] Y, X), 0 where unclassified or invalid; read-only."""
        return _read_only(self._engine.labels)

    @property
    def strokes(self) -> LabelArray:
        """The strokes in force, shape of the image; read-only."""
        shape, size = self.image.shape, self._engine.labels.size
        return _read_only(self._engine.strokes[:size].reshape(shape))

    @property
    def cluster_map(self) -> npt.NDArray[np.uint16]:
        """Cluster id of every pixel ([Z,] Y, X), 0 where invalid; read-only."""
        return _read_only(self._engine.partition.cluster_map)

    @property
    def certainty(self) -> npt.NDArray[np.float32]:
        """How sure the class of every pixel is, 0..1, float32 ([Z,] Y, X)."""
        return look_up(with_zero(self._engine.state.certainty), self._engine.partition.cluster_map)

    @property
    def centroids(self) -> npt.NDArray[np.float32]:
        """Mean feature vector of every cluster id, shape (n_ids, n_features); read-only."""
        return _read_only(self._engine.state.centroids)

    @property
    def version(self) -> int:
        """Grows with every change, undo and redo included."""
        return self._version

    @property
    def n_classes(self) -> int:
        """Highest class among the strokes so far."""
        return int(self._engine.state.counts.shape[1])

    @property
    def stroke_counts(self) -> npt.NDArray[np.int64]:
        """Stroked pixels of the classes 1, 2, ..., shape (n_classes,); invalid pixels count not."""
        counts: npt.NDArray[np.int64] = self._engine.state.counts.sum(axis=0)
        return counts

    @property
    def threshold(self) -> float:
        """The t of section 3.4; set it to re-examine all stroked clusters."""
        return self._engine.state.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        _check_threshold(value)
        with_strokes = np.flatnonzero(self._engine.state.counts.sum(axis=1)) + 1
        with self._step() as moves:
            self._engine.state = replace(self._engine.state, threshold=float(value))
            self._engine.split_mixed(with_strokes.tolist(), moves)

    @property
    def clusters(self) -> pd.DataFrame:
        """Table of the clusters, index ``cluster`` (id), one row each.

        Columns ``class`` (0 none), ``state`` (unclassified, classified, mixed, inferred,
        assigned), ``pixels``, ``size`` (area or volume in the image's units), ``strokes_<class>``,
        ``purity`` (share of the commonest class among the stroked pixels, NaN without strokes),
        ``certainty``, ``mean_<band>`` and ``centroid`` (feature vector).
        """
        return self.inspector.table()

    @cached_property
    def inspector(self) -> inspection.Inspector:
        """The clusters' table, band means and example places, kept up to date cheaply."""
        return inspection.Inspector(self.image, self._engine)

    def suggest(self, n: int = 5) -> list[inspection.Suggestion]:
        """Where the next strokes help most, best first.

        Parameters
        ----------
        n : int
            Suggestions wanted, one a cluster.

        Returns
        -------
        list of Suggestion
            Cluster id, pixel index ([z,] y, x) to stroke, and score: the number of pixels that
            are expected to be wrong.
        """
        return inspection.suggest(self._engine.partition, self._engine.state, n)

    # ---- strokes -------------------------------------------------------------------------------

    def update(self, strokes: Any = None) -> LabelArray:
        """Take the strokes as they are now and return the labels.

        Parameters
        ----------
        strokes : array-like of int, shape ([Z,] Y, X), optional
            0 for none, 1..n for classes. All strokes, not only the new ones.

        Returns
        -------
        numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
            Class of every pixel; 0 where unclassified or invalid. A new array at each change.

        Raises
        ------
        StrokeError
            If shape or values do not fit the image.

        Warns
        -----
        UserWarning
            In enhanced mode, if the strokes hold fewer than two classes: then only the clusters
            they touch are classified.
        """
        if strokes is None:
            return self.labels
        pixels, new = self._changes(strokes)
        if pixels.size:
            self._take(pixels, new)
        return self.labels

    def _changes(self, strokes: Any) -> tuple[IntArray, LabelArray]:
        """Flat indices of the valid pixels whose stroke changed, in order, and their classes."""
        pixels, new = changed_strokes(strokes, self.image, self.strokes.reshape(-1))
        inside = self._engine.partition.cluster_map.reshape(-1)[pixels] > 0
        return pixels[inside], new[inside]

    def _take(self, pixels: IntArray, new: LabelArray) -> None:
        """Take changed strokes as one undoable step."""
        with self._step(pixels, new) as moves:
            touched = self._engine.count(pixels, self._engine.strokes[pixels], new)
            self._engine.set_strokes(pixels, new)
            self._engine.split_mixed(touched, moves)

    @contextmanager
    def _step(
        self, pixels: IntArray | None = None, strokes: LabelArray | None = None
    ) -> Iterator[list[Move]]:
        """One undoable step: classify, relabel and record it; take it all back if it fails."""
        engine = self._engine
        where = np.zeros(0, np.int64) if pixels is None else pixels
        new = np.zeros(0, np.uint8) if strokes is None else strokes
        before, old, moves = engine.state, engine.strokes[where], list[Move]()
        try:
            yield moves
            engine.classify(moves)
        except BaseException:
            engine.undo(Entry(before, before, tuple(moves), where, old, new))
            raise
        engine.relabel(before, moves)
        self._history.push(Entry(before, engine.state, tuple(moves), where, old, new))
        self._notify()

    def refine(self, callback: Callback | None = None) -> LabelArray:
        """Work the classes out anew with all evidence, and return the labels.

        `update` answers within a tenth of a second from few classifiers; this takes some seconds.
        Clusters whose pixels are of several classes, by what the strokes say, are split. It
        belongs to the last change: `undo` takes both back. In paper mode, with strokes of fewer
        than two classes, or where there is something to `redo`, nothing happens.

        Parameters
        ----------
        callback : callable, optional
            Called with a `Progress` at every step; may raise to cancel, then nothing has changed.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.
        """
        self.take(drain(self.refine_steps(), callback))
        return self.labels

    @property
    def can_refine(self) -> bool:
        """Whether `refine` would do anything."""
        return self._engine.can_refine and not self.can_redo

    def refine_steps(self) -> Generator[Progress, None, Refined | None]:
        """Work out what `refine` does, as a generator of `Progress`; `take` carries it out.

        It changes nothing, so that it may run in another thread while strokes go on.

        Yields
        ------
        Progress
            At every step; the generator returns what `take` takes.
        """
        if not self.can_refine:
            return None
        version, steps, i = self._version, self._engine.refine_steps(), 0
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return Refined(version, stop.value)
            i += 1
            yield Progress("refining clusters", i, 0)

    def take(self, refined: Refined | None) -> bool:
        """Carry out what `refine_steps` returned; return whether that was possible.

        It is not after any further change, undo and redo included.

        Parameters
        ----------
        refined : Refined or None
            What `refine_steps` returned.

        Returns
        -------
        bool
            Whether the session was changed.
        """
        if refined is None or refined.version != self._version:
            return False
        self._engine.take(refined.changes)
        self._history.amend(refined.changes.state, refined.changes.moves)
        self._notify()
        return True

    # ---- clusters by hand ----------------------------------------------------------------------

    def assign(self, cluster: int | Sequence[int], class_: int) -> LabelArray:
        """Give a cluster a class by hand; it wins over strokes. Class 0 takes it back.

        Several clusters are one step of `undo`.

        Parameters
        ----------
        cluster : int or sequence of int
            Ids of `clusters`.
        class_ : int
            1, 2, ...; 0 takes an assignment back.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.

        Raises
        ------
        InputError
            If there is no such cluster, or the class is negative or above 65535.
        """
        ids = self._check_clusters(cluster)
        if not 0 <= class_ <= MAX_CLUSTER_ID:
            invalid("class_", class_, "not a class", "Give 1, 2, ... or 0 to take it back")
        assigned = self._engine.state.assigned.copy()
        assigned[np.array(ids, dtype=int) - 1] = class_
        with self._step():
            self._engine.state = replace(self._engine.state, assigned=assigned)
        return self.labels

    def split(self, cluster: int | Sequence[int]) -> LabelArray:
        """Split a cluster in two along its direction of largest variance (k-means).

        Several clusters are one step of `undo`; those that cannot be split stay whole.

        Parameters
        ----------
        cluster : int or sequence of int
            Ids of `clusters`.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.

        Raises
        ------
        InputError
            If there is no such cluster, or all its pixels have the same features.
        """
        ids = self._check_clusters(cluster)
        with self._step() as moves:
            parts = [self._engine.divide_in_two(i, moves) for i in ids]
            if not any(parts):
                problem = "its pixels all have the same features"
                invalid("cluster", cluster, problem, "Choose another")
        return self.labels

    def merge(self, clusters: Sequence[int]) -> LabelArray:
        """Merge clusters into the one with the lowest id; the other ids stay empty.

        Parameters
        ----------
        clusters : sequence of int
            Ids of `clusters`, at least two.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.

        Raises
        ------
        InputError
            If fewer than two different clusters are given, or one does not exist.
        """
        ids = sorted({self._check_cluster(cluster) for cluster in clusters})
        if len(ids) < 2:
            invalid("clusters", list(clusters), "fewer than two clusters", "Name at least two")
        with self._step() as moves:
            self._engine.merge(ids, moves)
        return self.labels

    def _check_clusters(self, clusters: int | Sequence[int]) -> list[int]:
        many = isinstance(clusters, Sequence | np.ndarray) and not isinstance(clusters, str)
        ids: list[Any] = list(clusters) if many else [clusters]  # type: ignore[arg-type]
        if not ids:
            invalid("cluster", clusters, "there is none", "Name at least one")
        return list(dict.fromkeys(self._check_cluster(i) for i in ids))

    def _check_cluster(self, cluster: int) -> int:
        known = (
            isinstance(cluster, int | np.integer) and 1 <= cluster <= self._engine.partition.n_ids
        )
        if not known or self._engine.partition.size(int(cluster)) == 0:
            invalid("cluster", cluster, "no such cluster", "Take an id from session.clusters")
        return int(cluster)

    # ---- undo and redo -------------------------------------------------------------------------

    def undo(self) -> LabelArray:
        """Take the last step back (strokes, clusters, labels: exactly); return the labels.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.
        """
        entry = self._history.back()
        if entry is not None:
            self._engine.undo(entry)
            self._notify()
        return self.labels

    def redo(self) -> LabelArray:
        """Apply the last undone step again; return the labels.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.
        """
        entry = self._history.forward()
        if entry is not None:
            self._engine.redo(entry)
            self._notify()
        return self.labels

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self._history.previous is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to apply again."""
        return self._history.next is not None

    def follow(self, strokes: Any) -> LabelArray:
        """Take the strokes of an editor that has an undo of its own; return the labels.

        If they are as they were before the last step, or as they would be after the next, that is
        `undo` or `redo`; else `update`. So undoing a stroke restores clusters that it had split.

        Parameters
        ----------
        strokes : array-like of int, shape ([Z,] Y, X)
            All strokes.

        Returns
        -------
        numpy.ndarray of int, shape ([Z,] Y, X)
            The labels as they are then; 0 is unclassified or invalid.

        Raises
        ------
        StrokeError
            If shape or values do not fit the image.
        """
        pixels, new = self._changes(strokes)
        back, forward = self._history.previous, self._history.next
        if back is not None and back.reverts_to(pixels, new):
            return self.undo()
        if forward is not None and forward.leads_to(pixels, new):
            return self.redo()
        if pixels.size:
            self._take(pixels, new)
        return self.labels

    def subscribe(self, listener: Callable[[Session], object]) -> Callable[[], None]:
        """Call `listener` with the session after every change; return what ends that.

        Whoever makes the change, all that show the session follow it.

        Parameters
        ----------
        listener : callable
            Takes the session.

        Returns
        -------
        callable
            Without arguments; after it `listener` is called no more.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _notify(self) -> None:
        self._version += 1
        for listener in tuple(self._listeners):
            listener(self)

    # ---- files and other images ----------------------------------------------------------------

    def predict(self, image: Image, callback: Callback | None = None) -> LabelArray:
        """Classify another image of the same bands with the clusters and classes of this session.

        Parameters
        ----------
        image : Image
            The other image.
        callback : callable, optional
            Called with a `Progress` at every step; may raise to cancel.

        Returns
        -------
        numpy.ndarray of uint8 (uint16 past 255 classes), shape ([Z,] Y, X)
            Class of every pixel; 0 where unclassified or invalid.

        Raises
        ------
        InputError
            If the session was made from an array of features, or the bands differ.
        """
        return drain(self.predictor()(image), callback)

    def predictor(self) -> Predictor:
        """Return what classifies other images, in any thread or process, as the session is now.

        Each call returns a generator of `Progress` that returns labels; see `predict`.

        Returns
        -------
        Predictor
            Called with an image; it can be sent to other processes.

        Raises
        ------
        InputError
            If the session was made from an array of features.
        """
        if self._extractor is None:
            invalid(
                "features", self.features, "an array says nothing of other images",
                "Open the session with a ClusterNet or a feature name",
            )  # fmt: skip
        spacing = None if self.field is None else self.image.spacing
        return Predictor(self._extractor, self._base, self._engine.state, spacing)

    def save(self, path: str | Path) -> Path:
        """Save the session, history included, to one file (safetensors + JSON), atomically.

        Parameters
        ----------
        path : path-like
            File to write, ``*.clusternet``.

        Returns
        -------
        pathlib.Path
            The file.
        """
        from napari_clusternet.session_file import save_session

        return save_session(self, path)

    @classmethod
    def load(cls, path: str | Path, image: Image | None = None) -> Session:
        """Load a session saved by `save`.

        Parameters
        ----------
        path : str or pathlib.Path
            The session file.
        image : Image, optional
            The image, if it is not where it was when the session was saved. Of a session on a
            field it is the scene's image; without it, one that is not found is left out, and the
            session cannot `move` until it is given.

        Returns
        -------
        Session
            With strokes, clusters and history as saved.

        Raises
        ------
        FileFormatError
            If the file is damaged, of a future version, or not a session.
        InputError
            If the image is missing or not the one the session was made for.
        """
        from napari_clusternet.session_file import load_session

        return load_session(cls, path, image)


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        invalid("threshold", threshold, "not between 0 and 1", "The paper uses 0.3")


def check_options(image: Image, threshold: float, mode: str, n_clusters: int) -> None:
    """Say what is wrong with the options of a session, before long work starts."""
    if not isinstance(image, Image):
        invalid("image", image, "not an Image", "Open it with napari_clusternet.open_image")
    _check_threshold(threshold)
    if mode not in ("enhanced", "paper"):
        invalid("mode", mode, "unknown", "Use 'enhanced' or 'paper'")
    if not isinstance(n_clusters, int | np.integer) or not 1 <= n_clusters <= MAX_CLUSTER_ID:
        invalid("n_clusters", n_clusters, "not a number of clusters", "Give 1 to 65535")


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
