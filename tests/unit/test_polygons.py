"""Labels to polygons: outlines, areas and places on known shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError, InputError

pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")
pyogrio = pytest.importorskip("pyogrio")

from napari_clusternet.polygons import iou_matrix, polygonize  # noqa: E402

#: 10 m pixels, north up; the upper left corner of pixel (0, 0) is at x 500000, y 4000000 in
#: UTM 40N: its centre lies 5 m inside.
UTM = [[-10.0, 0.0, 3999995.0], [0.0, 10.0, 500005.0], [0.0, 0.0, 1.0]]


def blocks() -> np.ndarray:
    """A 10 x 10 square of class 1 with a 3 x 3 hole of class 2, and one pixel of class 3."""
    labels = np.zeros((20, 30), np.uint8)
    labels[2:12, 3:13] = 1
    labels[5:8, 6:9] = 2
    labels[15, 20] = 3
    return labels


def utm_image(shape: tuple[int, int] = (20, 30)) -> cn.Image:
    return cn.Image.from_array(
        np.zeros(shape, np.uint8), affine=UTM, crs="EPSG:32640", units="metre"
    )


def mosaic(shape: tuple[int, int] = (80, 90), classes: int = 4) -> np.ndarray:
    """Blobs of several classes that fill the plane."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).normal(size=(classes, *shape))
    return gaussian_filter(noise, (0, 3, 3)).argmax(axis=0).astype(np.uint8) + 1


def test_outlines_holes_pixels_and_order() -> None:
    found = polygonize(blocks())
    assert found.labels.tolist() == [1, 2, 3]
    assert found.pixels.tolist() == [91, 9, 1]
    # pixel centres are whole numbers, so column 3 begins at 2.5 and row 2 at 1.5
    assert found.geometry[0].bounds == (2.5, 1.5, 12.5, 11.5)
    assert len(found.geometry[0].interiors) == 1
    assert found.area_unit == "square pixel"
    assert found.areas.tolist() == [91.0, 9.0, 1.0]
    assert all(part.exterior.is_ccw for part in found.geometry)


def test_diagonal_neighbours_are_two_polygons_and_all_are_valid() -> None:
    labels = np.full((6, 6), 1, np.uint8)
    labels[2, 2] = labels[3, 3] = 2  # touch in one point
    found = polygonize(labels)
    assert found.labels.tolist() == [1, 2, 2]
    assert shapely.is_valid(found.geometry).all()


def test_large_labels_are_not_wrapped() -> None:
    labels = np.zeros((4, 4), np.int64)
    labels[1:3, 1:3] = 60000
    assert polygonize(labels).labels.tolist() == [60000]
    with pytest.raises(InputError, match="70000"):
        polygonize(labels + 10000)


def test_small_regions_are_dropped_and_nothing_gives_nothing() -> None:
    assert polygonize(blocks(), min_pixels=9).labels.tolist() == [1, 2]
    assert polygonize(blocks(), min_pixels=10).labels.tolist() == [1]
    assert len(polygonize(np.zeros((5, 5), np.uint8), simplify=1.0)) == 0


@pytest.mark.parametrize("simplify", [0.0, 1.5])
def test_neighbours_leave_no_gap_and_do_not_overlap(simplify: float) -> None:
    labels = mosaic()
    found = polygonize(labels, simplify=simplify)
    assert shapely.is_valid(found.geometry).all()
    # the classes fill the image: were there gaps or overlaps, one of the two would not be 7200
    assert found.areas.sum() == pytest.approx(labels.size, abs=4)
    assert shapely.union_all(found.geometry).area == pytest.approx(found.areas.sum())


def test_simplifying_removes_corners_and_keeps_the_place() -> None:
    exact, simple = polygonize(mosaic()), polygonize(mosaic(), simplify=2.0)
    assert shapely.get_num_coordinates(simple.geometry).sum() < 0.5 * (
        shapely.get_num_coordinates(exact.geometry).sum()
    )
    assert np.diag(iou_matrix(exact.geometry, simple.geometry))[exact.pixels > 100].min() > 0.8


def test_areas_are_square_metres_of_the_projected_grid() -> None:
    found = polygonize(blocks(), affine=UTM, crs="EPSG:32640")
    assert found.area_unit == "square metre"
    assert found.areas == pytest.approx([9100.0, 900.0, 100.0])  # 10 m x 10 m pixels
    # rows 2..11 and columns 3..12: x from 500030, y from 4000000 - 20 down to 4000000 - 120
    assert found.geometry[0].bounds == (500030.0, 3999880.0, 500130.0, 3999980.0)


def test_areas_in_us_feet_are_square_metres() -> None:
    """EPSG:2263 counts in US survey feet: 10 ft x 10 ft = 100 x 0.3048006^2 m2 a pixel."""
    found = polygonize(blocks(), affine=UTM, crs="EPSG:2263")
    assert found.areas[2] == pytest.approx(100 * (1200 / 3937) ** 2)


def test_areas_in_degrees_are_taken_on_the_ellipsoid() -> None:
    """A cell of 1 degree at the equator covers 110.574 km x 111.320 km = 12309 km2."""
    affine = [[-1.0, 0.0, 0.5], [0.0, 1.0, 10.5], [0.0, 0.0, 1.0]]
    found = polygonize(np.ones((1, 1), np.uint8), affine=affine, crs="EPSG:4326")
    assert found.areas[0] == pytest.approx(110_574.0 * 111_320.0, rel=1e-3)


def test_areas_in_web_mercator_are_not_those_of_its_plane() -> None:
    """At 60 degrees north web Mercator stretches lengths by 2, so areas by 4."""
    y = 8399737.89  # of 60 degrees north
    affine = [[-10.0, 0.0, y], [0.0, 10.0, 0.0], [0.0, 0.0, 1.0]]
    found = polygonize(np.ones((1, 1), np.uint8), affine=affine, crs="EPSG:3857")
    assert found.areas[0] == pytest.approx(25.0, rel=0.01)


def test_a_local_crs_has_areas_in_the_unit_of_the_image(tmp_path: Path) -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    image = cn.Image.from_array(np.zeros((20, 30)), spacing=(2, 2), units="metre", crs=local)
    found = polygonize(blocks(), affine=image.affine, crs=local, unit="metre")
    assert found.areas[2] == 4.0
    assert found.area_unit == "square metre"
    with pytest.raises(InputError, match=r"crs='EPSG:4326'.*no way.*crs=image\.crs"):
        cn.write_polygons(tmp_path / "a.geojson", blocks(), like=image)
    cn.write_polygons(tmp_path / "a.geojson", blocks(), like=image, crs=local)


def test_overlaps_of_polygons_by_hand() -> None:
    one = np.array([shapely.box(0, 0, 2, 2), shapely.box(5, 5, 6, 6)])
    other = np.array([shapely.box(1, 0, 3, 2)])
    # common 1 x 2 = 2, together 4 + 4 - 2 = 6
    np.testing.assert_allclose(iou_matrix(one, other), [[2 / 6], [0.0]])


def test_geopackage_round_trip(tmp_path: Path) -> None:
    path = cn.write_polygons(
        tmp_path / "a.gpkg", blocks(), like=utm_image(), class_names={1: "building"}, min_pixels=2
    )
    meta, _, geometry, columns = pyogrio.raw.read(path)
    table = dict(zip(meta["fields"], columns, strict=True))
    assert meta["crs"] == "EPSG:32640"
    assert table["label"].tolist() == [1, 2]
    assert table["class"].tolist() == ["building", "class 2"]
    assert table["area"].tolist() == [9100.0, 900.0]
    parts = shapely.from_wkb(geometry)
    assert parts[0].equals(polygonize(blocks(), affine=UTM).geometry[0])
    assert [p.name for p in tmp_path.iterdir()] == ["a.gpkg"]


def test_geojson_is_longitude_and_latitude(tmp_path: Path) -> None:
    path = cn.write_polygons(tmp_path / "a.geojson", blocks(), like=utm_image())
    document = json.loads(path.read_text())
    assert "crs" not in document
    outline = np.array(document["features"][0]["geometry"]["coordinates"][0])
    # x 500000 is UTM 40's middle meridian, 57 degrees east; y 4000000 is near 36.14 north
    assert outline[:, 0].min() == pytest.approx(57.0003, abs=1e-4)
    assert outline[:, 1].max() == pytest.approx(36.1446, abs=1e-3)
    assert document["features"][0]["properties"]["area"] == pytest.approx(9100.0)
    back = pyogrio.raw.read(path)
    assert back[0]["crs"] == "EPSG:4326"
    assert len(back[2]) == 3


def test_geojson_in_another_crs_says_which(tmp_path: Path) -> None:
    path = cn.write_polygons(tmp_path / "a.geojson", blocks(), like=utm_image(), crs="EPSG:32640")
    assert pyogrio.raw.read(path)[0]["crs"] == "EPSG:32640"
    outline = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0]
    assert min(x for x, _ in outline) == 500030.0


def test_geojson_without_a_crs_warns(tmp_path: Path) -> None:
    image = cn.Image.from_array(np.zeros((20, 30)), spacing=(2, 3), units="millimeter")
    with pytest.warns(UserWarning, match=r"no CRS.*millimeter"):
        path = cn.write_polygons(tmp_path / "a.geojson", blocks(), like=image)
    properties = json.loads(path.read_text())["features"][2]["properties"]
    assert properties["area"] == 6.0
    assert properties["area_unit"] == "square millimeter"


def test_nothing_to_write_is_an_empty_file(tmp_path: Path) -> None:
    empty = np.zeros((20, 30), np.uint8)
    path = cn.write_polygons(tmp_path / "a.gpkg", empty, like=utm_image())
    assert pyogrio.read_info(path)["features"] == 0
    path = cn.write_polygons(tmp_path / "a.geojson", empty, like=utm_image())
    assert json.loads(path.read_text())["features"] == []


def test_bad_arguments_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"labels=.*shape"):
        cn.write_polygons(path, blocks()[1:], like=utm_image())
    with pytest.raises(InputError, match="simplify=-1"):
        cn.write_polygons(path, blocks(), like=utm_image(), simplify=-1)
    with pytest.raises(InputError, match=r"crs='EPSG:none'"):
        cn.write_polygons(path, blocks(), like=utm_image(), crs="EPSG:none")
    plain = cn.Image.from_array(np.zeros((20, 30)))
    with pytest.raises(InputError, match=r"crs='EPSG:4326'.*none to start from"):
        cn.write_polygons(path, blocks(), like=plain, crs="EPSG:4326")
    with pytest.raises(FileFormatError, match=r"\.gpkg or \.geojson"):
        cn.write_polygons(tmp_path / "a.shp", blocks(), like=utm_image())
    with pytest.raises(InputError, match="one slice"):
        polygonize(np.zeros((2, 3, 4), np.uint8))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.gpkg"]
