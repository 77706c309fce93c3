"""Links of the README and of all pages lead to files that are there; pictures stay small.

Anchors between pages are checked by ``mkdocs build --strict``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURES = sorted((ROOT / "docs" / "images").glob("*.png"))


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures that are not on the web."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"[a-z]+:|#", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in links(page) if not (page.parent / link.split("#")[0]).exists()]
    assert not missing


def test_every_picture_is_shown_and_small() -> None:
    shown = {Path(link).name for page in PAGES for link in links(page)}
    assert {picture.name for picture in PICTURES} <= shown
    assert sum(picture.stat().st_size for picture in PICTURES) < 5 << 20
    for picture in PICTURES:
        assert Image.open(picture).width <= 1600
