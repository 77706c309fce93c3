"""Workflows and the conda recipe say what pyproject.toml says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
#: PyPI's name -> conda's.
CONDA = {"torch": "pytorch", "dask[array]": "dask-core"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def requirements(lines: list[str]) -> dict[str, str]:
    """Return name -> version asked for."""
    found = {}
    for line in lines:
        name, rest = re.match(r"([\w.\-]+(?:\[\w+\])?)\s*(.*)", line.partition(";")[0]).groups()
        found[CONDA.get(name, name)] = rest.strip()
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_ask_for_no_more_rights_than_they_need(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert "@" in step["uses"]


def test_tests_run_on_three_systems_and_every_python_that_is_promised() -> None:
    matrix = load(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    systems = {*matrix["os"], *(more["os"] for more in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    promised = [
        line.rpartition(" ")[2] for line in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    ]  # fmt: skip
    assert matrix["python"] == promised


def test_conda_recipe_has_the_dependencies_of_the_project() -> None:
    recipe = load(ROOT / "packaging" / "recipe.yaml")
    run = requirements([str(line) for line in recipe["requirements"]["run"]])
    assert run.pop("python") == PROJECT["requires-python"]
    assert run == requirements(PROJECT["dependencies"])
    optional = requirements(
        [line for extra in ("napari", "geo", "medical")
         for line in PROJECT["optional-dependencies"][extra]]
    )  # fmt: skip
    constrained = requirements([str(x) for x in recipe["requirements"]["run_constraints"]])
    assert {name: optional[name] for name in constrained} == constrained
    assert recipe["about"]["license"] == PROJECT["license"]


def test_citation_and_licences() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    data = ROOT / "src" / "napari_clusternet" / "data"
    named = (data / "README.md").read_text(encoding="utf-8")
    for licence in (data / "licences").iterdir():
        assert licence.read_text(encoding="utf-8").strip()
        assert licence.name in named


def test_a_released_readme_has_no_relative_links() -> None:
    spec = importlib.util.spec_from_file_location("links", ROOT / "packaging/absolute_links.py")
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    home = "https://example.org/owner/name"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    released = links.absolute(readme, home, "v1.2")
    shown = re.findall(rf"!\[[^]]*\]\({home}/raw/v1\.2/([^)]+)\)", released)
    linked = re.findall(rf"(?<!!)\[[^]]*\]\({home}/blob/v1\.2/([^)#]+)\)", released)
    assert "docs/images/workflow.png" in shown
    assert "docs/quickstart.md" in linked
    assert all((ROOT / path).exists() for path in (*shown, *linked))
    every = re.findall(r"\]\(([^)]+)\)", released)
    assert len(every) == len(re.findall(r"\]\(([^)]+)\)", readme))
    assert all(re.match("https?://|#", link) for link in every)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    urls = tomllib.loads(links.with_addresses(pyproject, home))["project"]["urls"]
    assert urls == PROJECT["urls"] | {"Homepage": home, "Source": home, "Issues": f"{home}/issues"}
