"""K-textures in a picture: image, regions, simulated image, every mask and texture, loss curve.

    python benchmarks/ktextures_picture.py docs/images/ktextures_sentinel2.png
    python benchmarks/ktextures_picture.py --pair docs/images/ktextures_pair.png

The first segments the Sentinel-2 sample. The second makes two textures of equal histograms, and
compares k-means on bands, the paper's 1 x 1 mask branch and one that sees its surroundings.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from napari_clusternet.api.regions import default_tools, unsupervised
from napari_clusternet.data.samples import load_sample
from napari_clusternet.image import Image
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.base import read_unit
from napari_clusternet.unsupervised.ktextures import KTextures

GAP, TEXT = 10, 20
#: Okabe and Ito's colours, told apart by colour-blind people too; 0 is white.
COLOURS = np.array(
    [(255, 255, 255), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
     (213, 94, 0), (204, 121, 167), (110, 110, 110)], np.uint8,
)  # fmt: skip


def colour(regions):
    """Return regions ([Y, X]) in colours (Y, X, 3)."""
    return COLOURS[np.where(regions > 0, (regions.astype(int) - 1) % (len(COLOURS) - 1) + 1, 0)]


def rgb(values, bands):
    """Return bands (C, Y, X) from 0 to 1 as colours, brightened as scenes are shown."""
    picked = np.moveaxis(values[list(bands)], 0, -1).clip(0, 1) ** 0.7
    return (255 * picked).round().astype(np.uint8)


def enlarge(pixels, size):
    """Return colours (Y, X, 3) `size` wide, without smoothing."""
    scale = size / pixels.shape[1]
    shape = (size, round(pixels.shape[0] * scale))
    return Picture.fromarray(pixels).resize(shape, Picture.Resampling.NEAREST)


def titled(pixels, title, size):
    """Return a panel `size` wide with a title above."""
    picture = enlarge(pixels, size)
    panel = Picture.new("RGB", (size, picture.height + TEXT), "white")
    panel.paste(picture, (0, TEXT))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(panel).text((0, 0), title, fill="black", font=font)
    return panel


def row(panels):
    """Return panels side by side."""
    width = sum(p.width for p in panels) + GAP * (len(panels) - 1)
    whole = Picture.new("RGB", (width, max(p.height for p in panels)), "white")
    left = 0
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width + GAP
    return whole


def column(rows):
    """Return rows below each other, with a border."""
    size = (max(r.width for r in rows) + 2 * GAP, sum(r.height + GAP for r in rows) + GAP)
    whole = Picture.new("RGB", size, "white")
    top = GAP
    for part in rows:
        whole.paste(part, (GAP, top))
        top += part.height + GAP
    return whole


def curve(losses, width, height=190):
    """Return a plot of the loss over steps: every step in grey, a running mean in blue."""
    plot = Picture.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(plot), ImageFont.load_default(size=13)
    left, bottom, top = 50, height - 38, TEXT + 5
    ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if min(losses) <= t <= max(losses)]
    low, high = np.log(min(losses) * 0.95), np.log(max(losses) * 1.05)

    def place(step, loss):
        across = left + (width - left - 2) * step / max(1, len(losses) - 1)
        return across, bottom - (bottom - top) * (np.log(loss) - low) / (high - low)

    for tick in ticks:
        y = place(0, tick)[1]
        draw.line([(left, y), (width, y)], fill=(225, 225, 225))
        draw.text((left - 8, y), f"{tick:g}", fill="black", font=font, anchor="rm")
    draw.line([(left, top), (left, bottom), (width, bottom)], fill="black")
    draw.line([place(*p) for p in enumerate(losses)], fill=(185, 185, 185))
    window = max(1, len(losses) // 20)
    means = np.convolve(losses, np.ones(window) / window, "valid")
    draw.line([place(i + window / 2, m) for i, m in enumerate(means)], fill=(0, 114, 178), width=3)
    for step in np.linspace(0, len(losses), 5).astype(int):
        x = place(min(step, len(losses) - 1), losses[0])[0]
        draw.text((x, bottom + 4), str(step), fill="black", font=font, anchor="ra")
    title = "loss (mean squared error of features, logarithmic) over training steps"
    draw.text((0, 0), title, fill="black", font=ImageFont.load_default(size=14))
    return plot


def scene(args):
    """Return the picture of the Sentinel-2 sample."""
    sample = load_sample("sentinel2")
    image = sample.open()
    method = KTextures(
        k=args.k, n_steps=args.steps, features=args.features, kernel=args.kernel,
        window=args.window, batch=args.batch, vgg16=args.vgg16, rgb=sample.rgb,
    )  # fmt: skip
    start = time.perf_counter()
    regions = drain(method.region_steps(image, default_tools(args.device), args.seed))
    seconds = time.perf_counter() - start
    values, valid = read_unit(image)
    n = len(method.masks_)
    size = 310
    first = row([
        titled(rgb(values, sample.rgb), "Sentinel-2, red green blue", size),
        titled(colour(regions), f"{n} regions", size),
        titled(rgb(method.simulated_, sample.rgb), "simulated: masks x textures", size),
    ])  # fmt: skip
    small = (first.width - GAP * (n - 1)) // n
    shares = [mask.sum() / valid.sum() for mask in method.masks_]
    masks = row([
        titled(np.where(mask[..., None], COLOURS[i % 8 + 1], np.uint8(25)).astype(np.uint8),
               f"mask {i + 1}: {share:.0%}", small)
        for i, (mask, share) in enumerate(zip(method.masks_, shares, strict=True))
    ])  # fmt: skip
    textures = row([
        titled(rgb(texture[:, :50, :50], sample.rgb), f"texture {i + 1}", small)
        for i, texture in enumerate(method.textures_)
    ])  # fmt: skip
    last = np.mean(method.losses_[-20:])
    print(
        f"{n} of {args.k} masks used, loss {method.losses_[0]:.3f} -> {last:.3f}, {seconds:.0f} s"
    )
    return column([first, masks, textures, curve(method.losses_, first.width)])


def texture_pair(edge=128, seed=0):
    """Return an image and its truth: a fine and a coarse chequerboard with equal histograms."""
    y, x = np.mgrid[:edge, :edge]
    board = np.where(x < edge // 2, (y + x) % 2, (y // 4 + x // 4) % 2)
    values = 0.3 + 0.4 * board + np.random.default_rng(seed).normal(0, 0.05, board.shape)
    truth = np.where(x < edge // 2, 1, 2)
    return Image.from_array((255 * values).clip(0, 255).astype(np.uint8)), truth


def accuracy(regions, truth):
    """Return the share of pixels that are right under the better of both namings."""
    share = float((regions == truth).mean())
    return max(share, 1 - share)


def pair(args):
    """Return the picture of two textures that only their pattern tells apart."""
    image, truth = texture_pair()
    values, _ = read_unit(image)
    panels = [(rgb(values, (0, 0, 0)), "two textures, equal histograms")]
    options = {"k": 2, "n_steps": 100, "tile": 48, "batch": 2}
    runs = (
        ("k-means on bands", "kmeans", {"n_clusters": 2}),
        ("k-textures, 1 x 1", "ktextures", options),
        ("k-textures, window 13", "ktextures", {**options, "kernel": 3, "window": 13}),
    )
    for title, method, parameters in runs:
        scores = []
        for seed in range(args.seed, args.seed + 3):
            regions = unsupervised(
                image, method=method, random_state=seed, device=args.device, **parameters
            )
            scores.append(accuracy(regions, truth))
        panels.append((colour(regions), f"{title}: {min(scores):.2f}"))
        print(title, "accuracy of three seeds:", " ".join(f"{score:.3f}" for score in scores))
    return column([row([titled(pixels, title, 228) for pixels, title in panels])])


def main():
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pair", action="store_true", help="the two textures instead of the scene")
    parser.add_argument("--k", type=int, default=6)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--features", default="random", choices=("random", "learn"))
    parser.add_argument("--vgg16", type=Path, help="state dict of torchvision's VGG-16")
    parser.add_argument("--kernel", type=int, default=1)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    picture = pair(args) if args.pair else scene(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(255).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
