"""Before a release: links and pictures of the README, and the project's addresses, made absolute.

    python packaging/absolute_links.py https://github.com/OWNER/NAME v0.1.0

The README points to files beside it, which is right in a checkout; on PyPI and napari hub there are
none. The workflow that publishes knows where the project lives, and calls this before it builds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?P<start>(?P<picture>!?)\[[^]]*\]\()(?P<path>[^)\s]+)\)")
_URLS = "[project.urls]\n"


def absolute(text: str, home: str, tag: str) -> str:
    """Return Markdown whose links to files of the project lead to `home`, as of `tag`."""

    def place(link: re.Match[str]) -> str:
        path = link["path"]
        if re.match(r"[a-z]+:|#", path):
            return link[0]
        shown = "raw" if link["picture"] else "blob"
        return f"{link['start']}{home}/{shown}/{tag}/{path})"

    return _LINK.sub(place, text)


def with_addresses(pyproject: str, home: str) -> str:
    """Return pyproject.toml with the addresses of the project."""
    lines = [f'"Homepage" = "{home}"', f'"Source" = "{home}"', f'"Issues" = "{home}/issues"']
    return pyproject.replace(_URLS, _URLS + "\n".join(lines) + "\n", 1)


def main(home: str, tag: str) -> None:
    """Change README.md and pyproject.toml in place."""
    for name, change in (
        ("README.md", lambda text: absolute(text, home, tag)),
        ("pyproject.toml", lambda text: with_addresses(text, home)),
    ):
        file = ROOT / name
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2])
