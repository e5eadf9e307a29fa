"""Checks of the disk: the data directory, and the folders that results go to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.host.configuration.config import Config
from dicomnode.host.foundation.free_space import DiskSpace
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import create_job, transition_job
from dicomnode.host.ledger.states import JobState
from dicomnode.host.operation import checking_disk
from dicomnode.host.operation.checking_disk import check_data, check_folders
from dicomnode.host.operation.finding import Verdict
from dicomnode.host.operation.operations import Operations

GIB = 2**30


def config_of(data: Path, **tables: Any) -> Config:
    """Return a configuration with a data directory."""
    return Config.model_validate({"host": {"data": str(data)}, **tables})


def found_in(data: Path, reserve: int = 0) -> list[tuple[str, str]]:
    """Return verdict and message of each finding about a data directory."""
    findings = list(check_data(Operations(config_of(data)), reserve))
    assert {(each.check, each.what) for each in findings} == {("data", str(data))}
    return [(str(each.verdict), each.message) for each in findings]


def on_disk(monkeypatch: pytest.MonkeyPatch, space: DiskSpace, kind: str = "ext4") -> None:
    """Let the disk have so much room, and its file system be of a type."""
    monkeypatch.setattr(checking_disk, "disk_space", lambda _path: space)
    monkeypatch.setattr(checking_disk, "_file_system", lambda _path: kind)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory that is closed to others, without a ledger."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def test_a_directory_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start makes it; the room is that of the folder above, and nothing is made by the check."""
    on_disk(monkeypatch, DiskSpace(8 * GIB, 9 * GIB, 0, 0))
    assert found_in(tmp_path / "a" / "b", GIB) == [
        ("ok", "it does not exist yet; the first start makes it"),
        ("ok", "8.0 GiB are free, 1.0 GiB of them in reserve (host.reserve)"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in its way is named, and nothing else is checked."""
    (tmp_path / "file").touch()
    assert found_in(tmp_path / "file" / "data") == [
        ("failed", f"it does not exist and cannot be made: {tmp_path / 'file'} is no folder. Set host.data")
    ]


def test_a_sound_directory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written to, and the file of the check is gone after that."""
    on_disk(monkeypatch, DiskSpace(8 * GIB, 9 * GIB, 50, 100))
    monkeypatch.setattr(checking_disk, "_SLOW_SYNC", float("inf"))
    (verdict, message), _room = found_in(data)
    assert verdict == "ok"
    assert message.startswith("it is writable; a file is on disk after ")
    assert list(data.iterdir()) == []


def test_a_slow_disk_is_a_warning(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image waits for the disk before it is answered."""
    monkeypatch.setattr(checking_disk, "_SLOW_SYNC", -1.0)
    verdict, message = found_in(data)[0]
    assert (verdict, message.endswith(" ms (each image waits so long for its answer)")) == ("warning", True)


def test_a_directory_that_others_may_enter(data: Path) -> None:
    """It is a warning: the next start closes it."""
    data.chmod(0o755)
    assert found_in(data)[0] == (
        "warning",
        "others may enter it (mode 0755); the next start closes it",
    )


def test_a_directory_that_cannot_be_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the system's; the rest is checked all the same."""

    def refused(**_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checking_disk.tempfile, "NamedTemporaryFile", refused)
    found = found_in(data)
    assert found[0] == (
        "failed",
        "it cannot be written: Permission denied. It must belong to the host's user",
    )
    assert len(found) > 1


@pytest.mark.parametrize(
    ("free", "verdict", "ending"),
    [
        (GIB - 1, "failed", ": every image would be refused"),
        (GIB, "warning", ": little is left"),
        (2 * GIB, "ok", "in reserve (host.reserve)"),
    ],
)
def test_how_much_room_there_is(
    data: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str, ending: str
) -> None:
    """Less than the reserve fails, less than twice the reserve is a warning."""
    on_disk(monkeypatch, DiskSpace(free, 9 * GIB, 0, 0))
    told, message = found_in(data, GIB)[1]
    assert (told, message.endswith(ending)) == (verdict, True)


@pytest.mark.parametrize(("free", "told"), [(1, True), (2, False)])
def test_few_files_fit(data: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: bool) -> None:
    """Less than two in a hundred are left."""
    on_disk(monkeypatch, DiskSpace(8 * GIB, 9 * GIB, free, 100))
    warning = ("warning", f"only {free} more files fit on its file system")
    assert (warning in found_in(data)) is told


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs4", ("failed", "it is on a network file system (nfs4), where the ledger's locks do not hold")),
        ("cifs", ("failed", "it is on a network file system (cifs), where the ledger's locks do not hold")),
        ("tmpfs", ("warning", "it is in memory (tmpfs): nothing outlasts a reboot")),
        ("ext4", None),
        ("", None),
    ],
)
def test_the_type_of_the_file_system(
    data: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: tuple[str, str] | None
) -> None:
    """The ledger needs a local disk; memory is good for a trial only."""
    on_disk(monkeypatch, DiskSpace(8 * GIB, 9 * GIB, 0, 0), kind)
    assert found_in(data)[2:] == ([] if expected is None else [expected])


def test_the_type_of_a_file_system_is_read_from_the_system() -> None:
    """That of /proc is proc; the root has another one."""
    assert checking_disk._file_system(Path("/proc")) == "proc"
    assert checking_disk._file_system(Path("/")) not in {"", "proc"}


def test_the_ledger_is_read(data: Path) -> None:
    """It is sound, or jobs of it need attention."""
    with Ledger(data / "ledger.sqlite", durable=False) as ledger:
        assert found_in(data)[-1] == ("ok", "the ledger can be read, and no job needs attention")
        number = ledger.write(create_job("identity", "three", "P1", [])).id
        ledger.write(transition_job(number, JobState.FAILED, "no result"))
    assert found_in(data)[-1] == ("warning", "1 jobs need attention: dicomnode-host jobs --failed")


def test_a_damaged_ledger_fails(data: Path) -> None:
    """The message names the file."""
    (data / "ledger.sqlite").write_bytes(b"no ledger" * 1000)
    verdict, message = found_in(data)[-1]
    assert (verdict, str(data / "ledger.sqlite") in message) == ("failed", True)


# -- folders ----------------------------------------------------------------------------------------------


def folders(config: Config, *destinations: str) -> Mapping[str, tuple[Verdict, str]]:
    """Return what is found about the log and the destinations of a pipeline."""
    pipeline: Any = SimpleNamespace(destinations=destinations)
    findings = list(check_folders(config, [pipeline, pipeline]))
    assert {each.check for each in findings} <= {"destinations"}
    assert len({each.what for each in findings}) == len(findings)
    return {each.what: (each.verdict, each.message) for each in findings}


def test_folders_are_checked_once_and_peers_are_not(tmp_path: Path) -> None:
    """A folder need not be there yet; one in the data directory is not checked again."""
    (tmp_path / "file").touch()
    inside, outside = f"file:{tmp_path / 'data' / 'results'}", f"file:{tmp_path / 'new' / 'results'}"
    blocked = f"file:{tmp_path / 'file' / 'results'}"
    found = folders(config_of(tmp_path / "data"), "PACS", inside, outside, blocked)
    assert found == {
        outside: (Verdict.OK, "it is writable"),
        blocked: (Verdict.FAILED, f"{tmp_path / 'file'} is no folder"),
    }


def test_a_folder_that_this_user_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest folder that exists is named."""
    monkeypatch.setattr(checking_disk.os, "access", lambda _path, _mode: False)
    name = f"file:{tmp_path / 'new'}"
    assert folders(config_of(tmp_path / "data"), name)[name] == (
        Verdict.FAILED,
        f"{tmp_path} cannot be written by this user",
    )


def test_the_log_file_is_checked(tmp_path: Path) -> None:
    """A file that is there is as good as one that can be made."""
    log = tmp_path / "node.log"
    config = config_of(tmp_path / "data", log={"file": str(log)})
    assert folders(config) == {f"log.file {log}": (Verdict.OK, "it is writable")}
    log.touch()
    assert folders(config) == {f"log.file {log}": (Verdict.OK, "it is writable")}
