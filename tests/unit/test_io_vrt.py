"""Mosaics: several GeoTIFFs read as one image, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image

pytest.importorskip("rasterio", reason="the extra geo is not installed")

XML = """<VRTDataset rasterXSize="7" rasterYSize="4">
  <SRS>EPSG:32621</SRS>
  <GeoTransform>300000, 10, 0, 5000000, 0, -10</GeoTransform>
  <VRTRasterBand dataType="Byte" band="1">
    <NoDataValue>0</NoDataValue>
    <SimpleSource>
      <SourceFilename relativeToVRT="1">left.tif</SourceFilename><SourceBand>1</SourceBand>
      <SrcRect xOff="0" yOff="0" xSize="3" ySize="4"/>
      <DstRect xOff="0" yOff="0" xSize="3" ySize="4"/>
    </SimpleSource>
    <SimpleSource>
      <SourceFilename relativeToVRT="1">right.tif</SourceFilename><SourceBand>1</SourceBand>
      <SrcRect xOff="0" yOff="0" xSize="3" ySize="4"/>
      <DstRect xOff="4" yOff="0" xSize="3" ySize="4"/>
    </SimpleSource>
  </VRTRasterBand>
</VRTDataset>
"""


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Two scenes of 3 x 4 pixels, ones and twos, with a gap of one column between them."""
    for name, value, west in (("left", 1, 300000), ("right", 2, 300040)):
        grid = [[-10.0, 0, 4999995], [0, 10, west + 5], [0, 0, 1]]
        labels = np.full((4, 3), value, np.uint8)
        like = Image.from_array(labels, affine=grid, crs="EPSG:32621", units="metre")
        cn.write_labels(tmp_path / f"{name}.tif", labels, like)
    path = tmp_path / "mosaic.vrt"
    path.write_text(XML)
    return path


def test_a_mosaic_is_one_image(mosaic: Path) -> None:
    image = cn.open_image(mosaic)
    assert image.is_lazy
    assert (image.shape, image.crs, image.nodata) == ((4, 7), "EPSG:32621", 0)
    # the centre of the first pixel: half a pixel of 10 m from the corner
    assert image.affine.tolist() == [[-10, 0, 4999995], [0, 10, 300005], [0, 0, 1]]
    values, valid = image.read()
    assert values[0, 0].tolist() == [1, 1, 1, 0, 2, 2, 2]
    assert valid[0].tolist() == [True] * 3 + [False] + [True] * 3
    assert [Path(name).name for name in image.extra["files"]] == ["left.tif", "right.tif"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("left.tif", "gone.tif", r"its file 'gone\.tif' is not there"),
        ("left.tif", "/vsicurl/http://x/left.tif", "is not there"),
        ('relativeToVRT="1">left.tif', '>http://x/left.tif', "is not there"),
        ("left.tif", "mosaic.vrt", "is no TIFF"),
        ('band="1"', 'band="1" subClass="VRTRawRasterBand"', "made by a 'VRTRawRasterBand'"),
        ('band="1"', 'band="1" subClass="VRTDerivedRasterBand"', "VRTDerivedRasterBand"),
        ("<SRS>", "<PixelFunctionType>x</PixelFunctionType><SRS>", "PixelFunctionType"),
        ("</VRTDataset>", "", "cannot be read"),
        ("<VRTDataset ", "<VRTDataset a='<!ENTITY' ", "declares entities"),
    ],
)  # fmt: skip
def test_what_is_no_local_mosaic_is_refused(mosaic: Path, old: str, new: str, words: str) -> None:
    mosaic.write_text(XML.replace(old, new))
    with pytest.raises(FileFormatError, match=words):
        cn.open_image(mosaic)


def test_apply_reads_a_mosaic_and_notices_a_changed_scene(mosaic: Path, tmp_path: Path) -> None:
    from napari_clusternet.scaling.fingerprint import source_record

    image = cn.open_image(mosaic)
    session = cn.Session(image, "bands", n_clusters=2)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[0, 0], strokes[0, 6] = 2, 1
    session.update(strokes)
    path = cn.apply(session, mosaic, tmp_path / "out.tif")
    labels = cn.read_labels(path)
    assert labels[0].tolist() == [2, 2, 2, 0, 1, 1, 1]
    assert cn.open_image(path).affine.tolist() == image.affine.tolist()
    before = source_record(image)
    cn.write_labels(mosaic.with_name("left.tif"), np.full((4, 3), 3, np.uint8))
    assert source_record(image) != before
