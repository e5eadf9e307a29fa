"""The folder of a job's results: whole or not at all, durable in the right order, nothing left behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.errors import JobFailedError, OutputError
from dicomnode.host.jobs import job_folder
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_folder import JobFolder, building_folder, links_folder, read_manifest
from dicomnode.pipeline.destination import OutboxItem

RECORD = {"job": "7", "identity": "abc", "warnings": ["a warning"], "settings": {"ä": 1}}


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """Return a folder for results."""
    made = tmp_path / "outbox"
    made.mkdir()
    return made


def folder_of(outbox: Path, *, durable: bool = False) -> JobFolder:
    return JobFolder(outbox / "job-7-1", outbox.parent / "work" / "job-7", durable=durable)


def written(folder: JobFolder, number: int = 0, name: str = "a.txt", text: str = "text") -> OutboxItem:
    """Write a file into the folder of an output, with a folder in between."""
    path = folder.output_folder(number) / "below" / name
    path.parent.mkdir()
    path.write_text(text)
    return OutboxItem("file", path, file_name=name, folders=("x",), destinations=("PACS",))


def test_a_finished_folder_is_read_back(outbox: Path) -> None:
    """The manifest says what the record said, and of each file how long it is and its digest."""
    with folder_of(outbox) as folder:
        items = [written(folder), written(folder, 1, "b.txt", "other")]
        folder.finish(RECORD, items)
    manifest = read_manifest(outbox / "job-7-1")
    assert (manifest.job, manifest.identity, manifest.warnings) == ("7", "abc", ("a warning",))
    assert [item.path.read_text() for item in manifest.items] == ["text", "other"]
    assert [item.path.relative_to(outbox / "job-7-1").as_posix() for item in manifest.items] == [
        "00/below/a.txt",
        "01/below/b.txt",
    ]
    first = manifest.items[0]
    assert (first.output, first.file_name, first.folders, first.destinations) == (
        ("file", "a.txt", ("x",), ("PACS",))
    )
    assert manifest.plain["format"] == 1
    assert manifest.plain["settings"] == {"ä": 1}
    assert manifest.plain["files"] == {
        "00/below/a.txt": {"bytes": 4, "sha256": hashlib.sha256(b"text").hexdigest()},
        "01/below/b.txt": {"bytes": 5, "sha256": hashlib.sha256(b"other").hexdigest()},
    }


def test_only_the_owner_may_read(outbox: Path) -> None:
    """Folders are 0700, files and the manifest 0600, whatever the umask."""
    before = os.umask(0)
    try:
        with folder_of(outbox) as folder:
            item = written(folder)
            item.path.parent.chmod(0o700)
            modes = [path.stat().st_mode & 0o777 for path in (folder.building, folder.workdir, folder.links)]
            folder.finish(RECORD, [item])
    finally:
        os.umask(before)
    assert set(modes) == {0o700}
    assert (outbox.parent / "work").stat().st_mode & 0o777 == 0o700
    found = {path: path.stat().st_mode & 0o777 for path in (outbox / "job-7-1").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}


@pytest.mark.parametrize("finish", [True, False])
def test_nothing_else_is_left(outbox: Path, finish: bool) -> None:
    """After the block there is the result, if it was finished, and neither working folder nor links."""
    with folder_of(outbox) as folder:
        (folder.workdir / "scratch").touch()
        (folder.links / "link").touch()
        items = [written(folder)]
        if finish:
            folder.finish(RECORD, items)
    assert [path.name for path in outbox.iterdir()] == (["job-7-1"] if finish else [])
    assert list((outbox.parent / "work").iterdir()) == []


def test_what_an_earlier_attempt_left_is_gone(outbox: Path) -> None:
    """Each of the three folders is empty when the block begins."""
    folder = folder_of(outbox)
    for left in (folder.building, folder.workdir, folder.links):
        (left / "left").mkdir(parents=True)
    with folder:
        for made in (folder.building, folder.workdir, folder.links):
            assert list(made.iterdir()) == []


def test_where_the_folders_are(outbox: Path) -> None:
    """They are hidden ones beside those that they belong to."""
    assert building_folder(Path("/o/job")) == Path("/o/.job.building")
    assert links_folder(Path("/w/job")) == Path("/w/.job.inputs")
    folder = folder_of(outbox)
    assert folder.building == building_folder(folder.folder)
    assert folder.links == links_folder(folder.workdir)


def test_a_result_is_never_replaced(outbox: Path) -> None:
    """Where the folder exists the job fails before anything is made or removed."""
    folder = folder_of(outbox)
    folder.folder.mkdir()
    folder.building.mkdir()
    with pytest.raises(JobFailedError, match="has a result already") as caught, folder:
        pass
    assert caught.value.kind == Failure.OUTPUT
    assert folder.building.exists()
    assert not folder.workdir.exists()


def test_a_place_that_cannot_be_used(outbox: Path) -> None:
    """A file that stands where the working folders should be fails the job, and not the worker."""
    (outbox.parent / "work").write_text("")
    with pytest.raises(JobFailedError, match="the job's folder cannot be made") as caught, folder_of(outbox):
        pass
    assert caught.value.kind == Failure.DISK


# -- what an output names -----------------------------------------------------------------------------------


def test_items_are_plain_files_of_their_folder(outbox: Path) -> None:
    """A file of the output's own folder passes, at any depth."""
    with folder_of(outbox) as folder:
        item = written(folder)
        assert folder.check_item(item, folder.building / "00") is item


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda place: None, "named a, which cannot be found: No such file"),
        (lambda place: (place / "a").mkdir(), "no plain file in the folder"),
        (lambda place: (place / "a").symlink_to(place / "b"), "no plain file in the folder"),
        (lambda place: os.mkfifo(place / "a"), "no plain file in the folder"),
    ],
)
def test_other_things_are_no_items(outbox: Path, make: Callable[[Path], None], said: str) -> None:
    """Nothing, a folder, a link and a pipe are refused by their name."""
    with folder_of(outbox) as folder:
        place = folder.output_folder(0)
        (place / "b").touch()
        make(place)
        with pytest.raises(OutputError, match=said):
            folder.check_item(OutboxItem("file", place / "a"), place)


def test_files_of_other_folders_are_no_items(outbox: Path) -> None:
    """A file of another output, of the machine, or behind a link to a folder is not the output's own."""
    with folder_of(outbox) as folder:
        other = written(folder, 1)
        place = folder.output_folder(0)
        (place / "link").symlink_to(other.path.parent)
        for path in (other.path, Path("/etc/passwd"), place / "link" / "a.txt"):
            with pytest.raises(OutputError, match="no plain file in the folder"):
                folder.check_item(OutboxItem("file", path), place)
        with pytest.raises(OutputError, match="it returned a str among its items"):
            folder.check_item("a.txt", place)


# -- durability ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_result_is_durable_before_it_has_its_name(
    outbox: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """Files, the folders that hold them, the manifest and its folder, then the rename, at last the outbox."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_rename(self: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return rename(self, target)

    with folder_of(outbox, durable=durable) as folder:
        items = [written(folder, number, f"{number}.txt") for number in range(2)]
        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(Path, "rename", record_rename)
        folder.finish(RECORD, items)
        monkeypatch.undo()
    if not durable:
        assert calls == ["rename to job-7-1"]
        return
    assert sorted(calls[:2]) == ["0.txt", "1.txt"]
    assert sorted(calls[2:7]) == sorted(["below", "below", "00", "01", ".job-7-1.building"])
    assert calls[7:] == ["manifest.json", ".job-7-1.building", "rename to job-7-1", "outbox"]


def test_folders_without_items_are_not_synced(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not delivered need not survive a power cut."""
    synced: list[str] = []
    with folder_of(outbox, durable=True) as folder:
        item = written(folder)
        folder.output_folder(1)
        monkeypatch.setattr(job_folder, "sync_directory", lambda path: synced.append(path.name))
        folder.finish(RECORD, [item])
    assert "01" not in synced
    assert synced.count("below") == 1


def test_a_disk_that_fails_leaves_no_result(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk fails the job as one of the disk, and no half result has the name."""

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with folder_of(outbox, durable=True) as folder:
        items = [written(folder)]
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(JobFailedError, match=r"could not be made durable: .*Input/output") as caught:
            folder.finish(RECORD, items)
    assert caught.value.kind == Failure.DISK
    assert list(outbox.iterdir()) == []


# -- the manifest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": 1}', '{"format": 1, "items": [1]}'])
def test_a_folder_without_manifest_is_no_result(tmp_path: Path, text: str | None) -> None:
    """Reading the manifest of something else says that it is no result, and names the folder."""
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(
        OutputError, match=f"{tmp_path.name} holds no result: its manifest.json cannot be read"
    ):
        read_manifest(tmp_path)


def test_a_manifest_of_another_format(tmp_path: Path) -> None:
    """One that a newer host wrote is not guessed at."""
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2, "items": []}))
    with pytest.raises(OutputError, match="is of format 2, and this host reads 1"):
        read_manifest(tmp_path)
