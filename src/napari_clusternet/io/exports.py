"""What a session gives away beside its labels: a file per class, its table, its certainty."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import FileFormatError, InputError, invalid
from napari_clusternet.io.atomic import atomic_path
from napari_clusternet.io.base import refuse
from napari_clusternet.io.labels import write_labels
from napari_clusternet.io.opening import all_formats

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from napari_clusternet.image import Image


def class_paths(path: str | os.PathLike[str], class_names: Mapping[int, str]) -> dict[int, Path]:
    """Return the file of each class: ``labels.tif`` gives ``labels_1_water.tif``.

    Parameters
    ----------
    path : path-like
        What one file of all labels would be called.
    class_names : mapping of int to str
        The classes, and what to call them.
    """
    target = Path(path).expanduser()
    suffixes = sorted((s for form in all_formats() for s in form.suffixes), key=len, reverse=True)
    suffix = next((s for s in suffixes if target.name.lower().endswith(s)), target.suffix)
    stem = target.name[: len(target.name) - len(suffix)]
    ending = target.name[len(stem) :]
    return {
        label: target.with_name(f"{stem}_{label}_{_word(name)}{ending}")
        for label, name in class_names.items()
    }


def write_class_files(
    path: str | os.PathLike[str],
    labels: npt.NDArray[Any],
    like: Image,
    class_names: Mapping[int, str],
) -> list[Path]:
    """Write a file for each class, 1 where it is; see `class_paths` and `write_labels`."""
    return [
        write_labels(place, (labels == label).astype(np.uint8), like,
                     class_names={1: class_names[label]})
        for label, place in class_paths(path, class_names).items()
    ]  # fmt: skip


def write_certainty(
    path: str | os.PathLike[str], certainty: npt.NDArray[np.floating], like: Image
) -> Path:
    """Write how sure every pixel's class is, in whole percent; 0 is also where there is none."""
    percent = np.rint(100 * np.clip(np.nan_to_num(certainty), 0, 1)).astype(np.uint8)
    return write_labels(path, percent, like)


def write_table(
    path: str | os.PathLike[str], table: pd.DataFrame, class_names: Mapping[int, str]
) -> Path:
    """Write the table of clusters as CSV (UTF-8), without the centroids, atomically.

    Parameters
    ----------
    path : path-like
        ``*.csv``.
    table : pandas.DataFrame
        `Session.clusters`.
    class_names : mapping of int to str
        Go into a column ``class_name``.

    Raises
    ------
    FileFormatError
        If the suffix is another.
    OSError
        If the system refuses to write; the earlier file is unchanged.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".csv":
        refuse(target, "the table is written as CSV", "Name it *.csv")
    shown = table.drop(columns="centroid", errors="ignore")
    names = [class_names.get(int(label), "") for label in shown["class"]]
    shown.insert(1, "class_name", names)
    with atomic_path(target) as temporary:
        shown.to_csv(temporary, encoding="utf-8")
        with temporary.open(encoding="utf-8") as stream:
            written = sum(1 for _ in stream) - 1
        if written < len(shown):
            invalid("path", str(target), f"{written} of {len(shown)} rows read back",
                    "Free space and write again", error=FileFormatError)  # fmt: skip
    return target


def check_flat(image: Image, what: str) -> None:
    """Refuse a volume where only a picture will do.

    Raises
    ------
    InputError
        If the image has three spatial axes.
    """
    if image.ndim != 2:
        invalid("image", image.name, f"{what} are of pictures, this is a volume",
                "Export labels", error=InputError)  # fmt: skip


def _word(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name.strip().lower())
    return "-".join(part for part in kept.split("-") if part)[:60] or "class"
