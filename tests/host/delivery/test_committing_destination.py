"""A destination that is asked to commit to what it stored: what is asked when, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.committing_destination import CommittingDestination
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

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
