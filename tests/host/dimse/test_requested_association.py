"""An association that this node requests: opened, used for a message, and ended, each within bounds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from acceptor import Acceptor, acceptor
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import AssociationRejectedError, Proposal
from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.p_data import EncodedMessage
from dicomnode.host.dimse.requested_association import RequestedAssociation
from raw_peer import MR, command, p_data
from receiving import free_port

EXPLICIT = "1.2.840.10008.1.2.1"
ECHO = command(0x30, "1.2.840.10008.1.1", data_set=False)
STORE = command(1, MR, data_set=True, instance="1.2.3")
RELEASE_RQ, ABORT = b"\x05\0\0\0\0\4\0\0\0\0", b"\x07\0\0\0\0\4\0\0\2\0"


def requested(port: int, timeout: float = 5) -> RequestedAssociation:
    return RequestedAssociation(
        "127.0.0.1", port, "PACS", "NODE", Proposal([(MR, EXPLICIT)]), timeout=timeout
    )


def opened(port: int, timeout: float = 5) -> RequestedAssociation:
    association = requested(port, timeout)
    association.open()
    return association


def received(association: RequestedAssociation, longest: int = 1000) -> EncodedMessage:
    return association._receive_message(time.monotonic() + 5, longest)


def says(*pdus: bytes) -> Callable[[Acceptor], None]:
    """Return a script that accepts, says something, and waits for the end."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        with suppress(OSError):
            pacs.socket.sendall(b"".join(pdus))
            while pacs.socket.recv(1000):
                pass

    return script


# -- beginning ------------------------------------------------------------------------------------------


def test_it_is_established_between_opening_and_releasing() -> None:
    """In a block, which releases it; a second release does nothing."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.release()
        assert pacs.socket.recv(10) == b""

    with acceptor(script) as port:
        with requested(port) as association:
            assert association.established
        assert not association.established
        association.release()
        association.abort()


def test_an_error_in_the_block_aborts_it() -> None:
    """The peer learns that not everything was sent."""
    heard = []

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        heard.append(pacs.pdu()[0])

    with acceptor(script) as port, pytest.raises(ZeroDivisionError), requested(port):
        raise ZeroDivisionError
    assert heard == [7]


def test_nobody_there() -> None:
    """A refused connection is a delivery error that names who and where."""
    port = free_port()
    with pytest.raises(DeliveryError, match=rf"no association with 'PACS' at 127\.0\.0\.1:{port}: .*refused"):
        opened(port)


def test_a_peer_that_says_nothing() -> None:
    """After the timeout it is given up, and the connection closed."""
    ended = []

    def script(pacs: Acceptor) -> None:
        pacs.pdu()
        ended.append(pacs.socket.recv(10))

    with acceptor(script) as port, pytest.raises(DeliveryError, match="deadline"):
        opened(port, timeout=1)
    assert ended == [b""]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"\x03\0\0\0\0\4\0\1\1\7", AssociationRejectedError, "Called AE title not recognised"),
        (ABORT, DeliveryError, "the peer aborted"),
        (b"\x02\0\0\0\0\4abcd", DeliveryError, "is broken"),
        (b"\x02\0\xff\xff\xff\xff", DeliveryError, "no association with"),
        (b"HTTP/1.1 400", DeliveryError, "no association with"),
        (b"", DeliveryError, "closed by the peer"),
    ],
)
def test_an_answer_that_is_no_acceptance(answer: bytes, error: type[Exception], said: str) -> None:
    """Opening fails with the reason, and the connection is closed."""

    def script(pacs: Acceptor) -> None:
        pacs.pdu()
        pacs.socket.sendall(answer)

    with acceptor(script) as port:
        association = requested(port)
        with pytest.raises(error, match=said):
            association.open()
        assert not association.established


# -- receiving ------------------------------------------------------------------------------------------


def test_messages_are_put_together() -> None:
    """Command and data set of any number of fragments and PDUs; a command alone is a message, too."""
    pdus = [
        p_data(1, 1, STORE[:20]), p_data(1, 3, STORE[20:]), p_data(1, 0, b"ab"), p_data(1, 2, b"cd"),
        p_data(3, 3, ECHO),
    ]  # fmt: skip
    with acceptor(says(*pdus)) as port:
        association = opened(port)
        assert received(association) == EncodedMessage(1, STORE, b"abcd")
        assert received(association) == EncodedMessage(3, ECHO, None)
        association.abort()


@pytest.mark.parametrize(
    ("pdus", "said"),
    [
        ([RELEASE_RQ], "released by the peer"),
        ([ABORT], "aborted by the peer"),
        ([b"\x06\0\0\0\0\4\0\0\0\0"], "an unexpected PDU"),
        ([p_data(1, 2, b"ab")], "a data set without a command"),
        ([p_data(1, 3, b"\xff" * 20)], "a broken message"),
        (
            [p_data(1, 3, STORE), p_data(1, 0, bytes(600)), p_data(1, 0, bytes(600))],
            "a message that is too long",
        ),
        ([p_data(1, 1, bytes(9000)), p_data(1, 1, bytes(9000))], "a message that is too long"),
    ],
)
def test_what_is_no_message(pdus: list[bytes], said: str) -> None:
    """The end of the association, what breaks the protocol and what goes past a bound are errors."""
    with acceptor(says(*pdus)) as port:
        association = opened(port)
        with pytest.raises(ConnectionEndedError, match=said):
            received(association)
        association.abort()


def test_nothing_is_received_before_it_is_open() -> None:
    """Nor after it has ended."""
    with pytest.raises(ConnectionEndedError, match="not open"):
        received(requested(1))


# -- ending ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\x06\0\0\0\0\4\0\0\0\0", ABORT, b""])
def test_a_release_waits_for_its_answer(end: bytes) -> None:
    """What comes before it is passed over; an abort or the end of the connection will do."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        assert pacs.pdu()[0] == 5
        pacs.socket.sendall(p_data(1, 1, b"") * 3 + end)

    with acceptor(script) as port:
        association = opened(port, timeout=1000)
        association.release()
        assert not association.established


def test_a_release_that_is_not_answered_ends() -> None:
    """A peer that goes on sending after the A-RELEASE-RQ does not hold this node."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        assert pacs.pdu()[0] == 5
        with suppress(OSError):
            while True:
                pacs.socket.sendall(p_data(1, 1, b"") * 100)

    with acceptor(script) as port:
        association = opened(port, timeout=1)
        association.release()
        assert not association.established


def test_an_abort_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    """Its buffers are full: the connection is closed all the same."""
    done = threading.Event()

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        done.wait(30)

    with acceptor(script) as port:
        association = opened(port, timeout=1000)
        sock = association._socket
        assert sock is not None
        sock.settimeout(0.2)
        with suppress(TimeoutError, BlockingIOError):
            while True:
                sock.send(bytes(65_536))
        association.abort()
        assert not association.established
        done.set()


def test_breaking_off_while_it_is_opened() -> None:
    """A peer that says nothing does not hold the thread; opening again fails without a connection."""
    asked = threading.Event()

    def script(pacs: Acceptor) -> None:
        pacs.pdu()
        asked.set()
        pacs.socket.recv(10)

    with acceptor(script) as port:
        association = requested(port, timeout=1000)
        breaker = threading.Thread(target=lambda: asked.wait(20) and association.break_off())
        breaker.start()
        with pytest.raises(DeliveryError, match="closed by the peer"):
            association.open()
        breaker.join()
    with socket.create_server(("127.0.0.1", 0)) as server:
        association._port = server.getsockname()[1]
        with pytest.raises(DeliveryError, match="broken off"):
            association.open()
