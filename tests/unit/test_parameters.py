"""What a method's docstring says of its parameters is what forms and help texts show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from napari_clusternet.api.parameters import describe_parameters
from napari_clusternet.classify import STROKE_METHODS
from napari_clusternet.supervised import SUPERVISED
from napari_clusternet.unsupervised import UNSUPERVISED


@dataclass
class Base:
    """A method.

    Parameters
    ----------
    k : int
        Number of ``classes``, in
        two lines.
    colour : {"bands", "lab"}, optional
        What is compared.

    Notes
    -----
    k : str
        Not a parameter.
    """

    k: int = 3
    colour: str = "bands"
    found_: Any = field(init=False, default=None)


@dataclass
class Derived(Base):
    """Another.

    Parameters
    ----------
    sizes : tuple of int
        Of its own.
    k, colour
        See `Base`.
    """

    sizes: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    untold: float = 0.5


def test_names_types_texts_and_choices() -> None:
    k, colour = describe_parameters(Base)
    assert (k.name, k.default, k.kind, k.choices) == ("k", 3, "int", ())
    assert k.text == "Number of classes, in two lines."
    assert colour.choices == ("bands", "lab")
    assert colour.text == "What is compared."


def test_references_are_followed_and_the_order_is_that_of_the_docstring() -> None:
    found = describe_parameters(Derived)
    assert [p.name for p in found] == ["sizes", "k", "colour", "untold"]
    assert found[0].default == (1, 2)
    assert found[1].text == "Number of classes, in two lines."
    assert found[2].choices == ("bands", "lab")
    assert found[3].text == ""


@pytest.mark.parametrize(
    "method",
    [table.load(name) for table in (STROKE_METHODS, UNSUPERVISED, SUPERVISED) for name in table],
    ids=lambda kind: kind.__name__,
)
def test_every_parameter_of_every_method_is_described(method: type) -> None:
    if not hasattr(method, "__dataclass_fields__"):
        pytest.skip("it has no parameters")
    found = describe_parameters(method)
    untold = [p.name for p in found if not p.text or p.text.startswith("See ")]
    assert not untold
    for parameter in found:
        if isinstance(parameter.default, str) and parameter.choices:
            assert parameter.default in parameter.choices
