"""The classes that strokes stand for: one list for all images of a viewer."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_clusternet.errors import invalid
from napari_clusternet.gallery import CLASS_COLOURS

Colour = tuple[float, float, float]


def default_colour(class_: int) -> Colour:
    """Colour of class 1, 2, ...: told apart by most who do not see all colours, then by hue."""
    if class_ < len(CLASS_COLOURS):
        red, green, blue = (float(value) / 255 for value in CLASS_COLOURS[class_])
        return red, green, blue
    return colorsys.hsv_to_rgb(class_ * 0.618 % 1, 0.8, 0.95)


def _from_hex(colour: str) -> Colour:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


class ClassList:
    """Names and colours of the classes 1, 2, ...

    Attributes
    ----------
    changed : Signal
        A class was added, renamed or recoloured.
    """

    changed = Signal()

    def __init__(self, names: Sequence[str] = ("class 1", "class 2")) -> None:
        self._names = list(names)
        self._colours = [default_colour(i + 1) for i in range(len(names))]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> dict[int, str]:
        """Class -> name."""
        return dict(enumerate(self._names, start=1))

    @property
    def colours(self) -> dict[int, Colour]:
        """Class -> (red, green, blue), 0..1."""
        return dict(enumerate(self._colours, start=1))

    def as_json(self) -> list[dict[str, Any]]:
        """Names and colours as files hold them."""
        return [
            {"name": name, "colour": list(colour)}
            for name, colour in zip(self._names, self._colours, strict=True)
        ]

    def add(self, name: str = "") -> int:
        """Add a class; return its number."""
        number = len(self) + 1
        self._names.append(name or f"class {number}")
        self._colours.append(default_colour(number))
        self.changed.emit()
        return number

    def ensure(self, n: int, names: Sequence[str] = (), colours: Sequence[str] = ()) -> None:
        """Make sure that there are classes 1..n, with these names if given.

        Colours, "#rrggbb", are those of classes that nobody has given another.
        """
        before = len(self)
        while len(self._names) < n:
            number = len(self._names) + 1
            self._names.append(f"class {number}")
            self._colours.append(default_colour(number))
        self._names[: len(names)] = list(names)
        for i, colour in enumerate(colours):
            if self._colours[i] == default_colour(i + 1):
                self._colours[i] = _from_hex(colour)
        if names or len(self) != before:
            self.changed.emit()

    def rename(self, class_: int, name: str) -> None:
        """Give a class another name."""
        self._names[self._index(class_)] = name
        self.changed.emit()

    def recolour(self, class_: int, colour: Colour) -> None:
        """Give a class another colour (red, green, blue), 0..1."""
        red, green, blue = colour
        self._colours[self._index(class_)] = (float(red), float(green), float(blue))
        self.changed.emit()

    def colormap(self) -> DirectLabelColormap:
        """Colours for a Labels layer of classes; 0 is transparent, unknown classes are grey."""
        colours: dict[int | None, tuple[float, ...]] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0, 0, 0, 0)}
        colours |= {class_: (*colour, 1.0) for class_, colour in self.colours.items()}
        return DirectLabelColormap(color_dict=colours)

    def _index(self, class_: int) -> int:
        if not 1 <= class_ <= len(self):
            invalid("class_", class_, f"there are classes 1 to {len(self)}", "Add it first")
        return class_ - 1
