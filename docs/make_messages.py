"""List every error message of the package, from its sources, for the page Troubleshooting.

    python docs/make_messages.py        # print the table

mkdocs calls `on_page_markdown`, which puts the table where a page asks for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "napari_clusternet"
MARK = "<!-- all messages -->"
#: Functions that raise -> arguments before problem and remedy.
RAISERS = {"invalid": 2, "_refuse": 1}
#: Part of the package -> what users call it; the first that fits counts.
TITLES = {
    "_cli": "Command line", "cli.py": "Command line", "_napari": "In napari",
    "io": "Files", "image": "Images", "scaling": "Large images and clusters",
    "applying": "Apply to other images", "classify": "Strokes and stroke methods",
    "session": "Sessions", "extraction": "Sessions", "engine": "Sessions", "partition": "Sessions",
    "clusternet": "Learning features", "training": "Learning features",
    "unsupervised": "Regions without strokes", "api/regions": "Regions without strokes",
    "supervised": "Learning from masks", "api/mask": "Learning from masks", "api": "Methods",
    "clustering": "Clustering", "features": "Features", "networks": "Weights of networks",
    "device": "Device", "sar": "SAR", "speckle": "SAR", "polygons": "Polygons and objects",
    "object": "Polygons and objects", "metrics": "Scores",
}  # fmt: skip


def title_of(path: str) -> str:
    """Return the heading that messages of a source file stand under."""
    fitting = [key for key in TITLES if path.startswith(key)]
    return TITLES[max(fitting, key=len)] if fitting else "Other"


def words(node: ast.expr, known: dict[str, list[str]]) -> list[str]:
    """Return the texts that an expression can be; what is filled in at run time is "...".

    Parameters
    ----------
    node : ast.expr
        An argument of a message.
    known : dict of str to list of str
        Texts that were assigned to names in the same function.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "..." for p in node.values]
        return ["".join(map(str, parts))]
    if isinstance(node, ast.IfExp):
        return words(node.body, known) + words(node.orelse, known)
    if isinstance(node, ast.BinOp):
        return [a + b for a in words(node.left, known) for b in words(node.right, known)]
    if isinstance(node, ast.Name):
        return known.get(node.id, ["..."])
    return ["..."]


def messages() -> Iterator[tuple[str, str, str]]:
    """Yield (title, problem, remedy) of every message of an error."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        title = title_of(path.relative_to(SOURCE).as_posix())
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            known: dict[str, list[str]] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    texts = [t for t in words(node.value, {}) if t != "..."]
                    known.setdefault(node.targets[0].id, []).extend(texts)
            known = {name: texts or ["..."] for name, texts in known.items()}
            for node in ast.walk(function):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                    continue
                if node.func.id in RAISERS and len(node.args) == RAISERS[node.func.id] + 2:
                    problem_node, remedy = node.args[-2:]
                    for problem in words(problem_node, known):
                        yield title, problem, words(remedy, known)[0]


def table() -> str:
    """Return all messages as Markdown, a table for each part of the package."""
    found: dict[str, dict[str, str]] = {}
    for title, problem, remedy in messages():
        if problem.strip(" .") and "__" not in problem:
            found.setdefault(title, {}).setdefault(problem, remedy)
    lines: list[str] = []
    for title in sorted(found):
        lines += [f"### {title}", "", "| The message says | It also says what to do |", "|---|---|"]
        for problem, remedy in sorted(found[title].items(), key=lambda pair: pair[0].lower()):
            lines.append(f"| {_cell(problem)} | {_cell(remedy)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    escaped = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return escaped if escaped.strip(" .") else "(said at run time)"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the table where a page asks for it; called by mkdocs."""
    return markdown.replace(MARK, table()) if MARK in markdown else markdown


if __name__ == "__main__":
    print(table())
