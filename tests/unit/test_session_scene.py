"""A loaded session on a field gets its scene back, and no other image than that."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import from_origin

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.session_file import take_snapshot
from napari_clusternet.session_scene import find_scene

HERE, THERE = (slice(64, 128), slice(64, 160)), (slice(0, 64), slice(160, 256))


def values(seed: int = 0, shape: tuple[int, ...] = (2, 320, 400)) -> np.ndarray:
    """Stripes of two materials with noise, as uint8."""
    stripes = 60 + 120 * (np.arange(shape[-1]) // 16 % 2)
    noise = np.random.default_rng(seed).integers(-30, 30, shape)
    return (stripes + noise).astype(np.uint8)


def geotiff(path: Path, pixels: np.ndarray, overviews: tuple[int, ...] = ()) -> Path:
    _, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=height, width=width, dtype="uint8",
        transform=from_origin(500_000, 4_000_000, 10, 10), crs="EPSG:32633", tiled=True,
        blockxsize=64, blockysize=64,
    ) as file:  # fmt: skip
        file.write(pixels)
        if overviews:
            file.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


def stroked(scene: Image, region: Any = HERE) -> cn.Session:
    session = cn.Session.on_field(scene, region, features="bands", n_clusters=6)
    strokes = session.strokes.copy()
    middle = tuple(size // 2 for size in strokes.shape[:-1])
    dark = np.asarray(session.image.data)[0][middle] < 120
    where = np.flatnonzero(dark)[5:15], np.flatnonzero(~dark)[5:15]
    strokes[(*middle, where[0])], strokes[(*middle, where[1])] = 1, 2
    session.update(strokes)
    return session


def same_elsewhere(loaded: cn.Session, session: cn.Session, region: Any = THERE) -> None:
    there, expected = loaded.move(region), session.move(region)
    assert np.array_equal(there.labels, expected.labels)
    assert there.labels.any()
    assert np.allclose(there.image.affine, expected.image.affine)
    assert there.field.region == expected.field.region


def saved(session: cn.Session, folder: Path) -> Path:
    return session.save(folder / "a.clusternet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return geotiff(tmp_path / "big.tif", values())


def test_its_file_is_opened_again(file: Path, tmp_path: Path) -> None:
    session = stroked(cn.open_image(file))
    loaded = cn.Session.load(saved(session, tmp_path))
    assert loaded.field.scene.source == file
    assert loaded.field.scene.is_lazy
    assert np.array_equal(loaded.labels, session.labels)
    same_elsewhere(loaded, session)


def test_a_level_is_found_again_by_file_and_by_image(tmp_path: Path) -> None:
    big = values(shape=(2, 1280, 1600))
    file = geotiff(tmp_path / "big.tif", big, overviews=(2, 4))
    whole = cn.open_image(file)
    session = stroked(whole.levels[2])
    path = saved(session, tmp_path)
    assert cn.Session.load(path).field.scene.shape == (320, 400)
    same_elsewhere(cn.Session.load(path), session)
    expected = session.move(THERE)
    file.rename(tmp_path / "moved.tif")
    loaded = cn.Session.load(path, cn.open_image(tmp_path / "moved.tif"))
    assert loaded.field.scene.shape == (320, 400)
    assert np.array_equal(loaded.move(THERE).labels, expected.labels)
    with pytest.raises(
        InputError, match=r"shape was \(2, 320, 400\), here it is \(2, 1280, 1600\)"
    ):
        cn.Session.load(path, replace(whole, levels=()))


def test_without_its_scene_the_field_goes_on_and_says_what_is_missing(
    file: Path, tmp_path: Path
) -> None:
    session = stroked(cn.open_image(file))
    path = saved(session, tmp_path)
    moved = file.rename(tmp_path / "moved.tif")
    loaded = cn.Session.load(path)
    assert loaded.field.scene is None
    assert np.array_equal(loaded.labels, session.labels)
    loaded.split(1)
    with pytest.raises(InputError, match=r"scene=None.*big\.tif' is not there.*Give the scene"):
        loaded.move(THERE)
    again = cn.Session.load(loaded.save(tmp_path / "b.clusternet"))  # it still knows the name
    with pytest.raises(InputError, match=r"big\.tif' is not there"):
        again.move(THERE)
    moved.rename(file)
    same_elsewhere(cn.Session.load(path), session)


def test_another_file_in_its_place_is_not_taken(file: Path, tmp_path: Path) -> None:
    path = saved(stroked(cn.open_image(file)), tmp_path)
    file.unlink()
    geotiff(file, values(seed=1))
    loaded = cn.Session.load(path)
    assert loaded.field.scene is None
    with pytest.raises(InputError, match=r"big\.tif' is not as it was"):
        loaded.move(THERE)
    file.write_bytes(b"II*\0 nothing")
    assert cn.Session.load(path).field.scene is None


def test_an_array_s_scene_is_given(tmp_path: Path) -> None:
    scene = Image.from_array(da.from_array(values(), chunks=64), axes="CYX", name="city")
    session = stroked(scene)
    path = saved(session, tmp_path)
    with pytest.raises(InputError, match="its scene 'city' was not opened from a file"):
        cn.Session.load(path).move(THERE)
    same_elsewhere(cn.Session.load(path, scene), session)
    loaded = cn.Session.load(path)
    assert np.array_equal(loaded.move(THERE, scene).labels, session.move(THERE).labels)
    own = session.image  # the field itself is what a session without a field would take
    assert cn.Session.load(path, own).image is own


def other(change: str) -> Image:
    options: dict[str, Any] = {"axes": "CYX", "spacing": (2, 2), "name": "other"}
    pixels = values()
    if change == "pixels of a corner":
        pixels[1, 127, 159] += 1
    elif change == "bands":
        pixels = pixels[:1]
    elif change == "smaller":
        pixels = pixels[:, :100]
    elif change == "type":
        pixels = pixels.astype(np.uint16)
    elif change == "spacing":
        options["spacing"] = (2, 2.1)
    elif change == "place":
        options |= {"spacing": None, "affine": [[2, 0, 3], [0, 2, 0], [0, 0, 1]]}
    elif change == "a volume":
        pixels, options["axes"], options["spacing"] = pixels[:, None], "CZYX", (1, 2, 2)
    return Image.from_array(pixels, **options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("pixels of a corner", "its pixels are others"),
        ("bands", r"shape was \(2, 320, 400\), here it is \(1, 320, 400\)"),
        ("smaller", r"here it is \(2, 100, 400\)"),
        ("type", "uint16"),
        ("spacing", "lies elsewhere in the world, or its pixels are of another size"),
        ("place", "lies elsewhere in the world"),
        ("a volume", r"here it is \(2, 1, 320, 400\)"),
    ],
)
@pytest.mark.parametrize("knows", [True, False])
def test_another_image_is_refused_with_what_differs(
    change: str, told: str, knows: bool, tmp_path: Path
) -> None:
    session = stroked(other("nothing"))
    if not knows:  # written before files said anything of the scene
        session.field = replace(session.field, scene=None)
    path = saved(session, tmp_path)
    with pytest.raises(InputError, match=f"image='other': not the scene.*{told if knows else ''}"):
        cn.Session.load(path, other(change))
    loaded = cn.Session.load(path)
    with pytest.raises(InputError, match="scene='other': not the scene"):
        loaded.move(THERE, other(change))
    assert find_scene(loaded, [other(change)]) is None
    assert loaded.field.scene is None
    right = other("nothing")
    assert find_scene(loaded, [other(change), right]) is right


def test_a_file_that_says_nothing_of_its_scene_takes_the_right_level(tmp_path: Path) -> None:
    finest = Image.from_array(values(), axes="CYX")
    coarse = Image.from_array(values(seed=1, shape=(2, 160, 200)), axes="CYX", spacing=(2, 2))
    session = stroked(coarse)
    session.field = replace(session.field, scene=None)
    path = saved(session, tmp_path)
    with pytest.raises(InputError, match="does not say where its scene is"):
        cn.Session.load(path).move(THERE)
    loaded = cn.Session.load(path, replace(finest, levels=(finest, coarse)))
    assert loaded.field.scene.shape == (160, 200)


def test_what_the_file_did_not_say_is_kept(tmp_path: Path) -> None:
    """Axes, spacing and nodata that were given when the scene was opened."""
    pixels = values()
    pixels[:, 30:40, 170:250] = 255
    tifffile.imwrite(tmp_path / "cube.tif", pixels, photometric="minisblack")
    scene = cn.open_image(tmp_path / "cube.tif", axes="CYX", spacing=(3, 4), nodata=255)
    session = stroked(scene)
    loaded = cn.Session.load(saved(session, tmp_path))
    assert np.allclose(loaded.field.scene.spacing, (3, 4))
    same_elsewhere(loaded, session)
    assert (loaded.move(THERE).labels[30:40, 10:90] == 0).all()
    assert all("opened_with" in level.extra for level in cn.open_image(
        geotiff(tmp_path / "o.tif", values(), (2,))).levels)  # fmt: skip


def test_a_volume(tmp_path: Path) -> None:
    pixels = values(shape=(1, 48, 96, 128))
    scene = Image.from_array(da.from_array(pixels), axes="CZYX", spacing=(2, 1, 1))
    session = stroked(scene, (slice(0, 32), slice(16, 80), slice(0, 64)))
    loaded = cn.Session.load(saved(session, tmp_path), scene)
    same_elsewhere(loaded, session, (slice(16, 48), slice(0, 64), slice(64, 128)))


def test_only_a_few_places_of_a_lazy_scene_are_read(tmp_path: Path) -> None:
    pixels, read = values(shape=(2, 1024, 1024)), Counter[tuple[int, ...]]()

    def block(block_info: Any = None) -> np.ndarray:
        read[tuple(block_info[None]["chunk-location"])] += 1
        return pixels[tuple(slice(a, b) for a, b in block_info[None]["array-location"])]

    chunks = ((2,), (64,) * 16, (64,) * 16)
    scene = Image.from_array(da.map_blocks(block, dtype=np.uint8, chunks=chunks), axes="CYX")
    path = saved(stroked(scene, (slice(256, 768), slice(256, 768))), tmp_path)
    read.clear()
    assert cn.Session.load(path, scene).field.scene is not None
    # the corners are a chunk each, the middle lies in four
    assert read == {(0, y, x): 1 for y in (4, 7, 8, 11) for x in (4, 7, 8, 11)
                    if (y in (4, 11)) == (x in (4, 11))}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", [[64, 120], [64, 160]]), ("region", [[-64, 0], [64, 160]]),
        ("region", [[2**70, 2**70 + 64], [64, 160]]), ("scene", 5), ("scene", {"source": "x"}),
        ("scene", {"shape": None}),
    ],
)  # fmt: skip
def test_an_edited_field_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    snapshot = take_snapshot(stroked(Image.from_array(values(), axes="CYX")))
    snapshot.metadata["field"][name] = value
    snapshot.write(tmp_path / "a.clusternet")
    with pytest.raises(FileFormatError, match="do not fit together"):
        cn.Session.load(tmp_path / "a.clusternet")


@pytest.mark.parametrize(
    "changes",
    [
        {"source": 7}, {"source": "http://x/y.tif"}, {"source": "a\0b"}, {"source": "x" * 9999},
        {"opened_with": 3}, {"opened_with": {"axes": [1], "no": 1}}, {"shape": [1, "a"]},
        {"shape": []}, {"source": "/dev/zero"},
    ],
)  # fmt: skip
def test_an_edited_name_of_the_scene_does_no_harm(
    changes: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    snapshot = take_snapshot(stroked(cn.open_image(file)))
    snapshot.metadata["field"]["scene"] |= changes
    snapshot.write(tmp_path / "a.clusternet")
    loaded = cn.Session.load(tmp_path / "a.clusternet")
    if loaded.field.scene is None:
        with pytest.raises(InputError, match="scene"):
            loaded.move(THERE)
