"""Files: one table of formats, `open_image` and `write_labels`, safe model and session files."""

from __future__ import annotations

from napari_clusternet.registry import Registry

#: The formats, in the order in which they are asked whether a file is theirs.
FORMATS = Registry(
    "io",
    {
        "ome-zarr": "napari_clusternet.io.omezarr:FORMAT",
        "geotiff": "napari_clusternet.io.geotiff:FORMAT",
        "vrt": "napari_clusternet.io.vrt:FORMAT",
        "tiff": "napari_clusternet.io.tiff:FORMAT",
        "nifti": "napari_clusternet.io.nifti:FORMAT",
        "picture": "napari_clusternet.io.picture:FORMAT",
        "numpy": "napari_clusternet.io.numpy_file:FORMAT",
        "dicom": "napari_clusternet.io.dicom:FORMAT",
    },
)
