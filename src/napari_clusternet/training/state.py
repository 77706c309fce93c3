"""A learner's state as named arrays, for snapshots and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.training.learner import Learner

    State = dict[str, npt.NDArray[Any]]


def pack(learner: Learner) -> State:
    """Return network, head, optimiser, clusters and probe as named arrays, copied."""
    assert learner.mode is not None
    assert learner.optimizer is not None
    named = {f"network.{k}": v for k, v in learner.network.state_dict().items()}
    named |= {f"mode.{k}": v for k, v in learner.mode.state_dict().items()}
    for i, moments in learner.optimizer.state_dict()["state"].items():
        named |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
    arrays = {name: value.detach().cpu().numpy().copy() for name, value in named.items()}
    arrays |= {f"clusters.{k}": v for k, v in learner.pseudo_labels.state().items()}
    if learner.probe is not None:
        arrays["probe"] = learner.probe.copy()
    return arrays


def unpack(learner: Learner, arrays: State) -> None:
    """Give a learner the state that `pack` returned."""
    learner.pseudo_labels.restore(_under(arrays, "clusters."))
    if learner.mode is None:
        learner.start_mode()
    assert learner.mode is not None
    assert learner.optimizer is not None
    learner.network.load_state_dict(_tensors(_under(arrays, "network.")))
    learner.mode.load_state_dict(_tensors(_under(arrays, "mode.")))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _tensors(_under(arrays, "optimizer.")).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = value
    if moments:
        groups = learner.optimizer.state_dict()["param_groups"]
        learner.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    learner.probe = arrays.get("probe", learner.probe)


def _under(arrays: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _tensors(arrays: State) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
