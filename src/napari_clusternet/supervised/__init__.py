"""Methods that learn from full masks: every pixel of the training images has a class, or none.

An entry is a class as described by `napari_clusternet.supervised.base.MaskMethod`.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

SUPERVISED = Registry(
    "supervised",
    {
        "unet": "napari_clusternet.supervised.unet:UNetMasks",
        "ternausnet": "napari_clusternet.supervised.ternausnet:TernausNetMasks",
        "linknet": "napari_clusternet.supervised.external:LinkNet",
        "pspnet": "napari_clusternet.supervised.external:PSPNet",
        "deeplabv3plus": "napari_clusternet.supervised.external:DeepLabV3Plus",
    },
)
