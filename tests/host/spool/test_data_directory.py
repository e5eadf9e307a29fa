"""The data directory: closed to others, held by one host, durable from its first moment on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.errors import DataDirectoryError
from dicomnode.host.spool import data_directory
from dicomnode.host.spool.data_directory import DataDirectory

_HOLD = """
import sys
from pathlib import Path
from dicomnode.host.spool.data_directory import DataDirectory
with DataDirectory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    """What is made, and what was there already, may be read by its owner alone."""
    root = tmp_path / "above" / "data"
    root.mkdir(parents=True, mode=0o755)
    with DataDirectory(root):
        assert {path.name: path.stat().st_mode & 0o777 for path in (root, *root.iterdir())} == {
            "data": 0o700,
            "outbox": 0o700,
            "work": 0o700,
            "host.lock": 0o600,
        }


def test_a_second_host_is_refused(tmp_path: Path) -> None:
    """Whoever comes second learns which process holds it; when that has ended, however, it can be had."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirectoryError, match=rf"held by another host \(process {holder.pid}\)"):
            DataDirectory(tmp_path).hold()
        holder.kill()
        holder.wait(10)
    with DataDirectory(tmp_path) as held:
        assert (held.root / "host.lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "host.lock").read_text() == ""


def test_it_cannot_be_made(tmp_path: Path) -> None:
    """A file that stands in the way is an error that says what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match=r"cannot be used: .* Set host\.data"):
        DataDirectory(tmp_path / "file" / "data").hold()


def test_every_new_directory_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut just after the first acknowledgement cannot take the data directory itself away."""
    synced: list[Path] = []
    monkeypatch.setattr(data_directory, "sync_directory", lambda path: synced.append(Path(path)))
    root = tmp_path / "a" / "b" / "data"
    with DataDirectory(root):
        assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b", root, root]
    synced.clear()
    with DataDirectory(root):
        assert synced == []
