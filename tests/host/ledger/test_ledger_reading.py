"""Reading the ledger: what is asked for, in the order in which it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_schema import SCHEMA_VERSION
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    create_job,
    end_job,
    job_built,
    transition_delivery,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from ledger_instances import instance

WAITING, EXPIRED = InstanceState.WAITING, InstanceState.EXPIRED


def test_of_many_queued_jobs_the_next_are_asked_for(ledger: Ledger) -> None:
    """A pipeline's oldest jobs, as many as may run, and those that wait for their time; nobody else's."""
    numbers = [ledger.write(create_job(f"job-{n}", "p", "patient", [])).id for n in range(6)]
    ledger.write(create_job("job-other", "q", "patient", []))
    later = numbers[3]
    ledger.write(transition_job(later, JobState.RUNNING, "attempt 1", attempts=1))
    ledger.write(transition_job(later, JobState.QUEUED, "again", not_before=5.0))
    assert [job.id for job in ledger.queued_jobs("p", 2)] == [numbers[0], numbers[1], later]
    assert [job.id for job in ledger.queued_jobs("q", 9)] == [numbers[-1] + 1]


def test_instances_are_in_order_of_arrival(ledger: Ledger) -> None:
    """By state or by job, the first that came first."""
    for path, received, state in (
        ("a", 3.0, WAITING),
        ("b", 1.0, WAITING),
        ("c", 2.0, InstanceState.EXPIRED),
    ):
        ledger.write(add_instance(instance(path, received=received, state=state)))
    assert [row.path for row in ledger.instances(WAITING)] == ["b", "a"]
    assert [row.path for row in ledger.instances(WAITING, EXPIRED)] == ["b", "c", "a"]
    assert list(ledger.instances(InstanceState.LOST)) == []
    job = ledger.write(create_job("identity", "three", "P1", ["a", "b"]))
    assert [row.path for row in ledger.instances(job=job.id)] == ["b", "a"]
    assert ledger.input_count(job.id) == 2
    assert ledger.instance_counts() == {
        ("three", InstanceState.IN_JOB): 2,
        ("three", InstanceState.EXPIRED): 1,
    }


def test_the_jobs_of_a_container(ledger: Ledger) -> None:
    """The newest first, each with its images, and the series of those that senders have brought."""
    for path, series, inputs in (
        ("a", "1", ["now"]),
        ("b", "2", ["earlier"]),
        ("c", "3", ["now", "earlier"]),
    ):
        index = {0x0020000E: series}
        ledger.write(
            add_instance(instance(path, SOPInstanceUID=f"1.{path}", index=index, inputs=tuple(inputs)))
        )
    ledger.write(create_job("other", "other", "P1", []))
    old = ledger.write(create_job("old", "three", "P1", ["a", "b"]))
    new = ledger.write(create_job("new", "three", "P1", ["c"]))
    found = ledger.jobs_of_container("three", "P1", {"earlier"})
    assert [(job.id, uids, series) for job, uids, series in found] == [
        (new.id, ("1.c",), ("3",)),
        (old.id, ("1.a", "1.b"), ("1",)),
    ]
    assert [series for _, _, series in ledger.jobs_of_container("three", "P1")] == [("3",), ("1", "2")]
    assert ledger.jobs_of_container("three", "P2") == []


def test_patients_that_wait(ledger: Ledger) -> None:
    """How many images in each input, from when to when; who has waited longest is first."""
    rows = [
        ("a", "P1", ("ct",), 20.0), ("b", "P1", ("ct", "pet"), 30.0), ("c", "P2", ("ct",), 10.0),
        ("d", "P1", ("ct",), 25.0),
    ]  # fmt: skip
    for path, key, inputs, received in rows:
        ledger.write(add_instance(instance(path, container_key=key, inputs=inputs, received=received)))
    ledger.write(add_instance(instance("e", state=InstanceState.EXPIRED)))
    assert ledger.waiting() == [
        ("three", "P2", 1, {"ct": 1}, 10.0, 10.0),
        ("three", "P1", 3, {"ct": 3, "pet": 1}, 20.0, 30.0),
    ]


def test_the_inputs_of_jobs_that_are_not_over(ledger: Ledger) -> None:
    """By job, the names of all inputs that hold its images."""
    for path, inputs in (("a", ("ct",)), ("b", ("pet", "ct")), ("c", ("mr",))):
        ledger.write(add_instance(instance(path, inputs=inputs)))
    one = ledger.write(create_job("one", "three", "P1", ["a", "b"]))
    two = ledger.write(create_job("two", "three", "P2", ["c"]))
    assert ledger.inputs_of_jobs() == {one.id: {"ct", "pet"}, two.id: {"mr"}}
    ledger.write(end_job(two.id, JobState.DISCARDED, ""))
    assert ledger.inputs_of_jobs() == {one.id: {"ct", "pet"}}


def test_quarantined_files(ledger: Ledger) -> None:
    """By path: the pipeline, the instance and the reason."""
    ledger.write(
        add_instance(instance("a", SOPInstanceUID="1.2", state=InstanceState.QUARANTINED, reason="bad"))
    )
    ledger.write(add_instance(instance("b")))
    assert ledger.quarantined() == {"a": ("three", "1.2", "bad")}


def test_jobs_by_state_and_number(ledger: Ledger) -> None:
    """The oldest first; all, where no state is named; none by an unknown number."""
    numbers = [ledger.write(create_job(f"{n}", "p", "patient", [])).id for n in range(3)]
    ledger.write(transition_job(numbers[1], JobState.RUNNING, ""))
    assert [job.id for job in ledger.jobs()] == numbers
    assert [job.id for job in ledger.jobs(JobState.QUEUED)] == [numbers[0], numbers[2]]
    assert ledger.job_counts() == {("p", JobState.QUEUED): 2, ("p", JobState.RUNNING): 1}
    found = ledger.job(numbers[1])
    assert found is not None
    assert found.identity == "1"
    assert ledger.job(77) is None


def test_associations_of_a_job(ledger: Ledger) -> None:
    """Those that brought its inputs, the first one first, each once; not those without a name."""
    for path, association, received in (
        ("a", "second", 2.0),
        ("b", "first", 1.0),
        ("c", "second", 3.0),
        ("d", "", 4.0),
    ):
        ledger.write(add_instance(instance(path, association=association, received=received)))
    job = ledger.write(create_job("identity", "three", "P1", ["a", "b", "c", "d"]))
    assert ledger.associations_of(job.id) == ["first", "second"]


def test_deliveries_are_chosen_by_state_job_and_destination(ledger: Ledger) -> None:
    """Any of them, or all; settled jobs and open counts follow from them."""
    for _ in range(2):
        job = ledger.write(create_job("identity", "three", "P1", []))
        ledger.write(transition_job(job.id, JobState.RUNNING, ""))
        ledger.write(job_built(job.id, "f", [("PACS", {"path": "a"}), ("OTHER", {"path": "a"})]))
    ids = [each.id for each in ledger.deliveries()]
    ledger.write(transition_delivery(ids[0], DeliveryState.CONFIRMED, ""))
    ledger.write(transition_delivery(ids[1], DeliveryState.DEAD, "refused"))
    ledger.write(transition_delivery(ids[2], DeliveryState.STORED, "asked", not_before=8.0))
    ledger.write(transition_delivery(ids[3], DeliveryState.PENDING, "full", not_before=9.0))
    assert [each.id for each in ledger.deliveries(job=1)] == ids[:2]
    assert [each.id for each in ledger.deliveries(destination="PACS")] == [ids[0], ids[2]]
    assert [each.id for each in ledger.deliveries(DeliveryState.DEAD, DeliveryState.STORED)] == ids[1:3]
    assert [each.id for each in ledger.deliveries(DeliveryState.DEAD, job=2)] == []
    assert {each.id for each in ledger.deliveries_by_id([ids[3], ids[0]])} == {ids[3], ids[0]}
    assert ledger.settled_jobs() == [1]
    assert ledger.unsettled_counts() == {"PACS": 1, "OTHER": 1}
    assert ledger.unsettled_deliveries("PACS") == [(ids[2], 2, 1, 8.0)]
    assert ledger.open_deliveries() == {
        "PACS": ({"stored": 1}, "asked", 8.0),
        "OTHER": ({"dead": 1, "pending": 1}, "full", 9.0),
    }


def test_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    """Reading makes no file, and says which one is missing; another file is no ledger."""
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    with pytest.raises(DataDirectoryError, match=r"ledger\.sqlite cannot be read"):
        reader.jobs()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(DataDirectoryError, match="Stop the host if it runs, move the file away"):
        LedgerReader(tmp_path / "text").schema_version()


def test_a_reader_sees_what_another_writes(tmp_path: Path) -> None:
    """A command's reader follows the running host; within a snapshot nothing changes."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as ledger:
        reader = LedgerReader(tmp_path / "ledger.sqlite")
        assert reader.schema_version() == SCHEMA_VERSION
        with reader.snapshot() as connection:
            assert connection.execute("SELECT count(*) FROM job").fetchone()[0] == 0
            ledger.write(create_job("identity", "p", "patient", []))
            assert connection.execute("SELECT count(*) FROM job").fetchone()[0] == 0
        assert len(reader.jobs()) == 1
        reader.close_reader()
        assert len(reader.jobs()) == 1  # it is opened again
        reader.close_reader()
        reader.close_reader()
