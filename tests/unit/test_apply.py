"""`apply` gives the labels of the session, whatever it runs on, and never harms an output."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.image import Image
from napari_clusternet.io.locks import FileLock
from napari_clusternet.predictor import Predictor
from napari_clusternet.progress import Progress, drain
from napari_clusternet.scaling import plan as planning
from napari_clusternet.scaling.apply import apply, apply_steps
from napari_clusternet.scaling.running import UnfinishedError

SMALL = {2: (32, 32), 3: (8, 16, 16)}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut even small images into many tasks: 64 x 64 pixels, or 16 x 32 x 32 voxels."""
    monkeypatch.setattr(planning, "CHUNK", SMALL)
    monkeypatch.setattr(planning, "_LEAST", 8)


def picture(shape: tuple[int, ...] = (150, 171), nodata: bool = True, **grid: Any) -> Image:
    """Smooth noise with an edge in the middle; a block of NaN where nodata is asked for."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    data = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), (0, *(1.5,) * len(shape)))
    data[..., shape[-1] // 2 :] += 0.5
    if nodata:
        data[0, ..., 70 % shape[-2] : 140, :80] = np.nan
    grid = {"spacing": (2.0,) * len(shape), "units": "metre", **grid}
    return Image.from_array(data.astype(np.float32), axes="CZYX"[-len(shape) - 1 :] if len(
        shape) == 3 else "CYX", **grid)  # fmt: skip


def opened(image: Image, features: Any = "filters", **options: Any) -> cn.Session:
    """Open a session with two strokes and a split, so that `divides` are replayed."""
    session = cn.Session(image, features, n_clusters=12, **options)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[..., 3, 2:9] = 1
    strokes[..., 5, -9:] = 2
    session.update(strokes)
    largest = session.clusters["pixels"].idxmax()
    session.split(int(largest))
    session.merge([1, 2])
    return session


@pytest.fixture(scope="module")
def image() -> Image:
    return picture()


@pytest.fixture(scope="module")
def session(image: Image) -> cn.Session:
    return opened(image)


def partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def tree(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [None, 0.01])
def test_labels_equal_the_session_s(
    image: Image, session: cn.Session, tmp_path: Path, memory: float | None
) -> None:
    path = apply(session, image, tmp_path / "out.zarr", memory=memory)
    # 150 x 171 in tasks of 64 x 64: the last ones are 22 high and 43 wide
    labels = cn.read_labels(path)
    np.testing.assert_array_equal(labels, session.labels)
    np.testing.assert_array_equal(session.predict(image), session.labels)
    assert (labels[70:140, :80] == 0).all()
    assert set(np.unique(labels)) == {0, 1, 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr"]


@pytest.mark.parametrize(
    ("shape", "spacing"), [((19, 45, 50), (1.0, 1.0, 1.0)), ((13, 45, 37), (5.0, 1.0, 1.0))]
)
def test_volumes_equal_the_session_s(
    tmp_path: Path, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    image = picture(shape, nodata=False, spacing=spacing, units="millimeter")
    session = opened(image, features="bands")
    path = apply(session, image, tmp_path / "out.zarr", memory=0.01)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    found = cn.open_image(path)
    assert (found.spacing, found.units) == (spacing, ("millimeter",) * 3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 1.0, 1.0)])
def test_a_bank_of_filters_on_a_volume(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    image = picture((18, 40, 35), spacing=spacing)
    session = opened(image)
    path = apply(session, image, tmp_path / "out.tif", memory=0.3)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


@pytest.mark.parametrize(
    ("shape", "spacing", "memory"),
    [((150, 171), (1.0, 1.0), 0.1), ((5, 90, 75), (10.0, 1.0, 1.0), 0.9)],
)
def test_what_lies_around(
    tmp_path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], memory: float
) -> None:
    image = picture(shape, spacing=spacing)
    session = opened(image, features="context")
    path = apply(session, image, tmp_path / "out.zarr", memory=memory)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    np.testing.assert_array_equal(session.predict(image), session.labels)


def test_a_trained_network(tmp_path: Path) -> None:
    image = picture((96, 110))
    options = {"n_clusters": 4, "n_epochs": 1, "patch": 32, "channels": (4, 6), "n_features": 8}
    model = cn.ClusterNet.from_preset("quick", random_state=0, device="cpu", **options)
    model.fit([image])
    session = opened(image, features=model)
    path = apply(session, image, tmp_path / "out.zarr", memory=0.06)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_the_grid_and_names_are_kept(tmp_path: Path) -> None:
    grid: dict[str, Any] = {
        "affine": [[-10, 0, 5e6], [0, 10, 3e5], [0, 0, 1]], "crs": "EPSG:32621",
        "units": "metre", "spacing": None,
    }  # fmt: skip
    image = picture(**grid)
    session, names = opened(image, features="bands"), {1: "water", 2: "wood"}
    for name in ("out.tif", "out.zarr"):
        path = apply(session, image, tmp_path / name, class_names=names)
        found = cn.open_image(path)
        assert found.affine.tolist() == image.affine.tolist()
        assert (found.crs, found.units) == (image.crs, image.units)
        assert found.extra["class_names"] == names
        np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    assert cn.open_image(tmp_path / "out.tif").nodata == 0


def test_a_cog_has_tiles_and_overviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNK", {2: (512, 512)})
    rasterio = pytest.importorskip("rasterio")
    image = picture((1100, 1030), nodata=False, crs="EPSG:32621")
    session = opened(picture((60, 70), nodata=False, crs="EPSG:32621"), features="bands")
    path = apply(session, image, tmp_path / "out.tif")
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(512, 512)]
        # 1100 -> 550 -> 275, the first that is at most a block
        assert dataset.overviews(1) == [2, 4]
    found = cn.open_image(path)
    labels = session.predict(image)
    np.testing.assert_array_equal(np.asarray(found.data[0]), labels)


def test_a_pyramid_takes_every_second_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "CHUNK", {2: (256, 256)})
    image = picture((1030, 605), nodata=False)
    session = opened(picture((60, 70), nodata=False), features="bands")
    found = cn.open_image(apply(session, image, tmp_path / "out.zarr"))
    assert [level.shape for level in found.levels] == [(1030, 605), (515, 303), (258, 152)]
    finest = np.asarray(found.levels[0].data[0])
    np.testing.assert_array_equal(found.levels[1].data[0], finest[::2, ::2])
    np.testing.assert_array_equal(found.levels[2].data[0], finest[::4, ::4])
    # pixels of 2 x 2, the first centred between indices 0 and 1: at 0.5 x 2 metres
    assert found.levels[1].affine.tolist() == [[4, 0, 1], [0, 4, 1], [0, 0, 1]]
    assert found.levels[2].affine.tolist() == [[8, 0, 3], [0, 8, 3], [0, 0, 1]]


def test_a_thick_sliced_volume_halves_its_slices_first_along_y_and_x() -> None:
    from napari_clusternet.scaling.outputs import _pyramid

    # z 5 mm, y and x 1 mm: halve y, x twice (4 mm), then all (5 is at most 1.5 x 4)
    image = Image.from_array(np.zeros((8, 4000, 600), np.uint8), axes="ZYX", spacing=(5, 1, 1))
    assert _pyramid(image) == [(1, 2, 2), (1, 4, 4), (2, 8, 8)]


def test_formats_without_tiles_are_written_whole(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    image = picture((12, 20, 30), units="millimeter", nodata=False)
    session = opened(image, features="bands")
    path = apply(session, image, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_a_file_is_read_lazily_and_a_folder_image_by_image(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    source, results = tmp_path / "scenes", tmp_path / "results"
    source.mkdir()
    for name in ("a.npy", "b.npy"):
        np.save(source / name, np.asarray(image.data))
    lazy = cn.open_image(source / "a.npy", axes="CYX", spacing=(2, 2), units="metre")
    path = apply(session, lazy, tmp_path / "one.zarr")
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    tifs = tmp_path / "tifs"
    tifs.mkdir()
    import tifffile

    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tifs / name, np.asarray(image.data), metadata={"axes": "CYX"}, ome=True)
    assert apply(session, tifs, results) == results
    assert sorted(p.name for p in results.iterdir()) == ["a_classes.tif", "b_classes.tif"]
    np.testing.assert_array_equal(cn.read_labels(results / "b_classes.tif"), session.labels)
    del source


# --- progress, cancel, resume -------------------------------------------------------------------


def test_progress_counts_tasks_and_tells_the_time_left(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    apply(session, image, tmp_path / "out.zarr", callback=steps.append)
    counts = [step.done for step in steps if step.stage == "classifying"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], steps[-1].total) == (0, 9, 9)
    assert steps[-1].metrics["seconds left"] == 0


def started(steps: Generator[Progress, None, Path], tasks: int) -> None:
    """Go on until so many tasks are done."""
    for step in steps:
        if step.done >= tasks:
            return


def test_a_cancelled_run_leaves_no_output_and_resumes(
    session: cn.Session, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.zarr"
    steps = apply_steps(session, image, path)
    started(steps, 3)
    steps.close()
    assert not path.exists()
    before = len((partial(path) / "done.jsonl").read_text().splitlines())
    assert 3 <= before < 9
    tiles: list[Any] = []
    own = Predictor.tile
    monkeypatch.setattr(Predictor, "tile", lambda *a: tiles.append(a) or own(*a))
    apply(session, image, path)
    assert len(tiles) == 9 - before  # nothing is done twice
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
    assert not partial(path).exists()


def test_a_torn_line_of_the_ledger_is_done_again(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "out.zarr"
    steps = apply_steps(session, image, path)
    started(steps, 4)
    steps.close()
    ledger = partial(path) / "done.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-7])
    apply(session, image, path)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_labels_that_changed_on_the_disk_are_found_and_done_again(
    session: cn.Session, image: Image, tmp_path: Path, name: str
) -> None:
    import zarr

    path = tmp_path / name
    steps = apply_steps(session, image, path)
    started(steps, 9)
    steps.close()
    (store,) = partial(path).glob("labels-*.zarr")
    zarr.open_array(str(store / "0"), mode="r+")[100:120, 100:120] = 7
    with pytest.raises(FileFormatError, match="y 64:128, x 64:128 are not those"):
        apply(session, image, path)
    assert not path.exists()
    apply(session, image, path)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_a_run_that_ended_between_naming_and_cleaning_up_is_complete(
    session: cn.Session, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_clusternet.scaling import apply as module

    path = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove", lambda folder: None)
        apply(session, image, path)
    assert partial(path).exists()
    before = tree(path)
    apply(session, image, path)
    assert not partial(path).exists()
    assert tree(path) == before


# --- refusals -----------------------------------------------------------------------------------


def unfinished(session: cn.Session, image: Any, path: Path) -> None:
    steps = apply_steps(session, image, path)
    started(steps, 2)
    steps.close()


def test_another_session_does_not_go_on(session: cn.Session, image: Image, tmp_path: Path) -> None:
    path, other = tmp_path / "out.zarr", opened(image)
    unfinished(session, image, path)
    before = tree(partial(path))
    other.assign(int(other.clusters["pixels"].idxmax()), 5)
    with pytest.raises(InputError, match="the session is another"):
        apply(other, image, path)
    assert tree(partial(path)) == before
    apply(other, image, path, overwrite=True)
    np.testing.assert_array_equal(cn.read_labels(path), other.labels)


def test_an_equal_session_goes_on(session: cn.Session, image: Image, tmp_path: Path) -> None:
    path = tmp_path / "out.zarr"
    unfinished(session, image, path)
    session.save(tmp_path / "a.clusternet")
    apply(cn.Session.load(tmp_path / "a.clusternet"), image, path)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_a_changed_source_is_refused(session: cn.Session, image: Image, tmp_path: Path) -> None:
    source, path = tmp_path / "source.npy", tmp_path / "out.zarr"
    np.save(source, np.asarray(image.data))
    grid: dict[str, Any] = {"axes": "CYX", "spacing": (2, 2), "units": "metre"}
    unfinished(session, cn.open_image(source, **grid), path)
    changed = np.asarray(image.data).copy()
    changed[0, 0, 0] += 1  # neither the size nor the middle of the image
    np.save(source, changed)
    with pytest.raises(InputError, match=r"the source has changed \(stamps\)"):
        apply(session, cn.open_image(source, **grid), path)
    memory = Image.from_array(changed, **grid)
    path = tmp_path / "memory.zarr"
    unfinished(session, image, path)
    with pytest.raises(InputError, match=r"the source has changed \(pixels\)"):
        apply(session, memory, path)


def test_a_second_writer_is_refused_by_name(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "out.zarr"
    steps = apply_steps(session, image, path)
    started(steps, 1)
    with pytest.raises(FileFormatError, match=r"process \d+ on .* is writing it"):
        apply(session, image, path)
    drain(steps)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_the_lock_of_a_dead_process_does_not_hold(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "out.zarr"
    (tmp_path / ".out.zarr.lock").write_text("process 1 on elsewhere")
    apply(session, image, path)
    assert path.exists()
    assert FileLock(tmp_path / ".out.zarr.lock").path.exists() is False


def test_an_existing_output_is_kept_unless_told(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    path = cn.write_labels(tmp_path / "out.zarr", np.ones((4, 5), np.uint8))
    before = tree(path)
    with pytest.raises(InputError, match="exists already"):
        apply(session, image, path)
    assert tree(path) == before
    assert not partial(path).exists()
    apply(session, image, path, overwrite=True)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "workers=-1"),
        ({"memory": 0}, "memory=0"),
        ({"memory": 1e-6}, "a tile of .* needs about"),
        ({"client": 5}, "client=5"),
        ({"destination": "out.png"}, "no format writes labels"),
        ({"destination": "nowhere/out.zarr"}, "there is no folder"),
    ],
)
def test_what_cannot_work_is_said_before_work(
    session: cn.Session, image: Image, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    if "client" in options:
        pytest.importorskip("distributed")
    path = tmp_path / options.pop("destination", "out.zarr")
    with pytest.raises((InputError, FileFormatError), match=words):
        apply(session, image, path, **options)
    assert not path.exists()


def test_other_bands_and_feature_arrays_are_refused(
    session: cn.Session, image: Image, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the image has 1 bands"):
        apply(session, np.zeros((64, 64), np.float32), tmp_path / "out.zarr")
    small = picture((20, 30), nodata=False)
    own = cn.Session(small, np.asarray(small.data), n_clusters=4)
    with pytest.raises(InputError, match="an array says nothing of other images"):
        apply(own, small, tmp_path / "out.zarr")


# --- failures -----------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make tiles that begin at a place fail, so many times."""
    told: dict[str, Any] = {"place": (64, 128), "times": 0, "tries": 0, "error": ValueError("no")}
    own = Predictor.tile

    def tile(self: Predictor, image: Image, part: Any) -> Any:
        if tuple(s.start for s in part.write) == told["place"]:
            told["tries"] += 1
            if told["tries"] <= told["times"]:
                raise told["error"]
        return own(self, image, part)

    monkeypatch.setattr(Predictor, "tile", tile)
    return told


def test_a_tile_that_fails_twice_is_tried_again(
    session: cn.Session, image: Image, tmp_path: Path, failing: dict[str, Any]
) -> None:
    failing["times"] = 2
    path = apply(session, image, tmp_path / "out.zarr")
    assert failing["tries"] == 3
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_a_tile_that_always_fails_is_named_and_the_rest_is_kept(
    session: cn.Session, image: Image, tmp_path: Path, failing: dict[str, Any]
) -> None:
    failing["times"] = 99
    path = tmp_path / "out.zarr"
    with pytest.raises(UnfinishedError, match=r"1 of 9 tiles failed: y 64:128, x 128:171 \(no\)"):
        apply(session, image, path)
    assert not path.exists()
    assert failing["tries"] == 3
    assert len((partial(path) / "done.jsonl").read_text().splitlines()) == 8
    failing["times"] = 0
    apply(session, image, path)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)


def test_a_full_disk_stops_the_run_and_what_is_done_is_kept(
    session: cn.Session, image: Image, tmp_path: Path, failing: dict[str, Any]
) -> None:
    import errno

    failing.update(times=1, error=OSError(errno.ENOSPC, "No space left on device"))
    path = tmp_path / "out.tif"
    with pytest.raises(OSError, match="No space left"):
        apply(session, image, path)
    assert not path.exists()
    lines = (partial(path) / "done.jsonl").read_text().splitlines()
    assert all(json.loads(line)["crc"] is not None for line in lines)
    apply(session, image, path)
    np.testing.assert_array_equal(cn.read_labels(path), session.labels)
