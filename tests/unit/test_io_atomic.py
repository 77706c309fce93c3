"""`io.atomic`: the old content or the new one, never neither, nothing left behind."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from napari_clusternet.errors import FileFormatError
from napari_clusternet.io import atomic
from napari_clusternet.io.atomic import atomic_path


def write_half(target: Path, error: Exception) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "result.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.name.endswith(".nii.gz")  # writers choose the format by suffix
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "result.tif"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="boom"):
        write_half(target, RuntimeError("boom"))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_disk_full_names_the_target_and_keeps_its_errno(tmp_path: Path) -> None:
    target = tmp_path / "result.tif"
    with pytest.raises(OSError, match=r"could not write .*result\.tif.*unchanged") as caught:
        write_half(target, OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exchange", [True, False])
def test_folder_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:  # what other systems than Linux do
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    target = tmp_path / "labels.zarr"
    target.mkdir()
    (target / "stale").write_text("old")
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").write_text("new")
    assert [p.name for p in target.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [target]


def test_targets_that_cannot_be_are_refused_before_the_body(tmp_path: Path) -> None:
    protected = tmp_path / "keep.tif"
    protected.write_bytes(b"old")
    protected.chmod(0o444)
    for path, message in [(protected, "read-only"), (tmp_path / "no" / "x.tif", "no folder")]:
        with pytest.raises(FileFormatError, match=message), atomic_path(path):
            pytest.fail("the body must not run")


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "labels.zarr"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(FileFormatError, match="folder"), atomic_path(target) as temporary:
        temporary.write_bytes(b"file")
    assert (target / "kept").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
