"""A destination that is asked to commit to what it stored: what is asked when, and what becomes of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from acceptor import Acceptor, acceptor, in_turn, store
from delivering import asked_with, commitment_report, deliveries, peer
from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.committing_destination import CommittingDestination
from dicomnode.host.delivery.storage_commitment import STORAGE_COMMITMENT
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.ledger.states import DeliveryState
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome
from dimse_responses import response, uid
from raw_peer import element, p_data
from receiving import encoded

ITEMS = [OutboxItem("dicom", Path(f"{number}"), f"1.{number}", "1.2") for number in range(3)]
CONFIRMED, LATER = Outcome(Delivery.CONFIRMED, "warned", 0xB000), Outcome(Delivery.LATER, "full", 0xA700)
AWAITED = Outcome(Delivery.STORED, "stored; the peer was asked to commit to it", 0xB000)


class Peer:
    """A peer that answers as told; what is done with it is written down in order."""

    def __init__(
        self, outcomes: Sequence[Outcome | Exception], *, asks: bool = True, error: Exception | None = None
    ) -> None:
        self.outcomes, self.error = outcomes, error
        self.name, self.ae_title = "PACS", "ORTHANC"
        self.peer = SimpleNamespace(
            table=SimpleNamespace(storage_commitment="ask" if asks else "no"),
            service_association=self.service_association,
        )
        self.calls: list[Any] = []
        self.commitments = SimpleNamespace(remember=self.remember, take_report=self.take_report)
        self.destination = CommittingDestination(self, self.commitments)  # type: ignore[arg-type]  # what it needs

    def break_off(self) -> None:
        """Write it down."""
        self.calls.append("break off")

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Answer each item."""
        for item, outcome in zip(items, self.outcomes, strict=False):
            if isinstance(outcome, Exception):
                raise outcome
            yield item, outcome

    @contextmanager
    def service_association(self, sop_class: str, handler: Any) -> Iterator[Any]:
        """Open an association, or fail to."""
        self.calls.append(f"open for {sop_class}")
        if isinstance(self.error, DeliveryError) and not isinstance(self.error, NoAcceptedContextError):
            raise self.error
        self.handler = handler
        yield SimpleNamespace(ensure_offered=self.ensure_offered, request=self.request, serve=self.serve)
        self.calls.append("release")

    def ensure_offered(self) -> None:
        """Say whether it is."""
        if self.error is not None:
            raise self.error
        self.calls.append("offered")

    def request(self, command: object, dataset: Any) -> Iterator[Any]:
        """Take it."""
        self.calls.append(
            ("asked", [each.ReferencedSOPInstanceUID for each in dataset.ReferencedSOPSequence])
        )
        yield SimpleNamespace(status=0)

    def serve(self, seconds: float, until: object) -> None:
        """Write down for how long."""
        self.calls.append(("waited", seconds))

    def remember(self, transaction: str, name: str, items: Sequence[OutboxItem]) -> None:
        """Write it down."""
        self.calls.append(("remembered", name, [item.SOPInstanceUID for item in items]))

    def take_report(self, ae_title: str, report: object) -> int:
        """Write it down."""
        self.calls.append(("report", ae_title, report))
        return 0


def send(peer: Peer) -> list[tuple[str, Outcome]]:
    return [(item.SOPInstanceUID, outcome) for item, outcome in peer.destination.send(ITEMS)]


def test_it_is_the_destination_that_it_wraps() -> None:
    """Name and breaking off are the peer's; it takes no other files."""
    peer = Peer([])
    assert peer.destination.name == "PACS"
    assert not peer.destination.takes_files
    peer.destination.break_off()
    assert peer.calls == ["break off"]


def test_what_was_stored_is_asked_for_at_the_end() -> None:
    """Each stored one is reported as awaited; then the request is remembered before it is sent."""
    peer = Peer([CONFIRMED, LATER, CONFIRMED])
    assert send(peer) == [("1.0", AWAITED), ("1.1", LATER), ("1.2", AWAITED)]
    uids = ["1.0", "1.2"]
    assert peer.calls == [
        "open for 1.2.840.10008.1.20.1",
        "offered",
        ("remembered", "PACS", uids),
        ("asked", uids),
        ("waited", 1.0),
        "release",
    ]


def test_a_report_on_the_same_association_is_the_peers() -> None:
    """It is taken under the AE title that was called."""
    peer = Peer([CONFIRMED])
    send(peer)
    report = {"TransactionUID": "1"}
    peer.handler(SimpleNamespace(field=0x0100, dataset=lambda: report))
    assert peer.calls[-1] == ("report", "ORTHANC", report)


def test_nothing_is_asked_where_nothing_was_stored() -> None:
    """No association is opened for it."""
    peer = Peer([LATER, LATER, LATER])
    assert [outcome for _uid, outcome in send(peer)] == [LATER] * 3
    assert peer.calls == []


def test_a_peer_that_is_not_asked() -> None:
    """Without "ask" in its table what it stored is confirmed."""
    peer = Peer([CONFIRMED, LATER, CONFIRMED], asks=False)
    assert [outcome for _uid, outcome in send(peer)] == [CONFIRMED, LATER, CONFIRMED]
    assert peer.calls == []


def test_a_peer_that_does_not_offer_it() -> None:
    """What it stored is delivered, and nothing is remembered that no report will answer."""
    peer = Peer([CONFIRMED, LATER, CONFIRMED], error=NoAcceptedContextError("no"))
    confirmed = Outcome(Delivery.CONFIRMED, "stored; the peer does not offer storage commitment", 0)
    assert send(peer)[3:] == [("1.0", confirmed), ("1.2", confirmed)]
    assert peer.calls == ["open for 1.2.840.10008.1.20.1"]


def test_a_peer_that_cannot_be_asked() -> None:
    """What it stored is sent again: whether it keeps it is not known."""
    peer = Peer([CONFIRMED], error=DeliveryError("nobody there"))
    (_, (uid, outcome)) = send(peer)
    assert (uid, outcome.delivery) == ("1.0", Delivery.LATER)
    assert outcome.reason == "stored, but the peer could not be asked to commit to it: nobody there"


def test_a_stop_in_the_midst_asks_for_what_was_stored() -> None:
    """Whoever closes the iterator early loses no commitment, and waits for no report."""
    peer = Peer([CONFIRMED, CONFIRMED, CONFIRMED])
    sending = peer.destination.send(ITEMS)
    next(sending)
    next(sending)
    sending.close()  # type: ignore[attr-defined]  # a generator
    assert ("asked", ["1.0", "1.1"]) in peer.calls
    assert ("waited", 0.0) in peer.calls


@pytest.mark.parametrize("error", [None, DeliveryError("nobody there")])
def test_a_peer_that_is_lost_in_the_midst(error: Exception | None) -> None:
    """Its own error comes out, after what it had stored was asked for, or could not be."""
    peer = Peer([CONFIRMED, DeliveryError("lost")], error=error)
    with pytest.raises(DeliveryError, match="lost"):
        send(peer)
    assert (("asked", ["1.0"]) in peer.calls) == (error is None)


# -- with a real association ----------------------------------------------------------------------------


def event_report(dataset: Dataset) -> bytes:
    """Return an N-EVENT-REPORT-RQ as PDUs."""
    body = uid(0x0002, STORAGE_COMMITMENT) + element(0x0100, b"\x00\x01") + element(0x0110, b"\x09\x00")
    body += (
        element(0x0800, b"\x01\x00") + uid(0x1000, "1.2.840.10008.1.20.1.1") + element(0x1002, b"\x01\x00")
    )
    command = element(0, struct.pack("<I", len(body))) + body
    return p_data(1, 3, command) + p_data(1, 2, encoded(dataset))


@pytest.mark.parametrize("before_the_answer", [False, True])
def test_a_report_on_the_same_association(tmp_path: Path, before_the_answer: bool) -> None:
    """A peer that reports at once, even before it answers the request: what it commits to is delivered."""
    answers: list[bytes] = []

    def commit(pacs: Acceptor) -> None:
        pacs.accept()
        _command, request = pacs.message()
        transaction = asked_with(request).TransactionUID
        told = event_report(commitment_report(uids[:1], {uids[1]: 0x0122, uids[2]: 0x0112}, transaction))
        parts = [response(0x8130, 0), told]
        for part in reversed(parts) if before_the_answer else parts:
            pacs.socket.sendall(part)
        answers.append(pacs.pdu()[1])
        pacs.release()

    with deliveries(tmp_path) as work:
        job, uids = work.images(3, "PACS")
        destination = partial(peer, storage_commitment="ask")
        with acceptor(in_turn(store(3), commit), connections=2) as port, work.outbox(destination(port)):
            work.wait_event("PACS never commits to 1 instance")
        by_uid = {each.item["SOPInstanceUID"]: each for each in work.ledger.deliveries(job=job)}
        states = [by_uid[each].state for each in uids]
        assert states == [DeliveryState.CONFIRMED, DeliveryState.DEAD, DeliveryState.PENDING]
        assert "no such instance" in by_uid[uids[2]].reason
    assert struct.pack("<HHIH", 0, 0x0100, 2, 0x8100) in answers[0]


def test_a_stray_report_on_the_association(tmp_path: Path) -> None:
    """A report on a request that was never made is refused, and the right one is awaited still."""
    answers: list[bytes] = []

    def commit(pacs: Acceptor) -> None:
        pacs.accept()
        transaction = asked_with(pacs.message()[1]).TransactionUID
        pacs.socket.sendall(response(0x8130, 0))
        for each in ("1.2.3", transaction):
            pacs.socket.sendall(event_report(commitment_report(uids, {}, each)))
            answers.append(pacs.pdu()[1])
        pacs.release()

    with deliveries(tmp_path) as work:
        job, uids = work.images(1, "PACS")
        with (
            acceptor(in_turn(store(), commit), connections=2) as port,
            work.outbox(peer(port, storage_commitment="ask")),
        ):
            work.wait_settled(job)
    statuses = [element(0x0900, struct.pack("<H", status)) for status in (0x0115, 0)]
    assert [status in answer for status, answer in zip(statuses, answers, strict=True)] == [True, True]
