"""`apply`: a session on images larger than memory, on this machine or a cluster."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clusternet.applying import plan as plan_files
from napari_clusternet.applying import refuse_existing
from napari_clusternet.errors import ClusterNetError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.atomic import check_target, put_in_place, remove
from napari_clusternet.io.opening import all_formats, local_path, open_image
from napari_clusternet.predictor import Predictor
from napari_clusternet.progress import Callback, Progress, drain
from napari_clusternet.scaling.ledger import Ledger, open_ledger
from napari_clusternet.scaling.outputs import finish_steps, output_kind, prepare
from napari_clusternet.scaling.plan import make_plan
from napari_clusternet.scaling.runners import open_runner
from napari_clusternet.scaling.running import UnfinishedError, run_steps
from napari_clusternet.scaling.work import Work, direct

if TYPE_CHECKING:
    from distributed import Client

    from napari_clusternet.session import Session


def apply(
    session: Session,
    source: Any,
    destination: str | os.PathLike[str],
    client: Client | str | None = None,
    *,
    workers: int = 0,
    memory: float | None = None,
    device: str = "auto",
    retries: int = 2,
    class_names: Mapping[int, str] | None = None,
    overwrite: bool = False,
    callback: Callback | None = None,
) -> Path:
    """Classify an image of any size with the clusters and classes of a session.

    The image is read, classified and written piece by piece; labels equal those of
    `Session.predict`. A run that was interrupted goes on where it stopped when it is called
    again: ``<destination>.partial`` holds what is finished. Nothing has the final name before it
    is complete.

    Parameters
    ----------
    session : Session
        Made from a model or a feature name, not from an array of features.
    source : path-like, Image or whatever `open_image` takes
        The image, or a folder of images, each of which is classified.
    destination : path-like
        ``.zarr`` (OME-Zarr with a pyramid) or ``.tif`` (cloud-optimised GeoTIFF where the source
        has a CRS, else OME-TIFF); up to 1 GB of labels also the other formats of `write_labels`.
        For a folder of images, a folder.
    client : distributed.Client or str, optional
        Cluster to compute on, or its scheduler's address. Its workers must see source and
        destination under the same paths. Where workers declare the resource ``GPU``, only those
        compute.
    workers : int
        Processes of this machine; 0 for this process.
    memory : float, optional
        Memory for pieces under way, GB, all workers of this machine together; on a cluster, each
        task. By default about 1 GB a task.
    device : str
        Where workers of a cluster compute; see `select_device`.
    retries : int
        How often a piece that failed is tried again.
    class_names : mapping of int to str, optional
        Written into the output.
    overwrite : bool
        Whether an existing output, or an unfinished one of another session, may be replaced.
    callback : callable, optional
        Called with a `Progress`; ``metrics["seconds left"]`` is the time left.

    Returns
    -------
    pathlib.Path
        The output.

    Raises
    ------
    InputError
        If the session or the image cannot be used, an unfinished run is of another session or
        source, the output exists, or a cluster's workers are not as they must be.
    FileFormatError
        If another process is writing the output, or a file cannot be read or written.
    UnfinishedError
        If pieces failed however often they were tried; they are named, the others are kept.
    OSError
        If the disk is full; what is finished is kept.
    """
    steps = apply_steps(
        session, source, destination, client, workers=workers, memory=memory, device=device,
        retries=retries, class_names=class_names, overwrite=overwrite,
    )  # fmt: skip
    return drain(steps, callback)


def apply_steps(
    session: Session,
    source: Any,
    destination: str | os.PathLike[str],
    client: Client | str | None = None,
    *,
    workers: int = 0,
    memory: float | None = None,
    device: str = "auto",
    retries: int = 2,
    class_names: Mapping[int, str] | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, Path]:
    """Do what `apply` does as a generator of `Progress` that returns the output.

    Closed early, it stops after the pieces under way; what is finished is kept for the next run.
    """
    _check_numbers(workers, memory, retries)
    how = _How(session.predictor(), client, workers, memory, device, retries,
               dict(class_names or {}), overwrite)  # fmt: skip
    target = Path(destination).expanduser().absolute()
    folder = _folder_of_images(source)
    if folder is None:
        return (yield from _one(how, open_image(source), target))
    target.mkdir(parents=True, exist_ok=True)
    failed = []
    jobs = plan_files([folder], target, overwrite=True)
    for job in jobs:
        assert isinstance(job.source, Path)
        assert job.output is not None
        if job.output.exists() and not overwrite:
            continue
        try:
            yield from _one(how, open_image(job.source), job.output)
        except (ClusterNetError, MemoryError) as error:
            failed.append(f"{job.name} ({error})")
    if failed:
        raise UnfinishedError(
            f"{len(failed)} of {len(jobs)} images failed: {'; '.join(failed)}. Run again to go on"
        )
    return target


def predictor_steps(
    predictor: Any,
    image: Image,
    destination: Path,
    *,
    class_names: Mapping[int, str] | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, Path]:
    """Do what `apply_steps` does with what `Session.predictor` gave, in this process."""
    how = _How(predictor, None, 0, None, "auto", 2, dict(class_names or {}), overwrite)
    return (yield from _one(how, image, destination))


@dataclass(frozen=True)
class _How:
    """The arguments of `apply` that do not name files."""

    predictor: Predictor
    client: Client | str | None
    workers: int
    memory: float | None
    device: str
    retries: int
    class_names: dict[int, str]
    overwrite: bool

    @property
    def task_bytes(self) -> float | None:
        """Memory of one task."""
        if self.memory is None:
            return None
        at_a_time = 1 if self.client is not None else self.workers or 2
        return self.memory * 2**30 / at_a_time


def _one(how: _How, image: Image, target: Path) -> Generator[Progress, None, Path]:
    check_target(target)
    image = how.predictor.at_resolution(image)
    wanted = make_plan(how.predictor, image, how.task_bytes)
    kind = output_kind(target, image, wanted)
    if image.source is not None and target.exists() and target.samefile(image.source):
        invalid("destination", str(target), "it is the source", "Choose another name")
    partial = target.with_name(f"{target.name}.partial")
    if not partial.exists():  # else the run may have ended just before its folder was removed
        refuse_existing(target, how.overwrite)
    with open_ledger(target, wanted, overwrite=how.overwrite) as ledger:
        if not ledger.is_published(target):
            refuse_existing(target, how.overwrite)
            yield from _compute(how, image, ledger, kind)
            result = yield from finish_steps(ledger, kind, image, how.class_names)
            ledger.record_result(result)
            put_in_place(result, target)
        remove(ledger.folder)
    return target


def _compute(how: _How, image: Image, ledger: Ledger, kind: str) -> Generator[Progress, None, None]:
    prepare(ledger, kind, image, how.class_names)
    if len(ledger.done) == len(ledger.plan):
        return
    work = Work(how.predictor, direct(image), ledger.plan, ledger.store)
    with open_runner(work, how.client, how.workers, how.device) as runner:
        yield from run_steps(runner, ledger, how.retries)


def _folder_of_images(source: Any) -> Path | None:
    """Return the folder if `source` is one that is not itself an image."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = local_path(source)
    is_image = path.is_file() or any(known.sniff(path) for known in all_formats())
    return None if is_image else path


def _check_numbers(workers: int, memory: float | None, retries: int) -> None:
    for name, value in (("workers", workers), ("retries", retries)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            invalid(name, value, "not a number from 0 up", "Give a whole number")
    if memory is not None and not memory > 0:
        invalid("memory", memory, "not a positive number", "Give gigabytes, such as 4")
