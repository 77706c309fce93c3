"""The whole path on the samples: learn, segment, write, score, and one picture of it all."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.data.samples import Sample, load_sample
from napari_clusternet.gallery import (
    Panel,
    Row,
    coloured,
    drawn_over,
    gallery,
    speckled,
    stretched,
)
from napari_clusternet.image import Image
from napari_clusternet.io.labels import write_labels
from napari_clusternet.metrics import evaluate
from napari_clusternet.progress import Callback
from napari_clusternet.session import Session

if TYPE_CHECKING:
    import numpy.typing as npt

#: Classes with fewer true pixels are left out of the means: their Dice is a matter of luck.
MIN_PIXELS = 150


@dataclass(frozen=True)
class Outcome:
    """What was reached on one sample.

    Attributes
    ----------
    name : str
        The sample's.
    features : str
        Where the features come from.
    dice, accuracy : float
        Mean Dice over classes of at least `MIN_PIXELS` true pixels; share of true pixels right.
    seconds_learning, seconds_segmenting : float
        Wall time of step 1 and step 2.
    strokes, pixels : int
        Stroked pixels and all pixels.
    labels : pathlib.Path
        The file of labels.
    """

    name: str
    features: str
    dice: float
    accuracy: float
    seconds_learning: float
    seconds_segmenting: float
    strokes: int
    pixels: int
    labels: Path


@dataclass(frozen=True)
class DemoReport:
    """Everything the demo did; `str` of it is the table for people.

    Attributes
    ----------
    outcomes : tuple of Outcome
        One a sample.
    picture : pathlib.Path
        The picture.
    seconds : float
        Wall time of the whole.
    """

    outcomes: tuple[Outcome, ...]
    picture: Path
    seconds: float

    def __str__(self) -> str:
        """Return the table that the command line prints."""
        lines = [
            f"{'sample':<14}{'features':<22}{'strokes':>8}{'Dice':>8}{'accuracy':>10}"
            f"{'learn s':>9}{'segment s':>11}"
        ]
        lines += [
            f"{o.name:<14}{o.features:<22}{100 * o.strokes / o.pixels:>7.2f}%{o.dice:>8.3f}"
            f"{o.accuracy:>10.3f}{o.seconds_learning:>9.1f}{o.seconds_segmenting:>11.1f}"
            for o in self.outcomes
        ]
        lines += [f"labels:  {outcome.labels}" for outcome in self.outcomes]
        return "\n".join([*lines, f"picture: {self.picture}", f"{self.seconds:.0f} s in all"])


def _row(sample: Sample, image: Image, session: Session) -> Row:
    """Return the sample's panels; of a volume, the stroked slice nearest the middle.

    Volumes are shown with the front up: their second axis points forward.
    """
    cut: tuple[Any, ...] = ()
    flip = slice(None)
    if image.ndim == 3:
        stroked = np.flatnonzero(sample.strokes.any(axis=(1, 2)))
        cut = (int(stroked[np.argmin(abs(stroked - image.shape[0] // 2))]),)
        flip = slice(None, None, -1)
    region = tuple(slice(z, z + 1) for z in cut) + (slice(None),) * 2
    values = image.read(region)[0].reshape(image.n_bands, *image.shape[-2:])
    picture = stretched(values, sample.rgb)
    truth = np.zeros(image.shape, np.uint8) if sample.truth is None else sample.truth
    panels = {
        "image": picture,
        "strokes": drawn_over(picture, sample.strokes[cut]),
        "clusters": speckled(session.cluster_map[cut]),
        "classes": coloured(session.labels[cut]),
        "truth": coloured(truth[cut]),
    }
    shown = [Panel(caption, panel[flip]) for caption, panel in panels.items()]
    return Row(sample.title, shown, sample.class_names)


def _segment(
    sample: Sample, folder: Path, learn: bool, seed: int, device: str, callback: Callback | None
) -> tuple[Outcome, Row]:
    image = sample.open()
    features: Any = "filters"
    start = time.perf_counter()
    if learn:
        model = ClusterNet.from_preset("quick", random_state=seed, device=device)
        features = (model.fit([image], callback=callback), "filters")
    learned = time.perf_counter()
    session = Session(image, features=features, random_state=seed, callback=callback)
    labels = session.update(sample.strokes)
    segmented = time.perf_counter()
    path = folder / f"{sample.name}-labels{''.join(sample.strokes_path.suffixes)}"
    write_labels(path, labels, like=image, class_names=sample.class_names)
    dice, accuracy = _scores(labels, sample)
    outcome = Outcome(
        name=sample.name,
        features="learned + filter bank" if learn else "filter bank",
        dice=dice,
        accuracy=accuracy,
        seconds_learning=learned - start,
        seconds_segmenting=segmented - learned,
        strokes=int(np.count_nonzero(sample.strokes)),
        pixels=sample.strokes.size,
        labels=path,
    )
    return outcome, _row(sample, image, session)


def _scores(labels: npt.NDArray[Any], sample: Sample) -> tuple[float, float]:
    if sample.truth is None:
        return float("nan"), float("nan")
    scores = evaluate(labels, sample.truth, min_pixels=MIN_PIXELS)
    return scores.mean_dice, scores.accuracy


def run_demo(
    folder: str | os.PathLike[str] = "clusternet-demo",
    random_state: int = 0,
    device: str = "auto",
    callback: Callback | None = None,
) -> DemoReport:
    """Learn features on Indian Pines and segment it; segment the MNI152 volume; show both.

    Writes into `folder` (made if needed) the labels ``indian-pines-labels.tif`` and
    ``mni152-labels.nii.gz``, with the metadata of their images, and the picture ``demo.png``.

    Parameters
    ----------
    folder : path
        Where to write.
    random_state : int
        Seed.
    device : str
        Where to learn; see `ClusterNet`.
    callback : callable, optional
        Called with a `Progress` at every step; may raise to cancel.

    Raises
    ------
    MissingExtraError
        If the extra ``medical`` is not installed, before any work starts.
    """
    start = time.perf_counter()
    target = Path(folder)
    samples = [load_sample("indian-pines"), load_sample("mni152")]
    for sample in samples:
        sample.open()  # whatever is missing is told before the long work
    target.mkdir(parents=True, exist_ok=True)
    results = [
        _segment(sample, target, learn, random_state, device, callback)
        for sample, learn in zip(samples, (True, False), strict=True)
    ]
    picture = target / "demo.png"
    gallery([row for _, row in results]).save(picture)
    outcomes = tuple(outcome for outcome, _ in results)
    return DemoReport(outcomes, picture, time.perf_counter() - start)
