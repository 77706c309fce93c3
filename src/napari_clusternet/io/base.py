"""What every file format shares: the protocol, the limits, the translation of foreign errors."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from napari_clusternet.config import FILES
from napari_clusternet.errors import ClusterNetError, FileFormatError, invalid
from napari_clusternet.image import Image

#: Spellings of length units found in files -> the one used here.
UNITS = {
    "nm": "nanometer", "nanometre": "nanometer",
    "µm": "micrometer", "\u03bcm": "micrometer", "um": "micrometer", "micron": "micrometer",
    "microns": "micrometer", "micrometre": "micrometer", "\\u00b5m": "micrometer",
    "mm": "millimeter", "millimetre": "millimeter",
    "cm": "centimeter", "centimetre": "centimeter",
    "m": "metre", "meter": "metre", "meters": "metre", "metres": "metre",
    "km": "kilometer", "kilometre": "kilometer",
    "deg": "degree", "degrees": "degree",
    "px": "pixel", "pixels": "pixel", "": "pixel",
}  # fmt: skip


class MissingFileError(FileFormatError, FileNotFoundError):
    """There is no file of that name."""


class BoundedFile(io.BufferedReader):
    """A file that is never asked for more bytes than it has: memory is taken for all asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to so many bytes, or all."""
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(size if size is None or size < 0 else min(size, max(left, 0)))


class Format(Protocol):
    """One file format: an entry of the table `napari_clusternet.io.FORMATS`.

    Attributes
    ----------
    name : str
        The entry's name.
    suffixes : tuple of str
        Lower-case endings of file names, for messages and for `write_labels`.
    writes : bool
        Whether `write_labels` is supported.
    """

    name: str
    suffixes: tuple[str, ...]
    writes: bool

    def sniff(self, path: Path) -> bool:
        """Return whether the file is of this format, from its first bytes or metadata files."""
        ...

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open lazily, with everything the file says."""
        ...

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Write labels ([Z,] Y, X) on the grid of `like` at `path`, which does not exist yet."""
        ...


class OpenOptions:
    """What a format needs to know to interpret a file.

    Attributes
    ----------
    axes : str or None
        Order of the file's axes as the user gives it; wins over the file's own.
    complex_values : {"refuse", "magnitude"}
        See `Image.from_array`.
    singular_affine : bool
        Accept a file whose affine is singular (its spacing is then taken as 1), because the
        caller gives another.
    generic_axis : str or None
        Letter that stands for an axis without meaning (a stack of pages); None refuses it.
    palette : bool
        Return a palette picture's indices, not its colours (for labels).
    strict : bool
        Refuse a file with damaged metadata even if its pixels can be read.
    """

    def __init__(
        self,
        axes: str | None = None,
        complex_values: str = "refuse",
        singular_affine: bool = False,
        generic_axis: str | None = None,
        palette: bool = False,
        strict: bool = False,
    ) -> None:
        self.axes = axes
        self.complex_values = complex_values
        self.singular_affine = singular_affine
        self.generic_axis = generic_axis
        self.palette = palette
        self.strict = strict


def refuse(path: Path, problem: str, remedy: str) -> NoReturn:
    """Raise `FileFormatError` naming the file, the problem and the remedy.

    Raises
    ------
    FileFormatError
        Always.
    """
    invalid("path", os.fspath(path), problem, remedy, error=FileFormatError)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into `FileFormatError` naming the file.

    Libraries leak ZeroDivisionError, struct.error, KeyError, NotImplementedError and more; which
    ones changes between releases, so every exception counts but our own and lack of memory.

    Raises
    ------
    FileFormatError
        In place of the library's error.
    """
    try:
        yield
    except (ClusterNetError, MemoryError):
        raise
    except RecursionError as error:
        raise FileFormatError(f"path={os.fspath(path)!r}: the file refers to itself") from error
    except Exception as error:
        raise FileFormatError(
            f"path={os.fspath(path)!r}: cannot be read, it may be damaged or cut short "
            f"({type(error).__name__}: {error}). Copy or export the file again"
        ) from error


def check_claim(
    path: Path, shape: Sequence[int], dtype: Any, *, n_bands: int = 1, chunk: Sequence[int] = ()
) -> None:
    """Refuse a file whose header claims more than the limits of `config.FILES`.

    Parameters
    ----------
    path : pathlib.Path
    shape : sequence of int
        The claimed shape, before anything of that size is allocated.
    dtype : dtype-like
    n_bands : int
        How many bands the shape holds.
    chunk : sequence of int
        Shape of the largest piece that must be decoded at once.

    Raises
    ------
    FileFormatError
        Naming the file, the claim and the limit.
    """
    claim = f"it claims shape {tuple(int(n) for n in shape)}"
    remedy = "If the file is genuine, crop or tile it with the tool that made it"
    if any(n < 1 for n in shape):
        refuse(path, f"{claim}, with an axis shorter than 1", "Export the file again")
    if max(shape, default=1) > FILES.max_axis:
        refuse(path, f"{claim}; an axis may have at most {FILES.max_axis}", remedy)
    if math.prod(shape) // n_bands > FILES.max_pixels:
        refuse(path, f"{claim}; at most {FILES.max_pixels} pixels are read", remedy)
    if n_bands > FILES.max_bands:
        refuse(path, f"{claim} with {n_bands} bands; at most {FILES.max_bands} are read", remedy)
    size = math.prod(chunk) * np.dtype(dtype).itemsize if chunk else 0
    if size > FILES.max_eager_bytes:
        refuse(
            path, f"{claim} in compressed pieces of {size} bytes; at most "
            f"{FILES.max_eager_bytes} can be decoded at once", remedy,
        )  # fmt: skip


def unit_name(text: Any) -> str:
    """Return this package's spelling of a unit a file names; ``"pixel"`` for none."""
    unit = str(text or "").strip()
    return UNITS.get(unit.lower(), unit)


def keep_axes(
    path: Path, axes: str, shape: Sequence[int], generic_axis: str | None = None
) -> tuple[str, tuple[int, ...]]:
    """Choose the axes to keep of a file that names them.

    Axes of length 1 other than Y and X are dropped. An axis that is neither channel nor space
    must be: its meaning is the user's to say.

    Parameters
    ----------
    path : pathlib.Path
    axes : str
        One letter an axis, ``S`` (samples of a colour) counting as ``C``.
    shape : sequence of int
    generic_axis : str, optional
        Letter that one remaining unknown axis stands for.

    Returns
    -------
    axes : str
        The kept letters, from ``C``, ``Z``, ``Y``, ``X``.
    kept : tuple of int
        Their positions.

    Raises
    ------
    FileFormatError
        If other axes remain; the message names ``axes=``.
    """
    kept = [i for i, n in enumerate(shape) if n > 1 or axes[i] in "YX"]
    letters = "".join(axes[i] for i in kept).replace("S", "C")
    unknown = [letter for letter in letters if letter not in "CZYX"]
    if len(unknown) == 1 and generic_axis and generic_axis not in letters:
        letters = letters.replace(unknown[0], generic_axis)
        unknown = []
    if unknown or len(set(letters)) != len(letters) or not set("YX") <= set(letters):
        example = "".join("C" if letter not in "ZYX" else letter for letter in axes)
        refuse(
            path, f"its axes {axes!r} of lengths {tuple(shape)} do not say which is channel, "
            f"which is space", f"Pass axes=, one letter each, e.g. axes={example!r}",
        )  # fmt: skip
    return letters, tuple(kept)


def usable_affine(
    path: Path, affine: npt.NDArray[np.float64], options: OpenOptions
) -> npt.NDArray[np.float64]:
    """Return the affine a file gives; the identity if it is unusable and another will replace it.

    Raises
    ------
    FileFormatError
        If it is singular or not finite and nothing replaces it.
    """
    ndim = len(affine) - 1
    finite = bool(np.isfinite(affine).all())
    if finite and np.linalg.matrix_rank(affine) == ndim + 1 and np.linalg.det(affine) != 0:
        return affine
    if not options.singular_affine:
        refuse(
            path, f"its affine is singular or not finite: {affine.tolist()}",
            "Pass spacing= or affine= to replace it",
        )  # fmt: skip
    return np.eye(ndim + 1)


def level_affine(
    affine: npt.NDArray[np.float64], shape: Sequence[int], level: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the affine of a coarser level that covers the same extent.

    Index 0 is the centre of the first pixel, so a level f times coarser starts at (f - 1) / 2.
    """
    factor = np.asarray(shape, dtype=float) / np.asarray(level, dtype=float)
    step = np.diag([*factor, 1.0])
    step[:-1, -1] = (factor - 1) / 2
    return affine @ step


def loses(what: str, form: str, remedy: str) -> None:
    """Warn that the written format cannot carry something."""
    warnings.warn(f"{form} cannot carry {what}. {remedy}", UserWarning, stacklevel=4)
