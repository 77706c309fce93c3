"""PNG and JPEG, through Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, check_claim, reading, refuse
from napari_clusternet.io.lazy import WholeFileArray, stamp_of, to_dask

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: Pillow's modes -> the mode to read them in; the others are read as they are.
_MODES = {"P": "RGB", "PA": "RGBA", "YCbCr": "RGB", "HSV": "RGB", "La": "LA", "RGBa": "RGBA"}


@contextmanager
def _picture(path: Path) -> Iterator[Any]:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        # From 89 Mpx on Pillow warns, from 179 Mpx it raises; our own limits are checked too.
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        try:
            with Pillow.open(path, formats=("PNG", "JPEG")) as picture:
                yield picture
        except Pillow.DecompressionBombError as error:
            raise FileFormatError(
                f"path={str(path)!r}: too large to decode safely ({error}). Convert it to a TIFF"
            ) from error


@dataclass(frozen=True)
class _Pixels(WholeFileArray):
    """A decoded picture, (Y, X) or (Y, X, C)."""

    mode: str = ""

    def load(self) -> npt.NDArray[Any]:
        with _picture(self.path) as picture:
            same = picture.mode == self.mode
            return np.asarray(picture if same else picture.convert(self.mode))


class PictureFormat:
    """PNG and JPEG; see `napari_clusternet.io.base.Format`."""

    name = "picture"
    suffixes = (".png", ".jpg", ".jpeg")
    writes = False

    def sniff(self, path: Path) -> bool:
        """Return whether the file starts like a PNG or JPEG."""
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(8).startswith(_MAGIC)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open colours as bands and alpha as mask."""
        with reading(path), _picture(path) as picture:
            stored = picture.mode
            mode = _MODES.get(stored, stored)
            if stored == "P":
                transparent = "transparency" in picture.info
                mode = "P" if options.palette else "RGBA" if transparent else "RGB"
            bands = picture.getbands() if mode == stored else tuple(mode)
            size = (picture.height, picture.width)
            shape = (*size, len(bands)) if len(bands) > 1 else size
            check_claim(path, shape, np.uint32, n_bands=len(bands), chunk=shape)
            _check_complete(path)
        dtype = {"1": bool, "I": np.int32, "F": np.float32}.get(mode, np.uint8)
        source = _Pixels(
            path, shape, np.dtype(np.uint16 if "16" in mode else dtype), stamp_of(path), mode
        )
        array = to_dask(source, shape)
        mask = None
        if len(bands) > 1 and bands[-1] == "A":
            mask, array, bands = array[..., -1] > 0, array[..., :-1], bands[:-1]
        names = {"R": "red", "G": "green", "B": "blue"}
        return Image.from_array(
            array, axes="YXC" if array.ndim == 3 else "YX", mask=mask, name=path.name, source=path,
            band_names=[names.get(b, b) for b in bands] if len(bands) > 1 else None,
        )  # fmt: skip

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Refuse: a picture has no place in the world.

        Raises
        ------
        FileFormatError
            Always.
        """
        refuse(path, "pictures carry no spacing or affine", "Write a .tif")


def _check_complete(path: Path) -> None:
    """Refuse a PNG or JPEG without its end marker; Pillow finds out only when decoding."""
    with path.open("rb") as stream:
        start = stream.read(8)
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - (1 << 16)))
        tail = stream.read()
    if (b"IEND" if start.startswith(_MAGIC[0]) else b"\xff\xd9") not in tail:
        refuse(path, "the file is cut short: its end is missing", "Copy or export it again")


FORMAT = PictureFormat()
