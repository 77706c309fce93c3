"""The scene of a saved session on a field: how its file names it, and how it is found again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clusternet.errors import ClusterNetError, InputError, invalid
from napari_clusternet.image import Image
from napari_clusternet.io.opening import open_image

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.field import Field
    from napari_clusternet.session import Session
    from napari_clusternet.tiles import Region

#: Edge of the places of a field that are compared, pixels, by number of spatial axes.
_CHECK_EDGE = {2: 32, 3: 16}


def describe_scene(scene: Image) -> dict[str, Any]:
    """Return what a session's file says of its scene, as JSON can hold it; the rest its field has.

    Parameters
    ----------
    scene : Image
        At the resolution the session works at.
    """
    return {
        "name": scene.name,
        "source": None if scene.source is None else str(scene.source),
        "shape": list(scene.data.shape),
        "opened_with": dict(scene.extra.get("opened_with", {})),
    }


def missing_scene(field: Field) -> str:
    """Say why a loaded field has no scene, as the problem of an error.

    Parameters
    ----------
    field : Field
        Without a scene.
    """
    if field.about is None:
        return "its file does not say where its scene is"
    name, source = field.about.get("name"), field.about.get("source")
    if not isinstance(source, str):
        return f"its scene {name!r} was not opened from a file"
    there = os.path.exists(source)  # noqa: PTH110 - a path that cannot be one is not there
    return f"its scene {source!r} is {'not as it was' if there else 'not there'}"


def find_scene(session: Session, images: Image | Iterable[Image] | None = None) -> Image | None:
    """Give a loaded session on a field its scene back.

    Parameters
    ----------
    session : Session
        Its `field` gets the scene. Nothing is done where it is on no field.
    images : Image or iterable of Image, optional
        The scene's image, at any of its resolutions, or candidates of which the first right one is
        taken; where none is, the image is opened from where it was.

    Returns
    -------
    Image or None
        The image that the scene is, or is a level of; None if it was not found.

    Raises
    ------
    InputError
        If the one image given is neither the scene's nor the field itself.
    """
    if session.field is None:
        return None
    if isinstance(images, Image) and images is not session.image:
        take_scene(session, images, "image")
        return images
    for image in () if images is None or isinstance(images, Image) else images:
        if not _take(session, image):
            return image
    again = _from_its_file(session)
    return None if again is None or _take(session, again) else again


def take_scene(session: Session, image: Image, argument: str) -> None:
    """Make an image, or the level of it that the session works at, the scene of its field.

    Parameters
    ----------
    session : Session
        On a field.
    image : Image
        The scene's.
    argument : str
        What the image is called where it was given, for the message.

    Raises
    ------
    InputError
        If it is another image; what differs is named.
    """
    problem = _take(session, image)
    if problem:
        invalid(argument, image.name, f"not the scene the session was made for: {problem}",
                "Give that scene, opened as it was then")  # fmt: skip


def _take(session: Session, image: Image) -> str:
    """Take the scene from an image if one of its levels is it; else say what is wrong with it."""
    field, own = session.field, session.image
    assert field is not None
    levels = [image, *image.levels[1:]]
    if field.about is not None:
        shape = field.about["shape"]
        of_shape = [level for level in levels if list(level.data.shape) == shape]
        if not of_shape:
            there = [tuple(level.data.shape) for level in levels]
            return f"its shape was {tuple(shape)}, here it is {' or '.join(map(str, there))}"
        levels = of_shape
    problems = []
    for level in levels:
        scene = replace(level, nodata=own.nodata)
        try:
            problem = _difference(own, field.region, scene)
        except (ClusterNetError, OSError) as error:  # of a file that is gone or was changed
            problem = str(error)
        if not problem:
            scene = replace(
                scene, affine=_affine(session), units=own.units, crs=own.crs,
                band_names=own.band_names,
            )  # fmt: skip
            session.field = replace(field, scene=scene)
            return ""
        problems.append(problem)
    return problems[0]


def _difference(own: Image, region: Region, scene: Image) -> str:
    """Say what tells a scene from that of a field with the image `own`, or nothing."""
    if scene.ndim != own.ndim:
        return f"it has {scene.ndim} spatial axes, the field has {own.ndim}"
    try:
        own.bands.check(scene, "the session")
    except InputError as error:
        return str(error)
    if any(a.start < 0 or a.stop > n for a, n in zip(region, scene.shape, strict=True)):
        return f"its shape {scene.shape} does not hold the field"
    origin = np.array([part.start for part in region])
    corners = np.array([np.zeros(own.ndim), own.shape])
    if np.abs(_pixels(own, scene, corners) - corners - origin).max() > 1:
        return "it lies elsewhere in the world, or its pixels are of another size"
    for here in _places(own):
        there = tuple(
            slice(part.start + int(o), part.stop + int(o))
            for part, o in zip(here, origin, strict=True)
        )
        for mine, others in zip(own.read(here), scene.read(there), strict=True):
            if not np.array_equal(mine, others):
                return "its pixels are others"
    return ""


def _pixels(own: Image, scene: Image, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return where pixel indices ([z,] y, x) of one image lie in another."""
    to_scene = np.linalg.inv(scene.affine) @ own.affine
    found: npt.NDArray[np.float64] = points @ to_scene[:-1, :-1].T + to_scene[:-1, -1]
    return found


def _places(own: Image) -> Iterator[Region]:
    """Yield the corners and the middle of a field."""
    edges = [min(_CHECK_EDGE[own.ndim], size) for size in own.shape]
    starts = [(0, size - edge) for size, edge in zip(own.shape, edges, strict=True)]
    middle = tuple((size - edge) // 2 for size, edge in zip(own.shape, edges, strict=True))
    for place in (middle, *product(*starts)):
        yield tuple(slice(a, a + edge) for a, edge in zip(place, edges, strict=True))


def _affine(session: Session) -> npt.NDArray[np.float64]:
    """Return the affine of the scene that a field was cut out of."""
    assert session.field is not None
    affine = session.image.affine.copy()
    affine[:-1, -1] -= affine[:-1, :-1] @ session.field.origin
    return affine


def _from_its_file(session: Session) -> Image | None:
    """Open the scene's image again, and place it so that the field lies in it; None if it fails."""
    assert session.field is not None
    about, own = session.field.about or {}, session.image
    source, opened = about.get("source"), about.get("opened_with")
    if not isinstance(source, str) or not isinstance(opened, dict):
        return None
    known = {k: opened[k] for k in ("axes", "complex_values") if isinstance(opened.get(k), str)}
    try:
        image = open_image(source, **known)
        for level in (image, *image.levels[1:]):
            if list(level.data.shape) == about["shape"]:
                affine = _affine(session) @ np.linalg.inv(level.affine) @ image.affine
                return open_image(
                    image, affine=affine, units=own.units, crs=own.crs,
                    band_names=own.band_names, nodata=own.nodata,
                )  # fmt: skip
    except (ClusterNetError, OSError):
        pass
    return None
