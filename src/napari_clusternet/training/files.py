"""What a saved ClusterNet holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_clusternet.config import ClusterNetDefaults
from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.features.learned import LearnedFeatures
from napari_clusternet.image import Bands
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.networks.unet import Plan, UNet
from napari_clusternet.normalization import Normalizer
from napari_clusternet.training.inputs import check_settings
from napari_clusternet.training.pseudo_labels import PseudoLabels

if TYPE_CHECKING:
    import os

    from napari_clusternet.device import Device

_REQUIRED = ("parameters", "fitted", "network", "normalizer", "bands", "spacing")


def write_model(
    path: str | os.PathLike[str],
    extractor: LearnedFeatures,
    clusters: PseudoLabels,
    parameters: dict[str, Any],
    fitted: dict[str, Any],
) -> None:
    """Write a fitted ClusterNet: network and centroids as arrays, the rest as JSON."""
    network = extractor.network
    tensors = {
        f"network.{name}": value.detach().cpu().numpy()
        for name, value in network.state_dict().items()
    }
    tensors |= {f"clusters.{name}": value for name, value in clusters.state().items()}
    metadata = {
        "parameters": parameters,
        "fitted": fitted,
        "network": {
            "in_channels": network.in_channels,
            "n_features": network.n_features,
            "channels": network.channels,
            "plan": network.plan.to_dict(),
        },
        "normalizer": {"mean": extractor.normalizer.mean, "std": extractor.normalizer.std},
        "bands": {"names": extractor.bands.names, "dtype": extractor.bands.dtype},
        "spacing": extractor.spacing,
    }
    save_model(path, tensors, metadata)


def read_model(
    path: str | os.PathLike[str], device: Device
) -> tuple[LearnedFeatures, PseudoLabels, dict[str, Any], dict[str, Any]]:
    """Read what `write_model` wrote: extractor, clusters, parameters and fitted figures.

    Raises
    ------
    FileFormatError
        If the file is damaged, of another kind, or a newer version.
    """
    tensors, metadata = load_model(path, required=_REQUIRED)
    try:
        return _rebuild(tensors, metadata, device)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        # the shapes in the metadata do not fit the arrays: the file was edited
        invalid(
            "path", str(path), f"its parts do not fit together ({' '.join(str(error).split())})",
            "It is damaged or edited; save it again", error=FileFormatError,
        )  # fmt: skip


def _rebuild(
    tensors: dict[str, Any], metadata: dict[str, Any], device: Device
) -> tuple[LearnedFeatures, PseudoLabels, dict[str, Any], dict[str, Any]]:
    shape, parameters = metadata["network"], metadata["parameters"]
    if parameters.get("channels") is not None:
        parameters["channels"] = tuple(parameters["channels"])
    check_settings(ClusterNetDefaults(**parameters))
    weights = {
        name.removeprefix("network."): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith("network.")
    }
    with torch.device("meta"):  # no memory is taken before the shapes are known to fit
        network = UNet(
            shape["in_channels"], shape["n_features"], shape["channels"],
            Plan.from_dict(shape["plan"]),
        )  # fmt: skip
    expected = {name: value.dtype for name, value in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    check_weights(weights, expected)
    clusters = PseudoLabels(
        parameters["clusterer"], parameters["n_clusters"], parameters["cluster_iterations"],
        device.name,
    )  # fmt: skip
    clusters.restore(
        {k.removeprefix("clusters."): v for k, v in tensors.items() if k.startswith("clusters.")}
    )
    if clusters.centers.shape[1:] != (network.n_features,):
        raise ValueError(f"centroids {clusters.centers.shape}, {network.n_features} features")
    n_bands, ndim = network.in_channels, network.ndim
    normalizer = Normalizer(
        read_numbers(metadata["normalizer"]["mean"], n_bands, least=-np.inf),
        read_numbers(metadata["normalizer"]["std"], n_bands, least=0),
    )
    bands = read_bands(metadata["bands"], n_bands)
    spacing = read_numbers(metadata["spacing"], ndim, least=np.finfo(float).tiny)
    extractor = LearnedFeatures(network, normalizer, bands, spacing, device)
    return extractor, clusters, parameters, _fitted(metadata["fitted"])


def check_weights(weights: dict[str, torch.Tensor], expected: dict[str, torch.dtype]) -> None:
    """Raise a ValueError if weights are of other types than a network's, or impossible."""
    for name, value in weights.items():
        if value.dtype != expected[name]:
            raise ValueError(f"{name} is {value.dtype}, not {expected[name]}")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{name} is negative")


def read_numbers(values: list[Any], n: int, least: float) -> tuple[float, ...]:
    """Return `n` finite numbers of at least `least`, or raise a ValueError."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != n or not all(least <= number < np.inf for number in numbers):
        raise ValueError(f"{values} are not {n} numbers in range")
    return numbers


def read_bands(record: dict[str, Any], n: int) -> Bands:
    """Return the `n` bands of a file's metadata, or raise a ValueError."""
    names, dtype = tuple(str(name) for name in record["names"]), str(record["dtype"])
    if len(names) != n or np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"bands {names} of {dtype}")
    return Bands(names, dtype)


def _fitted(record: dict[str, Any]) -> dict[str, Any]:
    seed, history = record["seed"], record["history"]
    if type(seed) is not int or not all(isinstance(epoch, dict) for epoch in history):
        raise ValueError("fitted")
    return {"seed": seed, "history": list(history)}
