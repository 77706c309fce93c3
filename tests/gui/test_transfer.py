"""From a sample to files and back, through the console's methods and the dock's buttons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel

from napari_clusternet._napari.controller import current
from napari_clusternet._napari.samples import mni152
from napari_clusternet.applying import Outcome
from napari_clusternet.errors import InputError
from napari_clusternet.io.labels import read_labels
from napari_clusternet.io.opening import open_image
from napari_clusternet.session import Session

PLUGIN = "napari-clusternet"
SHAPE = (40, 50)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what the user is told, errors and warnings included."""
    from napari.utils.notifications import notification_manager

    texts: list[str] = []
    notification_manager.notification_ready.connect(lambda event: texts.append(str(event)))
    return texts


def scene(shift: float = 0.0) -> np.ndarray:
    """Two bands: left half dark, right half bright, with some noise."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 0.05, (2, *SHAPE)).astype(np.float32)
    data[:, :, SHAPE[1] // 2 :] += 1 + shift
    return data


def strokes() -> np.ndarray:
    painted = np.zeros(SHAPE, np.uint8)
    painted[5:10, 5], painted[5:10, 45] = 1, 2
    return painted


@pytest.fixture
def worked(make_napari_viewer_proxy: Any, qtbot: Any) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Return a viewer and its controller after a two-class session of `scene`.

    Without `window` the viewer is only a model, which starts many times faster.
    """
    opened: list[Any] = []

    def work(window: bool = False) -> tuple[Any, Any]:
        viewer = make_napari_viewer_proxy() if window else ViewerModel()
        axes = {"axis_labels": ("band", "y", "x"), "units": ("pixel", "m", "m")}
        viewer.add_image(scene(), name="scene", scale=(1, 2, 3), **axes)
        viewer.add_labels(strokes(), name="scene strokes", scale=(2, 3))
        control = current(viewer)
        opened.append(control)
        control.segment(viewer.layers["scene"], features="bands", n_clusters=6)
        finish(qtbot, control)
        assert control.session.n_classes == 2
        return viewer, control

    yield work
    for control in opened:
        if not control.closed:
            control.close()


@pytest.fixture
def bare(qapp: Any) -> Iterator[tuple[Any, Any]]:
    """Return a viewer without a window or layers, and its controller."""
    viewer = ViewerModel()
    control = current(viewer)
    yield viewer, control
    control.close()


def finish(qtbot: Any, control: Any) -> None:
    qtbot.waitUntil(lambda: not control.runner.busy, timeout=30_000)


def outcomes(control: Any) -> list[Outcome]:
    found: list[Outcome] = []
    control.transferred.connect(found.extend)
    return found


# ---- export --------------------------------------------------------------------------------------


def test_from_the_sample_to_a_geotiff(
    make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    from napari_clusternet._napari.transfer_dock import TransferDock
    from napari_clusternet.data.samples import load_sample

    viewer = make_napari_viewer_proxy()
    viewer.open_sample(PLUGIN, "rmnp")
    control = current(viewer)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Apply and export")
    assert isinstance(dock, TransferDock)
    assert not dock.export.enabled
    control.segment(features="bands", n_clusters=20)
    finish(qtbot, control)
    dock.path.value = tmp_path / "park.tif"
    assert dock.export.enabled
    dock.export.native.click()
    finish(qtbot, control)
    source = load_sample("rmnp").image
    with rasterio.open(source) as before, rasterio.open(tmp_path / "park.tif") as written:
        assert written.crs == before.crs
        assert written.transform == before.transform  # to the last bit
        np.testing.assert_array_equal(written.read(1), control.session.labels)
        assert written.tags(1)["CLASS_2"] == "forest"


@pytest.mark.parametrize("suffix", [".nii.gz", ".zarr", ".tif"])
def test_a_brain_keeps_its_place(
    bare: tuple[Any, Any], qtbot: Any, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("nibabel", reason="the extra medical is not installed")
    viewer, control = bare
    ((data, keywords, _), *_) = mni152()
    image = napari.layers.Image(data, **keywords)
    place = {
        "translate": image.data_to_world((40, 40, 30)), "scale": (2, 2, 2), "units": image.units,
        "axis_labels": ("z", "y", "x"),
    }  # fmt: skip
    small = viewer.add_image(data[40:56, 40:72, 30:62], name="head", **place)
    painted = np.zeros(small.data.shape, np.uint8)
    painted[8, 3:6, 4], painted[8, 20:24, 20] = 1, 2
    layer = viewer.add_labels(painted, name="head strokes", **place)
    control.segment(small, features="bands", n_clusters=6, strokes=layer)
    finish(qtbot, control)
    control.classes.rename(2, "white matter")
    assert control.export_labels(tmp_path / f"head{suffix}")
    finish(qtbot, control)
    back = open_image(tmp_path / f"head{suffix}")
    np.testing.assert_array_equal(np.asarray(back.data)[0], control.session.labels)
    # voxel (40, 40, 30) of the sample, whose first voxel is at (-72, -134, -98), 2 mm each
    np.testing.assert_allclose(back.affine[:3, 3], (-72 + 80, -134 + 80, -98 + 60), atol=1e-4)
    assert back.units == ("millimeter",) * 3
    assert back.extra["class_names"][2] == "white matter"


def test_one_file_per_class_and_none_replaced_unasked(
    worked: Any, qtbot: Any, tmp_path: Path
) -> None:
    _, control = worked()
    control.classes.rename(1, "Dark land / soil")
    control.export_labels(tmp_path / "map.tif", per_class=True)
    finish(qtbot, control)
    names = ["map_1_dark-land-soil.tif", "map_2_class-2.tif"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    labels = control.session.labels
    for label, name in enumerate(names, start=1):
        np.testing.assert_array_equal(read_labels(tmp_path / name), labels == label)
    before = (tmp_path / names[0]).read_bytes()
    with pytest.raises(InputError, match="exists already"):
        control.export_labels(tmp_path / "map.tif", per_class=True)
    assert not control.runner.busy
    assert (tmp_path / names[0]).read_bytes() == before


def test_polygons_table_and_certainty(worked: Any, qtbot: Any, tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="the extra geo is not installed")
    _, control = worked()
    for export, name in (
        (control.export_polygons, "a.gpkg"), (control.export_table, "a.csv"),
        (control.export_certainty, "a.tif"),
    ):  # fmt: skip
        assert export(tmp_path / name)
        finish(qtbot, control)
    _, _, _, columns = pyogrio.raw.read(tmp_path / "a.gpkg")
    _, classes, pixels, areas, _ = columns
    assert set(classes) == {"class 1", "class 2"}
    assert sum(pixels) == SHAPE[0] * SHAPE[1]
    assert sum(areas) == pytest.approx(SHAPE[0] * SHAPE[1] * 2 * 3)  # pixels of 2 m x 3 m
    table = pd.read_csv(tmp_path / "a.csv", index_col="cluster")
    np.testing.assert_array_equal(table["pixels"], control.session.clusters["pixels"])
    assert set(table["class_name"]) == {"class 1", "class 2"}
    certainty = np.asarray(open_image(tmp_path / "a.tif").data)[0]
    np.testing.assert_allclose(certainty / 100, control.session.certainty, atol=0.0051)


def test_without_a_session_the_first_step_is_named(bare: tuple[Any, Any], tmp_path: Path) -> None:
    _, control = bare
    for act in (control.export_labels, control.export_table, control.save_session):
        with pytest.raises(InputError, match="Press Start"):
            act(tmp_path / "a.tif")
    with pytest.raises(InputError, match="Press Start"):
        control.apply([tmp_path])


# ---- sessions ------------------------------------------------------------------------------------


def test_a_dropped_session_is_as_it_was(
    worked: Any, make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path
) -> None:
    viewer, control = worked(window=True)
    control.classes.rename(1, "water")
    control.classes.recolour(2, (0.25, 0.5, 0.75))
    table = control.session.clusters
    control.session.assign(int(table.index[table["class"] == 1][0]), 2)
    labels, painted = control.session.labels.copy(), control.session.strokes.copy()
    control.save_session(tmp_path / "a.clusternet")
    finish(qtbot, control)
    viewer.close()

    other = make_napari_viewer_proxy()
    other.open(str(tmp_path / "a.clusternet"), plugin=PLUGIN)  # what a drop does
    control = current(other)
    finish(qtbot, control)
    assert control.classes.names == {1: "water", 2: "class 2"}
    assert control.classes.colours[2] == (0.25, 0.5, 0.75)
    np.testing.assert_array_equal(control.labels_layer.data, labels)
    np.testing.assert_array_equal(control.strokes_layer.data, painted)
    assert [layer.name for layer in other.layers] == ["scene", "scene classes", "scene strokes"]
    image = control.active.image_layers[0]
    np.testing.assert_array_equal(image.data, scene())  # the pixels were in the file
    np.testing.assert_allclose(control.labels_layer.data_to_world((1, 1)), (2, 3))
    assert other.layers.selection.active.name == control.strokes_layer.name
    control.undo()  # the assignment: history came along
    assert (control.session.labels != labels).any()


def test_an_image_that_is_there_is_used_and_strokes_are_kept(
    worked: Any, qtbot: Any, tmp_path: Path
) -> None:
    viewer, control = worked()
    control.save_session(tmp_path / "a.clusternet")
    finish(qtbot, control)
    layer = control.strokes_layer
    layer.data_setitem((np.array([30]), np.array([30])), 2)
    qtbot.waitUntil(lambda: control.session.strokes[30, 30] == 2)
    control.open_session(tmp_path / "a.clusternet")
    finish(qtbot, control)
    assert control.active.image_layers == (viewer.layers["scene"],)
    assert len(control.segmentations) == 1
    assert control.session.strokes[30, 30] == 0
    assert layer in viewer.layers
    assert layer.data[30, 30] == 2  # what was painted since is still there


def test_a_session_of_another_image_names_what_is_wrong(
    worked: Any, qtbot: Any, tmp_path: Path, told: list[str]
) -> None:
    viewer, control = worked()
    Session(open_image(scene(1), axes="CYX"), "bands", n_clusters=4).save(tmp_path / "a.clusternet")
    control.open_session(tmp_path / "a.clusternet", viewer.layers["scene"])
    labels = control.session.labels
    finish(qtbot, control)
    assert any("not the image the session was made for" in text for text in told)
    assert control.session.labels is labels or (control.session.labels == labels).all()


def test_a_damaged_session_is_a_notification(
    make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path, told: list[str]
) -> None:
    (tmp_path / "a.clusternet").write_bytes(b"nothing")
    viewer = make_napari_viewer_proxy()
    viewer.open(str(tmp_path / "a.clusternet"), plugin=PLUGIN)
    finish(qtbot, current(viewer))
    assert any("not a safetensors file" in text for text in told)
    assert len(viewer.layers) == 0


def test_strokes_painted_while_a_session_is_saved_do_not_mix(
    worked: Any, qtbot: Any, tmp_path: Path
) -> None:
    _, control = worked()
    labels, painted = control.session.labels.copy(), control.session.strokes.copy()
    control.save_session(tmp_path / "a.clusternet")
    control.session.split(1)  # before the worker has written
    control.session.update(np.zeros_like(painted))
    finish(qtbot, control)
    saved = Session.load(tmp_path / "a.clusternet")
    np.testing.assert_array_equal(saved.labels, labels)
    np.testing.assert_array_equal(saved.strokes, painted)


# ---- other images --------------------------------------------------------------------------------


def test_another_layer_gets_a_layer(worked: Any, qtbot: Any) -> None:
    viewer, control = worked()
    other = viewer.add_image(scene()[:, ::-1, ::-1], name="other", scale=(1, 2, 3))
    control.apply([other])
    finish(qtbot, control)
    result = viewer.layers["other classes"]
    np.testing.assert_array_equal(result.data, control.session.labels[::-1, ::-1])
    np.testing.assert_allclose(result.data_to_world((1, 1)), (2, 3))
    np.testing.assert_allclose(result.get_color(2)[:3], control.classes.colours[2], atol=1e-6)


def write_folder(folder: Path) -> Path:
    import tifffile

    folder.mkdir()
    for name, shift in (("a.tif", 0.0), ("c.tif", 0.1)):
        tifffile.imwrite(folder / name, scene(shift), metadata={"axes": "CYX"}, ome=True)
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes()[:3000])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_with_a_broken_file(
    worked: Any, qtbot: Any, tmp_path: Path, told: list[str]
) -> None:
    _, control = worked()
    folder, place = write_folder(tmp_path / "in"), tmp_path / "out"
    place.mkdir()
    found = outcomes(control)
    control.apply([folder], place)
    finish(qtbot, control)
    assert [one.name for one in found] == ["a.tif", "b.tif", "c.tif"]
    assert [bool(one.error) for one in found] == [False, True, False]
    assert "b.tif" in found[1].error
    assert any("1 of 3 images failed" in text for text in told)
    assert sorted(p.name for p in place.iterdir()) == ["a_classes.tif", "c_classes.tif"]
    np.testing.assert_array_equal(read_labels(place / "a_classes.tif"), control.session.labels)
    before = (place / "a_classes.tif").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        control.apply([folder], place)
    assert (place / "a_classes.tif").read_bytes() == before
    assert control.apply([folder], place, overwrite=True)
    finish(qtbot, control)


def test_what_cannot_work_is_refused_at_once(worked: Any, tmp_path: Path) -> None:
    viewer, control = worked()
    folder = write_folder(tmp_path / "in")
    with pytest.raises(InputError, match="no place for the result"):
        control.apply([folder])
    with pytest.raises(InputError, match="no image is there"):
        control.apply([])
    (tmp_path / "a.tif").write_bytes((folder / "a.tif").read_bytes())
    with pytest.raises(InputError, match=r"both become 'a_classes\.tif'"):
        control.apply([folder / "a.tif", tmp_path / "a.tif"], tmp_path)
    assert not control.runner.busy
    assert [layer.name for layer in viewer.layers] == ["scene", "scene classes", "scene strokes"]


def test_an_image_of_other_bands_fails_alone(worked: Any, qtbot: Any) -> None:
    viewer, control = worked()
    wrong = viewer.add_image(np.concatenate([scene()] * 2), name="wrong")
    right = viewer.add_image(scene(), name="right")
    found = outcomes(control)
    control.apply([wrong, right])
    finish(qtbot, control)
    assert "4 bands" in found[0].error
    assert not found[1].error
    assert "right classes" in viewer.layers
    assert "wrong classes" not in viewer.layers


def test_busy_is_said_and_nothing_is_lost(worked: Any, qtbot: Any, tmp_path: Path) -> None:
    _, control = worked()
    assert control.export_labels(tmp_path / "a.tif")
    assert not control.export_labels(tmp_path / "b.tif")
    finish(qtbot, control)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
