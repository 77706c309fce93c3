"""Where the arithmetic runs and in which precision, said once in the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from napari_clusternet.errors import invalid, missing_extra
from napari_clusternet.triton_loading import load_triton

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """A torch device with the precision it trains in.

    Attributes
    ----------
    name : str
        Torch device string: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    training_dtype : str
        ``"bfloat16"`` where the hardware computes it natively, else ``"float32"``.
        Inference is always float32, so that tiles equal the whole image.
    reason : str
        Why this device and precision, in words for the user.
    """

    name: str
    training_dtype: str
    reason: str

    @cached_property
    def torch(self) -> torch.device:
        """The `torch.device`."""
        import torch

        return torch.device(self.name)

    @cached_property
    def dtype(self) -> Any:
        """The `torch.dtype` of training."""
        import torch

        return getattr(torch, self.training_dtype)

    @property
    def type(self) -> str:
        """The kind of device without its index: ``"cpu"``, ``"cuda"`` or ``"mps"``."""
        return self.name.partition(":")[0]


def _bfloat16_supported(kind: str) -> bool:
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if kind == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


@cache  # long work asks for its device again and again
def _announce(name: str, reason: str) -> None:
    logger.info("device %s: %s", name, reason)


def select_device(device: str = "auto", precision: str = "auto") -> Device:
    """Choose the device and the training precision, and log the choice.

    Parameters
    ----------
    device : str
        ``"auto"`` takes CUDA, then Apple's MPS, then the CPU; or a torch device string.
    precision : {"auto", "float32", "bfloat16"}
        ``"auto"`` trains in bfloat16 where the hardware computes it natively.

    Raises
    ------
    InputError
        If the device does not exist here or the precision is unknown.
    MissingExtraError
        If torch is not installed.
    """
    try:
        import torch
    except ImportError:
        missing_extra("torch", "all", "learning features")
    load_triton()
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    name = available[0] if device == "auto" else str(device)
    kind, _, index = name.partition(":")
    if kind not in available or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        invalid("device", device, "not available on this machine", f"Use one of {available}")
    if precision not in ("auto", "float32", "bfloat16"):
        invalid("precision", precision, "unknown", "Use 'auto', 'float32' or 'bfloat16'")
    native = _bfloat16_supported(kind)
    dtype = ("bfloat16" if native else "float32") if precision == "auto" else precision
    label = torch.cuda.get_device_name(name) if kind == "cuda" else kind.upper()
    why = "native bfloat16" if native else "no native bfloat16 here"
    reason = f"{label}, training in {dtype} ({why})"
    _announce(name, reason)
    return Device(name, dtype, reason)
