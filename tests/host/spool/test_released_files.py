"""The notes of jobs that are over: whole or not at all, read back as they were written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from dicomnode.host.spool import released_files
from dicomnode.host.spool.released_files import ReleasedFiles, ReleasedNote


def notes(folder: Path) -> ReleasedFiles:
    return ReleasedFiles(folder, durable=False)


def test_a_note_is_read_back(tmp_path: Path) -> None:
    """What was noted is yielded by whoever looks later; making the object touches nothing."""
    folder = tmp_path / "released"
    released = notes(folder)
    assert not folder.exists()
    assert list(released.notes()) == []
    released.note(["kept/1/b.dcm", "kept/1/a.dcm"], 12.5)
    released.note(["kept/1/c.dcm"], 13)
    assert set(notes(folder).notes()) == {
        ReleasedNote(12.5, frozenset({"kept/1/a.dcm", "kept/1/b.dcm"})),
        ReleasedNote(13.0, frozenset({"kept/1/c.dcm"})),
    }
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_note_has_one_name_for_its_files(tmp_path: Path) -> None:
    """Noting the same files again, in any order, replaces the note; other files have another."""
    released = notes(tmp_path / "released")
    released.note(["a", "b"], 1)
    released.note(["b", "a", "a"], 2)
    assert list(released.notes()) == [ReleasedNote(2.0, frozenset({"a", "b"}))]
    released.note(["ab"], 3)
    assert len(list(released.notes())) == 2


def test_a_job_without_files_needs_no_note(tmp_path: Path) -> None:
    """Nothing is made where there is nothing to say."""
    notes(tmp_path / "released").note([], 1)
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_taken_back(tmp_path: Path) -> None:
    """Forgetting removes the note of exactly these files; forgetting what is not noted is no error."""
    released = notes(tmp_path / "released")
    released.forget(["a"])
    released.note(["a", "b"], 1)
    released.note(["c"], 2)
    released.forget(["a"])
    released.forget(["b", "a"])
    released.forget(["b", "a"])
    assert list(released.notes()) == [ReleasedNote(2.0, frozenset({"c"}))]


def test_the_order_of_a_durable_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is synced into the one above, the note before it gets its name, the folder after that."""
    calls: list[str] = []
    fsync = os.fsync

    def record_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        calls.append(f"file {path.suffix} of {path.stat().st_size > 0}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(released_files, "sync_directory", lambda path: calls.append(path.name))
    released = ReleasedFiles(tmp_path / "released", durable=True)
    released.note(["a"], 1)
    assert calls == [tmp_path.name, "file .part of True", "released"]
    calls.clear()
    released.note(["b"], 1)
    assert calls == ["file .part of True", "released"]
    calls.clear()
    released.forget(["b"])
    released.forget(["b"])
    assert calls == ["released"]
    calls.clear()
    notes(tmp_path / "other").note(["a"], 1)
    assert calls == []


def test_a_note_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is raised, and neither half a note nor the loss of the old one comes of it."""
    released = ReleasedFiles(tmp_path / "released", durable=True)
    released.note(["a"], 1)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        released.note(["a"], 2)
    assert list(released.notes()) == [ReleasedNote(1.0, frozenset({"a"}))]


BROKEN = [
    "", "[]", "{", '{"ended": 1}', '{"files": []}', '{"ended": "x", "files": []}', '{"ended": 1, "files": 1}',
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_note_that_cannot_be_read_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """It is named in the log, and those beside it are read all the same."""
    released = notes(tmp_path)
    released.note(["a"], 1)
    (tmp_path / "0000.json").write_text(broken)
    (tmp_path / "zzzz.json").write_text(json.dumps({"ended": 4, "files": ["z"]}))
    assert {note.ended for note in released.notes()} == {1.0, 4.0}
    assert "the note 0000.json cannot be read" in caplog.text


def test_what_others_do_meanwhile_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another thread makes, or a note that it removes, a moment earlier."""
    released = notes(tmp_path / "released")
    (tmp_path / "released").mkdir()
    with monkeypatch.context() as patched:
        answers = iter([False])
        patched.setattr(Path, "is_dir", lambda self: next(answers, True))
        released.note(["a"], 1)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    released.forget(["a"])
    released.forget(["a"])
    assert list(released.notes()) == []


def test_a_note_that_goes_meanwhile_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A note that another thread has removed between listing and reading is passed over without a word."""
    (tmp_path / "0000.json").symlink_to(tmp_path / "gone")
    released = notes(tmp_path)
    released.note(["a"], 1)
    assert [note.ended for note in released.notes()] == [1.0]
    assert caplog.text == ""
