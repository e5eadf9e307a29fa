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
        with pytest.raises(DataDirectoryError, match=rf"in use by another host \(process {holder.pid}\)"):
            DataDirectory(tmp_path).lock()
        holder.kill()
        holder.wait(10)
    with DataDirectory(tmp_path) as held:
        assert (held.root / "host.lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "host.lock").read_text() == ""


def test_it_cannot_be_made(tmp_path: Path) -> None:
    """A file that stands in the way is an error that says what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match=r"cannot be used: .* Set host\.data"):
        DataDirectory(tmp_path / "file" / "data").lock()


def test_every_new_directory_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut just after the first acknowledgement cannot take the data directory itself away."""
    synced: list[Path] = []
    monkeypatch.setattr(data_directory, "sync_directory", lambda path: synced.append(Path(path)))
    root = tmp_path / "a" / "b" / "data"
    before = os.umask(0)
    try:
        DataDirectory(root).lock().unlock()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (root, *root.parents[:2])} == {0o700}
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b", root, root]
    synced.clear()
    with DataDirectory(root):
        assert synced == []


def test_where_things_lie(tmp_path: Path) -> None:
    """Each thing has its place in the directory, and looking does not make it."""
    data = DataDirectory(tmp_path / "data")
    places = {"ledger": "ledger.sqlite", "spool": "spool", "outbox": "outbox", "work": "work",
              "results": "results", "control": "control.sock"}  # fmt: skip
    assert {name: getattr(data, name).relative_to(data.root).as_posix() for name in places} == places
    assert not data.root.exists()


def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """Folders that somebody has opened are closed when the host starts."""
    with DataDirectory(tmp_path):
        pass
    for path in (tmp_path, tmp_path / "outbox", tmp_path / "work"):
        path.chmod(0o755)
    with DataDirectory(tmp_path):
        assert {
            path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "outbox", tmp_path / "work")
        } == {0o700}


@pytest.mark.parametrize(
    ("note", "process"),
    [(b"", ""), (b"no number", ""), (b"\xff\xfe", ""), (b" 77\n", r" \(process 77\)")],
)
def test_a_holder_is_named_where_it_said_who_it_is(tmp_path: Path, note: bytes, process: str) -> None:
    """The process that holds the directory is named by its number, or not at all; nothing stays open."""
    with DataDirectory(tmp_path):
        (tmp_path / "host.lock").write_bytes(note)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(DataDirectoryError, match=f"is in use by another host{process}[.] Stop that one"):
            DataDirectory(tmp_path).lock()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_longer_note_of_the_last_holder_is_replaced(tmp_path: Path) -> None:
    """A host that was killed leaves its number: nothing of it is mixed with that of the next."""
    (tmp_path / "host.lock").write_text("123456789012345\n")
    with DataDirectory(tmp_path):
        assert (tmp_path / "host.lock").read_text() == f"{os.getpid()}\n"


def test_letting_go_twice_lets_go_once(tmp_path: Path) -> None:
    """A second time closes nothing, also not the number of a file that was opened meanwhile."""
    data = DataDirectory(tmp_path)
    data.unlock()
    data.lock()
    data.unlock()
    with (tmp_path / "other").open("w") as other:
        data.unlock()
        other.write("still open")
    assert (tmp_path / "other").read_text() == "still open"
    with DataDirectory(tmp_path), pytest.raises(DataDirectoryError):
        data.lock()


def test_a_folder_that_another_process_makes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That somebody else was quicker is no error: the folder is there."""
    root = tmp_path / "data"
    is_dir, asked = Path.is_dir, []

    def a_moment_before(self: Path) -> bool:
        if self == root and not asked:
            asked.append(self)
            root.mkdir()
            return False
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", a_moment_before)
    with DataDirectory(root):
        assert asked == [root]
