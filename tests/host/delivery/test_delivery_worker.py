"""Delivering to one destination: what is sent when, what is reported of it, and back-off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from delivering import CLASSES, SHORT, Deliveries, Double, deliveries
from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import DeliveryTable
from dicomnode.host.delivery import delivery_worker as module
from dicomnode.host.delivery.delivery_worker import DeliveryWorker
from dicomnode.host.foundation.events import Events, Station
from dicomnode.host.ledger.ledger_writes import transition_job
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome
from dicomnode.pipeline.outputs import DicomOutput, FileOutput
from receiving import small_dataset

CONFIRMED, LATER = Outcome(Delivery.CONFIRMED), Outcome(Delivery.LATER, "of Mr Smith", 0xA700)
LONG = DeliveryTable(first_retry=600, longest_retry=600, commitment_wait=600)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Deliveries]:
    """Open a ledger."""
    with deliveries(tmp_path) as opened:
        yield opened


class Rounds:
    """Counts rounds in which something was entered."""

    def __init__(self) -> None:
        self.ended = threading.Semaphore(0)

    def __call__(self) -> None:
        self.ended.release()

    def wait(self, count: int = 1) -> None:
        """Wait for so many of them."""
        for _ in range(count):
            assert self.ended.acquire(timeout=20)


@contextmanager
def worker(
    work: Deliveries, destination: Double, *, settings: DeliveryTable = SHORT, rounds: Rounds | None = None
) -> Iterator[DeliveryWorker]:
    """Run a worker."""
    events = Events()
    events.listen(work.note)
    made = DeliveryWorker(
        work.root, work.ledger, destination, CLASSES.__getitem__, events=events, settings=settings,
        round_ended=rounds or Rounds(),
    )  # fmt: skip
    made.start()
    try:
        yield made
    finally:
        made.stop()
        made.join(0.0)


def delivered(work: Deliveries, rounds: Rounds, count: int) -> None:
    """Wait until so many are confirmed."""
    while work.states().get(DeliveryState.CONFIRMED, 0) < count:
        rounds.wait()


# -- what is sent -------------------------------------------------------------------------------------------


def test_items_of_one_class_go_together_and_in_order(work: Deliveries) -> None:
    """Each output class is asked once for all of its items, whatever jobs they are of."""
    double, rounds = Double(), Rounds()
    work.images(2, "double")
    work.job(FileOutput({"a": "1", "b": "2"}), "double")
    work.images(1, "double")
    items = [OutboxItem.from_json(dict(each.item), work.root) for each in work.ledger.deliveries()]
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 5)
    assert double.rounds == 2
    dicom, files = [[item for item in items if item.output == name] for name in ("dicom", "file")]
    assert [item.path for item in double.given] == [item.path for item in (*dicom, *files)]


def test_a_round_has_a_bound(work: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much that is due is sent in several rounds, each entered before the next."""
    monkeypatch.setattr(module, "_MOST_AT_A_TIME", 2)
    double, rounds = Double(), Rounds()
    _job, uids = work.images(5, "double")
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 5)
    assert double.rounds == 3
    assert double.uids == uids


def test_only_what_is_for_it_is_sent(work: Deliveries) -> None:
    """Deliveries of other destinations are not its business."""
    double, rounds = Double(), Rounds()
    work.images(1, "other")
    _job, uids = work.images(1, "double")
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 1)
    assert double.uids == uids


def test_what_was_given_up_meanwhile_is_not_sent(work: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is asked again just before sending: a job that was discarded is left out."""
    monkeypatch.setattr(module, "_MOST_AT_A_TIME", 1)
    rounds = Rounds()

    def answer(item: OutboxItem) -> Outcome:
        if len(double.given) == 1:
            work.ledger.write(
                lambda connection: connection.execute(
                    "UPDATE delivery SET state = ? WHERE job = ?", (DeliveryState.DISCARDED, second)
                )
            )
        return CONFIRMED

    double = Double(answer=answer)
    _first, uids = work.images(1, "double")
    second, _uids = work.images(1, "double")
    _third, last = work.images(1, "double")
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 2)
    assert double.uids == [*uids, *last]


def test_an_operators_write_is_found_without_being_woken(
    work: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process enters deliveries and wakes nobody: the ledger is looked at from time to time."""
    monkeypatch.setattr(module, "_READING_INTERVAL", 0.05)
    double, rounds = Double(), Rounds()
    with worker(work, double, rounds=rounds):
        _job, uids = work.images(1, "double")
        delivered(work, rounds, 1)
    assert double.uids == uids


def test_waking_makes_it_look(work: Deliveries) -> None:
    """What is new is sent at once, and not at the next time to look."""
    double, rounds = Double(), Rounds()
    with worker(work, double, rounds=rounds) as made:
        for count in (1, 2, 3):
            work.images(1, "double")
            made.wake()
            delivered(work, rounds, count)
    assert double.rounds == 3


# -- what is told -------------------------------------------------------------------------------------------


def test_outcomes_are_told_once_a_round_and_job(work: Deliveries) -> None:
    """How many of which job came to which end, with the status; what a peer said stays in the detail."""
    refused = Outcome(Delivery.REFUSED, "no such patient: Smith", 0xC000)
    stored = Outcome(Delivery.STORED, "asked")
    answers = [CONFIRMED, CONFIRMED, refused, LATER, stored]
    double, rounds = Double(answer=lambda item: answers[len(double.given) - 1]), Rounds()
    job, _uids = work.images(5, "double")
    with worker(work, double, settings=LONG, rounds=rounds):
        rounds.wait()
    told = [(event.station, event.message, event.level, event.detail) for event in work.events]
    assert told == [
        (Station.DELIVERED, "2 confirmed by double", logging.INFO, ""),
        (
            Station.UNDELIVERED,
            "1 refused by double for good: dead letters, status 0xc000 (cannot understand)",
            logging.ERROR,
            "no such patient: Smith",
        ),
        (
            Station.UNDELIVERED,
            "1 for double are tried again later, status 0xa700 (out of resources)",
            logging.WARNING,
            "of Mr Smith",
        ),
        (Station.DELIVERED, "1 stored by double, which was asked to commit to them", logging.INFO, "asked"),
    ]
    assert {(event.pipeline, event.job) for event in work.events} == {("pipeline", str(job))}
    assert work.states() == {
        DeliveryState.CONFIRMED: 2,
        DeliveryState.DEAD: 1,
        DeliveryState.PENDING: 1,
        DeliveryState.STORED: 1,
    }


def test_an_outcome_is_entered_with_its_reason(work: Deliveries) -> None:
    """The ledger has reason, status, number of attempts and when the next one is."""
    double, rounds = Double(answer=lambda item: LATER), Rounds()
    work.images(1, "double")
    with worker(work, double, settings=LONG, rounds=rounds):
        rounds.wait()
    (record,) = work.ledger.deliveries()
    assert (record.state, record.reason, record.status) == (DeliveryState.PENDING, "of Mr Smith", 0xA700)
    assert record.attempts == 1
    assert 300 < record.not_before - time.time() <= 720


# -- back-off ----------------------------------------------------------------------------------------------


def test_three_failures_in_a_row_end_a_round(work: Deliveries) -> None:
    """Where there was nothing else, nothing is sent for a while, and the reason says so."""
    double, rounds = Double(answer=lambda item: LATER), Rounds()
    work.images(10, "double")
    with worker(work, double, settings=LONG, rounds=rounds) as made:
        event = work.wait_event("nothing is sent to double for")
        rounds.wait()
        assert made.backoff is not None
        left, reason = made.backoff
        assert 400 < left <= 600
        assert reason == "status 0xa700 (out of resources)"
    assert len(double.given) == 3
    assert (event.station, event.level) == (Station.UNDELIVERED, logging.WARNING)
    assert event.message.endswith("s: status 0xa700 (out of resources)")
    assert event.detail == "of Mr Smith"


def test_three_failures_after_a_success_are_no_reason_to_back_off(work: Deliveries) -> None:
    """The destination works: the round ends, and the others are tried in the next one."""
    double, rounds = Double(), Rounds()
    double.answer = lambda item: LATER if 1 < len(double.given) < 5 else CONFIRMED
    work.images(7, "double")
    with worker(work, double, settings=LONG, rounds=rounds) as made:
        delivered(work, rounds, 4)
        assert made.backoff is None
    assert work.states() == {DeliveryState.CONFIRMED: 4, DeliveryState.PENDING: 3}
    assert double.rounds == 2
    assert not any("nothing is sent to" in event.message for event in work.events)


def test_failures_that_do_not_follow_each_other_end_no_round(work: Deliveries) -> None:
    """Two failures, a success and two failures again: all are tried at once."""
    double, rounds = Double(), Rounds()
    double.answer = lambda item: CONFIRMED if len(double.given) == 3 else LATER
    work.images(5, "double")
    with worker(work, double, settings=LONG, rounds=rounds):
        rounds.wait()
    assert (len(double.given), double.rounds) == (5, 1)


def test_failures_without_a_status_have_words(work: Deliveries) -> None:
    """What is told has none of the destination's own, which may name a patient."""
    double = Double(answer=lambda item: Outcome(Delivery.LATER, "cannot be written below /smith"))
    work.images(3, "double")
    with worker(work, double, settings=LONG):
        event = work.wait_event("nothing is sent to double for")
    assert event.message.endswith("s: one failure after another")
    assert event.detail == "cannot be written below /smith"


class Unusable(Double):
    """A destination that cannot be used until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Semaphore(0)
        self.mended = False

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Raise, or send."""
        if self.mended:
            yield from super().send(items)
            return
        self.rounds += 1
        self.tried.release()
        raise DeliveryError("nobody there")


def test_a_destination_that_cannot_be_used(work: Deliveries) -> None:
    """No item is blamed and none counts as tried; the ledger says why they wait; it is used when mended."""
    double, rounds = Unusable(), Rounds()
    _job, uids = work.images(2, "double")
    with worker(work, double, settings=LONG, rounds=rounds) as made:
        work.wait_event("nothing is sent to double for")
        work.ledger.flush()
        records = work.ledger.deliveries()
        assert {(each.state, each.reason, each.attempts) for each in records} == {
            (DeliveryState.PENDING, "nobody there", 0)
        }
        made.wake()
        assert made.backoff is not None
        double.mended = True
        made.end_backoff()
        delivered(work, rounds, 2)
        assert made.backoff is None
    assert double.uids == uids


def test_each_failed_round_lengthens_the_backoff(work: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rounds that failed one after the other decides, until one succeeds or is asked for."""
    asked: list[int] = []
    monkeypatch.setattr(module.BackOff, "delay", lambda self, failures: asked.append(failures) or 0.02)
    double, rounds = Unusable(), Rounds()
    work.images(1, "double")
    with worker(work, double, rounds=rounds) as made:
        for _ in range(4):
            assert double.tried.acquire(timeout=20)
        double.mended = True
        delivered(work, rounds, 1)
        assert asked[:4] == [1, 2, 3, 4]
        double.mended = False
        asked.clear()
        work.images(1, "double")
        made.wake()
        assert double.tried.acquire(timeout=20)
        work.wait_event("nothing is sent to")
        double.mended = True
        delivered(work, rounds, 2)
    assert asked[0] == 1


# -- stopping -----------------------------------------------------------------------------------------------


def test_one_that_was_not_started_need_not_be_waited_for(work: Deliveries) -> None:
    """Nothing is broken off, and nothing raised."""
    double = Double()
    made = DeliveryWorker(
        work.root, work.ledger, double, CLASSES.__getitem__, events=Events(), settings=SHORT,
        round_ended=Rounds(),
    )  # fmt: skip
    made.stop()
    made.join(0.0)
    assert not double.broken_off.is_set()
    assert made.backoff is None


def test_stopping_ends_a_backoff(work: Deliveries) -> None:
    """A long back-off does not keep the host from stopping."""
    double = Unusable()
    work.images(1, "double")
    with worker(work, double, settings=LONG) as made:
        work.wait_event("nothing is sent to")
        made.stop()
        made.join(time.monotonic() + 30)
    assert double.rounds == 1
    assert not double.broken_off.is_set()


def test_a_ledger_that_fails_is_waited_for(
    work: Deliveries, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read is tried again, and the log says for whom."""
    monkeypatch.setattr(module, "_READING_INTERVAL", 0.02)
    unsettled, failures = work.ledger.unsettled_deliveries, ["once"]

    def failing(name: str) -> Any:
        if failures:
            failures.pop()
            raise OSError("disk I/O error")
        return unsettled(name)

    monkeypatch.setattr(work.ledger, "unsettled_deliveries", failing)
    double, rounds = Double(), Rounds()
    work.images(1, "double")
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 1)
    assert "delivery to double has to wait" in caplog.text


def test_an_instance_whose_job_is_queued_again_is_not_sent(work: Deliveries) -> None:
    """Only built jobs have something to deliver."""
    double, rounds = Double(), Rounds()
    job = work.job(DicomOutput([small_dataset()]), "double")
    work.ledger.write(transition_job(job, JobState.QUEUED, "replayed"))
    work.images(1, "double")
    with worker(work, double, rounds=rounds):
        delivered(work, rounds, 1)
    assert len(double.given) == 1
