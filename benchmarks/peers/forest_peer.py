"""The common peer: scikit-image multi-scale features, random forest (as ilastik and Labkit)."""

from __future__ import annotations

import numpy as np


def segment(array, strokes, *, axes, spacing, random_state):
    """Return labels of `strokes`' shape; `array` is (C, [Z,] Y, X). Spacing is not used."""
    from skimage.feature import multiscale_basic_features
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier

    del axes, spacing
    image = np.moveaxis(array.astype(np.float32), 0, -1)
    if image.shape[-1] > 30:
        table = PCA(10, random_state=random_state).fit_transform(image.reshape(-1, image.shape[-1]))
        image = table.reshape(*image.shape[:-1], 10).astype(np.float32)
    features = multiscale_basic_features(image, sigma_min=1, sigma_max=16, channel_axis=-1)
    forest = RandomForestClassifier(100, max_depth=12, n_jobs=-1, random_state=random_state)
    forest.fit(features[strokes > 0], strokes[strokes > 0])
    return forest.predict(features.reshape(-1, features.shape[-1])).reshape(strokes.shape)
