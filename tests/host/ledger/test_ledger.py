"""The ledger: transitions, transactions, full disks, damaged files, older and newer ones."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger import ledger as ledger_module
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_schema import MIGRATIONS, SCHEMA_VERSION
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    come_again,
    create_job,
    end_job,
    job_built,
    note_checksums,
    reopen_job,
    replace_file,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import TRANSITIONS, InstanceState, JobState, check_transition

WAITING, IN_JOB = InstanceState.WAITING, InstanceState.IN_JOB


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as opened:
        yield opened


def instance(path: str = "kept/000001/a.dcm", **values: object) -> InstanceRecord:
    given: dict[str, object] = {
        "path": path,
        "pipeline": "three",
        "container_key": "P1",
        "inputs": ("images",),
        "SOPInstanceUID": f"1.2.{abs(hash(path))}",
        "index": {0x00100020: "P1", 0x00200032: [1.0, 2.0, 3.0]},
        "received": 1000.0,
        "association": "a",
    }
    return InstanceRecord(**{**given, **values})  # type: ignore[arg-type]  # fields by name


def test_a_job_whose_images_another_has_names_it(ledger: Ledger) -> None:
    """A job that was given up, so that its images wait for more, says which job superseded it."""
    for path in ("a", "b"):
        ledger.write(add_instance(instance(path)))
    old = ledger.write(create_job("identity", "three", "P1", ["a"]))
    ledger.write(reopen_job(old.id, "images that came late joined"))
    new = ledger.write(create_job("identity", "three", "P1", ["a", "b"]))
    again = ledger.job(old.id)
    assert again is not None
    assert (again.state, again.reason) == (JobState.DISCARDED, f"superseded by job {new.id}")
    assert ledger.transitions("job", old.id)[-1][2] == again.reason


def test_a_close_leaves_one_file(tmp_path: Path) -> None:
    """After a close all is in the file and the log is gone, whoever has read before; nothing is collected."""
    path = tmp_path / "ledger.sqlite"
    gc.disable()
    try:
        ledger = Ledger(path)
        ledger.write(add_instance(instance()))
        threads = [threading.Thread(target=ledger.instance_states) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join()
        assert ledger.instance_states()
        ledger.close()
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
    finally:
        gc.enable()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM instance").fetchone() == (1,)


def full_until(there_is_room: threading.Event) -> Callable[[sqlite3.Connection], None]:
    """Return a write for which the disk is full until then: what is committed with it is not, either."""

    def write(connection: sqlite3.Connection) -> None:
        if not there_is_room.is_set():
            raise sqlite3.OperationalError("database or disk is full")

    return write


# -- states --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(TRANSITIONS))
def test_every_state_has_its_transitions(kind: type) -> None:
    """The table names every state, leads to states of the same kind, and reaches all but the first."""
    table = TRANSITIONS[kind]
    assert set(table) == set(kind)
    reached = {new for news in table.values() for new in news}
    assert all(isinstance(new, kind) for new in reached)
    beginnings = {InstanceState.RECEIVED, InstanceState.WAITING, JobState.QUEUED}
    assert set(kind) - reached <= beginnings | {next(iter(kind))}


@given(st.sampled_from(InstanceState), st.sampled_from(InstanceState))
def test_transitions_are_checked(old: InstanceState, new: InstanceState) -> None:
    """A change of state that the table does not have is refused by name."""
    if new in TRANSITIONS[InstanceState][old]:
        check_transition(old, new)
    else:
        with pytest.raises(ValueError, match=f"may not go from {old.value} to {new.value}"):
            check_transition(old, new)


def test_an_illegal_transition_changes_nothing(ledger: Ledger) -> None:
    """A write that fails in its middle undoes all that it did."""
    ledger.write(add_instance(instance("a", state=WAITING)))
    ledger.write(add_instance(instance("b", state=InstanceState.EXPIRED)))
    with pytest.raises(ValueError, match="may not go from expired to in_job"):
        ledger.write(create_job("identity", "three", "P1", ["a", "b"]))
    assert ledger.jobs() == []
    assert ledger.instance_states() == {"a": WAITING, "b": InstanceState.EXPIRED}


def test_a_failed_write_spares_its_neighbours(ledger: Ledger) -> None:
    """Of writes that share a transaction, one that fails undoes itself alone."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(10)

    ledger.post(hold)
    begun.wait(10)  # what follows shares the next transaction
    ledger.post(add_instance(instance("a")))
    ledger.post(transition_instances(["unknown"], InstanceState.LOST, ""))
    ledger.post(add_instance(instance("b")))
    go_on.set()
    ledger.flush()
    assert set(ledger.instance_states()) == {"a", "b"}


# -- instances and jobs --------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_went(ledger: Ledger) -> None:
    """What is entered of an instance is read again unchanged, coordinates and all."""
    record = instance(reason="because", sha256="ab" * 32)
    ledger.write(add_instance(record))
    assert list(ledger.instances(WAITING)) == [record]


def test_an_instance_is_entered_once(ledger: Ledger) -> None:
    """A row that is there is left as it is."""
    ledger.write(add_instance(instance()))
    ledger.write(add_instance(instance(container_key="other")))
    (row,) = ledger.instances(WAITING)
    assert row.container_key == "P1"


def test_a_job_takes_its_instances_along(ledger: Ledger) -> None:
    """Job and inputs change state together: made, given up, ended."""
    ledger.write(add_instance(instance("a")))
    job = ledger.write(create_job("identity", "three", "P1", ["a"]))
    assert [row.path for row in ledger.instances(job=job.id)] == ["a"]
    given_up, rows = ledger.write(reopen_job(job.id, "late images"))
    assert given_up.state is JobState.DISCARDED
    assert [row.path for row in rows] == ["a"]
    assert ledger.instance_states() == {"a": WAITING}
    again = ledger.write(create_job("identity", "three", "P1", ["a"]))
    ledger.write(transition_job(again.id, JobState.RUNNING, "", attempts=1))
    ledger.write(job_built(again.id, "folder", []))
    ended, paths = ledger.write(end_job(again.id, JobState.DELIVERED, "done"))
    assert (ended.state, ended.folder, paths) == (JobState.DELIVERED, "folder", ("a",))
    assert ledger.instance_states() == {"a": InstanceState.RELEASED}
    states = [(old, new) for old, new, _, _ in ledger.transitions("job", again.id)]
    assert states == [("", "queued"), ("queued", "running"), ("running", "built"), ("built", "delivered")]


def test_a_mended_file_takes_the_row_over(ledger: Ledger) -> None:
    """A file that takes another's place stays the input of its job, and needs a checksum of its own."""
    ledger.write(add_instance(instance("a")))
    job = ledger.write(create_job("identity", "three", "P1", ["a"]))
    ledger.write(note_checksums({"a": "ab" * 32}))
    ledger.write(replace_file("a", "b", "second", "it came again"))
    (row,) = ledger.instances(job=job.id)
    assert (row.path, row.state, row.sha256, row.association) == ("b", IN_JOB, "", "second")


def test_a_checksum_is_taken_once(ledger: Ledger) -> None:
    """A checksum that is there stays; what has none and is needed is found, in the order of the files."""
    for path, state in (("a", WAITING), ("b", IN_JOB), ("c", InstanceState.RELEASED), ("d", WAITING)):
        ledger.write(add_instance(instance(path, state=state)))
    assert [path for path, _ in ledger.without_checksum("", 10)] == ["a", "b", "d"]
    assert [path for path, _ in ledger.without_checksum("a", 1)] == ["b"]
    ledger.write(note_checksums({"a": "11"}))
    ledger.write(note_checksums({"a": "22"}))
    assert ledger.checksum("a") == "11"
    assert ledger.checksum("unknown") == ""
    assert [path for path, _ in ledger.without_checksum("", 10)] == ["b", "d"]


def test_the_last_association_counts(ledger: Ledger) -> None:
    """An instance that comes again belongs to the association that brought it last."""
    ledger.write(add_instance(instance("a")))
    ledger.write(come_again("a", "second"))
    assert [row.association for row in ledger.instances(WAITING)] == ["second"]


# -- a full disk ---------------------------------------------------------------------------------------------


def test_posted_writes_are_tried_again_when_the_disk_is_full(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for what was posted; it is entered, in its order, once there is room."""
    there_is_room = threading.Event()
    ledger.post(full_until(there_is_room))
    for number in range(5000):
        ledger.post(add_instance(instance(f"{number:04}")))
    ledger.post(transition_instances(["0007"], InstanceState.EXPIRED, ""))
    for _ in range(4):  # whoever waits learns of it each time, however much is left to be entered
        with pytest.raises(sqlite3.OperationalError, match="full"):
            ledger.write(create_job("identity", "three", "P1", ["0001"]))
    assert ledger.stuck
    assert ledger.instance_states() == {}
    there_is_room.set()
    ledger.flush()
    states = ledger.instance_states()
    assert len(states) == 5000
    assert states["0007"] is InstanceState.EXPIRED
    assert ledger.jobs() == []
    assert not ledger.stuck
    told = [record.getMessage() for record in caplog.records]
    assert sum("cannot be written" in text for text in told) == 1
    assert sum("can be written again" in text for text in told) == 1


def test_stuck_is_known_before_a_writer_goes_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for a write finds the ledger stuck, or not, as that write left it."""
    seen: list[bool] = []

    class Observed(Future[Any]):
        """Notes what the ledger says of itself in the moment in which its writer is released."""

        def set_exception(self, exception: BaseException | None) -> None:
            seen.append(ledger.stuck)
            super().set_exception(exception)

        def set_result(self, result: Any) -> None:
            seen.append(ledger.stuck)
            super().set_result(result)

    monkeypatch.setattr(ledger_module, "Future", Observed)
    there_is_room = threading.Event()
    ledger.post(full_until(there_is_room))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.flush()
    there_is_room.set()
    ledger.flush()
    assert seen == [True, False]


def test_damage_is_not_blamed_on_a_write(ledger: Ledger) -> None:
    """A write that fails because the file is damaged is kept, and not dropped as a wrong one."""
    broken = threading.Event()
    broken.set()

    def write(connection: sqlite3.Connection) -> None:
        if broken.is_set():
            raise sqlite3.DatabaseError("database disk image is malformed")
        add_instance(instance())(connection)

    ledger.post(write)
    with pytest.raises(sqlite3.DatabaseError):
        ledger.flush()
    assert ledger.stuck
    broken.clear()
    ledger.flush()
    assert len(ledger.instance_states()) == 1


# -- the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "garbage"), [(0, b"not a database at all" * 50), (8192, b"\xff" * 4096), (100, b"\0" * 4000)]
)
def test_a_damaged_file_is_refused(tmp_path: Path, begin: int, garbage: bytes) -> None:
    """A damaged ledger is not used; the message says what to do about it."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, durable=False) as ledger:
        for number in range(200):
            ledger.post(add_instance(instance(f"{number}")))
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(garbage)
    with pytest.raises(
        DataDirectoryError, match=r"cannot be used: .* Move it away .* rebuilt from the spool"
    ):
        Ledger(path, durable=False)


def test_an_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    """A file of no bytes, as a power cut can leave it, becomes a ledger."""
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with Ledger(path) as ledger:
        ledger.write(add_instance(instance()))
        assert len(ledger.instance_states()) == 1


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger of a newer host is not touched; the message names both schemas."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        DataDirectoryError, match=f"schema {SCHEMA_VERSION + 1}; this one knows {SCHEMA_VERSION}"
    ):
        Ledger(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert before


def older_ledger(path: Path, version: int) -> None:
    """Make a ledger as a host of an older schema left it, with an instance in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in range(version):
            connection.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")
        if version:
            row = instance().row()
            columns = [each[1] for each in connection.execute("PRAGMA table_info(instance)")]
            marks = ", ".join("?" for _ in columns)
            connection.execute(f"INSERT INTO instance VALUES ({marks})", row[: len(columns)])


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_an_older_ledger_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """A ledger of any older schema becomes one of the newest, with what was in it."""
    path = tmp_path / "ledger.sqlite"
    older_ledger(path, version)
    with Ledger(path, durable=False) as ledger:
        assert list(ledger.instances(WAITING)) == ([instance()] if version else [])
        ledger.write(add_instance(instance("new")))
        ledger.write(create_job("identity", "three", "P1", ["new"]))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from dicomnode.host.ledger import ledger_schema as schema
step, path = int(sys.argv[1]), Path(sys.argv[2])
schema.MIGRATIONS = tuple(
    sql + "SELECT die();" if number == step else sql for number, sql in enumerate(schema.MIGRATIONS)
)
connection = sqlite3.connect(path, isolation_level=None)
connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
connection.execute("PRAGMA journal_mode = WAL")
schema.migrate(connection, path)
"""


@pytest.mark.parametrize("step", range(SCHEMA_VERSION))
def test_a_migration_killed_half_way(tmp_path: Path, step: int) -> None:
    """A host that is killed at the end of a step has not done it; the next start does. Nothing is lost."""
    path = tmp_path / "ledger.sqlite"
    older_ledger(path, min(step, 1))
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(step), str(path)], check=False, timeout=60)
    assert killed.returncode == -9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (step,)
    with Ledger(path, durable=False) as ledger:
        assert list(ledger.instances(WAITING)) == ([instance()] if step else [])


def test_of_many_queued_jobs_the_next_are_asked_for(ledger: Ledger) -> None:
    """A pipeline's oldest jobs, as many as may run, and those that wait for their time; nobody else's."""
    numbers = [ledger.write(create_job(f"job-{n}", "p", "patient", [])).id for n in range(6)]
    ledger.write(create_job("job-other", "q", "patient", []))
    later = numbers[3]
    ledger.write(transition_job(later, JobState.RUNNING, "attempt 1", attempts=1))
    ledger.write(transition_job(later, JobState.QUEUED, "again", not_before=5.0))
    assert [job.id for job in ledger.queued_jobs("p", 2)] == [numbers[0], numbers[1], later]
    assert [job.id for job in ledger.queued_jobs("q", 9)] == [numbers[-1] + 1]
