"""A peer as a destination: which items go over which association, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acceptor import Acceptor, acceptor, in_turn
from delivering import peer
from dicomnode.errors import ConfigurationError, DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.delivery.peer_destination import PeerDestination
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.requested_association import AssociationEndedError
from dicomnode.host.dimse.store_scu import UnfitFileError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome
from dicomnode.pipeline.outputs import DicomOutput
from receiving import small_dataset

CONFIGURE = "no. Configure the peer to take it, then deliver again"
Answer = int | None | Exception


def instance(number: int, sop_class: str = "1.1", syntax: str = "1.2") -> OutboxItem:
    return OutboxItem("dicom", Path(f"/outbox/{number}"), f"9.{number}", sop_class, syntax)


class Associations:
    """In place of a peer's associations: each answers some items, and is lost after that."""

    def __init__(self, answer: Callable[[str], Answer], longest: int = 10**6) -> None:
        self.destination = peer(1)
        self.answer, self.longest = answer, longest
        self.opened: list[list[tuple[str, str]]] = []
        self.sent: list[list[tuple[Path, str, str, str]]] = []
        self.destination.peer.store_association = self.store_association  # type: ignore[method-assign]  # no network

    @contextmanager
    def store_association(self, contexts: Iterable[tuple[str, str]]) -> Iterator[Any]:
        """Open one."""
        self.opened.append(list(contexts))
        self.sent.append([])
        association = SimpleNamespace(established=True, error_comment="its words")

        def send(path: Path, sop_class: str, uid: str, syntax: str) -> int | None:
            self.sent[-1].append((path, sop_class, uid, syntax))
            association.established = len(self.sent[-1]) < self.longest
            answer = self.answer(uid)
            if isinstance(answer, Exception):
                raise answer
            return answer

        association.send = send
        yield association

    def send(self, *items: OutboxItem) -> list[tuple[str, Outcome]]:
        """Send items, and return what is reported of each."""
        return [(item.SOPInstanceUID, outcome) for item, outcome in self.destination.send(items)]


def test_who_it_is() -> None:
    """The name is the configuration's, the AE title the peer's; other files than DICOM are not taken."""
    destination = peer(1, "ORTHANC", "PACS")
    assert (destination.name, destination.ae_title, destination.takes_files) == ("PACS", "ORTHANC", False)


def test_items_go_over_one_association() -> None:
    """In order, each as it lies in the outbox; each kind is proposed once."""
    on = Associations(lambda uid: 0)
    items = [instance(1), instance(2), instance(3, "2.1"), instance(4, "1.1", "3.2"), instance(5)]
    assert on.send(*items) == [(item.SOPInstanceUID, Outcome(Delivery.CONFIRMED, "", 0)) for item in items]
    assert on.opened == [[("1.1", "1.2"), ("2.1", "1.2"), ("1.1", "3.2")]]
    assert on.sent == [
        [(each.path, each.SOPClassUID, each.SOPInstanceUID, each.TransferSyntaxUID) for each in items]
    ]


def test_what_is_no_instance_is_refused() -> None:
    """A peer cannot take it, however often it is sent; no association is opened for it alone."""
    on = Associations(lambda uid: 0)
    (outcome,) = [outcome for _uid, outcome in on.send(OutboxItem("file", Path("/outbox/a.txt")))]
    assert (outcome.delivery, outcome.reason) == (
        Delivery.REFUSED,
        "a peer takes DICOM instances only, and this is another file",
    )
    assert on.opened == []


def test_the_rest_goes_over_another_association() -> None:
    """After one that was lost, and with what is still to be sent proposed; nothing is sent twice."""
    on = Associations(lambda uid: None if uid == "9.2" else 0, longest=2)
    items = [instance(1), instance(2, "2.1"), instance(3, "3.1")]
    reported = on.send(*items)
    assert [uid for uid, _outcome in reported] == ["9.1", "9.2", "9.3"]
    assert reported[1][1].delivery is Delivery.LATER
    assert on.opened == [[("1.1", "1.2"), ("2.1", "1.2"), ("3.1", "1.2")], [("3.1", "1.2")]]
    assert [[uid for _path, _kind, uid, _syntax in sent] for sent in on.sent] == [["9.1", "9.2"], ["9.3"]]


def test_an_association_has_128_contexts() -> None:
    """More kinds than that are divided (PS3.8 section 9.3.2.2); more items of the same kinds are not."""
    on = Associations(lambda uid: 0)
    items = [instance(number, f"1.{number}") for number in range(130)]
    assert len(on.send(*items, *items[:3])) == 133
    assert [len(contexts) for contexts in on.opened] == [128, 5]
    on = Associations(lambda uid: 0)
    on.send(*items[:128], *items[:128])
    assert [len(contexts) for contexts in on.opened] == [128]


@pytest.mark.parametrize(
    ("answer", "delivery", "said"),
    [
        (0x0000, Delivery.CONFIRMED, ""),
        (0xA700, Delivery.LATER, "status 0xa700 (out of resources): its words"),
        (0x0124, Delivery.REFUSED, "status 0x0124 (not authorised): its words"),
        (None, Delivery.LATER, "no answer: whether it was stored is not known, so it is sent again"),
        (NoAcceptedContextError("no"), Delivery.REFUSED, CONFIGURE),
        (UnfitFileError("cut off"), Delivery.REFUSED, "cut off"),
        (AssociationEndedError("lost"), Delivery.LATER, "lost"),
    ],
)  # fmt: skip
def test_what_an_answer_means(answer: Answer, delivery: Delivery, said: str) -> None:
    """A status by its table, and what could not be sent by whether it ever can; the next one goes on."""
    on = Associations(lambda uid: answer if uid == "9.1" else 0)
    reported = on.send(instance(1), instance(2))
    assert (reported[0][1].delivery, reported[0][1].reason) == (delivery, said)
    assert reported[1][1].delivery is Delivery.CONFIRMED


def test_an_error_of_another_kind_is_not_an_outcome() -> None:
    """What concerns the destination as a whole is raised: no item is blamed."""
    on = Associations(lambda uid: DeliveryError("nobody there"))
    with pytest.raises(DeliveryError, match="nobody there"):
        on.send(instance(1))


def test_it_is_one_association_with_a_real_acceptor(tmp_path: Path) -> None:
    """Two instances over the network; after a lost connection the second goes over another one."""
    items = DicomOutput([small_dataset() for _ in range(2)]).write(tmp_path)

    def is_lost(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()

    def takes_one(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.answer(0)
        pacs.release()

    with acceptor(in_turn(is_lost, takes_one), connections=2) as port:
        outcomes = [outcome.delivery for _item, outcome in peer(port).send(items)]
    assert outcomes == [Delivery.LATER, Delivery.CONFIRMED]


def test_a_new_configuration_counts_from_the_next_association() -> None:
    """One that cannot be used leaves the old one."""
    destination = peer(1, "OLD")
    destination.reconfigure(PeerTable(ae_title="NEW", address="127.0.0.1:2"))
    assert destination.ae_title == "NEW"
    with pytest.raises(ConfigurationError):
        destination.reconfigure(PeerTable(ae_title="NEWER"))
    assert destination.ae_title == "NEW"


def test_after_breaking_off_no_association_is_opened() -> None:
    """The host stops: what was not sent waits for the next start."""
    destination = PeerDestination("PACS", PeerTable(ae_title="PACS", address="127.0.0.1:1"), "NODE")
    destination.break_off()
    with pytest.raises(DeliveryError, match="broken off"):
        list(destination.send([instance(1)]))
