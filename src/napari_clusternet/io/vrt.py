"""Mosaics of GeoTIFFs: GDAL's virtual rasters (``gdalbuildvrt``), through rasterio (extra ``geo``).

A virtual raster may name anything that GDAL can open, addresses and programs included. Only those
that consist of local TIFF files are read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from napari_clusternet.image import Image
from napari_clusternet.io.base import OpenOptions, reading, refuse
from napari_clusternet.io.geotiff import GeoTiffFormat
from napari_clusternet.io.tiff import FORMAT as TIFF

if TYPE_CHECKING:
    import numpy.typing as npt

_START = b"<VRTDataset"
#: Largest mosaic that is read, bytes of its XML.
_LARGEST = 256 << 20
#: What datasets and bands may be; others compute with code or read raw bytes.
_CLASSES = (None, "VRTSourcedRasterBand", "VRTWarpedDataset", "VRTWarpedRasterBand")


class VrtFormat(GeoTiffFormat):
    """Virtual raster of local TIFF files; see `napari_clusternet.io.base.Format`."""

    name = "vrt"
    suffixes = (".vrt",)
    writes = False
    driver = "VRT"

    def sniff(self, path: Path) -> bool:
        """Return whether the file starts like a virtual raster."""
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(1024).lstrip().startswith(_START)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open by windows; ``extra["files"]`` lists the files of the mosaic."""
        files = _files(path)
        image = super().open(path, options)
        extra = {**image.extra, "files": tuple(map(str, files))}
        return replace(
            image, extra=extra, levels=tuple(replace(i, extra=extra) for i in image.levels)
        )

    def check(self, path: Path) -> None:
        """Do nothing: the files of the mosaic are looked at when it is opened."""

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Refuse: a mosaic is made of other files.

        Raises
        ------
        FileFormatError
            Always.
        """
        refuse(path, "a virtual raster holds no pixels", "Write a .tif")


def _files(path: Path) -> list[Path]:
    """Return the files of a mosaic.

    Raises
    ------
    FileFormatError
        If one is missing or no TIFF, or the mosaic is made of something else.
    """
    if path.stat().st_size > _LARGEST:
        refuse(path, f"its description is longer than {_LARGEST} bytes", "Make several mosaics")
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        refuse(path, "it declares entities", "Do not trust it")
    with reading(path):
        root = ET.fromstring(text)  # noqa: S314 - entities, the danger, are refused above
    for element in root.iter():
        if element.get("subClass") not in _CLASSES or element.tag == "PixelFunctionType":
            what = element.get("subClass") or element.tag
            refuse(path, f"it is made by a {what!r}", "Make a TIFF of it with gdal_translate")
    named = {
        (element.text or "", element.get("relativeToVRT") == "1")
        for element in root.iter()
        if element.tag in ("SourceFilename", "SourceDataset")
    }
    files = [_file(path, name, relative) for name, relative in sorted(named)]
    if not files:
        refuse(path, "it names no files", "Make it with gdalbuildvrt")
    return files


def _file(path: Path, name: str, relative: bool) -> Path:
    file = path.parent / name if relative else Path(name)
    if "://" in name or name.startswith("/vsi") or not file.is_file():
        refuse(path, f"its file {name!r} is not there", "Bring the files along, in local folders")
    if not TIFF.sniff(file):
        refuse(path, f"its file {name!r} is no TIFF", "Make a TIFF of it with gdal_translate")
    return file


FORMAT = VrtFormat()
