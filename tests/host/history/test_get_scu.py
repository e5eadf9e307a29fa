"""C-GET: what is proposed for it, what becomes of the images that come, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from acceptor import Acceptor, acceptor
from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.dimse_scu import DimseMessage
from dicomnode.host.dimse.message_templates import decode_store_response
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.history.get_scu import (
    STUDY_ROOT_GET,
    GetAssociation,
    RetrieveReception,
    association_info,
    storage_contexts,
)
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.spool.spool import Spool
from dimse_responses import response
from raw_peer import MR, store_message
from receiving import RecordingStoreHandler, dataset_bytes, encoded, small_dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
C_GET_RSP, PENDING, SUCCESS = 0x8010, 0xFF00, 0
STORAGE = 3
"""The context of the first SOP class that is received: context 1 is that of the request."""


def found(*sop_classes: str) -> Dataset:
    match = Dataset()
    match.SOPClassesInStudy = list(sop_classes)
    return match


def image(number: int = 1) -> tuple[str, bytes]:
    uid = f"1.2.3.{number}"
    return uid, encoded(small_dataset(SOPInstanceUID=uid))


def retrieve(
    directory: Path,
    script: Callable[[Acceptor], None],
    store_handler: RecordingStoreHandler | None = None,
    seconds: float = 20.0,
) -> DimseMessage:
    """Retrieve from a peer that does what a script says, and return the last response."""
    with acceptor(script) as port:
        peer = Peer("PACS", PeerTable(ae_title="PACS", address=f"127.0.0.1:{port}", timeout=20), "NODE")
        reception = RetrieveReception(
            store_handler or RecordingStoreHandler(),
            Spool(directory / "spool", "process"),
            ReceiverSettings(),
        )
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2"
        command = {"CommandField": 0x0010, "AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": 0}
        with peer.association(GetAssociation, STUDY_ROOT_GET, received=[(MR, EXPLICIT)]) as association:
            return association.retrieve(
                command,
                identifier,
                association_info("PACS", "127.0.0.1", "DICOMNODE"),
                reception,
                time.monotonic() + seconds,
            )


# -- what is proposed -----------------------------------------------------------------------------------


def test_what_the_study_holds_is_proposed() -> None:
    """The SOP classes of the answer are proposed once each, uncompressed before all that is compressed."""
    pairs = storage_contexts(found(MR, CT, MR))
    assert pairs[:2] == [(MR, EXPLICIT), (CT, EXPLICIT)]
    assert {sop_class for sop_class, _syntax in pairs} == {MR, CT}
    assert len(pairs) == len(set(pairs)) == 10
    assert "1.2.840.10008.1.2.4.50" not in {syntax for _sop_class, syntax in pairs}  # a lossy compression


def test_one_sop_class_is_proposed() -> None:
    """A single value, which pydicom gives as text, is one SOP class and not one for each letter."""
    assert {sop_class for sop_class, _syntax in storage_contexts(found(CT))} == {CT}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("named", [(), ("no UID",), ("no UID", "nor this")])
def test_the_usual_is_proposed_where_nothing_is_known(named: tuple[str, ...]) -> None:
    """Where the answer has no valid SOP class, the usual ones are proposed; without pixels, uncompressed."""
    pairs = storage_contexts(found(*named))
    assert pairs == storage_contexts(Dataset())
    assert {(MR, EXPLICIT), (CT, EXPLICIT)} <= set(pairs)
    structures = "1.2.840.10008.5.1.4.1.1.481.3"
    assert [syntax for sop_class, syntax in pairs if sop_class == structures] == [EXPLICIT]


def test_no_more_is_proposed_than_an_association_holds() -> None:
    """Of many SOP classes the uncompressed contexts come first, and 126 contexts are the most."""
    pairs = storage_contexts(found(*(f"1.2.{number}" for number in range(100))))
    assert len(pairs) == 126
    assert {syntax for _sop_class, syntax in pairs[:100]} == {EXPLICIT}


def test_an_association_of_ours_is_announced_as_the_peers() -> None:
    """The peer counts as the calling one, the pipeline's title as called; no two have one identifier."""
    before = datetime.now(UTC)
    one, other = (association_info("PACS", "10.1.2.3", "TITLE") for _ in range(2))
    assert (one.calling_ae_title, one.called_ae_title, one.peer_address) == ("PACS", "TITLE", "10.1.2.3")
    assert one.peer_certificate is None
    assert before <= one.negotiated <= datetime.now(UTC)
    assert one.id != other.id


# -- retrieving -----------------------------------------------------------------------------------------


def test_images_reach_the_store_handler_as_sent(tmp_path: Path) -> None:
    """Images between the pending responses are stored and answered; the last response is returned."""
    statuses: list[int] = []

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        for number in (1, 2):
            pacs.socket.sendall(store_message(*image(number), context=STORAGE, number=number))
            _kind, body = pacs.pdu()
            answer = decode_store_response(body[6:])
            assert answer is not None
            statuses.append(answer.status)
            pacs.socket.sendall(response(C_GET_RSP, PENDING))
        pacs.socket.sendall(response(C_GET_RSP, SUCCESS))
        pacs.release()

    store_handler = RecordingStoreHandler()
    assert retrieve(tmp_path, script, store_handler).status == SUCCESS
    assert statuses == [0, 0]
    assert [dataset_bytes(path) for _request, _index, path in store_handler.kept] == [
        image(number)[1] for number in (1, 2)
    ]
    assert [request.association.called_ae_title for request, *_ in store_handler.kept] == ["DICOMNODE"] * 2
    assert [released for _association, released in store_handler.ended] == [True]


def test_a_refused_image_is_answered_so(tmp_path: Path) -> None:
    """What the store handler refuses is refused to the peer, and the retrieval goes on."""
    statuses: list[int] = []

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(store_message(*image(), context=STORAGE))
        answer = decode_store_response(pacs.pdu()[1][6:])
        assert answer is not None
        statuses.append(answer.status)
        pacs.socket.sendall(response(C_GET_RSP, 0xB000))
        pacs.release()

    store_handler = RecordingStoreHandler(answer=StoreResponse(0xA700, "full"))
    assert retrieve(tmp_path, script, store_handler).status == 0xB000
    assert statuses == [0xA700]
    assert not list((tmp_path / "spool" / "incoming").iterdir())


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"\x07\0\0\0\0\4\0\0\0\0", "has ended: aborted by the peer"),
        (b"\x05\0\0\0\0\4\0\0\0\0", "has ended: an unexpected PDU"),
        (store_message(*image(), context=STORAGE)[:-20], "has ended: connection closed by the peer"),
    ],
)
def test_an_association_that_ends_early(tmp_path: Path, sent: bytes, told: str) -> None:
    """An abort, a release or a lost connection before the last response is an error; nothing is left over."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(sent)

    store_handler = RecordingStoreHandler()
    with pytest.raises(DeliveryError, match=f"the association with 'PACS' {told}"):
        retrieve(tmp_path, script, store_handler)
    assert [released for _association, released in store_handler.ended] == [False]
    assert not store_handler.kept
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_peer_that_goes_on_beyond_the_deadline(tmp_path: Path) -> None:
    """Pending responses do not extend the deadline of the whole retrieval."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(response(C_GET_RSP, PENDING))
        while pacs.pdu()[0] != 7:
            pass

    with pytest.raises(DeliveryError, match="the association with 'PACS' has ended: "):
        retrieve(tmp_path, script, seconds=0.0)


def test_an_association_that_is_not_open(tmp_path: Path) -> None:
    """Without an open association nothing is sent, and the error says so."""
    association = GetAssociation("127.0.0.1", 104, "PACS", "NODE", STUDY_ROOT_GET)
    reception = RetrieveReception(
        RecordingStoreHandler(), Spool(tmp_path / "spool", "process"), ReceiverSettings()
    )
    info = association_info("PACS", "127.0.0.1", "DICOMNODE")
    with pytest.raises(DeliveryError, match="the association with 'PACS' has ended: not open"):
        association.retrieve({}, Dataset(), info, reception, time.monotonic() + 5)
