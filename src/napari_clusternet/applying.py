"""A session on many other images: what is read, what is written, and what went wrong where."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clusternet.errors import ClusterNetError, InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.labels import write_labels
from napari_clusternet.io.opening import all_formats, local_path, open_image
from napari_clusternet.predictor import Predictor
from napari_clusternet.progress import Progress

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    Predict = Callable[[Image], Generator[Progress, None, npt.NDArray[Any]]]

#: What the name of a result ends with, before its suffix.
ENDING = "_classes"
#: Suffix of results whose source has none that labels can be written under.
DEFAULT_SUFFIX = ".tif"
#: Lazy images of more pixels become files piece by piece.
LARGE_PIXELS = 1 << 27


@dataclass(frozen=True)
class Job:
    """One image to classify.

    Attributes
    ----------
    name : str
        What to call it in messages.
    source : Path or Image
        Opened when its turn comes, if it is a file.
    output : pathlib.Path or None
        The file to write; None to return the labels.
    """

    name: str
    source: Path | Image
    output: Path | None


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    name : str
        As in `Job`.
    output : pathlib.Path or None
        The file that was written.
    labels : numpy.ndarray or None
        Labels ([Z,] Y, X) where no file was asked for.
    image : Image or None
        The image they belong to.
    error : str
        Why there is no result; empty if there is one.
    """

    name: str
    output: Path | None = None
    labels: Any = None
    image: Image | None = None
    error: str = ""


def plan(
    targets: Sequence[Image | str | os.PathLike[str]],
    folder: str | os.PathLike[str] | None = None,
    suffix: str = "",
    *,
    overwrite: bool = False,
) -> list[Job]:
    """Say what will be read and written, and refuse what would do harm, before any work.

    Parameters
    ----------
    targets : sequence of Image or path-like
        Images, files, or folders of files; results of an earlier run in a folder are left out.
    folder : path-like, optional
        Where results go. Needed for files; results of images are returned without it.
    suffix : str
        Format of the results, such as ``".tif"``; by default that of each source.
    overwrite : bool
        Whether existing results may be replaced.

    Returns
    -------
    list of Job

    Raises
    ------
    InputError
        If there is nothing to do, two results would have one name, or one would replace a source.
    FileFormatError
        If a target or the folder is not there, or a result exists and `overwrite` is False.
    """
    sources = [source for target in targets for source in _sources(target)]
    if not sources:
        invalid("targets", list(map(str, targets)), "no image is there", "Choose images or files")
    place = None if folder is None else local_path(folder)
    if place is not None and not place.is_dir():
        invalid("folder", str(folder), "not a folder", "Choose a folder for the results")
    jobs = []
    for source in sources:
        name = source.name
        if place is None and isinstance(source, Path):
            invalid("folder", folder, f"no place for the result of {name!r}", "Choose a folder")
        jobs.append(Job(name, source, place and place / _output_name(source, suffix)))
    _check_outputs(jobs, overwrite)
    return jobs


def apply_steps(
    predict: Predict, jobs: Sequence[Job], class_names: Mapping[int, str]
) -> Generator[Progress, None, list[Outcome]]:
    """Classify one image after the other; one that fails is reported, and the rest goes on.

    Parameters
    ----------
    predict : callable
        `Session.predictor` gives it.
    jobs : sequence of Job
        From `plan`.
    class_names : mapping of int to str
        Written into the results.

    Yields
    ------
    Progress
        Counted in hundredths of an image.
    """
    outcomes = []
    for i, job in enumerate(jobs):
        try:
            outcome = yield from _one(predict, job, dict(class_names), 100 * i, 100 * len(jobs))
        except (ClusterNetError, OSError, MemoryError) as error:
            text = str(error) or type(error).__name__
            outcome = Outcome(job.name, error=text)
        outcomes.append(outcome)
        yield Progress(job.name, 100 * (i + 1), 100 * len(jobs))
    return outcomes


def _one(
    predict: Predict, job: Job, names: dict[int, str], before: int, total: int
) -> Generator[Progress, None, Outcome]:
    image = job.source if isinstance(job.source, Image) else open_image(job.source)
    if isinstance(predict, Predictor):
        image = predict.at_resolution(image)
    large = job.output is not None and image.is_lazy and math.prod(image.shape) > LARGE_PIXELS
    if large and job.output is not None and job.output.name.endswith((".zarr", ".tif")):
        from napari_clusternet.scaling.apply import predictor_steps

        # nothing of it in memory as a whole; stopped, it goes on when it is asked for again
        steps: Generator[Progress, None, Any] = predictor_steps(
            predict, image, job.output, class_names=names, overwrite=True
        )
    else:
        large, steps = False, predict(image)
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            labels = stop.value
            break
        share = int(99 * step.done / max(1, step.total or 1))
        yield Progress(f"{job.name}", before + share, total)
    if large:
        return Outcome(job.name, job.output)
    if job.output is None:
        return Outcome(job.name, None, labels, image)
    write_labels(job.output, labels, image, class_names=names)
    return Outcome(job.name, job.output)


def _sources(target: Image | str | os.PathLike[str]) -> list[Path | Image]:
    if isinstance(target, Image):
        return [target]
    path = local_path(target)
    if path.is_file() or any(known.sniff(path) for known in all_formats()):
        return [path]
    suffixes = tuple(suffix for known in all_formats() for suffix in known.suffixes)
    return [
        file for file in sorted(path.iterdir())
        if file.name.lower().endswith(suffixes)
        and not file.name.startswith(".") and not _stem(file).endswith(ENDING)
    ]  # fmt: skip


def _output_name(source: Path | Image, suffix: str) -> str:
    path = source if isinstance(source, Path) else source.source
    stem = _stem(path) if isinstance(source, Path) and path else _safe(source.name)
    return stem + ENDING + (suffix or _own_suffix(path))


def _own_suffix(path: Path | None) -> str:
    name = "" if path is None else path.name.lower()
    known = [suffix for form in all_formats() if form.writes for suffix in form.suffixes]
    fitting = [suffix for suffix in known if name.endswith(suffix)]
    return max(fitting, key=len, default=DEFAULT_SUFFIX)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted((s for f in all_formats() for s in f.suffixes), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _safe(name: str) -> str:
    """Return a name without what file systems do not take."""
    return "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name).strip(". ") or "_"


def _check_outputs(jobs: Sequence[Job], overwrite: bool) -> None:
    sources = {job.source for job in jobs if isinstance(job.source, Path)}
    seen: dict[Path, str] = {}
    for job in jobs:
        if job.output is None:
            continue
        if job.output in seen:
            problem = f"{seen[job.output]!r} and {job.name!r} would both become {job.output.name!r}"
            invalid("targets", job.name, problem, "Apply to them one after the other")
        seen[job.output] = job.name
        if job.output in sources:
            problem = f"the result of {job.name!r} would replace a source"
            invalid("folder", str(job.output.parent), problem, "Choose another folder")
        refuse_existing(job.output, overwrite)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file, unless told to.

    Raises
    ------
    InputError
        If it exists and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        remedy = "Choose another name or folder, or allow it to be replaced (overwrite=True)"
        invalid("path", str(path), "it exists already", remedy, error=InputError)
