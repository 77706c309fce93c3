"""The commands: arguments in, one call of the API, a few lines out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_clusternet as cn
from napari_clusternet._cli.options import parse_parameters
from napari_clusternet.api.regions import parameters_of
from napari_clusternet.api.strokes import stroke_parameters
from napari_clusternet.errors import invalid
from napari_clusternet.progress import Callback

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.object_metrics import ObjectScore

MODEL_SUFFIX = ".safetensors"
SESSION_SUFFIX = ".clusternet"


def demo(options: argparse.Namespace, callback: Callback) -> None:
    """Run `napari_clusternet.demo.run_demo` and print its report."""
    from napari_clusternet.demo import run_demo

    report = run_demo(options.folder, options.seed, options.device, callback)
    print(report)


def _grid(options: argparse.Namespace) -> dict[str, Any]:
    return {"axes": options.axes, "spacing": options.spacing}


def _check_suffix(argument: str, path: str, suffix: str) -> None:
    if Path(path).suffix != suffix:
        invalid(argument, path, f"not a *{suffix} file", f"Name it {Path(path).stem}{suffix}")


def fit(options: argparse.Namespace, callback: Callback) -> None:
    """Learn features and save the model; of processes started by torchrun, the first saves it."""
    from napari_clusternet.training.parallel import joined

    _check_suffix("--output", options.output, MODEL_SUFFIX)
    images = [cn.open_image(path, **_grid(options)) for path in options.images]
    chosen = {
        "mode": options.mode,
        "sampling": options.sampling,
        "n_clusters": options.clusters,
        "n_epochs": options.epochs,
        "random_state": options.seed,
        "device": options.device,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    with joined() as together:
        model = cn.ClusterNet.from_preset(options.preset, **given)
        told = callback if together.is_first else None
        model.fit(images, callback=told, checkpoint=options.checkpoint)
        if together.is_first:
            model.save(options.output)
            print(f"model: {options.output}")


def _features(text: str) -> Any:
    return cn.ClusterNet.load(text) if text.endswith(MODEL_SUFFIX) else text


def segment(options: argparse.Namespace, callback: Callback) -> None:
    """Segment an image from strokes and write the labels, and the session if asked for."""
    if options.session is not None:
        _check_suffix("--session", options.session, SESSION_SUFFIX)
        if options.method != "clusternet":
            invalid("--session", options.session, f"method {options.method!r} has no session",
                    "Leave it out, or use --method clusternet")  # fmt: skip
    own = parse_parameters(options.method, options.parameters, stroke_parameters(options.method))
    image = cn.open_image(options.image, **_grid(options))
    strokes = cn.read_labels(options.strokes)
    settings: dict[str, Any] = {
        "features": _features(options.features),
        "mode": options.mode,
        "threshold": options.threshold,
        "n_clusters": options.clusters,
        "random_state": options.seed,
        "callback": callback,
    }
    if options.session is None:
        labels = cn.segment(image, strokes, method=options.method, **settings, **own)
    else:
        session = cn.Session(image, **settings)
        labels = session.update(strokes)
        session.save(options.session)
        print(f"session: {options.session}")
    cn.write_labels(options.output, labels, like=image)
    print(f"labels: {options.output}")
    _print_shares(labels)


def unsupervised(options: argparse.Namespace, callback: Callback) -> None:
    """Divide an image into regions and write them on the image's grid."""
    image = cn.open_image(options.image, **_grid(options))
    parameters = parse_parameters(options.method, options.parameters, parameters_of(options.method))
    regions = cn.unsupervised(
        image, method=options.method, random_state=options.seed, callback=callback,
        device=options.device, **parameters,
    )  # fmt: skip
    cn.write_labels(options.output, regions, like=image)
    print(f"regions: {options.output} ({int(regions.max())})")


def apply(options: argparse.Namespace, callback: Callback) -> None:
    """Classify images of any size with a session."""
    from napari_clusternet.session_file import load_with_extra

    _check_suffix("SESSION", options.session, SESSION_SUFFIX)
    grid = {name: value for name, value in _grid(options).items() if value is not None}
    source = cn.open_image(options.source, **grid) if grid else options.source
    session, extra = load_with_extra(cn.Session, options.session, None)
    classes = enumerate(extra.get("classes", []), start=1)
    names = {k: str(one["name"]) for k, one in classes if k <= session.n_classes and "name" in one}
    path = cn.apply(
        session, source, options.destination, options.scheduler, workers=options.workers,
        memory=options.memory, device=options.device, class_names=names,
        overwrite=options.overwrite, callback=callback,
    )  # fmt: skip
    print(f"labels: {path}")


def _print_shares(labels: npt.NDArray[Any]) -> None:
    import numpy as np

    values, counts = np.unique(labels, return_counts=True)
    for value, count in zip(values, counts, strict=True):
        name = f"class {value}" if value else "none"
        print(f"  {name:<9} {count:>12} px {100 * count / labels.size:6.2f} %")


def score(options: argparse.Namespace, callback: Callback) -> None:
    """Print the metrics of labels against a truth."""
    from napari_clusternet.metrics import evaluate

    del callback  # too quick to show
    labels, truth = cn.read_labels(options.labels), cn.read_labels(options.truth)
    scores = evaluate(labels, truth, min_pixels=options.min_pixels)
    objects = None if options.objects is None else _object_score(labels, truth, options.objects)
    if options.json:
        found = {} if objects is None else {"objects": objects.to_dict()}
        print(json.dumps(scores.to_dict() | found))
        return
    print(scores)
    if objects is not None:
        print(objects)


def _object_score(labels: npt.NDArray[Any], truth: npt.NDArray[Any], class_: int) -> ObjectScore:
    """Score the connected parts of a class as SpaceNet does."""
    from napari_clusternet.metrics import spacenet_f1
    from napari_clusternet.objects import split_objects

    return spacenet_f1(*([split_objects(m == class_, depth=0)] for m in (labels, truth)))


def info(options: argparse.Namespace, callback: Callback) -> None:
    """Print what a file holds, or what is installed here."""
    from napari_clusternet._cli import describe

    del callback  # too quick to show
    if options.file is None:
        lines = describe.installation()
    elif options.file.endswith(MODEL_SUFFIX):
        lines = describe.model(cn.ClusterNet.load(options.file))
    elif options.file.endswith(SESSION_SUFFIX):
        lines = describe.session(cn.Session.load(options.file))
    else:
        lines = describe.image(cn.open_image(options.file, axes=options.axes))
    width = max(len(name) for name in lines) + 1
    for name, value in lines.items():
        print(f"{name + ':':<{width}} {value}")
