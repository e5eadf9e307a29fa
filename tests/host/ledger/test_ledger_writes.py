"""What is written into the ledger: each write is whole, legal, and leaves a note of what it changed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    begin_association,
    come_again,
    create_job,
    drop_instance,
    end_association,
    end_job,
    job_built,
    make_deliveries_due,
    note_checksums,
    note_deliveries,
    reassign_container,
    remember_commitment,
    remove_quarantined,
    reopen_job,
    replace_file,
    requeue_job,
    retry_deliveries,
    run_job_again,
    sort_instance,
    together,
    transition_delivery,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from ledger_instances import instance

WAITING, IN_JOB = InstanceState.WAITING, InstanceState.IN_JOB


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


def test_an_illegal_transition_changes_nothing(ledger: Ledger) -> None:
    """A write that fails in its middle undoes all that it did."""
    ledger.write(add_instance(instance("a", state=WAITING)))
    ledger.write(add_instance(instance("b", state=InstanceState.EXPIRED)))
    with pytest.raises(ValueError, match="may not go from expired to in_job"):
        ledger.write(create_job("identity", "three", "P1", ["a", "b"]))
    assert ledger.jobs() == []
    assert ledger.instance_states() == {"a": WAITING, "b": InstanceState.EXPIRED}


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


def test_a_job_that_has_a_result_is_not_reopened(ledger: Ledger) -> None:
    """Its result may be on the way: its inputs stay its own, and its state as it is."""
    ledger.write(add_instance(instance("a")))
    job = ledger.write(create_job("identity", "three", "P1", ["a"]))
    ledger.write(transition_job(job.id, JobState.RUNNING, ""))
    ledger.write(job_built(job.id, "folder", []))
    with pytest.raises(ValueError, match=f"job {job.id} is built"):
        ledger.write(reopen_job(job.id, "late images"))
    assert ledger.instance_states() == {"a": IN_JOB}


def test_a_job_runs_again_with_its_own_files(ledger: Ledger) -> None:
    """Those that wait again, since it was given up for them, take no place but their own: they are kept."""
    ledger.write(add_instance(instance("a")))
    job = ledger.write(create_job("identity", "three", "P1", ["a"]))
    (uid,) = [row.SOPInstanceUID for row in ledger.instances(job=job.id)]
    ledger.write(reopen_job(job.id, "late images"))
    again, over = ledger.write(run_job_again(job.id, {uid: "a"}, "they came again"))
    assert (again.state, over) == (JobState.QUEUED, ())
    assert ledger.instance_states() == {"a": IN_JOB}
    assert [row.path for row in ledger.instances(job=job.id)] == ["a"]


def test_a_state_is_changed_from_the_one_that_is_meant(ledger: Ledger) -> None:
    """A job that is elsewhere by now is left, and what is not given stays as it was."""
    job = ledger.write(create_job("identity", "three", "P1", []))
    with pytest.raises(ValueError, match=f"job {job.id} is queued, not running"):
        ledger.write(transition_job(job.id, JobState.DISCARDED, "", only_from=JobState.RUNNING))
    running = ledger.write(
        transition_job(job.id, JobState.RUNNING, "of Smith", attempts=3, log="log", summary="plain")
    )
    assert (running.attempts, running.log, running.reason, running.summary) == (3, "log", "of Smith", "plain")
    queued = ledger.write(transition_job(job.id, JobState.QUEUED, "again", not_before=5.0))
    assert (queued.attempts, queued.log, queued.not_before, queued.summary) == (3, "log", 5.0, "again")
    with pytest.raises(ValueError, match="the ledger has no job 77"):
        ledger.write(transition_job(77, JobState.RUNNING, ""))


def test_a_result_replaces_the_deliveries_of_the_one_before(ledger: Ledger) -> None:
    """A job that ran again has the deliveries of its new result alone, all pending."""
    job = ledger.write(create_job("identity", "three", "P1", []))
    for names in (("PACS", "OLD"), ("PACS", "NEW")):
        ledger.write(transition_job(job.id, JobState.RUNNING, ""))
        built = ledger.write(job_built(job.id, f"job-{names[1]}", [(name, {"path": name}) for name in names]))
        assert (built.reason, built.folder) == ("2 to deliver", f"job-{names[1]}")
        assert [each.destination for each in ledger.deliveries(job=job.id)] == list(names)
        ledger.write(requeue_job(job.id, "again"))
    assert {each.state for each in ledger.deliveries()} == {DeliveryState.PENDING}


def deliveries_of(ledger: Ledger, *destinations: str) -> list[int]:
    """Enter a job whose result is for some destinations; return the numbers of the deliveries."""
    job = ledger.write(create_job("identity", "three", "P1", []))
    ledger.write(transition_job(job.id, JobState.RUNNING, ""))
    ledger.write(job_built(job.id, "folder", [(name, {"path": f"{job.id}/{name}"}) for name in destinations]))
    return [each.id for each in ledger.deliveries(job=job.id)]


def test_each_attempt_to_deliver_is_counted(ledger: Ledger) -> None:
    """With its reason, status and the next time; a note is left where the state is another."""
    (number,) = deliveries_of(ledger, "PACS")
    ledger.write(transition_delivery(number, DeliveryState.PENDING, "full", 0xA700, not_before=9.0))
    (record,) = ledger.deliveries()
    assert (record.attempts, record.reason, record.status, record.not_before) == (1, "full", 0xA700, 9.0)
    ledger.write(transition_delivery(number, DeliveryState.CONFIRMED, "", 0))
    (record,) = ledger.deliveries()
    assert (record.attempts, record.status, record.not_before) == (2, 0, 0.0)
    assert [(old, new) for old, new, _r, _t in ledger.transitions("delivery", number)] == [
        ("pending", "confirmed")
    ]


@pytest.mark.parametrize("over", [DeliveryState.CONFIRMED, DeliveryState.DISCARDED])
def test_a_delivery_that_is_over_stays_so(ledger: Ledger, over: DeliveryState) -> None:
    """What comes of an attempt that was under way changes nothing; an unknown number is said."""
    (number,) = deliveries_of(ledger, "PACS")
    ledger.write(transition_delivery(number, over, "why"))
    ledger.write(transition_delivery(number, DeliveryState.DEAD, "too late"))
    (record,) = ledger.deliveries()
    assert (record.state, record.reason, record.attempts) == (over, "why", 1)
    with pytest.raises(ValueError, match="the ledger has no delivery 77"):
        ledger.write(transition_delivery(77, DeliveryState.CONFIRMED, ""))


def test_why_deliveries_wait_is_noted_with_those_that_do(ledger: Ledger) -> None:
    """With what is pending for the destination; not with others, nor with what is over."""
    first, second, _other = deliveries_of(ledger, "PACS", "PACS", "OTHER")
    ledger.write(transition_delivery(second, DeliveryState.DEAD, "refused"))
    ledger.write(note_deliveries("PACS", "down"))
    assert [each.reason for each in ledger.deliveries()] == ["down", "refused", ""]
    assert first


@pytest.mark.parametrize(
    ("which", "due"),
    [
        ({}, [True, True, True, True]),
        ({"job": 1}, [True, True, False, False]),
        ({"destination": "PACS"}, [True, False, True, False]),
        ({"job": 2, "destination": "OTHER"}, [False, False, False, True]),
    ],
)
def test_what_is_pending_is_made_due(ledger: Ledger, which: dict[str, Any], due: list[bool]) -> None:
    """Of a job, for a destination, or all; the destinations are named once."""
    for number in (*deliveries_of(ledger, "PACS", "OTHER"), *deliveries_of(ledger, "PACS", "OTHER")):
        ledger.write(transition_delivery(number, DeliveryState.PENDING, "full", not_before=9.0))
    names = ledger.write(make_deliveries_due(**which))
    records = ledger.deliveries()
    assert [each.not_before == 0 for each in records] == due
    assert sorted(names) == sorted({each.destination for each in records if each.not_before == 0})


def test_dead_letters_are_made_pending_again(ledger: Ledger) -> None:
    """Those of the job alone; what was confirmed is not sent again."""
    dead, confirmed = deliveries_of(ledger, "PACS", "OTHER")
    (other,) = deliveries_of(ledger, "PACS")
    for number, state in (
        (dead, DeliveryState.DEAD),
        (confirmed, DeliveryState.CONFIRMED),
        (other, DeliveryState.DEAD),
    ):
        ledger.write(transition_delivery(number, state, ""))
    ledger.write(transition_job(1, JobState.UNDELIVERABLE, ""))
    assert ledger.write(retry_deliveries(1, "mended")).state is JobState.BUILT
    assert [each.state for each in ledger.deliveries()] == [
        DeliveryState.PENDING,
        DeliveryState.CONFIRMED,
        DeliveryState.DEAD,
    ]


def test_a_request_for_commitment_is_about_what_was_stored(ledger: Ledger) -> None:
    """The deliveries of these files to this destination that are not over; the last request is known."""
    first, second, other = deliveries_of(ledger, "PACS", "OTHER", "PACS")
    ledger.write(transition_delivery(first, DeliveryState.STORED, ""))
    ledger.write(transition_delivery(other, DeliveryState.CONFIRMED, ""))
    ledger.write(remember_commitment("1.2", "PACS", ["1/PACS", "1/OTHER"]))
    ledger.write(remember_commitment("1.3", "PACS", ["1/PACS"]))
    assert [(each.record.id, each.last) for each in ledger.commitments("1.2")] == [(first, False)]
    assert [(each.record.id, each.last) for each in ledger.commitments("1.3")] == [(first, True)]
    assert (ledger.asked_to_commit("1.2"), ledger.asked_to_commit("1.4")) == ("PACS", None)
    assert second


def test_quarantined_files_are_removed(ledger: Ledger) -> None:
    """As far as the ledger knows them, and with a note; nothing else is touched."""
    ledger.write(add_instance(instance("a")))
    ledger.write(add_instance(instance("b")))
    ledger.write(transition_instances(["a"], InstanceState.QUARANTINED, "bad", moved_to="quarantine/a"))
    ledger.write(remove_quarantined(["quarantine/a", "b", "unknown"], "the operator says so"))
    assert ledger.instance_states() == {"quarantine/a": InstanceState.REMOVED, "b": WAITING}
    assert [each[:3] for each in ledger.transitions("instance", "quarantine/a")] == [
        ("quarantined", "removed", "the operator says so")
    ]


def test_an_instance_that_nobody_wants_is_gone(ledger: Ledger) -> None:
    """As if it had not been sent."""
    ledger.write(add_instance(instance("a", state=InstanceState.RECEIVED)))
    ledger.write(drop_instance("a"))
    assert ledger.instance_states() == {}


def test_where_an_instance_belongs(ledger: Ledger) -> None:
    """One that was received is sorted, and one that waits may be given to other inputs."""
    ledger.write(add_instance(instance("a", state=InstanceState.RECEIVED, container_key="", inputs=())))
    ledger.write(sort_instance("a", "P1", ["ct"]))
    (row,) = ledger.instances(WAITING)
    assert (row.container_key, row.inputs) == ("P1", ("ct",))
    ledger.write(reassign_container("a", "P2", ["ct", "pet"]))
    (row,) = ledger.instances(WAITING)
    assert (row.container_key, row.inputs) == ("P2", ("ct", "pet"))


def test_an_association_is_entered_once_and_ended(ledger: Ledger) -> None:
    """Its beginning stays as it was entered first."""
    ledger.write(begin_association("a", "FROM", "TO", "127.0.0.1", 1.0))
    ledger.write(begin_association("a", "OTHER", "TO", "127.0.0.1", 2.0))
    assert ledger.associations()["a"] == (1.0, "open", math.inf, "FROM")
    ledger.write(end_association("a", "released"))
    assert ledger.associations()["a"][:2] == (1.0, "released")
    assert ledger.associations()["a"].ended < math.inf


def test_writes_of_one_transaction(ledger: Ledger) -> None:
    """What the first gives is given; if one fails nothing is entered."""
    job = ledger.write(together(create_job("one", "three", "P1", []), add_instance(instance("a"))))
    assert job.identity == "one"
    with pytest.raises(ValueError, match="no instance unknown"):
        ledger.write(
            together(create_job("two", "three", "P1", []), transition_instances(["unknown"], WAITING, ""))
        )
    assert [each.identity for each in ledger.jobs()] == ["one"]
    assert set(ledger.instance_states()) == {"a"}
