"""OME-Zarr, multiscale images v0.4 (zarr v2) and v0.5 (zarr v3), in a local folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_clusternet.image import Image
from napari_clusternet.io._ngff import (
    axis_letters,
    crs_attributes,
    crs_of,
    grid_of,
    image_metadata,
    multiscales_of,
)
from napari_clusternet.io.base import OpenOptions, check_claim, keep_axes, reading, refuse
from napari_clusternet.io.lazy import OPENED, FileArray, Slices, in_image_order, stamp_of

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
_LABEL_CHUNK = {2: (1024, 1024), 3: (64, 256, 256)}


@dataclass(frozen=True)
class _ZarrArray(FileArray):
    """One array of a store; `path` is its folder.

    A missing chunk reads as zeros, so a store that vanishes would go unnoticed but for the stamp
    of its metadata file.
    """

    @property
    def stamped(self) -> Path:
        return _array_file(self.path)

    def read(self, region: Slices) -> npt.NDArray[Any]:
        import zarr

        array = OPENED.get(self, lambda: zarr.open_array(_closed_store(self.path), mode="r"))
        return np.asarray(array[region])


class OmeZarrFormat:
    """OME-Zarr; see `napari_clusternet.io.base.Format`."""

    name = "ome-zarr"
    suffixes = (".zarr",)
    writes = True

    def sniff(self, path: Path) -> bool:
        """Return whether the folder is a zarr group or array."""
        return path.is_dir() and any((path / name).is_file() for name in _METADATA)

    def open(self, path: Path, options: OpenOptions) -> Image:
        """Open a multiscale image, coarser datasets as levels; or a bare zarr array."""
        import zarr

        with reading(path):
            node = zarr.open(path, mode="r")
            if isinstance(node, zarr.Array):
                return self._open_array(path, node, options)
            attributes = node.attrs.asdict()
            found = multiscales_of(attributes)
            if found is None:
                inside = ", ".join(sorted(node.keys())[:20]) or "nothing"
                refuse(path, f"a zarr group without an OME-Zarr image; it holds: {inside}",
                       f"Give the path of one image, e.g. {path.name}/0")  # fmt: skip
            scales, extra = found
            folders = [_dataset_folder(path, d["path"]) for d in scales["datasets"]]
            sources = [_source(folder) for folder in folders]
            letters = axis_letters(scales, sources[0][0].ndim)
            images = []
            for (source, native), dataset in zip(sources, scales["datasets"], strict=True):
                image = _image(path, source, native, letters, options)
                grid = grid_of(path, scales, dataset, image, letters, options)
                images.append(replace(image, **grid))
        common: dict[str, Any] = {"extra": extra, "crs": crs_of(attributes)}
        finest = replace(images[0], band_names=_names(extra, images[0]), **common)
        coarser = [replace(i, band_names=finest.band_names, **common) for i in images[1:]]
        return replace(finest, levels=(finest, *coarser)) if coarser else finest

    def _open_array(self, path: Path, array: Any, options: OpenOptions) -> Image:
        source, native = _source(path)
        named = getattr(array.metadata, "dimension_names", None) or ()
        letters = "".join(str(n or "Q")[0].upper() for n in named)
        if len(letters) != source.ndim:
            letters = "YX" if source.ndim == 2 else "Q" * (source.ndim - 2) + "YX"
        return _image(path, source, native, letters, options)

    def write_labels(
        self, path: Path, labels: npt.NDArray[Any], like: Image, class_names: dict[int, str]
    ) -> None:
        """Write a label image; in zarr v2 if `like` came from v0.4, else v0.5."""
        chunks = tuple(
            min(c, n) for c, n in zip(_LABEL_CHUNK[labels.ndim], labels.shape, strict=True)
        )
        create_labels(path, labels.dtype, like, class_names, chunks)["0"][...] = labels


def create_labels(
    path: Path,
    dtype: npt.DTypeLike,
    like: Image,
    class_names: dict[int, str],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
    factors: Sequence[tuple[int, ...]] = (),
) -> Any:
    """Create an empty label image on the grid of `like`; zarr v2 if that came from v0.4, else v0.5.

    Parameters
    ----------
    path : pathlib.Path
        The group's folder, which does not exist yet.
    dtype : dtype
        Of the labels.
    like : Image
        Gives shape and grid.
    class_names : dict of int to str
        Names by label.
    chunks : tuple of int
        Chunk ([Z,] Y, X) of every level.
    shards : tuple of int, optional
        Extent of a file of level 0, a multiple of the chunk; zarr v2 has a file a chunk.
    factors : sequence of tuple of int
        How many pixels of level 0, per axis, are one pixel of the levels 1, 2, ...

    Returns
    -------
    zarr.Group
        With the arrays ``0``, ``1``, ...
    """
    import zarr

    version = str(like.extra.get("ome-zarr", "0.5"))
    old = version == "0.4"
    group = zarr.create_group(path, zarr_format=2 if old else 3)
    levels = [(1,) * like.ndim, *factors]
    for level, steps in enumerate(levels):
        shape = tuple(-(-n // step) for n, step in zip(like.shape, steps, strict=True))
        group.create_array(
            str(level), shape=shape, dtype=dtype, fill_value=0,
            chunks=tuple(map(min, chunks, shape)), shards=None if level or old else shards,
            chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
            dimension_names=None if old else list("zyx"[-like.ndim :]),
        )  # fmt: skip
    metadata = image_metadata(like, class_names, levels)
    if old:
        metadata["multiscales"][0]["version"] = "0.4"
        metadata["image-label"]["version"] = "0.4"
        group.attrs.update(metadata)
    else:
        group.attrs.update({"ome": {"version": "0.5", **metadata}})
    group.attrs.update(crs_attributes(like.crs))
    return group


def _names(extra: Mapping[str, Any], image: Image) -> tuple[str, ...]:
    names = tuple(extra.get("channels", ()))
    return names if len(names) == image.n_bands else image.band_names


@cache
def _closed_store_class() -> Any:
    from zarr.storage import LocalStore

    class ClosedStore(LocalStore):
        """A folder of files that are all really inside it: chunks may be links to anywhere."""

        async def get(self, key: str, *rest: Any, **options: Any) -> Any:
            if not (self.root / key).resolve().is_relative_to(self.root):
                refuse(self.root, f"its chunk {key!r} links outside the store", "Do not trust it")
            return await super().get(key, *rest, **options)

    return ClosedStore


def _closed_store(folder: Path) -> Any:
    return _closed_store_class()(folder.resolve(), read_only=True)


def _array_file(folder: Path) -> Path:
    new = folder / "zarr.json"
    return new if new.is_file() else folder / ".zarray"


def _dataset_folder(store: Path, name: Any) -> Path:
    """Return a dataset's folder, which must lie inside the store."""
    pure = PurePosixPath(str(name))
    bad = not isinstance(name, str) or not name or pure.is_absolute() or ".." in pure.parts
    if bad or "\\" in name or ":" in name:
        refuse(store, f"its metadata name a dataset {name!r} outside the store", "Do not trust it")
    folder = (store / pure).resolve()
    if not folder.is_relative_to(store.resolve()):
        refuse(store, f"its dataset {name!r} links outside the store", "Do not trust it")
    return folder


def _source(folder: Path) -> tuple[_ZarrArray, tuple[int, ...]]:
    """Return one dataset and its chunk shape, after checking what its metadata claim."""
    import zarr

    array = zarr.open_array(folder, mode="r")
    _refuse_pickle(folder, array.metadata.to_dict())
    check_claim(folder, array.shape, array.dtype, chunk=array.chunks)
    source = _ZarrArray(folder, array.shape, array.dtype, stamp_of(_array_file(folder)))
    return source, tuple(array.chunks)


def _refuse_pickle(folder: Path, metadata: Any) -> None:
    """Refuse a codec that unpickles, at any depth: reading a chunk would run code."""
    if isinstance(metadata, Mapping):
        names = [str(metadata.get(key, "")).lower() for key in ("id", "name", "codec")]
        if any("pickle" in name for name in names):
            refuse(folder, "its chunks are pickles, which run code when read", "Do not trust it")
        metadata = list(metadata.values())
    if isinstance(metadata, list | tuple):
        for item in metadata:
            _refuse_pickle(folder, item)


def _image(
    path: Path, source: _ZarrArray, native: tuple[int, ...], letters: str, options: OpenOptions
) -> Image:
    axes, kept = options.axes, tuple(range(source.ndim))
    if axes is None:
        axes, kept = keep_axes(path, letters, source.shape, options.generic_axis)
    array, axes = in_image_order(source, native, axes, kept)
    return Image.from_array(
        array, axes=axes, complex_values=options.complex_values, name=path.name, source=path
    )


FORMAT = OmeZarrFormat()
