"""Reports about storage commitment: known by the Transaction UID of a request, and by who was asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from acceptor import Acceptor, acceptor, in_turn, store
from delivering import SHORT, Deliveries, asked_with, commitment_report, deliveries, peer
from dicomnode.host.delivery.commitments import Commitments
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.ledger.ledger_writes import job_built, requeue_job, transition_delivery, transition_job
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.host.upkeep.retention import forget_before
from dicomnode.pipeline.destination import OutboxItem

CONFIRMED, DEAD = DeliveryState.CONFIRMED, DeliveryState.DEAD
PENDING, STORED = DeliveryState.PENDING, DeliveryState.STORED
NO_SUCH_INSTANCE, SOP_CLASS_NOT_SUPPORTED = 0x0112, 0x0122
SUCCESS, PROCESSING_FAILURE, INVALID_ARGUMENT = 0, 0x0110, 0x0115


class Asked:
    """A host that asks PACS, and knows another peer, too."""

    def __init__(self, work: Deliveries) -> None:
        self.work, self.entered = work, 0
        self.told: list[Event] = []
        events = Events()
        events.listen(self.told.append)
        self.commitments = Commitments(
            work.root,
            work.ledger,
            {"PACS": peer(1), "ARCHIVE": peer(1, "ARCHIVE", "ARCHIVE")},
            events=events,
            settings=SHORT,
            entered=self._enter,
        )

    def _enter(self) -> None:
        self.entered += 1

    def ask(self, transaction: str, job: int, *uids: str, state: DeliveryState = STORED) -> None:
        """Enter that instances of a job were stored, and that commitment was asked for."""
        records = [
            each for each in self.work.ledger.deliveries(job=job) if each.item["SOPInstanceUID"] in uids
        ]
        for record in records:
            if record.state is not state:
                self.work.ledger.write(transition_delivery(record.id, state, ""))
        items = [OutboxItem.from_json(dict(record.item), self.work.root) for record in records]
        self.commitments.remember(transaction, "PACS", items)

    def report(
        self,
        transaction: str,
        committed: Sequence[str],
        failed: Mapping[str, int] | None = None,
        ae_title: str = "PACS",
    ) -> int:
        """Report, and return the status of the answer."""
        return self.commitments.take_report(ae_title, commitment_report(committed, failed or {}, transaction))

    def states(self, job: int) -> list[DeliveryState]:
        """Return the states of a job's deliveries, in order."""
        return [each.state for each in self.work.ledger.deliveries(job=job)]


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    with deliveries(tmp_path) as work:
        yield Asked(work)


def test_a_report_on_a_request(asked: Asked) -> None:
    """What the peer commits to is confirmed, what has gone is sent again; each is told of once."""
    job, uids = asked.work.images(3, "PACS")
    asked.ask("1.2.1", job, *uids)
    assert asked.report("1.2.1", uids[:2], {uids[2]: NO_SUCH_INSTANCE}) == SUCCESS
    assert asked.states(job) == [CONFIRMED, CONFIRMED, PENDING]
    assert [each.message for each in asked.told] == [
        "PACS has committed to 2 instances",
        "PACS does not commit to 1 instance: tried again",
    ]
    assert asked.entered == 1


@pytest.mark.parametrize(("transaction", "ae_title"), [("1.2.2", "PACS"), ("1.2.1", "ARCHIVE")])
def test_nobody_was_asked(
    asked: Asked, transaction: str, ae_title: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A report under a Transaction UID that its sender was not asked with is refused and changes nothing."""
    job, uids = asked.work.images(2, "PACS")
    asked.ask("1.2.1", job, *uids)
    before = asked.work.ledger.deliveries()
    with caplog.at_level(logging.WARNING):
        status = asked.report(transaction, uids[:1], {uids[1]: SOP_CLASS_NOT_SUPPORTED}, ae_title)
    assert status == INVALID_ARGUMENT
    assert asked.work.ledger.deliveries() == before
    (line,) = caplog.messages
    reason = "reports on storage commitment that it was not asked for"
    assert line == f"{ae_title} {reason}: transaction {transaction}"
    assert not asked.told


def test_a_report_without_a_transaction(asked: Asked) -> None:
    """A report that does not say which request it answers is a failure, and changes nothing."""
    job, uids = asked.work.images(1, "PACS")
    asked.ask("1.2.1", job, *uids)
    report = commitment_report(uids, {}, "1.2.1")
    del report.TransactionUID
    assert asked.commitments.take_report("PACS", report) == PROCESSING_FAILURE
    assert asked.states(job) == [STORED]


def test_a_report_on_more_than_was_asked(asked: Asked) -> None:
    """A report counts for the instances of its own request alone."""
    job, uids = asked.work.images(2, "PACS")
    asked.ask("1.2.1", job, uids[0])
    asked.ask("1.2.2", job, uids[1])
    assert asked.report("1.2.1", uids) == SUCCESS
    assert asked.states(job) == [CONFIRMED, STORED]


def test_a_report_on_an_old_request(asked: Asked) -> None:
    """Of instances that were asked for again, an old report's commitments count, and its refusals do not."""
    job, uids = asked.work.images(2, "PACS")
    asked.ask("1.2.1", job, *uids)
    asked.ask("1.2.2", job, *uids)
    assert asked.report("1.2.1", uids[:1], {uids[1]: SOP_CLASS_NOT_SUPPORTED}) == SUCCESS
    assert asked.states(job) == [CONFIRMED, STORED]
    assert asked.report("1.2.2", uids[:1], {uids[1]: SOP_CLASS_NOT_SUPPORTED}) == SUCCESS
    assert asked.states(job) == [CONFIRMED, DEAD]


def test_a_report_on_a_request_that_seemed_to_fail(asked: Asked) -> None:
    """A peer whose answer to the request was lost, so that all is sent again, may commit nevertheless."""
    job, uids = asked.work.images(2, "PACS")
    asked.ask("1.2.1", job, *uids, state=PENDING)
    assert asked.report("1.2.1", uids[:1], {uids[1]: SOP_CLASS_NOT_SUPPORTED}) == SUCCESS
    assert asked.states(job) == [CONFIRMED, PENDING]


def test_a_late_report_while_it_is_sent_again(asked: Asked) -> None:
    """What a peer has committed to stays confirmed, whatever becomes of the attempt that was under way."""
    job, uids = asked.work.images(2, "PACS")
    asked.ask("1.2.1", job, *uids)
    asked.report("1.2.1", uids)
    for record, state in zip(asked.work.ledger.deliveries(), (STORED, PENDING), strict=True):
        asked.work.ledger.write(transition_delivery(record.id, state, "sent again"))
    assert asked.states(job) == [CONFIRMED, CONFIRMED]


def test_a_job_that_ran_again(asked: Asked) -> None:
    """A report on a result that was since made anew, under the same UIDs, does not count for the new one."""
    job, uids = asked.work.images(1, "PACS")
    asked.ask("1.2.1", job, *uids)
    (record,) = asked.work.ledger.deliveries()
    asked.work.ledger.write(requeue_job(job, "its result has gone"))
    asked.work.ledger.write(transition_job(job, JobState.RUNNING, ""))
    asked.work.ledger.write(job_built(job, str(job), [("PACS", record.item)]))
    assert asked.report("1.2.1", uids) == SUCCESS
    assert asked.states(job) == [PENDING]


def test_an_instance_in_two_jobs(asked: Asked) -> None:
    """Of an instance in two jobs, only the delivery that was asked for is confirmed."""
    one, uids = asked.work.images(1, "PACS", SOPInstanceUID="1.2.3")
    two, _ = asked.work.images(1, "PACS", SOPInstanceUID="1.2.3")
    asked.ask("1.2.1", one, *uids)
    assert asked.report("1.2.1", uids) == SUCCESS
    assert (asked.states(one), asked.states(two)) == ([CONFIRMED], [PENDING])


def test_old_requests_are_forgotten(asked: Asked) -> None:
    """The ledger forgets requests that are older than its records are kept."""
    job, uids = asked.work.images(1, "PACS")
    asked.ask("1.2.1", job, *uids)
    asked.work.ledger.write(forget_before(time.time() - 60))
    assert asked.work.ledger.asked_to_commit("1.2.1") == "PACS"
    asked.work.ledger.write(forget_before(time.time() + 60))
    assert asked.work.ledger.asked_to_commit("1.2.1") is None
    assert asked.report("1.2.1", uids) == INVALID_ARGUMENT


def test_a_report_after_a_restart(tmp_path: Path) -> None:
    """A request is remembered before it is sent: its report is known by the next host, too."""
    requests: list[Dataset] = []

    def die(pacs: Acceptor) -> None:
        pacs.accept()
        requests.append(asked_with(pacs.message()[1]))  # and the connection ends

    with deliveries(tmp_path) as work:
        job, uids = work.images(1, "PACS")
        with (
            acceptor(in_turn(store(), die), connections=2) as port,
            work.outbox(peer(port, storage_commitment="ask")),
        ):
            work.wait_event("for PACS are tried again later")
    (request,) = requests
    assert [each.ReferencedSOPInstanceUID for each in request.ReferencedSOPSequence] == uids
    with deliveries(tmp_path) as work, work.outbox(peer(1, storage_commitment="ask")) as outbox:
        assert outbox.take_report("PACS", commitment_report(uids, {}, "1.2.3")) == INVALID_ARGUMENT
        assert outbox.take_report("PACS", commitment_report(uids, {}, request.TransactionUID)) == SUCCESS
        work.wait_settled(job)
        assert work.states() == {CONFIRMED: 1}
