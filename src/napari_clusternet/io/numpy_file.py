"""NumPy ``.npy`` files; an array has no axes, so more than two need ``axes=``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.image import Image
from napari_clusternet.io.base import (
    BoundedFile,
    OpenOptions,
    check_claim,
    keep_axes,
    reading,
    refuse,
)
from napari_clusternet.io.lazy import FileArray, Slices, in_image_order, stamp_of


@dataclass(frozen=True)
class _Mapped(FileArray):
    offset: int = 0
    order: str = "C"

    def read(self, region: Slices) -> npt.NDArray[Any]:
        mapped: npt.NDArray[Any] = np.memmap(
            self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape,
            order="F" if self.order == "F" else "C",
        )  # fmt: skip
        return np.array(mapped[region])


class NumpyFormat:
    """``.npy``; see `napari_clusternet.io.base.Format`."""

    name = "numpy"
    suffixes = (".npy",)
    writes = False

    def sniff(self, path: Path) -> bool:
        """Return whether the file starts like an ``.npy``."""
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(6) == b"\x93NUMPY"

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open without unpickling anything."""
        with reading(path), BoundedFile(path) as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(stream)
            offset = stream.tell()
            if dtype.hasobject:
                refuse(path, "it holds pickled objects, which run code", "Do not trust it")
            check_claim(path, shape, dtype)
            needed, found = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
            if found < needed:
                refuse(path, f"the file is cut short: {found} of {needed} bytes", "Copy it again")
        axes, kept = options.axes, tuple(range(len(shape)))
        if axes is None:
            letters = ("Q" * len(shape) + "YX")[-max(2, len(shape)) :]
            axes, kept = keep_axes(path, letters, shape, options.generic_axis)
        source = _Mapped(path, shape, dtype, stamp_of(path), offset, "F" if fortran else "C")
        native = (1,) * (len(shape) - 1) + shape[-1:]
        array, axes = in_image_order(source, native, axes, kept)
        return Image.from_array(
            array, axes=axes, complex_values=options.complex_values, name=path.name, source=path
        )

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Refuse: an array file has no place in the world.

        Raises
        ------
        FileFormatError
            Always.
        """
        refuse(path, "an array file carries no spacing or affine", "Write a .tif")


FORMAT = NumpyFormat()
