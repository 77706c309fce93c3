"""Sessions on a field of a large scene: opened there, or moved from another field."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet import field as fields
from napari_clusternet.errors import invalid
from napari_clusternet.extraction import (
    cluster_steps,
    fit_extractor,
    is_array,
    resolve_steps,
)
from napari_clusternet.features.matrix import collect
from napari_clusternet.field import Field, Luggage
from napari_clusternet.history import ClusterState
from napari_clusternet.partition import Partition
from napari_clusternet.progress import Progress
from napari_clusternet.replay import ClusterIds
from napari_clusternet.session_scene import missing_scene, take_scene

if TYPE_CHECKING:
    from napari_clusternet.config import Mode
    from napari_clusternet.extractor import Extractor
    from napari_clusternet.image import Image
    from napari_clusternet.session import Session
    from napari_clusternet.tiles import Region


def on_field_steps(
    cls: type[Session],
    scene: Image,
    region: Region,
    features: Any,
    threshold: float,
    mode: Mode,
    n_clusters: int,
    clusterer: str,
    random_state: int,
) -> Generator[Progress, None, Session]:
    """Do what `Session.on_field_steps` does, with options that were checked."""
    if is_array(features):
        invalid("features", features, "an array says nothing of other fields",
                "Give a ClusterNet or a feature name")  # fmt: skip
    fields.field_region(scene, region, (1,) * scene.ndim)  # before long work
    features = yield from resolve_steps(scene, features, mode, random_state, maps=True)
    patches = fields.sample_patches(scene, random_state)
    fitted_on = fields.side_by_side(patches)
    extractor = fit_extractor(fitted_on, features, random_state)
    field = Field(scene, fields.field_region(scene, region, extractor.multiple), fitted_on)
    sample = yield from fields.sample_steps(extractor, patches, random_state)
    image, outside = fields.crop(scene, field.region), fields.relative(sample, field.origin)
    matrix = yield from collect(extractor, image, outside)
    ids, base = yield from cluster_steps(
        matrix, clusterer, n_clusters, mode, random_state,
        fields.learned_from(matrix, random_state),
    )  # fmt: skip
    yield Progress("clustering", 1, 1)
    session = cls.__new__(cls)
    session._begin(image, mode, random_state, features, extractor, base, field)
    partition = Partition(matrix.scatter(ids), ids[-len(outside) :].astype(np.uint16))
    state = ClusterState.initial(base, float(threshold))
    session._engine = session._new_engine(matrix, partition, state)
    return session


def move_steps(
    session: Session, region: Region, scene: Image | None
) -> Generator[Progress, None, Session]:
    """Do what `Session.move_steps` does: take what goes along now, and return the rest."""
    before, extractor = session.field, session._extractor
    if before is None or extractor is None:
        invalid("session", session.image.name, "not on a field of a scene",
                "Open it with Session.on_field")  # fmt: skip
    if scene is not None and scene is not before.scene:
        take_scene(session, scene, "scene")
    before = session.field
    assert before is not None
    scene = before.scene
    if scene is None:
        invalid("scene", scene, missing_scene(before), "Give the scene's image")
    region = fields.field_region(scene, region, extractor.multiple)
    luggage = fields.pack(session._engine, before.origin, region)
    field = Field(scene, region, before.fitted_on)
    return _arrive_steps(session, field, extractor, luggage, session._engine.state)


def _arrive_steps(
    session: Session, field: Field, extractor: Extractor, luggage: Luggage, state: ClusterState
) -> Generator[Progress, None, Session]:
    assert field.scene is not None
    image = fields.crop(field.scene, field.region)
    outside = fields.relative(luggage.outside, field.origin)
    matrix = yield from collect(extractor, image, outside)
    inside = matrix.rows[: len(matrix.rows) - len(outside)]
    ids = np.concatenate([ClusterIds(session._base, state.divides)(inside), luggage.ids])
    yield Progress("clustering", 1, 1)
    partition = Partition(matrix.scatter(ids), luggage.ids, len(state.centroids))
    other = type(session).__new__(type(session))
    other._begin(
        image, session.mode, session.random_state, session.features, extractor, session._base,
        field,
    )  # fmt: skip
    other._engine = other._new_engine(matrix, partition, state)
    other._engine.take_strokes(luggage.strokes_on(partition.cluster_map))
    return other
