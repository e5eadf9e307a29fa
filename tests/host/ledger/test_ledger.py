"""The ledger: transitions, transactions, full disks, damaged files, older and newer ones."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger import ledger as ledger_module
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    create_job,
    transition_instances,
)
from dicomnode.host.ledger.states import InstanceState
from ledger_instances import instance

WAITING, IN_JOB = InstanceState.WAITING, InstanceState.IN_JOB


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
