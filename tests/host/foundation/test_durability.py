"""Syncing a directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dicomnode.host.foundation.durability import sync_directory


def test_the_directory_itself_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened, synced once, and closed again; a path may be given as text."""
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    sync_directory(tmp_path)
    sync_directory(str(tmp_path))
    assert synced == [tmp_path, tmp_path]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_failure_is_raised_and_nothing_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be synced is not durable: the caller has to know."""

    def failing(_number: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_only_a_directory_can_be_synced(tmp_path: Path) -> None:
    """A file, and what is not there, are errors."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "gone")
