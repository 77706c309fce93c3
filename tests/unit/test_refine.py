"""Refining: all evidence, worked out beside the session, and taken if nothing has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.engine import SHARPENING
from napari_clusternet.errors import ClusterNetError
from napari_clusternet.progress import drain
from napari_clusternet.session import Session


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Four grey stripes that two clusters cannot tell apart, and the truth: the outer against the
    inner two.
    """
    rng = np.random.default_rng(0)
    truth = np.repeat([1, 2, 2, 1], 16)[None].repeat(48, 0)
    grey = np.repeat([0.0, 4.0, 8.0, 12.0], 16)[None].repeat(48, 0)
    return (grey + rng.normal(0, 0.3, grey.shape)).astype(np.float32), truth


def painted(truth: np.ndarray) -> np.ndarray:
    """Three strokes a class, of single columns."""
    strokes = np.zeros(truth.shape, np.uint8)
    for column, row in ((3, 4), (58, 20), (8, 36), (24, 4), (40, 20), (28, 36)):
        strokes[row : row + 8, column] = truth[row, column]
    return strokes


def opened(mode: Any = "enhanced", n_clusters: int = 2) -> Session:
    image = cn.open_image(scene()[0], axes="YX")
    return Session(image, "bands", mode=mode, n_clusters=n_clusters)


def accuracy(session: Session) -> float:
    return float((session.labels == scene()[1]).mean())


def without_splits(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep strokes from splitting clusters, so that only refining does."""
    monkeypatch.setattr(session._engine, "split_mixed", lambda *_: None)


def test_disputed_clusters_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    without_splits(session, monkeypatch)
    session.update(painted(scene()[1]))
    # each of the two clusters holds one stripe of either class
    assert accuracy(session) < 0.6
    session.refine()
    assert accuracy(session) > 0.97
    assert len(session.clusters) >= 4
    assert (session.certainty[session.labels == scene()[1]] > 0.5).all()


def test_it_belongs_to_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    without_splits(session, monkeypatch)
    session.update(painted(scene()[1]))
    session.refine()
    labels, clusters = session.labels.copy(), session.cluster_map.copy()
    session.undo()
    assert not session.can_undo
    assert not session.labels.any()
    assert session.cluster_map.max() == 2
    session.redo()
    np.testing.assert_array_equal(session.labels, labels)
    np.testing.assert_array_equal(session.cluster_map, clusters)


def test_it_changes_nothing_until_it_is_taken_and_is_refused_after_a_change() -> None:
    session = opened(n_clusters=6)
    strokes = painted(scene()[1])
    session.update(strokes)
    before, clusters = session.labels.copy(), session.cluster_map.copy()

    def unchanged(_: Any) -> None:
        np.testing.assert_array_equal(session.labels, before)
        np.testing.assert_array_equal(session.cluster_map, clusters)

    refined = drain(session.refine_steps(), unchanged)
    strokes[40, 3] = 1
    session.update(strokes)
    after = session.labels.copy()
    assert session.take(refined) is False
    np.testing.assert_array_equal(session.labels, after)


def test_strokes_may_go_on_while_it_is_worked_out() -> None:
    session, alone = opened(n_clusters=6), opened(n_clusters=6)
    strokes = painted(scene()[1])
    session.update(strokes)
    steps = session.refine_steps()
    for _ in range(3):
        next(steps)
    strokes[10:20, 30] = 2
    session.update(strokes)
    for _ in steps:
        pass
    alone.update(painted(scene()[1]))
    alone.update(strokes)
    np.testing.assert_array_equal(session.labels, alone.labels)
    np.testing.assert_array_equal(session.refine(), alone.refine())


@pytest.mark.parametrize("kind", ["paper", "one class", "undone"])
def test_where_there_is_nothing_to_do(kind: str) -> None:
    session = opened("paper" if kind == "paper" else "enhanced", 6)
    strokes = painted(scene()[1])
    if kind == "one class":
        with pytest.warns(UserWarning, match="only one class"):
            session.update(np.where(strokes == 1, 1, 0))
    else:
        session.update(strokes)
    if kind == "undone":
        strokes[40, 3] = 1
        session.update(strokes)
        session.undo()
    labels = session.labels.copy()
    assert not session.can_refine
    np.testing.assert_array_equal(session.refine(), labels)
    assert session.can_redo == (kind == "undone")


def test_clusters_assigned_by_hand_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    without_splits(session, monkeypatch)
    session.update(painted(scene()[1]))
    session.assign(1, 2)
    pixels = session.cluster_map == 1
    session.refine()
    assert (session.cluster_map[pixels] == 1).all()
    assert (session.labels[pixels] == 2).all()


def test_a_saved_session_goes_on_after_it(tmp_path: Any) -> None:
    session = opened(n_clusters=4)
    session.update(painted(scene()[1]))
    session.refine()
    session.save(tmp_path / "s.clusternet")
    again = Session.load(tmp_path / "s.clusternet")
    np.testing.assert_array_equal(again.labels, session.labels)
    np.testing.assert_array_equal(again.undo(), session.undo())


def test_a_cancelled_one_leaves_everything_as_it_was() -> None:
    session = opened(n_clusters=6)
    session.update(painted(scene()[1]))
    labels, table = session.labels.copy(), session.clusters

    def stop(_: Any) -> None:
        raise ClusterNetError("enough")

    with pytest.raises(ClusterNetError, match="enough"):
        session.refine(stop)
    np.testing.assert_array_equal(session.labels, labels)
    assert session.clusters.equals(table)


def test_strokes_count_as_pixels_and_the_rest_by_its_posterior(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One cluster of 10 pixels, 2 of them stroked with class 1. The posterior says (.3, .7) of the
    # others: class 1 has 2 + 8 x .3 = 4.4 pixels, class 2 8 x .7 = 5.6, so 2 it is.
    # In a second cluster of 10 pixels 6 are stroked with class 2: 6 + 4 x .4 = 7.6 of 10.
    # The odds, 5.6 to 4.4 and 7.6 to 2.4, are sharpened: to the power 1.5.
    regions = np.repeat([[1, 2]], 5, axis=0).repeat(2, axis=1)
    image = cn.open_image(np.arange(20, dtype=np.float32).reshape(5, 4), axes="YX")
    session = Session(image, "bands", regions=regions)
    posterior = np.array([[0.3, 0.7], [0.6, 0.4]], np.float32)
    monkeypatch.setattr(session._engine._posterior, "quick", lambda *_: posterior)
    strokes = np.zeros((5, 4), int)
    strokes[0, :2] = 1
    strokes[:3, 2:] = 2
    session.update(strokes)
    table = session.clusters
    assert table["class"].tolist() == [2, 2]
    assert table["state"].tolist() == ["mixed", "classified"]  # the first contradicts its strokes
    odds = np.array([5.6 / 4.4, 7.6 / 2.4]) ** SHARPENING
    np.testing.assert_allclose(table["certainty"], odds / (1 + odds), rtol=1e-6)
