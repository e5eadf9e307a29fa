"""The outbox: what is pending is delivered, with patience, and entered in the ledger."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

from delivering import CLASSES, Deliveries, Double, deliveries
from dicomnode.errors import DeliveryError, PluginError
from dicomnode.host.configuration.config import DeliveryTable
from dicomnode.host.ledger.ledger_writes import make_deliveries_due, retry_deliveries, transition_job
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.pipeline.destination import Delivery, Destination, OutboxItem, Outcome
from dicomnode.pipeline.outputs import DicomOutput, FileOutput

CONFIRMED = Outcome(Delivery.CONFIRMED)
LATER = Outcome(Delivery.LATER, "out of resources", 0xA700)
REFUSED = Outcome(Delivery.REFUSED, "of Mr Smith", 0xC000)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Deliveries]:
    """Open a ledger and an empty outbox."""
    with deliveries(tmp_path) as made:
        yield made


def test_everything_is_delivered_and_the_job_settled(work: Deliveries) -> None:
    """Each instance reaches each destination once, and the job is told settled once."""
    one, two = Double("one"), Double("two")
    job, uids = work.images(3, "one", "two")
    with work.outbox(one, two):
        work.wait_settled(job)
    assert one.uids == two.uids == uids
    assert work.states() == {DeliveryState.CONFIRMED: 6}
    assert work.settled == [job]
    assert work.ledger.job(job).state is JobState.DELIVERED


def test_what_comes_while_it_runs(work: Deliveries) -> None:
    """A job that is built while the outbox runs is delivered when that is notified."""
    double = Double()
    with work.outbox(double):
        for _ in range(3):
            job, _uids = work.images(2, "double")
            work.job_events.deliveries_entered.notify()
            work.wait_settled(job)
    assert len(double.given) == 6


def test_a_job_with_nothing_to_deliver_is_settled(work: Deliveries) -> None:
    """A job whose pipeline returned NoOutput is settled at once."""
    job, _uids = work.images(1)
    with work.outbox():
        work.wait_settled(job)


def test_two_destinations_and_one_down(work: Deliveries) -> None:
    """A destination that is down keeps nothing from the other, is called seldom, and then gets all."""
    down = threading.Event()

    class Down(Double):
        def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
            self.rounds += 1
            if not down.is_set():
                raise DeliveryError("nobody there")
            self.rounds -= 1
            yield from super().send(items)

    broken, sound = Down("broken"), Double("sound")
    job, uids = work.images(20, "broken", "sound")
    with work.outbox(broken, sound):
        work.wait_event("20 confirmed by sound")
        event = work.wait_event("nothing is sent to broken for 0 s: DeliveryError")
        assert event.detail == "nobody there"  # an author's words may name a patient
        assert not work.settled
        work.ledger.flush()
        waiting = work.ledger.deliveries(DeliveryState.PENDING)
        assert {(each.destination, each.reason, each.attempts) for each in waiting} == {
            ("broken", "nobody there", 0)
        }
        down.set()
        work.wait_settled(job)
    assert broken.uids == sound.uids == uids


def test_a_refused_instance_is_a_dead_letter(work: Deliveries) -> None:
    """One instance that is refused for good does not hold up others; only DEBUG says what the peer said."""
    bad: list[str] = []
    double = Double(answer=lambda item: REFUSED if item.SOPInstanceUID in bad else CONFIRMED)
    job, uids = work.images(5, "double")
    bad.append(uids[1])
    with work.outbox(double):
        work.wait_settled(job)
    assert double.uids == uids
    assert work.states() == {DeliveryState.CONFIRMED: 4, DeliveryState.DEAD: 1}
    (dead,) = work.ledger.deliveries(DeliveryState.DEAD)
    assert (dead.reason, dead.status, dead.item["SOPInstanceUID"]) == ("of Mr Smith", 0xC000, uids[1])
    assert work.ledger.job(job).state is JobState.UNDELIVERABLE
    event = work.wait_event("1 refused by double for good")
    assert (event.level, event.job, event.detail) == (logging.ERROR, str(job), "of Mr Smith")
    assert not any("Smith" in each.message for each in work.events)
    # The operator mends it and has it delivered again, while the host runs.
    bad.clear()
    with work.outbox(double) as outbox:
        work.settled.clear()
        work.ledger.write(retry_deliveries(job, "the operator says so"))
        outbox.wake()
        work.wait_settled(job)
    assert double.uids == [*uids, uids[1]]
    assert work.ledger.job(job).state is JobState.DELIVERED


def test_nothing_is_sent_to_a_destination_that_is_down(work: Deliveries) -> None:
    """Neither new results nor being woken ends the wait after a failure; being told to try now does."""
    attempts = threading.Semaphore(0)

    class Down(Double):
        def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
            self.rounds += 1
            attempts.release()
            raise DeliveryError("nobody there")

    broken = Down("broken")
    work.images(1, "broken")
    with work.outbox(
        broken, Double("sound"), settings=DeliveryTable(first_retry=600, longest_retry=600)
    ) as outbox:
        assert attempts.acquire(timeout=30)
        work.wait_event("nothing is sent to broken for")
        for _ in range(3):
            job, _uids = work.images(1, "sound")
            work.images(1, "broken")
            outbox.wake()
            work.wait_settled(job)
        assert broken.rounds == 1
        assert 0 < outbox.backoffs()["broken"][0] <= 720
        outbox.retry_now(["broken"])
        assert attempts.acquire(timeout=30)


def test_what_fails_is_tried_again_with_growing_waits(work: Deliveries) -> None:
    """An item that fails is sent again, under the same UID, after waits that double."""
    times: list[float] = []

    def answer(item: OutboxItem) -> Outcome:
        times.append(time.monotonic())
        return LATER if len(times) < 4 else CONFIRMED

    double = Double(answer=answer)
    job, uids = work.images(1, "double")
    with work.outbox(double):
        work.wait_settled(job)
    assert double.uids == uids * 4
    waits = [after - before for before, after in pairwise(times)]
    assert waits[0] >= 0.05
    assert waits[1] >= 0.1
    assert waits[2] >= 0.2
    (record,) = work.ledger.deliveries()
    assert (record.attempts, record.state) == (4, DeliveryState.CONFIRMED)


def test_bad_items_never_block_others(work: Deliveries) -> None:
    """Ten items that always fail stand before a hundred good ones, and the good ones are all delivered."""
    double = Double()
    bad_job, bad = work.images(10, "double")
    good_job, good = work.images(100, "double")
    double.answer = lambda item: LATER if item.SOPInstanceUID in bad else CONFIRMED
    with work.outbox(double):
        work.wait_settled(good_job)
    assert set(good) <= set(double.uids)
    assert len(double.given) < 100 + 10 * 10
    assert work.states(bad_job) == {DeliveryState.PENDING: 10}


def test_nothing_but_failures_begins_a_backoff(work: Deliveries) -> None:
    """Of a hundred items that fail, a few are tried before the back-off begins."""
    double = Double(answer=lambda item: LATER)
    work.images(100, "double")
    with work.outbox(double, settings=DeliveryTable(first_retry=60, longest_retry=60)):
        event = work.wait_event("nothing is sent to")
    assert len(double.given) == 3
    assert "0xa700" in event.message


def test_what_is_due_now_does_not_wait(work: Deliveries) -> None:
    """What was to be tried again in an hour is sent at once when the ledger says that it is due."""
    full = True
    double = Double(answer=lambda item: LATER if full else CONFIRMED)
    job, uids = work.images(1, "double")
    with work.outbox(double, settings=DeliveryTable(first_retry=3600, longest_retry=3600)):
        work.wait_event("are tried again later")
        full = False
        work.ledger.write(make_deliveries_due(job=job))
        work.job_events.deliveries_due.notify(["double", "one that is not configured"])
        work.wait_settled(job)
    assert double.uids == uids * 2


def test_an_output_class_that_misbehaves(work: Deliveries) -> None:
    """A class that raises, reports nothing, or cannot be found holds up its own items only."""

    class Raising(FileOutput):
        name = "raising"

        @classmethod
        def deliver(
            cls, items: Sequence[OutboxItem], destination: Destination
        ) -> Iterator[tuple[OutboxItem, Outcome]]:
            yield items[0], CONFIRMED
            raise SystemError("Mr Smith")

    class Silent(FileOutput):
        name = "silent"

        @classmethod
        def deliver(
            cls, items: Sequence[OutboxItem], destination: Destination
        ) -> Iterator[tuple[OutboxItem, Outcome]]:
            yield OutboxItem("dicom", Path("other")), CONFIRMED

    class Gone(FileOutput):
        name = "gone"

    def find(name: str) -> type:
        if name == "gone":
            raise PluginError("no installed plugin registers 'gone'")
        return {"raising": Raising, "silent": Silent, **CLASSES}[name]

    class Found(dict):
        def __getitem__(self, name: str) -> type:
            return find(name)

    double = Double()
    bad = [work.job(kind({"a": b"1", "b": b"2"}), "double") for kind in (Raising, Silent, Gone)]
    good, uids = work.images(2, "double")
    with work.outbox(double, classes=Found()):
        work.wait_settled(good)
        for text in ("'raising' raised SystemError", "'silent' did not report", "registers 'gone'"):
            work.wait_event(text)
    assert double.uids == uids
    assert not any("Smith" in event.message for event in work.events)
    assert work.states(bad[0])[DeliveryState.CONFIRMED] >= 1
    assert work.states(bad[1]) == work.states(bad[2]) == {DeliveryState.PENDING: 2}


def test_a_destination_that_is_not_configured_any_more(work: Deliveries) -> None:
    """What is for it waits and is told; a host that has it again delivers it."""
    job, uids = work.images(2, "gone")
    with work.outbox(Double("other")):
        work.wait_event("2 wait: the configuration has no destination 'gone'")
    work.ledger.flush()
    (reason,) = {each.reason for each in work.ledger.deliveries()}
    assert reason == "the configuration has no destination 'gone'"
    gone = Double("gone")
    with work.outbox(gone):
        work.wait_settled(job)
    assert gone.uids == uids


def test_a_restart_goes_on_where_it_stopped(work: Deliveries) -> None:
    """Stopping lets the instance under way finish; a new outbox sends the rest, and nothing twice."""
    sending, go_on = threading.Event(), threading.Event()

    def answer(item: OutboxItem) -> Outcome:
        if len(double.given) == 3:
            sending.set()
            assert go_on.wait(10)
        return CONFIRMED

    double = Double(answer=answer)
    job, uids = work.images(10, "double")
    with work.outbox(double) as outbox:
        assert sending.wait(10)
        stopping = threading.Thread(target=outbox.stop)
        stopping.start()
        go_on.set()
        stopping.join(10)
        assert not stopping.is_alive()
    assert double.uids == uids[:3]
    assert work.states() == {DeliveryState.CONFIRMED: 3, DeliveryState.PENDING: 7}
    assert not double.broken_off.is_set()
    with work.outbox(double):
        work.wait_settled(job)
    assert double.uids == uids


def test_a_stop_breaks_off_what_takes_too_long(work: Deliveries) -> None:
    """After the grace the destination is told to break off, and its unknown outcome is sent again later."""
    sending = threading.Event()

    def answer(item: OutboxItem) -> Outcome:
        sending.set()
        assert double.broken_off.wait(10)
        return Outcome(Delivery.LATER, "unknown")

    double = Double(answer=answer)
    work.images(2, "double")
    with work.outbox(double, grace=0.1):
        assert sending.wait(10)
    assert double.broken_off.is_set()
    assert work.states() == {DeliveryState.PENDING: 2}


def test_a_job_that_could_not_be_settled_is_told_again(work: Deliveries) -> None:
    """The host's own failure when a job is settled is not the end of it."""
    settle, calls, called = work.settle, [], threading.Event()

    def failing(job: int) -> None:
        calls.append(job)
        called.set()
        if len(calls) == 1:
            raise OSError("no space")
        settle(job)

    work.settle = failing  # type: ignore[method-assign]  # fails once
    job, _uids = work.images(1, "double")
    with work.outbox(Double()) as outbox:
        assert called.wait(30)
        outbox.wake()
        work.wait_settled(job)
    assert calls == [job, job]


def test_only_built_jobs_are_delivered(work: Deliveries) -> None:
    """What a job wrote before it was queued again is not delivered."""
    job, _uids = work.images(2, "double")
    work.ledger.write(transition_job(job, JobState.QUEUED, "replayed"))
    other, uids = work.images(1, "double")
    double = Double()
    with work.outbox(double):
        work.wait_settled(other)
    assert double.uids == uids
    assert work.states(job) == {DeliveryState.PENDING: 2}


def test_a_ledger_that_cannot_be_written(work: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """While outcomes cannot be entered nothing is sent again; they are entered when it works again."""
    flush, failures = work.ledger.flush, []

    def failing() -> None:
        if len(failures) < 3:
            failures.append(1)
            raise sqlite3.OperationalError("database or disk is full")
        flush()

    monkeypatch.setattr(work.ledger, "flush", failing)
    double = Double()
    job, uids = work.images(3, "double")
    with work.outbox(double) as outbox:
        while len(failures) < 3:
            outbox.wake()
            time.sleep(0.02)
        work.wait_settled(job)
    assert double.uids == uids


def test_commitment_is_awaited(work: Deliveries) -> None:
    """What was stored counts as delivered once the peer commits; where it never does, it is sent again."""
    stored = Outcome(Delivery.STORED, "commitment asked for")
    answers = [stored, stored, CONFIRMED]
    double = Double(answer=lambda item: answers.pop(0))
    job, uids = work.images(1, "double")
    with work.outbox(
        double, settings=DeliveryTable(first_retry=0.05, longest_retry=0.1, commitment_wait=0.2)
    ):
        work.wait_event("asked to commit")
        assert not work.settled
        work.wait_settled(job)
    assert double.uids == uids * 3


def test_a_commitment_within_the_same_attempt(work: Deliveries) -> None:
    """A destination may report an item as stored, and later as confirmed."""

    class Committing(Double):
        def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
            for item, _outcome in super().send(items):
                yield item, Outcome(Delivery.STORED)
            for item in items:
                yield item, CONFIRMED

    double = Committing()
    job, uids = work.images(3, "double")
    with work.outbox(double):
        work.wait_settled(job)
    assert double.uids == uids
    (moves,) = {tuple(new for _o, new, _r, _t in work.ledger.transitions("delivery", n)) for n in (1, 2, 3)}
    assert moves == ("stored", "confirmed")


def test_an_instance_in_two_jobs(work: Deliveries) -> None:
    """The outcomes of one instance in two jobs are kept apart."""
    one, uids = work.images(1, "double")
    two = work.job(DicomOutput(pydicom.dcmread(next((work.root / str(one)).iterdir()))), "double")
    double = Double(answer=lambda item: CONFIRMED if f"/{one}/" in str(item.path) else REFUSED)
    with work.outbox(double):
        work.wait_settled(one, two)
    assert double.uids == uids * 2
    assert work.states(one) == {DeliveryState.CONFIRMED: 1}
    assert work.states(two) == {DeliveryState.DEAD: 1}
