"""Put the scripts of `examples/` where a page asks for them; called by mkdocs."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"
_MARK = re.compile(r"<!-- script: (\w+\.py) -->")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return a page with the scripts that it asks for."""

    def code(mark: re.Match[str]) -> str:
        return f"```python\n{(FOLDER / mark[1]).read_text(encoding='utf-8')}```"

    return _MARK.sub(code, markdown)
