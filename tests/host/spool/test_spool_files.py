"""The files of a spool by their names: listed in order, quarantined with a reason, removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dicomnode.host.spool import spool_files
from dicomnode.host.spool.spool_files import SpoolFiles


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    """Return the files of a spool with five of them in two directories."""
    made = SpoolFiles(tmp_path / "spool", durable=False)
    for name in ("00000a/2.dcm", "00000a/1.dcm", "000002/5.dcm", "000002/4.dcm", "000100/3.dcm"):
        path = made.root / "kept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    made.quarantine_folder.mkdir()
    return made


def first(files: SpoolFiles) -> Path:
    return files.path_of(next(files.names()))


def test_making_it_touches_nothing(tmp_path: Path) -> None:
    """Who only looks leaves no trace."""
    assert SpoolFiles(tmp_path / "spool").durable
    assert list(tmp_path.iterdir()) == []


def test_what_was_released_is_noted_beside_the_files(files: SpoolFiles) -> None:
    """The notes of jobs that are over are in a folder of the spool."""
    files.released.note(["kept/000002/4.dcm"], 1.0)
    assert len(list((files.root / "released").iterdir())) == 1


def test_files_are_listed_in_order(files: SpoolFiles) -> None:
    """Directories in the order in which they were filled, and in each the files by name."""
    names = ["000002/4.dcm", "000002/5.dcm", "00000a/1.dcm", "00000a/2.dcm", "000100/3.dcm"]
    assert list(files.names()) == [f"kept/{name}" for name in names]
    assert list(files.iterate()) == [files.root / "kept" / name for name in names]


def test_what_is_not_the_spools_is_not_listed(files: SpoolFiles) -> None:
    """Folders of an operator or a file system, and files of another kind, are passed over."""
    before = list(files.names())
    for name in (
        "lost+found/1.dcm",
        "notes/1.dcm",
        "-1/1.dcm",
        "00000g/1.dcm",
        "000002/1.txt",
        "000002/1.dcm.old",
    ):
        path = files.root / "kept" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(files.names()) == before
    zero = files.root / "kept" / "000000" / "0.dcm"
    zero.parent.mkdir()
    zero.touch()
    assert next(files.iterate()) == zero


def test_names_and_paths_are_each_others_inverse(files: SpoolFiles) -> None:
    """The ledger's name of a file is its path within the spool."""
    path = first(files)
    assert files.name_of(path) == files.name_of(str(path)) == "kept/000002/4.dcm"
    assert files.file_of("kept/000002/4.dcm") == str(path)
    assert files.path_of("kept/000002/4.dcm") == path


def test_quarantine_moves_the_file_and_notes_why(files: SpoolFiles) -> None:
    """A quarantined file is no longer listed among the kept ones; its reason is beside it, for its owner."""
    path = first(files)
    moved = files.quarantine(path, "it was broken")
    assert moved == files.quarantine_folder / "4.dcm"
    assert moved.read_text() == "000002/4.dcm"
    assert not path.exists()
    assert files.reason_of(moved) == "it was broken"
    assert list(files.iterate_quarantine()) == [moved]
    assert "kept/000002/4.dcm" not in set(files.names())
    assert moved.with_name("4.dcm.reason").stat().st_mode & 0o777 == 0o600


def test_quarantined_files_are_listed_in_order(files: SpoolFiles) -> None:
    """Only what was quarantined, not the notes, by name."""
    for path in reversed(list(files.iterate())):
        files.quarantine(path, "why")
    assert [path.name for path in files.iterate_quarantine()] == [f"{number}.dcm" for number in range(1, 6)]


def test_a_shorter_reason_replaces_a_longer_one(files: SpoolFiles) -> None:
    """A name that was quarantined before leaves nothing of its note."""
    files.quarantine(first(files), "a very long reason")
    again = files.root / "kept" / "000002" / "4.dcm"
    again.touch()
    assert files.reason_of(files.quarantine(again, "short")) == "short"


def test_any_text_can_be_a_reason(files: SpoolFiles) -> None:
    """What cannot be encoded is written escaped, and what cannot be decoded is replaced."""
    moved = files.quarantine(first(files), "name \ud800 of it")
    assert files.reason_of(moved) == r"name \ud800 of it"
    moved.with_name("4.dcm.reason").write_bytes(b" x\xe9 \n")
    assert files.reason_of(moved) == "x\ufffd"


def test_a_reason_without_a_note_is_empty(files: SpoolFiles) -> None:
    """A file without a note has the empty text as its reason."""
    moved = files.quarantine(first(files), "why")
    moved.with_name("4.dcm.reason").unlink()
    assert files.reason_of(moved) == ""


def test_a_full_disk_does_not_keep_a_file_from_quarantine(
    files: SpoolFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the note cannot be written the file is moved all the same."""

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool_files.os, "open", full)
    moved = files.quarantine(first(files), "why")
    assert moved.exists()
    assert files.reason_of(moved) == ""


def test_quarantine_is_durable_where_the_spool_is(files: SpoolFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note is synced with its text before the file is moved, the folder after that; or nothing is."""
    calls: list[str] = []

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        there = (files.quarantine_folder / path.stem).exists()
        calls.append(f"{path.name} says {path.read_text().strip()!r}, file moved: {there}")

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(spool_files, "sync_directory", lambda path: calls.append(path.name))
    files.quarantine(first(files), "why")
    assert calls == []
    SpoolFiles(files.root, durable=True).quarantine(first(files), "why")
    assert calls == ["5.dcm.reason says 'why', file moved: False", "quarantine"]


def test_since_when_a_file_is_quarantined(files: SpoolFiles) -> None:
    """The note is of that time; without one, or with one that is older, it is when the file came."""
    moved = files.quarantine(first(files), "why")
    note = moved.with_name("4.dcm.reason")
    os.utime(moved, (500, 500))
    os.utime(note, (900, 900))
    assert files.quarantined_since(moved) == 900
    os.utime(note, (100, 100))
    assert files.quarantined_since(moved) == 500
    note.unlink()
    assert files.quarantined_since(moved) == 500
    moved.unlink()
    with pytest.raises(FileNotFoundError):
        files.quarantined_since(moved)


def test_removing_a_quarantined_file_removes_its_reason(files: SpoolFiles) -> None:
    """Nothing is left of it, and that it is gone already is no error."""
    moved = files.quarantine(first(files), "why")
    for _ in range(2):
        files.remove_quarantined(moved)
        assert list(files.quarantine_folder.iterdir()) == []


def test_what_is_not_in_the_spool_is_refused(files: SpoolFiles, tmp_path: Path) -> None:
    """A path outside, also through a link, is neither removed nor moved."""
    outside = tmp_path / "outside.dcm"
    outside.touch()
    link = files.root / "kept" / "link"
    link.symlink_to(tmp_path)
    for path in (outside, link / "outside.dcm", files.root / ".." / "outside.dcm"):
        for action in (files.remove, files.remove_quarantined, lambda path: files.quarantine(path, "why")):
            with pytest.raises(ValueError, match="is not in the spool"):
                action(path)
    assert outside.exists()
    assert list(files.quarantine_folder.iterdir()) == []
