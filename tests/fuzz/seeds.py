"""Small real files of every kind that can be opened, to be damaged."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np


def make_seeds(folder: Path) -> dict[str, Path]:
    """Write one small file of each kind."""
    import tifffile
    from PIL import Image as Pillow

    import napari_clusternet as cn
    from napari_clusternet.image import Image
    from napari_clusternet.stroke_file import Strokes

    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 9, (40, 48)).astype(np.uint8)
    seeds = {name: folder / name for name in (
        "plain.tif", "tiled.tif", "geo.tif", "ome.tif", "a.nii", "a.nii.gz", "a.npy", "a.png",
        "a.jpg", "a.zarr", "v2.zarr", "series", "m.safetensors", "s.clusternet", "a.strokes",
    )}  # fmt: skip
    tifffile.imwrite(seeds["plain.tif"], pixels, rowsperstrip=8)
    tifffile.imwrite(seeds["tiled.tif"], pixels, tile=(16, 16), compression="deflate")
    in_metres = Image.from_array(pixels, units="millimeter", spacing=(2, 3))
    cn.write_labels(seeds["ome.tif"], pixels, like=in_metres)
    cn.write_labels(seeds["geo.tif"], pixels, like=Image.from_array(pixels, crs="EPSG:32621"))
    for name in ("a.nii", "a.nii.gz"):
        volume = pixels.reshape(6, 16, 20)
        cn.write_labels(seeds[name], volume, like=Image.from_array(volume, axes="ZYX"))
    np.save(seeds["a.npy"], pixels)
    for name in ("a.png", "a.jpg"):
        Pillow.fromarray(pixels).save(seeds[name])
    cn.write_labels(seeds["a.zarr"], pixels, like=in_metres)
    old = Image.from_array(pixels, extra={"ome-zarr": "0.4"})
    cn.write_labels(seeds["v2.zarr"], pixels, like=old)
    _dicom(seeds["series"], pixels)
    image = Image.from_array(
        np.stack([pixels, pixels[::-1]]).astype(np.float32), axes="CYX", name="fuzz"
    )
    model = cn.ClusterNet(n_clusters=4, n_features=3, n_epochs=1, patch=32, channels=(4, 6),
                          cluster_batch=1, train_batch=1, device="cpu", random_state=0)  # fmt: skip
    model.fit([image]).save(seeds["m.safetensors"])
    session = cn.Session(image, features="bands", n_clusters=6)
    strokes = np.zeros(pixels.shape, np.uint8)
    strokes[3, 2:20] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session.update(strokes)
    strokes[30, 10:30] = 2
    session.update(strokes)
    session.split(1), session.merge([2, 3]), session.assign(4, 2), session.undo()
    session.save(seeds["s.clusternet"])
    Strokes.of(strokes).save(seeds["a.strokes"], {"name": "fuzz"})
    return seeds


def _dicom(folder: Path, pixels: np.ndarray) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import MRImageStorage

    folder.mkdir()
    series = "1.2.826.0.1.3680043.8.498.1"
    for z in range(3):
        data, meta = Dataset(), FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, "1.2.840.10008.1.2.1"
        data.SOPClassUID, data.Modality = MRImageStorage, "MR"
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{series}.{z}"
        data.SeriesInstanceUID = series
        data.ImagePositionPatient, data.PixelSpacing = [0, 0, 2.0 * z], [1.0, 1.5]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.PixelData = pixels.tobytes()
        data.file_meta = meta
        data.save_as(folder / f"{z}.dcm", enforce_file_format=True)
