"""Learn the weights of ``features="generic"``: step 1 with a pretrained start, on many images.

    python benchmarks/learn_generic.py FOLDER --shares satellite=4 photos=4 brains=1 \\
        --out generic.safetensors

FOLDER holds one folder of images a kind; `--shares` says how often each kind is drawn. Nothing is
labelled. Patches of 256 x 256 pixels are drawn at several scales, turned, brightened and recoloured
a little. The encoder is EfficientNet-Lite0 (extra ``pretrained``) and stays as it is. Its maps of
the patch at once, twice and half its size are the features of which k-means makes 800 clusters;
the decoder sees the patch at its own size, and learns two things of sampled pixels: the cluster
(cross-entropy, the paper's loss), and the features themselves (squared error), so that what the
clusters do not tell is kept as well. So it learns to see finer and wider than the encoder does.

Prints both losses for patches held out, and writes them to a JSON beside the weights. 1600 patches
and 16 rounds take about half an hour on 2 cores.
"""

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

import napari_clusternet as cn
from napari_clusternet.clustering import KMeans
from napari_clusternet.features.pretrained import _CONTRAST, MAP_COMPONENTS, _network
from napari_clusternet.features.pretrained_weights import weights_file
from napari_clusternet.networks.efficientnet_lite import MAP_CHANNELS, MAP_STRIDES
from napari_clusternet.networks.generic import N_FEATURES, GenericNetwork

PATCH, SCALES, CLUSTERS = 256, (1.0, 2.0, 0.5), 800
#: Pixels of a patch that are learned from; patches of a step, and their edge there.
PIXELS, BATCH, WINDOW = 2048, 8, 128
#: Every so many patches one is held out.
HELD_OUT = 25
#: Weight of the features' own error beside the cross-entropy.
REBUILD = 5.0


def pictures(path: Path) -> list[np.ndarray]:
    """Three-channel pictures (3, Y, X) of one file: combinations of bands, slices of a volume."""
    image = cn.open_image(path)
    values, valid = image.read()
    values = np.where(valid, values, np.nan)
    if image.ndim == 3:
        slices = []
        for axis in range(3):
            for share in (0.35, 0.45, 0.55, 0.65):
                plane = np.take(values[0], int(values.shape[1 + axis] * share), axis=axis)
                if min(plane.shape) >= 100:
                    slices.append(np.repeat(plane[None], 3, axis=0))
        return [shown(one) for one in slices]
    if len(values) > 3:
        return [shown(values[[0, 1, 2]]), shown(values[[3, 0, 1]])]
    return [shown(values if len(values) == 3 else np.repeat(values[:1], 3, axis=0))]


def shown(values: np.ndarray) -> np.ndarray:
    """As `PretrainedFeatures` shows three bands to a network."""
    centre, spread = np.nanmean(values), np.nanstd(values)
    colours = (values - centre) / max(spread, 1e-6) * _CONTRAST
    return np.clip(np.nan_to_num(colours), -1, 1).astype(np.float32)


def draw(kinds: list[list[np.ndarray]], shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One patch (3, PATCH, PATCH)."""
    kind = kinds[rng.choice(len(kinds), p=shares)]
    picture = kind[rng.integers(len(kind))]
    zoom = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7))))
    zoom = max(zoom, PATCH / min(picture.shape[1:]) * 1.01)
    size = [min(int(np.ceil(PATCH / zoom)) + 2, n) for n in picture.shape[1:]]
    corner = [rng.integers(n - s + 1) for n, s in zip(picture.shape[1:], size, strict=True)]
    part = picture[:, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    if zoom < 1:
        part = ndimage.gaussian_filter(part, (0, 0.4 / zoom, 0.4 / zoom))
    patch = ndimage.zoom(part, (1, zoom, zoom), order=1, grid_mode=True, mode="nearest")
    patch = np.rot90(patch[:, :PATCH, :PATCH], rng.integers(4), axes=(1, 2))
    if rng.random() < 0.5:
        patch = patch[:, :, ::-1]
    if rng.random() < 0.15:
        patch = np.repeat(patch.mean(axis=0, keepdims=True), 3, axis=0)
    if rng.random() < 0.15:
        patch = patch[rng.permutation(3)]
    patch = (patch - patch.mean() * rng.uniform(0, 0.7)) * rng.uniform(0.7, 1.4)
    return np.clip(patch, -1, 1).astype(np.float32)


def at_pixels(cells: torch.Tensor, places: np.ndarray, stride: int) -> np.ndarray:
    """Interpolate a map (1, c, y, x) at places (n, 2) in pixels: (n, c)."""
    index = (places - (stride - 1)) / stride
    sizes = np.array(cells.shape[-2:]) - 1
    grid = torch.from_numpy((index / sizes * 2 - 1)[:, ::-1].astype(np.float32).copy())
    found = F.grid_sample(
        cells, grid[None, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return found[0, :, 0].T.numpy()


def look(
    encoder: nn.Module, patch: np.ndarray, cells: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the encoder's maps of a patch, and (n, c) of every scale's maps at cells (n, 2)."""
    x = torch.from_numpy(patch)[None]
    own, found = [], []
    for scale in SCALES:
        view = F.interpolate(x, scale_factor=scale, mode="bilinear" if scale > 1 else "area")
        with torch.inference_mode():
            maps = encoder(view)
        if scale == 1:
            own = [m[0].numpy().astype(np.float16) for m in maps]
        places = (2 * cells + 1.5) * scale - 0.5  # cell j of the decoder lies on pixel 2 j + 1
        found += [at_pixels(m, places, s) for m, s in zip(maps, MAP_STRIDES, strict=True)]
    return own, found


def components(tables: list[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal components, weighed between as they are and all alike, variance k."""
    table = np.concatenate(tables).astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(table.T))
    spread = np.sqrt(np.maximum(values[::-1][:k], 1e-12))
    return table.mean(axis=0), axes[:, ::-1][:, :k] / np.sqrt(spread) * np.sqrt(k / spread.sum())


@dataclass
class Patches:
    """What is learned from.

    Attributes
    ----------
    maps : list of numpy.ndarray of float16, each of shape (n, c, PATCH / s, PATCH / s)
        The encoder's maps.
    cells : numpy.ndarray of int, shape (n, PIXELS, 2)
        Cells (row, column) of the decoder that are learned.
    targets : numpy.ndarray of float16, shape (n, PIXELS, f)
        Features of these pixels at all scales.
    """

    maps: list[np.ndarray]
    cells: np.ndarray
    targets: np.ndarray


def prepare(
    encoder: nn.Module, patches: Iterable[np.ndarray], n: int, rng: np.random.Generator
) -> Patches:
    """Look at `n` patches; the first hundred say what the components are."""
    sizes = MAP_COMPONENTS * len(SCALES)
    found = Patches(
        [
            np.empty((n, c, PATCH // s, PATCH // s), np.float16)
            for c, s in zip(MAP_CHANNELS, MAP_STRIDES, strict=True)
        ],
        rng.integers(0, PATCH // 2, (n, PIXELS, 2)),
        np.empty((n, PIXELS, sum(sizes)), np.float16),
    )
    bases: list[tuple[np.ndarray, np.ndarray]] = []
    waiting: list[tuple[int, list[np.ndarray]]] = []
    for i, patch in zip(range(n), patches, strict=False):
        own, tables = look(encoder, patch, found.cells[i])
        for kept, one in zip(found.maps, own, strict=True):
            kept[i] = one
        waiting.append((i, tables))
        if not bases and len(waiting) == min(n, 100):
            bases = [components([t[j] for _, t in waiting], k) for j, k in enumerate(sizes)]
        for j, seen in waiting if bases else ():
            parts = [(t - mean) @ base for t, (mean, base) in zip(seen, bases, strict=True)]
            found.targets[j] = np.concatenate(parts, axis=1)
        waiting = [] if bases else waiting
        if i % 200 == 199:
            print(f"{i + 1} patches", flush=True)
    return found


def learn(
    decoder: nn.Module, patches: Patches, rounds: int, seed: int, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Train the decoder; return the losses of the patches held out."""
    n, width = len(patches.targets), patches.targets.shape[-1]
    learned, held_out = np.flatnonzero(np.arange(n) % HELD_OUT), np.arange(0, n, HELD_OUT)
    rows = patches.targets[learned, ::8].reshape(-1, width).astype(np.float32)
    variance = float(rows.var(axis=0).sum())
    kmeans = KMeans(CLUSTERS, random_state=seed).fit(rows)
    labels = np.stack([kmeans.predict(t.astype(np.float32)) for t in patches.targets])
    held = 1 - kmeans.inertia_ / len(rows) / variance
    print(f"clusters hold {held:.3f} of the variance", flush=True)
    decoder = decoder.to(memory_format=torch.channels_last)
    classify, rebuild = nn.Linear(N_FEATURES, CLUSTERS), nn.Linear(N_FEATURES, width)
    parameters = [*decoder.parameters(), *classify.parameters(), *rebuild.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=1e-4)
    n_steps = rounds * len(learned) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=n_steps)

    def losses(chosen: np.ndarray, edge: int) -> tuple[torch.Tensor, torch.Tensor]:
        corner = 8 * rng.integers(0, (PATCH - edge) // 16 + 1, 2)  # in cells of stride 2
        blocks = []
        for kept, stride in zip(patches.maps, MAP_STRIDES, strict=True):
            (top, left), size = corner * 2 // stride, edge // stride
            part = kept[chosen, :, top : top + size, left : left + size].astype(np.float32)
            blocks.append(torch.from_numpy(part).contiguous(memory_format=torch.channels_last))
        features = decoder(blocks).permute(0, 2, 3, 1).reshape(-1, N_FEATURES)
        places = patches.cells[chosen] - corner
        inside = ((places >= 0) & (places < edge // 2)).all(axis=-1)
        patch, pixel = np.nonzero(inside)
        row, column = places[patch, pixel].T
        features = features[torch.from_numpy((patch * (edge // 2) + row) * (edge // 2) + column)]
        truth = torch.from_numpy(labels[chosen][inside].astype(np.int64))
        wanted = torch.from_numpy(patches.targets[chosen][inside].astype(np.float32))
        error = (rebuild(features) - wanted).square().sum(dim=1).mean() / variance
        return F.cross_entropy(classify(features), truth), error

    curve: list[dict[str, float]] = []
    queue: list[int] = []
    for step in range(n_steps):
        if len(queue) < BATCH:
            queue = list(rng.permutation(learned))
        entropy, error = losses(np.array([queue.pop() for _ in range(BATCH)]), WINDOW)
        optimizer.zero_grad()
        (entropy + REBUILD * error).backward()
        optimizer.step()
        schedule.step()
        if step % 400 == 0 or step == n_steps - 1:
            decoder.eval()
            with torch.inference_mode():
                parts = [losses(part, PATCH) for part in np.array_split(held_out, 8)]
            decoder.train()
            means = np.mean([[float(v) for v in part] for part in parts], axis=0)
            curve.append({"step": step, "cross_entropy": means[0], "error": means[1]})
            print(f"{step}: cross-entropy {means[0]:.3f}, error {means[1]:.3f}", flush=True)
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shares", nargs="+", required=True, help="kind=share ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patches", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=16, help="how often each patch is seen")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    named = dict(pair.split("=") for pair in options.shares)
    kinds = []
    for kind in named:
        files = sorted(p for p in (options.folder / kind).rglob("*") if p.is_file())
        kinds.append([picture for file in files for picture in pictures(file)])
        print(f"{kind}: {len(files)} files, {len(kinds[-1])} pictures", flush=True)
    network = GenericNetwork()
    network.encoder.load_state_dict(_network(weights_file()).state_dict())
    shares = np.array([float(share) for share in named.values()])
    rng, start = np.random.default_rng(options.seed), time.perf_counter()
    drawn = (draw(kinds, shares / shares.sum(), rng) for _ in iter(int, 1))
    patches = prepare(network.encoder.eval(), drawn, options.patches, rng)
    curve = learn(network.decoder, patches, options.rounds, options.seed, rng)
    values = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    small = {k: v.half() if v.ndim > 1 else v for k, v in values.items()}
    save_file({k: v.contiguous() for k, v in small.items()}, options.out)
    settings = {name: str(value) for name, value in vars(options).items()}
    report = {"seconds": time.perf_counter() - start, "curve": curve, "settings": settings}
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
