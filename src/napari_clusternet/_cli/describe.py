"""What `napari-clusternet info` says: name -> text, in the order to print."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import napari_clusternet as cn

if TYPE_CHECKING:
    from napari_clusternet.clusternet import ClusterNet
    from napari_clusternet.image import Image
    from napari_clusternet.session import Session

#: Extra -> the packages it brings.
EXTRAS = {
    "napari": ("napari", "magicgui", "qtpy"),
    "geo": ("rasterio", "pyogrio", "shapely"),
    "medical": ("nibabel", "pydicom"),
    "distributed": ("distributed",),
    "compare": ("segmentation-models-pytorch",),
}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extra(name: str) -> str:
    missing = [package for package in EXTRAS[name] if _version(package) is None]
    if missing:
        return f'not installed: pip install "napari-clusternet[{name}]"'
    return ", ".join(f"{package} {_version(package)}" for package in EXTRAS[name])


def installation() -> dict[str, str]:
    """Describe versions, device, extras and methods."""
    from napari_clusternet.device import select_device

    lines = {
        "version": cn.__version__,
        "python": platform.python_version(),
        "libraries": ", ".join(f"{p} {_version(p)}" for p in ("torch", "numpy", "scikit-learn")),
    }
    device = select_device()
    lines["device"] = f"{device.name} ({device.reason})"
    lines |= {f"extra {name}": _extra(name) for name in EXTRAS}
    lines |= {
        f"method {m.name}": f"{m.summary} ({m.kind}, {'/'.join(f'{d}D' for d in m.ndims)})"
        for m in cn.methods()
    }
    return lines


def image(picture: Image) -> dict[str, str]:
    """Describe an image: everything that is kept when labels are written."""
    sizes = ", ".join(
        f"{size:g} {unit}" for size, unit in zip(picture.spacing, picture.units, strict=True)
    )
    lines = {
        "image": picture.name,
        "axes": f"{picture.axes} {(picture.n_bands, *picture.shape)} {picture.bands.dtype}",
        "bands": ", ".join(picture.band_names),
        "spacing": sizes,
        "affine": str(picture.affine.tolist()),
        "crs": str(picture.crs or "none"),
        "nodata": "none" if picture.nodata is None else f"{picture.nodata:g}",
    }
    if picture.levels:
        lines["levels"] = ", ".join(str(level.shape) for level in picture.levels)
    return lines


def model(estimator: ClusterNet) -> dict[str, str]:
    """Describe a fitted model."""
    bands = estimator.bands_
    lines = {"model": "ClusterNet", "bands": f"{len(bands.names)} {bands.dtype}"}
    return lines | {name: str(value) for name, value in estimator.get_params().items()}


def session(opened: Session) -> dict[str, str]:
    """Describe a saved session."""
    table = opened.clusters
    states = table["state"].value_counts()
    return {
        "session": opened.image.name,
        "shape": str(opened.labels.shape),
        "mode": opened.mode,
        "threshold": f"{opened.threshold:g}",
        "classes": str(opened.n_classes),
        "clusters": ", ".join(f"{n} {state}" for state, n in states.items() if n),
    }
