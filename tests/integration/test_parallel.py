"""Several processes train one model: a step is that of the whole batch."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.training.parallel import Group, in_order

#: Trains a little, alone or as one of several, and writes what it came to.
SCRIPT = """
    import json, sys
    import numpy as np, torch
    import napari_clusternet as cn
    from napari_clusternet.config import CLUSTERNET
    from napari_clusternet.device import select_device
    from napari_clusternet.normalization import Normalizer
    from napari_clusternet.training.parallel import joined
    from napari_clusternet.training.run import Run
    from dataclasses import replace
    torch.set_num_threads(1)
    out, mode, norm = sys.argv[1], sys.argv[2], sys.argv[3] == "norm"
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 64, 64)).astype(np.float32)
    data[:, :, 32:] += 2
    image = cn.Image.from_array(data, axes="CYX")
    settings = replace(
        CLUSTERNET, n_features=4, n_clusters=6, cluster_batch=4, train_batch=4, patch=32,
        mode=mode, random_state=0, channels=(4, 8), device="cpu", n_epochs=1,
        loss_pixels=None,
    )
    with joined() as together:
        run = Run(settings, [image], Normalizer.fit([image]), select_device("cpu"))
        if not norm:
            for module in list(run.network.modules()):
                for name, child in list(module.named_children()):
                    if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
                        setattr(module, name, torch.nn.Identity())
        places = next(iter(run.clustering_batches(0)))
        batch = run.cluster(places, (0, 0))
        (part, labels), *_ = run.training_batches(batch, (0, 0))
        figures = run.step(part, labels, (0, 0, 0))
        grads = np.concatenate([p.grad.numpy().ravel() for p in run._parameters()])
        weights = np.concatenate([p.detach().numpy().ravel() for p in run._parameters()])
        np.savez(f"{out}.{together.rank}.npz", grads=grads, weights=weights,
                 centers=run.pseudo_labels.centers, loss=figures["loss"], size=together.size)
"""


def train(out: Path, mode: str, norm: str, processes: int) -> list[dict[str, np.ndarray]]:
    script = out.with_suffix(".py")
    script.write_text(textwrap.dedent(SCRIPT))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script)]
    done = subprocess.run(
        [*command, str(out), mode, norm], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return [dict(np.load(f"{out}.{rank}.npz")) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["paper", "enhanced"])
def test_two_processes_take_the_step_of_the_whole_batch(tmp_path: Path, mode: str) -> None:
    (alone,) = train(tmp_path / "alone", mode, "plain", 1)
    first, second = train(tmp_path / "two", mode, "plain", 2)
    assert int(first["size"]) == 2
    for name in ("grads", "weights", "centers", "loss"):
        assert np.array_equal(first[name], second[name]), name
    assert np.allclose(first["centers"], alone["centers"], atol=1e-5)
    if mode == "paper":  # the enhanced mode balances the pixels of a part among the clusters
        assert np.abs(first["grads"] - alone["grads"]).max() < 1e-6
        assert abs(first["loss"] - alone["loss"]) < 1e-6


@pytest.mark.slow
def test_with_batch_norm_only_its_statistics_differ(tmp_path: Path) -> None:
    (alone,) = train(tmp_path / "alone", "paper", "norm", 1)
    first, second = train(tmp_path / "two", "paper", "norm", 2)
    assert np.array_equal(first["weights"], second["weights"])
    assert np.allclose(first["centers"], alone["centers"], atol=1e-4)
    cosine = first["grads"] @ alone["grads"]
    cosine /= np.linalg.norm(first["grads"]) * np.linalg.norm(alone["grads"])
    assert 0.7 < cosine < 1 - 1e-6


@pytest.mark.slow
def test_the_command_under_torchrun_saves_one_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = tmp_path / "a.npy"
    np.save(image, rng.normal(size=(2, 70, 70)).astype(np.float32))
    run = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "napari_clusternet.cli", "fit", str(image), "--axes", "CYX", "--epochs", "1",
        "--clusters", "5", "--seed", "0", "--device", "cpu", "--output",
        str(tmp_path / "m.safetensors"), "--checkpoint", str(tmp_path / "c.safetensors"),
    ]  # fmt: skip
    done = subprocess.run(run, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1
    model = cn.ClusterNet.load(tmp_path / "m.safetensors")
    assert len(model.cluster_centers_) == 5


def test_parts_cover_everything_once() -> None:
    for n, size in [(7, 3), (2, 4), (0, 2), (16, 4)]:
        parts = [list(Group(rank, size).part(n)) for rank in range(size)]
        assert [i for part in parts for i in part] == list(range(n))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert in_order([{0: "a", 3: "d"}, {1: "b"}]) == ["a", "b", "d"]
    assert Group().all_of(3) == [3]
    assert Group().add_figures({"loss": 1.0}) == {"loss": 1.0}
