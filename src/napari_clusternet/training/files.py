"""What a saved ClusterNet holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.features.learned import LearnedFeatures
from napari_clusternet.image import Bands
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.networks.unet import Plan, UNet
from napari_clusternet.normalization import Normalizer
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
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
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
    network.load_state_dict(weights, assign=True)
    clusters = PseudoLabels(
        parameters["clusterer"], parameters["n_clusters"], parameters["cluster_iterations"],
        device.name,
    )  # fmt: skip
    clusters.restore(
        {k.removeprefix("clusters."): v for k, v in tensors.items() if k.startswith("clusters.")}
    )
    if clusters.centers.shape[1:] != (network.n_features,):
        raise ValueError(f"centroids {clusters.centers.shape}, {network.n_features} features")
    normalizer = Normalizer(*(tuple(metadata["normalizer"][key]) for key in ("mean", "std")))
    bands = Bands(tuple(metadata["bands"]["names"]), metadata["bands"]["dtype"])
    extractor = LearnedFeatures(network, normalizer, bands, tuple(metadata["spacing"]), device)
    return extractor, clusters, parameters, metadata["fitted"]
