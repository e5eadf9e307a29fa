"""What an operator does to a node: through the host that runs, or on its data directory while none does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import DataDirectoryError, DicomnodeError, JobStateError
from dicomnode.host.configuration.config import Config
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_schema import MIGRATIONS, SCHEMA_VERSION
from dicomnode.host.ledger.ledger_writes import add_instance, create_job, transition_job
from dicomnode.host.ledger.states import InstanceState, JobState
from dicomnode.host.operation import operations
from dicomnode.host.operation.control import ControlServer, NotRunningError
from dicomnode.host.operation.operations import Operations, closing_reader, job_orders
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from ledger_instances import instance


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operations:
    """Return the operations on an empty folder, of an operator called alice."""
    monkeypatch.setattr(operations, "operator_name", lambda: "alice")
    return Operations(Config.model_validate({"host": {"data": str(tmp_path)}}))


@contextmanager
def writing(node: Operations) -> Iterator[Ledger]:
    """Open the ledger of a node as its host does, and close it."""
    with Ledger(node.data.ledger, durable=False) as ledger:
        yield ledger


@contextmanager
def running(node: Operations, **orders: Callable[[Mapping[str, Any]], Any]) -> Iterator[None]:
    """Let something answer orders as the host would."""
    named = {name.replace("_", " "): order for name, order in orders.items()}
    server = ControlServer(node.data.control, named)
    server.start()
    try:
        yield
    finally:
        server.stop()


def failed_job(node: Operations, *paths: str) -> int:
    """Enter a job that failed, with inputs that are in the spool, and return its number."""
    with writing(node) as ledger:
        for path in paths:
            ledger.write(add_instance(instance(path)))
            file = node.data.spool / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        number = ledger.write(create_job("identity", "three", "P1", paths)).id
        ledger.write(transition_job(number, JobState.RUNNING, "attempt 1", attempts=1))
        ledger.write(transition_job(number, JobState.FAILED, "no result"))
        return number


def state_of(node: Operations, number: int) -> JobState:
    """Return the state of a job, and see that there is one."""
    with node.ledger() as ledger:
        job = ledger.job(number)
    assert job is not None
    return job.state


def test_the_data_directory_is_that_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path of the user's home is found, whatever folder the command is called in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    node = Operations(
        Config().model_copy(update={"host": Config().host.model_copy(update={"data": Path("~/n")})})
    )
    assert node.data.root == tmp_path / "n"


# -- asking -----------------------------------------------------------------------------------------------


def test_without_a_host_there_is_no_live_status(node: Operations) -> None:
    """An order finds nobody; the status is none."""
    assert node.live_status() is None
    with pytest.raises(NotRunningError):
        node.ask("status")


def test_the_status_of_a_running_host(node: Operations) -> None:
    """Whether patients are named is passed on."""
    with running(node, status=lambda order: {"named": order["patients"]}):
        assert node.live_status() == {"named": False}
        assert node.live_status(patients=True) == {"named": True}


# -- the ledger -------------------------------------------------------------------------------------------


def test_where_no_host_ever_was(node: Operations, tmp_path: Path) -> None:
    """The message says how the right configuration is named, and nothing is made."""
    message = (
        f"there is no host, and no data of one, in {tmp_path}. Name the configuration of the host"
        " (--config FILE, or DICOMNODE_CONFIG); its host.data says where the data are"
    )
    with pytest.raises(DataDirectoryError) as raised, node.ledger():
        pass
    assert str(raised.value) == message
    with pytest.raises(DataDirectoryError) as raised:
        node.replay(1)
    assert str(raised.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_ledger_is_read_while_a_host_holds_the_directory(node: Operations, tmp_path: Path) -> None:
    """Reading needs no lock."""
    number = failed_job(node)
    holder = DataDirectory(tmp_path).lock()
    try:
        assert state_of(node, number) is JobState.FAILED
    finally:
        holder.unlock()


def test_a_newer_ledger_is_refused(node: Operations) -> None:
    """It is not touched: the other version's command line is the right one."""
    failed_job(node)
    with closing(sqlite3.connect(node.data.ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(DataDirectoryError) as raised, node.ledger():
        pass
    assert str(raised.value) == (
        f"the ledger {node.data.ledger} was written by a newer dicomnode-host than this one: use the command"
        " line of that version"
    )


def test_an_older_ledger_is_brought_up_to_date_unless_a_host_starts(node: Operations, tmp_path: Path) -> None:
    """That is done under the lock of the directory, and what the ledger held is there."""
    with closing(sqlite3.connect(node.data.ledger)) as connection:
        connection.executescript(f"{MIGRATIONS[0]}PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO job VALUES (7, 'i', 'smooth', 'P', 'failed', 'r', 3, 0, 1, 1, '', '')"
        )
        connection.commit()
    holder = DataDirectory(tmp_path).lock()
    with pytest.raises(DataDirectoryError, match="just starting or stopping"), node.ledger():
        pass
    holder.unlock()
    with node.ledger() as ledger:
        assert [job.id for job in ledger.jobs(JobState.FAILED)] == [7]
        assert ledger.schema_version() == SCHEMA_VERSION


def test_a_reader_is_closed_at_the_end(tmp_path: Path) -> None:
    """Also where the block raises."""
    closed: list[bool] = []

    class Reader(LedgerReader):
        def close_reader(self) -> None:
            closed.append(True)
            super().close_reader()

    with pytest.raises(ZeroDivisionError), closing_reader(Reader(tmp_path / "ledger.sqlite")):
        raise ZeroDivisionError
    assert closed == [True]


# -- orders -----------------------------------------------------------------------------------------------


def test_a_failed_job_is_replayed_without_a_host(node: Operations) -> None:
    """It is queued for the next start, and the directory is free again."""
    number = failed_job(node, "kept/a.dcm")
    assert node.replay(number) == {"job": number, "state": "queued", "running": False}
    assert state_of(node, number) is JobState.QUEUED
    DataDirectory(node.data.root).lock().unlock()


def test_a_job_is_discarded_without_a_host(node: Operations) -> None:
    """Its reason is in the ledger; a second time there is nothing to discard."""
    number = failed_job(node)
    assert node.discard(number, "a phantom") == {"job": number, "state": "discarded", "running": False}
    with node.ledger() as ledger:
        job = ledger.job(number)
        assert job is not None
        assert job.reason == "discarded by alice: a phantom"
    with pytest.raises(JobStateError, match=f"^job {number} was discarded already$"):
        node.discard(number, "again")


def test_a_patient_that_waits_is_given_up_without_a_host(node: Operations) -> None:
    """Its images are counted; one who does not wait is named in the message."""
    with writing(node) as ledger:
        for path in ("kept/a.dcm", "kept/b.dcm"):
            ledger.write(add_instance(instance(path)))
    assert node.release_container("three", "P1", "a phantom") == {
        "pipeline": "three",
        "container_key": "P1",
        "images": 2,
        "running": False,
    }
    with node.ledger() as ledger:
        rows = {(row.state, row.reason) for row in ledger.instances(*InstanceState)}
        assert rows == {(InstanceState.EXPIRED, "given up by alice: a phantom")}
    with pytest.raises(JobStateError, match="nothing waits as 'P1' for the pipeline 'three'"):
        node.release_container("three", "P1", "a phantom")


def test_what_is_quarantined_is_removed_without_a_host(node: Operations) -> None:
    """By name, or all that is old enough."""
    with writing(node) as ledger:
        ledger.flush()
    spool = Spool(node.data.spool, "process")
    names = []
    for name in ("a", "b"):
        kept = spool.root / "kept" / f"{name}.dcm"
        kept.write_bytes(b"an image")
        names.append(spool.quarantine(kept, "no input wants it").name)
    assert node.remove_quarantined(names[:1], "seen") == {"removed": 1, "running": False}
    assert node.remove_quarantined([], "old", older=3600.0) == {"removed": 0, "running": False}
    assert [path.name for path in spool.iterate_quarantine()] == names[1:]
    with pytest.raises(DicomnodeError, match="no file x is quarantined"):
        node.remove_quarantined(["x"], "seen")
    assert node.remove_quarantined([], "old", older=-3600.0) == {"removed": 1, "running": False}


def test_a_running_host_is_given_the_order(node: Operations) -> None:
    """Each order with all that belongs to it, and nothing is done beside the host."""
    given: list[dict[str, Any]] = []

    def answer(value: Any) -> Callable[[Mapping[str, Any]], Any]:
        def handler(order: Mapping[str, Any]) -> Any:
            given.append(dict(order))
            return value

        return handler

    orders: dict[str, Any] = {
        "replay": answer("queued"),
        "discard": answer("discarded"),
        "give-up": answer(3),
        "remove_quarantined": answer(2),
        "process": answer("P1/1.2/1.3"),
    }
    with running(node, **orders):
        assert node.replay(4, rerun=True) == {"job": 4, "state": "queued", "running": True}
        assert node.discard(5, "why") == {"job": 5, "state": "discarded", "running": True}
        assert node.release_container("three", "P1", "why") == {
            **{"pipeline": "three", "container_key": "P1"},
            **{"images": 3, "running": True},
        }
        assert node.remove_quarantined(iter(["x"]), "why") == {"removed": 2, "running": True}
        assert node.process("three", "P1", "why", series="1.3") == {
            **{"pipeline": "three", "container_key": "P1/1.2/1.3"},
        }
    container = {"pipeline": "three", "container_key": "P1"}
    assert given == [
        {"order": "replay", "job": 4, "rerun": True},
        {"order": "discard", "job": 5, "reason": "discarded by alice: why"},
        {"order": "give-up", **container, "reason": "given up by alice: why"},
        {"order": "remove quarantined", "names": ["x"], "reason": "why", "older": None},
        {"order": "process", **container, "reason": "started as it is by alice: why", "series": "1.3"},
    ]


def test_a_host_that_starts_takes_no_orders(node: Operations) -> None:
    """It holds the directory and does not answer yet: the order is to be given again."""
    number = failed_job(node)
    holder = DataDirectory(node.data.root).lock()
    try:
        with pytest.raises(DataDirectoryError) as raised:
            node.replay(number)
    finally:
        holder.unlock()
    assert str(raised.value).endswith(". (It takes no orders: it is just starting or stopping. Try again)")
    assert state_of(node, number) is JobState.FAILED


def test_orders_are_read_as_they_come_over_the_socket() -> None:
    """A number may be text; what is left out has a default."""
    asked: list[tuple[Any, ...]] = []

    class Job:
        state = JobState.QUEUED

    class Jobs:
        def replay(self, number: int, *, rerun: bool) -> Job:
            asked.append((number, rerun))
            return Job()

        def discard(self, number: int, reason: str) -> Job:
            asked.append((number, reason))
            return Job()

        def release_recorded(self, *named: str) -> int:
            asked.append(named)
            return 1

    jobs: Any = Jobs()
    orders = job_orders(jobs)
    assert orders["replay"]({"job": "3"}) == "queued"
    assert orders["discard"]({"job": 4, "reason": "why"}) == "queued"
    assert orders["give-up"]({"pipeline": "p", "container_key": "k", "reason": "why"}) == 1
    assert asked == [(3, False), (4, "why"), ("p", "k", "why")]
