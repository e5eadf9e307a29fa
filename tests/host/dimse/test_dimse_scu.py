"""Requests other than C-STORE, and storage commitment, against acceptors that do as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acceptor import Acceptor, acceptor
from asked_peer import asking, soon
from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.storage_commitment import STORAGE_COMMITMENT
from dicomnode.host.dimse.dimse_scu import DimseAssociation, DimseMessage
from dicomnode.host.history.query_retrieve import PatientSearch
from dimse_responses import response
from raw_peer import element, p_data

NO_DATA = element(0x0800, b"\x01\x01")


def several(number: int, value: bytes) -> bytes:
    """Return the command set of a response with an element that is not one number, as a PDU."""
    good = {0x0100: b"\x20\x80", 0x0120: b"\1\0", 0x0800: b"\1\1", 0x0900: b"\0\0"}
    return p_data(1, 3, b"".join(element(each, found) for each, found in {**good, number: value}.items()))


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
