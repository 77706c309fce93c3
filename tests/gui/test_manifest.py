"""The manifest is valid, everything in it can be imported, and napari shows it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from npe2 import PluginManifest

from napari_clusternet._napari.preferences import Preferences, preferences, results_folder

PLUGIN = "napari-clusternet"
DOCKS = {
    "Learn features": "LearnDock",
    "Classify": "ClassifyDock",
    "Segment without strokes": "UnsupervisedDock",
    "Clusters": "ClustersDock",
    "Apply and export": "TransferDock",
}


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(PLUGIN)


def test_everything_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()


def test_the_docks(manifest: PluginManifest) -> None:
    commands = {command.id: command.python_name for command in manifest.contributions.commands}
    found = {w.display_name: commands[w.command] for w in manifest.contributions.widgets}
    assert {name: path.rpartition(":")[2] for name, path in found.items()} == DOCKS


def test_every_command_is_used(manifest: PluginManifest) -> None:
    parts = manifest.contributions
    used = {
        item.command
        for group in (parts.widgets, parts.readers, parts.writers, parts.sample_data)
        for item in group
    }
    used |= {item.command for menu in parts.menus.values() for item in menu}
    assert {command.id for command in parts.commands} == used


def test_defaults_of_the_preferences_live_in_one_place(manifest: PluginManifest) -> None:
    described = {
        key: part.default
        for group in manifest.contributions.configurations.values()
        for key, part in group.properties.items()
    }
    assert described == {field.name: field.default for field in fields(Preferences)}


def test_preferences_are_read_and_followed(
    make_napari_viewer_proxy: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.settings import get_plugin_settings

    viewer = make_napari_viewer_proxy()
    assert preferences() == Preferences()
    stored = get_plugin_settings(PLUGIN)
    monkeypatch.setattr(type(stored), "save", lambda *_, **__: None)  # keep the user's file
    stored.results.folder = str(tmp_path)
    stored.learning.preset = "paper"
    try:
        assert preferences().preset == "paper"
        assert results_folder(None) == tmp_path
        _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Learn features")
        assert dock.preset.value == "paper"
    finally:
        stored.results.folder, stored.learning.preset = "", "quick"


def test_the_menus_are_there(make_napari_viewer_proxy: Any) -> None:
    from app_model.types import SubmenuItem
    from napari._app_model import get_app_model

    make_napari_viewer_proxy()
    menus = get_app_model().menus

    def titles(menu: str) -> set[str]:
        found = set()
        for item in menus.get_menu(menu):
            if isinstance(item, SubmenuItem):
                found |= titles(item.submenu)
            else:
                found.add(item.command.title)
        return found

    assert any("Classify" in title for title in titles("napari/layers/segment"))
    assert any("Learn features" in title for title in titles("napari/layers/segment"))
    assert any("without strokes" in title for title in titles("napari/layers/segment"))
    assert any("Clusters" in title for title in titles("napari/layers/classify"))
    assert any("Apply and export" in title for title in titles("napari/file/io_utilities"))
    assert any("Recover unsaved" in title for title in titles("napari/file/io_utilities"))
