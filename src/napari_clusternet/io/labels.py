"""`write_labels` and `read_labels`: label images with the metadata of the image they belong to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.config import FILES
from napari_clusternet.errors import ClusterNetError, FileFormatError, InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.atomic import atomic_path
from napari_clusternet.io.base import Format, OpenOptions, refuse
from napari_clusternet.io.lazy import forget
from napari_clusternet.io.opening import all_formats, find_format, local_path, open_image

Labels = npt.NDArray[Any]


def write_labels(
    path: str | os.PathLike[str],
    labels: Any,
    like: Any = None,
    *,
    class_names: Mapping[int, str] | Sequence[str] | None = None,
    overwrite: bool = True,
) -> Path:
    """Write labels with the spacing, affine, units and CRS of the image they belong to.

    The file appears under its name only after it was read back and found equal.

    Parameters
    ----------
    path : path-like
        The suffix chooses the format: ``.tif`` (GeoTIFF where `like` has a CRS, else OME-TIFF),
        ``.nii`` or ``.nii.gz``, ``.zarr``.
    labels : array-like of int, shape ([Z,] Y, X)
        0 means no class. Stored as uint8, or uint16 past 255; GeoTIFF declares 0 as nodata.
    like : Image, or whatever `open_image` takes, optional
        The image the labels belong to. Without it: one pixel is one unit.
    class_names : mapping of int to str, or sequence of str, optional
        Names by label; a sequence names labels 1, 2, ...
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The written file.

    Warns
    -----
    UserWarning
        Where the format cannot carry something of `like`, such as a rotation in a plain TIFF.

    Raises
    ------
    InputError
        If the labels are not whole numbers of 0 to 65535, or do not fit `like`.
    FileFormatError
        If the suffix is of no format that can be written, the file exists and `overwrite` is
        False, or what was written does not read back equal (a full disk).
    """
    target = Path(path).expanduser()
    values = check_labels(labels)
    axes = "ZYX"[-values.ndim :]
    grid = Image.from_array(values, axes=axes) if like is None else open_image(like)
    if grid.shape != values.shape:
        invalid(
            "labels", values, f"the image {grid.name!r} has the shape {grid.shape}",
            "Give labels of that shape",
        )  # fmt: skip
    writer = label_writer(target, grid)
    names = _class_names(class_names)
    if target.exists() and not overwrite:
        refuse(target, "it exists", "Choose another name, or pass overwrite=True")
    if target.is_dir() and any(target.iterdir()) and not writer.sniff(target):
        refuse(target, "it is a folder with other content", "Choose another name")
    with atomic_path(target) as temporary:
        with _writing(target):
            writer.write_labels(temporary, values, grid, names)
        _check_written(writer, temporary, values, target)
    return target


def read_labels(path: str | os.PathLike[str], like: Any = None) -> Labels:
    """Read labels, strokes or truth from a file.

    Parameters
    ----------
    path : path-like
        Any format `open_image` reads, with one band; a palette picture gives its indices, a
        stack of pages is a volume.
    like : Image, or whatever `open_image` takes, optional
        The image they belong to; shape and, where the file has one, place must agree.

    Returns
    -------
    numpy.ndarray of int, shape ([Z,] Y, X)
        uint8, or uint16 past 255.

    Raises
    ------
    InputError
        If the file holds several bands, no whole numbers of 0 to 65535, or does not fit `like`.
    FileFormatError
        As `open_image`.
    """
    file = local_path(path)
    image = find_format(file).open(file, OpenOptions(generic_axis="Z", palette=True))
    if image.n_bands != 1:
        invalid("path", str(file), f"it has {image.n_bands} bands, labels have one", "Give one")
    if math.prod(image.shape) * image.data.dtype.itemsize > FILES.max_eager_bytes:
        refuse(file, f"labels of shape {image.shape} do not fit into memory", "Crop them")
    values = np.asarray(image.data)[0]
    if like is not None:
        grid = open_image(like)
        values = _as_slices(values, grid.shape)
        _check_place(image, values, grid, file)
    return check_labels(values, "path", str(file))


def check_labels(labels: Any, argument: str = "labels", shown: Any = None) -> Labels:
    """Return labels as uint8, or uint16 past 255.

    Raises
    ------
    InputError
        If they are not whole numbers of 0 to 65535 in two or three axes.
    """
    shown = labels if shown is None else shown
    if not hasattr(labels, "dtype") or not hasattr(labels, "ndim"):
        labels = np.asarray(labels)
    if labels.ndim not in (2, 3) or 0 in labels.shape:
        invalid(argument, shown, f"its shape is {tuple(labels.shape)}", "Give ([Z,] Y, X)")
    if math.prod(labels.shape) * labels.dtype.itemsize > FILES.max_eager_bytes:
        invalid(argument, shown, "too large for memory", "Use napari_clusternet.apply")
    values = np.asarray(labels)
    kind = values.dtype.kind
    # A file may hold labels as floats (NIfTI often does); an array of floats is a mistake.
    if kind == "f" and argument == "path" and np.array_equal(values, np.trunc(values)):
        kind, values = "i", values.astype(np.int64)
    if kind not in "biu":
        invalid(argument, shown, f"{values.dtype} values are not labels", "Give integers")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        invalid(argument, shown, f"values from {low} to {high}", "Labels are 0 to 65535")
    return values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn what a library raises when it cannot write into an error that names the file."""
    try:
        yield
    except (ClusterNetError, OSError, MemoryError):
        raise
    except Exception as error:
        raise FileFormatError(
            f"path={os.fspath(target)!r}: could not be written "
            f"({type(error).__name__}: {error}). Nothing was changed"
        ) from error


def label_writer(target: Path, grid: Image) -> Format:
    """Return the format that labels on the grid of `grid` are written in, judged by the suffix.

    Raises
    ------
    FileFormatError
        If none writes labels under this suffix.
    """
    name = target.name.lower()
    formats = all_formats()
    fitting = [f for f in formats if f.writes and name.endswith(f.suffixes)]
    if not fitting:
        known = " ".join(sorted({s for f in formats if f.writes for s in f.suffixes}))
        refuse(target, "no format writes labels under this suffix", f"Use one of: {known}")
    geo = grid.crs is not None and grid.ndim == 2
    return next((f for f in fitting if (f.name == "geotiff") == geo), fitting[0])


def _class_names(names: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    if names is None:
        return {}
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names, start=1)
    return {int(label): str(name) for label, name in pairs}


def _check_written(writer: Format, temporary: Path, labels: Labels, target: Path) -> None:
    """Read back what was written: some libraries do not report a full disk."""
    problem = "it does not read back as written; the disk may be full"
    try:
        found = writer.open(temporary, OpenOptions(generic_axis="Z", strict=True)).data
        equal = np.array_equal(_as_slices(np.asarray(found)[0], labels.shape), labels)
    except (FileFormatError, InputError) as error:
        raise FileFormatError(
            f"path={os.fspath(target)!r}: {problem} ({error}). Nothing was changed; free space"
        ) from error
    finally:
        forget(temporary)
    if not equal:
        refuse(target, problem, "Nothing was changed; free space and write again")


def _as_slices(values: Labels, shape: tuple[int, ...]) -> Labels:
    """Return values as `shape` has them: a volume of one slice is a picture in some formats."""
    if values.ndim == len(shape) + 1 and values.shape[0] == 1:
        values = values[0]
    elif values.ndim == len(shape) - 1 and shape[0] == 1:
        values = values[None]
    return values


def _check_place(image: Image, values: Labels, grid: Image, file: Path) -> None:
    if values.shape != grid.shape:
        invalid("path", str(file), f"its shape is {values.shape}, the image's {grid.shape}",
                "Give labels of the image's shape")  # fmt: skip
    placed = image.ndim == grid.ndim and image.units != ("pixel",) * image.ndim
    if placed and not np.allclose(image.affine, grid.affine, rtol=1e-4, atol=1e-4):
        invalid(
            "path", str(file), f"its affine {image.affine.tolist()} is not the image's "
            f"{grid.affine.tolist()}", "Resample it onto the image's grid",
        )  # fmt: skip
