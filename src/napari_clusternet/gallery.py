"""Pictures of results with Pillow alone: panels with captions, rows, legends; no display needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

#: Colours of the classes 1.., far apart for people who see all colours and most who do not.
CLASS_COLOURS = np.array(
    [
        (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
        (213, 94, 0), (204, 121, 167), (165, 214, 93), (128, 62, 168), (255, 179, 186),
        (120, 94, 60), (0, 220, 220), (190, 30, 60), (120, 120, 255), (150, 150, 150),
        (255, 255, 255),
    ],
    np.uint8,
)  # fmt: skip
_PANEL = 294  # pixels, the width that panels are enlarged to
_GAP, _CAPTION, _TITLE, _LINE = 8, 22, 30, 18
_BACKGROUND, _INK = (24, 24, 27), (235, 235, 235)


@dataclass(frozen=True)
class Panel:
    """A picture with a caption.

    Attributes
    ----------
    caption : str
        Words above it.
    picture : numpy.ndarray of uint8, shape (Y, X, 3)
        What to show; every pixel becomes a square.
    """

    caption: str
    picture: Picture


@dataclass(frozen=True)
class Row:
    """Panels side by side under a title, over a legend of the classes.

    Attributes
    ----------
    title : str
        Words above the panels.
    panels : sequence of Panel
        All of one shape.
    legend : sequence of str
        Names of the classes 1, 2, ...
    """

    title: str
    panels: Sequence[Panel]
    legend: Sequence[str]


def stretched(values: npt.NDArray[Any], bands: Sequence[int]) -> Picture:
    """Return bands of (C, Y, X) as a (Y, X, 3) picture, each from its 2nd to 98th percentile."""
    three = bands if len(bands) == 3 else [bands[0]] * 3
    chosen = np.stack([values[band] for band in three], axis=-1)
    low, high = np.percentile(chosen, (2, 98), axis=(0, 1))
    scaled = (chosen - low) / np.maximum(high - low, 1e-12)
    picture: Picture = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return picture


def coloured(labels: npt.NDArray[Any]) -> Picture:
    """Return classes (Y, X) in their colours; 0 is black, colours repeat past the last."""
    n = len(CLASS_COLOURS) - 1
    picture: Picture = CLASS_COLOURS[np.where(labels > 0, (labels.astype(int) - 1) % n + 1, 0)]
    return picture


def speckled(ids: npt.NDArray[Any]) -> Picture:
    """Return cluster ids (Y, X) in colours that differ from id to id; 0 is black."""
    colours = np.random.default_rng(0).integers(40, 256, (int(ids.max()) + 1, 3), dtype=np.uint8)
    colours[0] = 0
    picture: Picture = colours[ids]
    return picture


def drawn_over(picture: Picture, strokes: npt.NDArray[Any]) -> Picture:
    """Return a picture, dimmed, with strokes (Y, X) in the colours of their classes."""
    over: Picture = np.where(strokes[..., None] > 0, coloured(strokes), picture // 3)
    return over


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _enlarged(picture: Picture) -> Pillow.Image:
    factor = max(1, round(_PANEL / picture.shape[1]))
    return Pillow.fromarray(np.kron(picture, np.ones((factor, factor, 1), np.uint8)))


def _legend_lines(names: Sequence[str], width: int) -> list[list[tuple[int, int, str]]]:
    """Return lines of (x, class, name) that fit `width`."""
    font, x = _font(13), _GAP
    lines: list[list[tuple[int, int, str]]] = [[]]
    for class_, name in enumerate(names, start=1):
        needed = _LINE + int(font.getlength(name)) + 2 * _GAP
        if x + needed > width and lines[-1]:
            lines.append([])
            x = _GAP
        lines[-1].append((x, class_, name))
        x += needed
    return lines


def _draw_row(row: Row) -> Pillow.Image:
    pictures = [_enlarged(panel.picture) for panel in row.panels]
    width = sum(p.width + _GAP for p in pictures) + _GAP
    top = _TITLE + _CAPTION
    legend = _legend_lines(row.legend, width)
    bottom = top + max(p.height for p in pictures) + _GAP
    canvas = Pillow.new("RGB", (width, bottom + _LINE * len(legend) + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, 6), row.title, fill=_INK, font=_font(18))
    x = _GAP
    for panel, picture in zip(row.panels, pictures, strict=True):
        draw.text((x, _TITLE + 2), panel.caption, fill=_INK, font=_font(14))
        canvas.paste(picture, (x, top))
        x += picture.width + _GAP
    for n, line in enumerate(legend):
        y = bottom + _LINE * n
        for x, class_, name in line:
            colour = tuple(int(c) for c in coloured(np.array([class_]))[0])
            draw.rectangle((x, y + 2, x + 11, y + 13), fill=colour)
            draw.text((x + 16, y), name, fill=_INK, font=_font(13))
    return canvas


def gallery(rows: Sequence[Row]) -> Pillow.Image:
    """Return one picture with the rows below one another."""
    drawn = [_draw_row(row) for row in rows]
    size = (max(d.width for d in drawn), sum(d.height for d in drawn))
    canvas = Pillow.new("RGB", size, _BACKGROUND)
    y = 0
    for row in drawn:
        canvas.paste(row, (0, y))
        y += row.height
    return canvas
