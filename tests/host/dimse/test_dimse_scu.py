"""Requests other than C-STORE, and storage commitment, against acceptors that do as they are told."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from acceptor import Acceptor, acceptor, in_turn, store
from delivering import asked_with, commitment_report, deliveries, peer
from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.delivery.storage_commitment import STORAGE_COMMITMENT, CommitmentReport
from dicomnode.host.dimse.dimse_scu import DimseAssociation, DimseMessage
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.history.query_retrieve import STUDY_ROOT_FIND, PatientSearch, c_move
from dicomnode.host.ledger.states import DeliveryState
from dicomnode.pipeline.destination import Delivery
from raw_peer import element, p_data
from receiving import encoded

NO_DATA = element(0x0800, b"\x01\x01")


def uid(number: int, text: str) -> bytes:
    return element(number, text.encode() + b"\0" * (len(text) % 2))


def response(
    field: int, status: int, *, data: bool = False, message_id: int = 1, extra: bytes = b""
) -> bytes:
    """Return the command set of a response as a PDU."""
    body = element(0x0100, struct.pack("<H", field)) + element(0x0120, struct.pack("<H", message_id))
    body += element(0x0800, b"\x01\x00" if data else b"\x01\x01") + element(0x0900, struct.pack("<H", status))
    body += extra
    return p_data(1, 3, element(0, struct.pack("<I", len(body))) + body)


def several(number: int, value: bytes) -> bytes:
    """Return the command set of a response with an element that is not one number, as a PDU."""
    good = {0x0100: b"\x20\x80", 0x0120: b"\1\0", 0x0800: b"\1\1", 0x0900: b"\0\0"}
    return p_data(1, 3, b"".join(element(each, found) for each, found in {**good, number: value}.items()))


def answered(status: int, dataset: Dataset) -> bytes:
    """Return a pending C-FIND response with its data set."""
    return response(0x8020, status, data=True) + p_data(1, 2, encoded(dataset))


def asking(port: int, sop_class: str = STUDY_ROOT_FIND, timeout: float = 5) -> Peer:
    table = PeerTable(ae_title="PACS", address=f"127.0.0.1:{port}", timeout=timeout)
    return Peer("PACS", table, "NODE")


def study(**values: str) -> Dataset:
    made = Dataset()
    for keyword, value in {"StudyInstanceUID": "1.2", "PatientID": "P1", **values}.items():
        setattr(made, keyword, value)
    return made


def soon() -> float:
    return time.monotonic() + 5


def test_a_search_returns_the_patients_studies() -> None:
    """Pending answers are returned, but for those about another patient or without a Study Instance UID."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        _command, asked = pacs.message()
        assert b"P1" in asked
        for each in (
            study(),
            study(PatientID="P2"),
            study(StudyInstanceUID=""),
            study(StudyInstanceUID="1.3"),
        ):
            pacs.socket.sendall(answered(0xFF00, each))
        pacs.socket.sendall(response(0x8020, 0))
        pacs.release()

    with acceptor(script) as port:
        found = PatientSearch(asking(port), "P1", {}).studies(soon())
    assert [each.StudyInstanceUID for each in found] == ["1.2", "1.3"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda pacs: response(0x8020, 0xA700), r"0xa700 \(out of resources\)"),
        (lambda pacs: response(0x8020, 0xC001, extra=element(0x0902, b"no\x1bway")), r"no\\x1bway"),
        (lambda pacs: response(0x8020, 0, message_id=7), "an answer to another message"),
        (lambda pacs: p_data(1, 3, b"rubbish!"), "broken message|another message|deadline"),
        (lambda pacs: p_data(9, 3, element(0x0100, b"\x20\x80") + NO_DATA), "no accepted"),
        (lambda pacs: b"\x07\0\0\0\0\4\0\0\0\0", "aborted by the peer"),
        (lambda pacs: b"\x05\0\0\0\0\4\0\0\0\0", "released by the peer"),
        (lambda pacs: response(0x8020, 0xFF00, data=True) + p_data(1, 2, b"\xff" * 11), "cannot be read"),
        (
            lambda pacs: response(0x8020, 0xFF00, data=True)
            + p_data(1, 2, b"\x20\0\x0d\0UI\4\x001.2\0" + b"\x20\0\x0e\0\x55\x89\4\x001.2\0"),
            "cannot be read",
        ),
        (lambda pacs: several(0x0100, b"\x20\x80" * 2), "broken message"),
        (lambda pacs: several(0x0900, b"\0\xff" * 2), "broken message"),
        (lambda pacs: several(0x0900, b""), "broken message"),
        (lambda pacs: several(0x0900, b"abc"), "broken message"),
        (lambda pacs: b"", "deadline|closed|too slow"),
    ],
)  # fmt: skip
def test_answers_that_are_none(answer: Callable[[Acceptor], bytes], told: str) -> None:
    """A failure, rubbish, silence or an abort is an error with its reason, within the time allowed."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(answer(pacs))
        done.wait(10)

    done = threading.Event()
    with acceptor(script) as port:
        with pytest.raises(DeliveryError, match=told):
            PatientSearch(asking(port, timeout=1), "P1", {}).studies(soon())
        done.set()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(min_size=0, max_size=60), max_size=4), st.integers(0, 3))
def test_rubbish_never_does_harm(pieces: list[bytes], control: int) -> None:
    """Whatever comes as fragments of an answer, the search ends with an error or an answer."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        with suppress(OSError):  # what is broken already ends the association
            for piece in pieces:
                pacs.socket.sendall(p_data(1, control, piece))

    with acceptor(script) as port, pytest.raises(DeliveryError):
        PatientSearch(asking(port, timeout=1), "P1", {}).studies(soon())


def test_an_answer_that_never_ends() -> None:
    """A message that grows past its bound ends the association."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(response(0x8020, 0xFF00, data=True))
        try:
            for _ in range(1000):
                pacs.socket.sendall(p_data(1, 0, bytes(16_000)))
        except OSError:
            return
        pytest.fail("16 MB were taken")

    with acceptor(script) as port, pytest.raises(DeliveryError, match="too long"):
        PatientSearch(asking(port), "P1", {}).studies(soon())


@pytest.mark.parametrize(
    "endless",
    [
        p_data(1, 0, b""),
        p_data(1, 1, b""),
        b"\x04\0\0\0\0\0",
        p_data(1, 3, element(0x0100, b"\x30\0") + NO_DATA),  # a request of the peer's own
    ],
)
def test_an_answer_that_never_grows(endless: bytes) -> None:
    """A peer that goes on sending without ever answering is given up at the deadline."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        with suppress(OSError):
            while True:
                pacs.socket.sendall(endless * 100)

    with acceptor(script) as port, pytest.raises(DeliveryError, match=r"too slow|not taken"):
        PatientSearch(asking(port, timeout=1), "P1", {}).studies(soon())


def test_a_move_counts_what_was_sent() -> None:
    """Completed, warned and failed sub-operations of the last response are told, whatever its status."""
    counts = b"".join(
        element(number, struct.pack("<H", count)) for number, count in ((0x1021, 5), (0x1022, 2), (0x1023, 1))
    )

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        command, asked = pacs.message()
        assert b"NODE" in command
        assert b"1.2" in asked
        pacs.socket.sendall(response(0x8021, 0xFF00))
        pacs.socket.sendall(response(0x8021, 0xB000, extra=counts))
        pacs.release()

    with acceptor(script) as port:
        moved = c_move(asking(port), study(), "NODE", soon())
    assert (moved.completed, moved.failed) == (6, 2)


def test_a_move_to_nowhere() -> None:
    """A destination that the PACS does not know: the message says what to enter there."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(response(0x8021, 0xA801))
        pacs.release()

    with acceptor(script) as port, pytest.raises(DeliveryError, match="enter the AE title 'COMPARE' there"):
        c_move(asking(port), study(), "COMPARE", soon())


# -- storage commitment --------------------------------------------------------------------------------------


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


def test_what_a_report_means() -> None:
    """Committed is confirmed; what has gone is sent again; what is not supported is a dead letter."""
    told = CommitmentReport.from_dataset(
        commitment_report(["1"], {"2": 0x0112, "3": 0x0119, "4": 0x0213}, "1.2.3")
    )
    outcomes = [told.outcome(each) for each in ("1", "2", "3", "4", "5")]
    assert [each and each.delivery for each in outcomes] == [
        Delivery.CONFIRMED,
        Delivery.LATER,
        Delivery.REFUSED,
        Delivery.LATER,
        None,
    ]


def test_a_report_that_is_broken() -> None:
    """A report without UIDs is an error, not a crash."""
    broken = Dataset()
    broken.ReferencedSOPSequence = [Dataset()]
    with pytest.raises(DeliveryError, match="cannot be read"):
        CommitmentReport.from_dataset(broken)


def test_serving_leaves_a_silent_association_open() -> None:
    """Waiting in vain for a report does not end the association."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.release()

    def handle(message: DimseMessage) -> int:
        raise AssertionError(message)

    with acceptor(script) as port:
        association = DimseAssociation(
            "127.0.0.1", port, "PACS", "NODE", STORAGE_COMMITMENT, timeout=5, handler=handle
        )
        with association:
            association.serve(0.2, until=lambda: False)
            assert association.established
