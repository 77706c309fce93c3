"""The image of a saved session: how its file names it, and how it is found again."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from napari_clusternet.errors import ClusterNetError, InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.opening import open_image

#: Edge of the block in the image's middle that is compared, pixels.
_CHECK_EDGE = 64


def describe_image(image: Image) -> dict[str, Any]:
    """Return all that an image says about itself, as JSON can hold it."""
    return {
        "source": None if image.source is None else str(image.source),
        "name": image.name,
        "shape": list(image.data.shape),
        "dtype": image.bands.dtype,
        "check": _checksum(image),
        "affine": image.affine.tolist(),
        "units": list(image.units),
        "crs": image.crs,
        "band_names": list(image.band_names),
        "nodata": None if image.nodata is None else str(float(image.nodata)),
        "opened_with": dict(image.extra.get("opened_with", {})),
    }


def _checksum(image: Image) -> int:
    """CRC of a block in the middle of the image, as float32."""
    middle = tuple(
        slice(max(0, size // 2 - _CHECK_EDGE // 2), size // 2 + _CHECK_EDGE // 2)
        for size in image.shape
    )
    values, valid = image.read(middle)
    return zlib.crc32(np.packbits(valid).tobytes(), zlib.crc32(values.tobytes()))


def reopens(record: dict[str, Any], arrays: dict[str, Any]) -> bool:
    """Whether the image's file, opened again, gives the image: a layer may have other bands."""
    if record["source"] is None:
        return False
    try:
        _find_image("", record, arrays, None)
    except (ClusterNetError, OSError):
        return False
    return True


def choose_image(
    path: str | Path,
    record: dict[str, Any],
    arrays: dict[str, Any],
    images: Image | Iterable[Image] | None,
) -> Image:
    """Return the image of a session: given, of several candidates, embedded, or where it was.

    Raises
    ------
    InputError
        If it is missing, or the one given is another.
    """
    if images is None or isinstance(images, Image):
        return _find_image(path, record, arrays, images)
    for image in images:
        try:
            return _find_image(path, record, arrays, image)
        except InputError:
            continue
    return _find_image(path, record, arrays, None)


def _find_image(
    path: str | Path, record: dict[str, Any], arrays: dict[str, Any], image: Image | None
) -> Image:
    """Return the image given, embedded, or where it was; checked to be the same one."""
    settings = {
        "affine": record["affine"],
        "units": record["units"],
        "crs": record["crs"],
        "band_names": record["band_names"],
        "nodata": None if record["nodata"] is None else float(record["nodata"]),
        "mask": arrays.get("image_mask"),
    }
    if image is None and "image_data" in arrays:
        data = arrays["image_data"]
        axes = "CYX" if data.ndim == 3 else "CZYX"
        image = Image.from_array(data, axes=axes, name=record["name"], **settings)
    elif image is None:
        source = record["source"]
        if not isinstance(source, str) or "://" in source or not Path(source).exists():
            invalid(
                "image", source, f"the image of {str(path)!r} is not there", "Pass image= to load"
            )
        image = open_image(source, **settings, **record["opened_with"])
    if list(image.data.shape) != record["shape"] or _checksum(image) != record["check"]:
        invalid(
            "image",
            image.name,
            f"not the image the session was made for (shape {tuple(record['shape'])}, "
            f"now {tuple(image.data.shape)}, or other values)",
            "Give that image, or open a new session",
        )
    return image
