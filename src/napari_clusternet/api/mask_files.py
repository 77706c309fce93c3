"""What a saved `MaskModel` holds: arrays and JSON, checked before anything is built of them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from napari_clusternet.api.mask_model import MaskModel
from napari_clusternet.device import select_device
from napari_clusternet.errors import FileFormatError, MissingExtraError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.model_files import load_model, save_model
from napari_clusternet.normalization import Normalizer
from napari_clusternet.supervised.base import MAX_CLASS
from napari_clusternet.supervised.trained import TrainedNetwork
from napari_clusternet.supervised.training import NetworkMethod
from napari_clusternet.training.files import check_weights, read_bands, read_numbers

KIND = "clusternet-masks"
_REQUIRED = ("method", "parameters", "random_state", "classes", "normalizer", "bands", "spacing",
             "extent")  # fmt: skip
#: Parameters that belong to one machine or one training, not to what was learned.
_LEFT_OUT = ("device", "weights")
#: Levels of a network that are believed of a file.
_MAX_LEVELS = 12


def write_mask_model(path: str | os.PathLike[str], model: MaskModel) -> None:
    """Write a fitted model.

    Parameters
    ----------
    path : path-like
        File to write.
    model : MaskModel
        After `MaskModel.fit`.

    Raises
    ------
    InputError
        If the method is not one that trains a network of this package's kind.
    """
    trained, maker = model.trained_, model._maker
    if not (isinstance(trained, TrainedNetwork) and isinstance(maker, NetworkMethod)):
        invalid("method", model.method, "it does not say how to save what it learned",
                "Keep the program running, or use unet or ternausnet")  # fmt: skip
    tensors = {k: v.detach().cpu().numpy() for k, v in trained.network.state_dict().items()}
    parameters = {k: v for k, v in asdict(maker).items() if k not in _LEFT_OUT}
    metadata = {
        "method": model.method,
        "parameters": parameters,
        "random_state": int(model.random_state),
        "classes": trained.classes.tolist(),
        "normalizer": {"mean": trained.normalizer.mean, "std": trained.normalizer.std},
        "bands": {"names": trained.bands.names, "dtype": trained.bands.dtype},
        "spacing": model.spacing_,
        "extent": model.extent_,
    }
    save_model(path, tensors, metadata, kind=KIND)


def read_mask_model(path: str | os.PathLike[str], device: str) -> MaskModel:
    """Read what `write_mask_model` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    device : str
        Where to compute; see `napari_clusternet.device.select_device`.

    Returns
    -------
    MaskModel

    Raises
    ------
    FileFormatError
        If the file is damaged, of another kind or a newer version.
    MissingExtraError
        If the method needs an extra that is not installed.
    """
    tensors, metadata = load_model(path, kind=KIND, required=_REQUIRED)
    try:
        return _rebuild(tensors, metadata, device)
    except MissingExtraError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        invalid(
            "path", str(path), f"its parts do not fit together ({' '.join(str(error).split())})",
            "It is damaged or edited; save it again", error=FileFormatError,
        )  # fmt: skip


def _rebuild(tensors: dict[str, Any], metadata: dict[str, Any], device: str) -> MaskModel:
    parameters = dict(metadata["parameters"])
    if "channels" in parameters:
        parameters["channels"] = tuple(parameters["channels"][:_MAX_LEVELS])
    model = MaskModel(
        metadata["method"], random_state=int(metadata["random_state"]), **parameters,
        device=device,
    )  # fmt: skip
    n_bands, ndim = len(metadata["bands"]["names"]), len(metadata["spacing"])
    spacing = read_numbers(metadata["spacing"], ndim, least=np.finfo(float).tiny)
    extent = tuple(int(n) for n in read_numbers(metadata["extent"], ndim, least=1))
    classes = _classes(metadata["classes"])
    one_pixel = np.zeros((n_bands, *(1,) * ndim), metadata["bands"]["dtype"])
    like = Image.from_array(one_pixel, axes="CZYX" if ndim == 3 else "CYX", spacing=spacing)
    place = select_device(device)
    with torch.device("meta"):  # no memory is taken before the shapes are known to fit
        maker: Any = model._maker
        network = maker.build(like, len(classes), extent)
    expected = {name: value.dtype for name, value in network.state_dict().items()}
    weights = {name: torch.from_numpy(value) for name, value in tensors.items()}
    network.load_state_dict(weights, assign=True)
    check_weights(weights, expected)
    normalizer = Normalizer(
        read_numbers(metadata["normalizer"]["mean"], n_bands, least=-np.inf),
        read_numbers(metadata["normalizer"]["std"], n_bands, least=0),
    )
    bands = read_bands(metadata["bands"], n_bands)
    model.trained_ = TrainedNetwork(network, normalizer, bands, place, classes)
    model.spacing_, model.extent_ = spacing, extent
    return model


def _classes(values: Any) -> Any:
    classes = [value for value in values if type(value) is int and 0 < value <= MAX_CLASS]
    if len(classes) != len(values) or len(classes) < 2 or classes != sorted(set(classes)):
        raise ValueError(f"classes {values}")
    return np.array(classes, np.int64)
