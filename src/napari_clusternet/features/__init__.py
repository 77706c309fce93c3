"""Feature extractors: what a pixel looks like, as a vector.

An entry is a class with ``fit(image, random_state=0)``, which measures what it needs
(normalisation, principal components, scales) on the image and returns an immutable
`napari_clusternet.extractor.Extractor`. Features that need a trained model are in
`napari_clusternet.features.learned`; they are made from the model, not by name.
"""

from __future__ import annotations

from napari_clusternet.registry import Registry

EXTRACTORS = Registry(
    "features",
    {
        "bands": "napari_clusternet.features.bands:BandFeatures",
        "filters": "napari_clusternet.features.filters:FilterFeatures",
        "context": "napari_clusternet.context:ContextFeatures",
        "generic": "napari_clusternet.features.generic:GenericFeatures",
        "pretrained": "napari_clusternet.features.pretrained:PretrainedFeatures",
        "pretrained-64": "napari_clusternet.features.pretrained:PretrainedComponents",
    },
)
