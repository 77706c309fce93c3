"""Whatever is done to a session, in whatever order, it stays consistent and can be taken back."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import napari_clusternet as cn
from napari_clusternet.errors import InputError
from napari_clusternet.image import Image

SHAPE = (9, 11)
STATES = ("labels", "strokes", "cluster_map", "centroids", "certainty", "threshold", "n_classes")


def picture() -> Image:
    """Two bands, three levels of grey with noise, and a few missing pixels."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, *SHAPE)) + 4 * rng.integers(0, 3, SHAPE)
    data[0, 2:4, 5] = np.nan
    return Image.from_array(data.astype(np.float32), axes="CYX", spacing=(2, 3))


@st.composite
def places(draw: st.DrawFn) -> Any:
    rows, columns = draw(st.integers(0, 8)), draw(st.integers(0, 10))
    return (slice(rows, rows + draw(st.integers(1, 4))),
            slice(columns, columns + draw(st.integers(1, 5))))  # fmt: skip


class SessionMachine(RuleBasedStateMachine):
    """A session beside a list of what it was after each step."""

    @initialize(mode=st.sampled_from(["enhanced", "paper"]), seed=st.integers(0, 3))
    def start(self, mode: str, seed: int) -> None:
        self.image = picture()
        self.session = cn.Session(
            self.image, features="bands", n_clusters=6, mode=mode, random_state=seed
        )
        self.told = 0
        self.session.subscribe(self.listen)
        self.painted = np.zeros(SHAPE, np.uint8)
        self.steps = [self.snapshot()]
        self.at = 0

    def listen(self, _: Any) -> None:
        self.told += 1

    def snapshot(self) -> dict[str, Any]:
        session = self.session
        found = {name: np.array(getattr(session, name)) for name in STATES}
        table = session.clusters
        found["table"] = table.drop(columns="centroid").to_csv()
        return found

    def is_as(self, expected: dict[str, Any]) -> None:
        for name, value in self.snapshot().items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)

    def done(self) -> None:
        """Note a step: what could be redone before cannot any more."""
        del self.steps[self.at + 1 :]
        self.steps.append(self.snapshot())
        self.at += 1

    def clusters(self) -> list[int]:
        return list(self.session.clusters.query("pixels > 0").index)

    def follow_up(self, act: Any, *arguments: Any) -> None:
        """Do something; where it is refused, nothing has changed."""
        told = self.told
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                act(*arguments)
            except InputError:
                assert self.told == told
                self.is_as(self.steps[self.at])
            else:
                assert self.told == told + 1
                self.done()

    # ---- what a user does ------------------------------------------------------------------------

    @rule(where=places(), class_=st.integers(0, 3))
    def paint(self, where: Any, class_: int) -> None:
        strokes = np.array(self.session.strokes)
        strokes[where] = class_
        valid = self.image.read()[1]
        if np.array_equal(strokes[valid], self.session.strokes[valid]):
            told = self.told
            self.session.update(strokes)
            assert self.told == told
            self.is_as(self.steps[self.at])
        else:
            self.follow_up(self.session.update, strokes)

    @rule(change=st.sampled_from([-1, 70_000, 0.5, np.nan]))
    def paint_what_is_no_class(self, change: float) -> None:
        strokes = np.array(self.session.strokes, dtype=float if change != change else object)
        strokes = strokes.astype(float)
        strokes[0, 0] = change
        with pytest.raises(InputError):
            self.session.update(strokes)
        self.is_as(self.steps[self.at])

    @rule(data=st.data(), class_=st.integers(0, 4))
    def assign(self, data: st.DataObject, class_: int) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.clusters()), min_size=1, max_size=3))
        self.follow_up(self.session.assign, ids, class_)

    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        self.follow_up(self.session.split, data.draw(st.sampled_from(self.clusters())))

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        ids = st.lists(st.sampled_from(self.clusters()), min_size=1, max_size=4)
        self.follow_up(self.session.merge, data.draw(ids))

    @rule(value=st.sampled_from([0.05, 0.3, 0.6, 0.95]))
    def set_threshold(self, value: float) -> None:
        self.follow_up(setattr, self.session, "threshold", value)

    @rule()
    def undo(self) -> None:
        assert self.session.can_undo == (self.at > 0)
        self.session.undo()
        self.at = max(0, self.at - 1)
        self.is_as(self.steps[self.at])

    @rule()
    def redo(self) -> None:
        assert self.session.can_redo == (self.at + 1 < len(self.steps))
        self.session.redo()
        self.at = min(self.at + 1, len(self.steps) - 1)
        self.is_as(self.steps[self.at])

    @precondition(lambda self: self.at > 0)
    @rule()
    def editor_undoes_its_own_stroke(self) -> None:
        """`follow` with the strokes of the step before is undo, if strokes changed in it."""
        before, now = self.steps[self.at - 1], self.steps[self.at]
        if not np.array_equal(before["strokes"], now["strokes"]):
            self.session.follow(before["strokes"])
            self.at -= 1
            self.is_as(before)

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = self.session.save(Path(folder) / "a.clusternet")
            first = path.read_bytes()
            self.session = cn.Session.load(path)
            assert self.session.save(path).read_bytes() == first
        self.session.subscribe(self.listen)
        self.is_as(self.steps[self.at])

    # ---- what always holds -----------------------------------------------------------------------

    @invariant()
    def pixels_clusters_and_classes_agree(self) -> None:
        session, valid = self.session, self.image.read()[1]
        ids, table = session.cluster_map, session.clusters
        assert ((ids > 0) == valid).all()
        assert not session.strokes[~valid].any()
        sizes = np.bincount(ids[valid], minlength=len(table) + 1)[1:]
        assert table["pixels"].tolist() == sizes[table.index - 1].tolist()
        classes = np.zeros(int(table.index.max()) + 1, int)
        classes[table.index] = table["class"]
        np.testing.assert_array_equal(session.labels, classes[ids])
        for class_ in range(1, session.n_classes + 1):
            stroked = np.bincount(ids[session.strokes == class_], minlength=len(classes))
            assert table[f"strokes_{class_}"].tolist() == stroked[table.index].tolist()
        assert session.certainty.min() >= 0
        assert session.certainty.max() <= 1

    def teardown(self) -> None:
        """Taking everything back returns to the start; applying it again, to the end."""
        if not hasattr(self, "session"):
            return
        for at in reversed(range(self.at)):
            self.session.undo()
            self.is_as(self.steps[at])
        assert not self.session.can_undo
        for at in range(1, len(self.steps)):
            self.session.redo()
            self.is_as(self.steps[at])
        assert not self.session.can_redo


class TestSession(SessionMachine.TestCase):
    settings = settings(max_examples=8, stateful_step_count=15)


@pytest.mark.slow
class TestSessionLonger(SessionMachine.TestCase):
    settings = settings(max_examples=40, stateful_step_count=40)
