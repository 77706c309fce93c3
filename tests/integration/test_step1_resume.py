"""A training that was stopped, or killed, goes on to the same result to the bit (rows 34, 38)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_clusternet.clusternet import ClusterNet
from napari_clusternet.errors import FileFormatError
from napari_clusternet.image import Image

SMALL: dict[str, Any] = {
    "n_features": 6, "n_clusters": 8, "n_epochs": 2, "cluster_batch": 2, "train_batch": 1,
    "patch": 64, "channels": (4, 6), "loss_pixels": 256, "cluster_pixels": 1024,
    "device": "cpu", "precision": "float32", "random_state": 0, "checkpoint_seconds": 0,
}  # fmt: skip
MODES = ["paper", "enhanced"]


def scene(seed: int = 0) -> Image:
    values = np.random.default_rng(seed).normal(size=(2, 100, 90)).cumsum(-1).astype(np.float32)
    return Image.from_array(values, axes="CYX")


def assert_same(one: ClusterNet, other: ClusterNet) -> None:
    for name, value in one.network_.state_dict().items():
        assert torch.equal(value, other.network_.state_dict()[name]), name
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    assert one.history_ == other.history_


def stop_after(model: ClusterNet, count: int, path: Path) -> None:
    generator = model.fit_steps(scene(), checkpoint=path)
    for _ in range(count):
        next(generator)
    generator.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clusterer", ["kmeans", "gmm"])
# inside, and at the ends of, rounds of 2 batches
@pytest.mark.parametrize("count", [3, pytest.param(4, marks=pytest.mark.slow), 6])
def test_resumed_equals_uninterrupted(
    mode: str, clusterer: str, count: int, tmp_path: Path
) -> None:
    options = {**SMALL, "mode": mode, "clusterer": clusterer}
    straight = ClusterNet(**options).fit(scene())
    path = tmp_path / "run.safetensors"
    stop_after(ClusterNet(**options), count, path)
    assert_same(ClusterNet(**options).fit(scene(), checkpoint=path), straight)


def test_several_stops(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for count in (3, 2, 3):
        stop_after(ClusterNet(**SMALL), count, path)
    assert_same(ClusterNet(**SMALL).fit(scene(), checkpoint=path), ClusterNet(**SMALL).fit(scene()))


def test_a_finished_checkpoint_gives_the_result_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = ClusterNet(**SMALL).fit(scene(), checkpoint=path)
    assert_same(ClusterNet(**SMALL).fit(scene(), checkpoint=path), first)


def test_the_checkpoints_seed_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "run"
    options = {**SMALL, "random_state": None}
    stop_after(ClusterNet(**options), 3, path)
    resumed = ClusterNet(**options).fit(scene(), checkpoint=path)
    straight = ClusterNet(**{**options, "random_state": resumed.seed_}).fit(scene())
    assert_same(resumed, straight)


def test_without_resume_it_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    stop_after(ClusterNet(**{**SMALL, "random_state": 1}), 3, path)
    model = ClusterNet(**SMALL).fit(scene(), checkpoint=path, resume=False)
    assert_same(model, ClusterNet(**SMALL).fit(scene()))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_clusters": 9, "jitter": 0.2}, "n_clusters was 8, is 9.*jitter was 0.1, is 0.2"),
        ({"random_state": 7}, "random_state was 0, is 7"),
    ],
)
def test_other_parameters_are_refused(changes: Any, match: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    stop_after(ClusterNet(**SMALL), 3, path)
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match=match):
        ClusterNet(**{**SMALL, **changes}).fit(scene(), checkpoint=path)
    assert path.read_bytes() == before


def test_row_15_other_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    stop_after(ClusterNet(**SMALL), 3, path)
    with pytest.raises(FileFormatError, match="image 0: checksum was"):
        ClusterNet(**SMALL).fit(scene(1), checkpoint=path)
    with pytest.raises(FileFormatError, match="it had 1 images, now 2"):
        ClusterNet(**SMALL).fit([scene(), scene(1)], checkpoint=path)


CHILD = """
    import os, signal, sys
    sys.path.insert(0, {folder!r})
    from test_step1_resume import SMALL, scene
    import torch
    from napari_clusternet.clusternet import ClusterNet
    torch.set_num_threads({threads})
    for i, _ in enumerate(ClusterNet(**SMALL).fit_steps(scene(), checkpoint={path!r})):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_row_34_killed_training_resumes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    threads = torch.get_num_threads()  # sums of another number of threads differ in the last bit
    code = CHILD.format(folder=str(Path(__file__).parent), path=str(path), threads=threads)
    code = textwrap.dedent(code)
    ended = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert_same(ClusterNet(**SMALL).fit(scene(), checkpoint=path), ClusterNet(**SMALL).fit(scene()))
