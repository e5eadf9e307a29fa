"""P-DATA of one association: instances reach spool and store handler, everything else its own server."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.bounded_reader import BoundedReader, ConnectionEndedError
from dicomnode.host.dimse.c_store_handler import AssociationContext, CStoreHandler
from dicomnode.host.dimse.message_templates import DecodedStoreResponse, decode_store_response
from dicomnode.host.dimse.p_data import EncodedMessage
from dicomnode.host.dimse.store_handler import AssociationInfo, StoreHandlerFailedError, StoreRequest
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.spool.spool import Spool
from raw_peer import MR, VERIFICATION, command, p_data, store_message
from receiving import RecordingStoreHandler, dataset_bytes, encoded, small_dataset

EXPLICIT = "1.2.840.10008.1.2.1"
ECHO = command(0x30, VERIFICATION, data_set=False)


class Handling:
    """A handler whose peer is the test; what other messages there were is written down."""

    def __init__(self, directory: Path, ours: socket.socket, theirs: socket.socket, **settings: Any) -> None:
        self.theirs = theirs
        self.store_handler = RecordingStoreHandler()
        self.spool = Spool(directory / "spool", "process")
        self.incoming = directory / "spool" / "incoming"
        self.served: list[EncodedMessage] = []
        self.serves = True
        association = AssociationInfo("a1", "FROM", "TO", "127.0.0.1", datetime.now(UTC))
        self.reader = BoundedReader(ours, 65_536, 5.0, lambda: None)
        self.reader.established()
        context = AssociationContext(
            association, {1: (MR, EXPLICIT), 3: (VERIFICATION, EXPLICIT)}, self.store_handler, self.spool,
            ReceiverSettings(**settings), 16_384,
        )  # fmt: skip
        self.handler = CStoreHandler(self.reader, context, self._serve)

    def _serve(self, message: EncodedMessage) -> bool:
        self.served.append(message)
        return self.serves

    def take(self, *pdus: bytes) -> None:
        """Receive PDUs, and let the handler act on them."""
        count = 0
        for pdu in pdus:
            self.theirs.sendall(pdu)
            at = 0
            while at < len(pdu):
                at += 6 + int.from_bytes(pdu[at + 2 : at + 6], "big")
                count += 1
        for _ in range(count):
            _kind, begin, end = self.reader.next_pdu(1e12)
            self.handler.handle_p_data(begin, end)

    def answer(self) -> DecodedStoreResponse:
        """Return what the peer was answered."""
        self.theirs.settimeout(10)
        pdu = self.theirs.recv(4096)
        answer = decode_store_response(pdu[12:])
        assert answer is not None
        return answer


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _address = server.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def on(tmp_path: Path, sockets: tuple[socket.socket, socket.socket]) -> Handling:
    """Return a handler."""
    return Handling(tmp_path, *sockets)


def image(uid: str = "1.2.3", **values: Any) -> bytes:
    return encoded(small_dataset(SOPInstanceUID=uid, **values))


# -- instances ------------------------------------------------------------------------------------------


def test_an_instance_is_stored_as_it_came(on: Handling) -> None:
    """The store handler is given the request, the index and a whole file; the peer is answered Success."""
    data = image(PatientID="P1")
    on.take(store_message("1.2.3", data, number=7))
    assert on.answer() == (7, 0, "")
    ((request, index, path),) = on.store_handler.kept
    assert request == StoreRequest(request.association, 7, MR, "1.2.3", EXPLICIT)
    assert request.association.calling_ae_title == "FROM"
    assert index[0x00100020] == "P1"
    assert dataset_bytes(path) == data
    assert (on.handler.stored, on.handler.refused, on.handler.deadline) == (1, 0, None)
    assert list(on.incoming.iterdir()) == []


def test_fragments_may_come_in_any_way(on: Handling) -> None:
    """A command in pieces, several PDVs in a PDU, a data set byte by byte at its beginning."""
    data, rq = image(), command(1, MR, 2, data_set=True, instance="1.2.3")
    pdvs = p_data(1, 1, rq[:10])[6:] + p_data(1, 3, rq[10:])[6:] + p_data(1, 0, data[:1])[6:]
    together = b"\x04\0" + len(pdvs).to_bytes(4, "big") + pdvs
    on.take(together, p_data(1, 0, data[1:2]), p_data(1, 0, b""), p_data(1, 2, data[2:]))
    assert on.answer().status == 0
    assert dataset_bytes(on.store_handler.kept[0][2]) == data


def test_many_instances_one_after_the_other(on: Handling) -> None:
    """Each is answered with its own number, in order."""
    for number in range(5):
        on.take(store_message(f"1.2.{number}", image(f"1.2.{number}"), number=number))
        assert on.answer() == (number, 0, "")
    assert on.handler.stored == 5
    assert [request.AffectedSOPInstanceUID for request, _i, _p in on.store_handler.kept] == [
        f"1.2.{number}" for number in range(5)
    ]


def test_what_the_store_handler_answers_is_sent(on: Handling, caplog: pytest.LogCaptureFixture) -> None:
    """Status and comment; nothing is left of the file, and the log has the reason alone."""
    on.store_handler.answer = StoreResponse(0xA900, "not for Smith", "no input wants it")
    with caplog.at_level(logging.INFO):
        on.take(store_message("1.2.3", image()))
    assert on.answer() == (1, 0xA900, "not for Smith")
    assert on.handler.refused == 1
    assert list(on.incoming.iterdir()) == []
    assert "refused an instance: 0xa900 no input wants it" in caplog.text
    assert "Smith" not in caplog.text


def test_a_refusal_before_the_data_set_stores_nothing(on: Handling) -> None:
    """The data set is passed over as it comes, and the next instance is taken."""
    on.store_handler.refusal = StoreResponse.plain(Status.OUT_OF_RESOURCES, "full")
    data = image()
    on.take(p_data(1, 3, command(1, MR, data_set=True, instance="1.2.3")), p_data(1, 0, data[:5000]))
    assert list(on.incoming.iterdir()) == []
    on.take(p_data(1, 2, data[5000:]))
    assert on.answer() == (1, Status.OUT_OF_RESOURCES, "full")
    on.store_handler.refusal = None
    on.take(store_message("1.2.3", data))
    assert on.answer().status == 0


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (
            command(1, "", data_set=True, instance="1.2.3"),
            Status.INVALID_REQUEST,
            "names no valid SOP instance",
        ),
        (
            command(1, MR, data_set=True, instance="1.2.x"),
            Status.INVALID_REQUEST,
            "names no valid SOP instance",
        ),
        (command(1, MR, data_set=False, instance="1.2.3"), Status.NO_DATA_SET, "has no data set"),
        (command(1, MR, data_set=True, instance="1.2.3"), Status.NO_DATA_SET, "the data set is empty"),
    ],
)
def test_requests_that_cannot_be_met(on: Handling, request_: bytes, status: int, said: str) -> None:
    """They are answered with their status, and leave nothing."""
    has_data_set = b"\0\0\0\x08\2\0\0\0\0\0" in request_
    on.take(p_data(1, 3, request_), *([p_data(1, 2, b"")] if has_data_set else []))
    answer = on.answer()
    assert answer.status == status
    assert said in answer.comment
    assert list(on.incoming.iterdir()) == []


def test_a_data_set_that_is_broken_or_of_another_instance(on: Handling) -> None:
    """Refused with what is wrong; the store handler does not learn of it."""
    for data in (image()[:-7], image("9.9")):
        on.take(store_message("1.2.3", data))
        answer = on.answer()
        assert answer.status & 0xF000 in {0xC000, 0xA000}
        assert answer.comment
    assert on.store_handler.kept == []
    assert list(on.incoming.iterdir()) == []


def test_a_disk_that_is_full(on: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of resources, with the reason of the operating system; the rest of the data set is passed over."""

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = image()
    with monkeypatch.context() as patched:
        patched.setattr("os.writev", full)
        on.take(store_message("1.2.3", data))
    answer = on.answer()
    assert (answer.status, answer.comment) == (Status.OUT_OF_RESOURCES, "not stored: No space left on device")
    assert list(on.incoming.iterdir()) == []
    on.take(store_message("1.2.3", data))
    assert on.answer().status == 0


@pytest.mark.parametrize("method", ["admit", "received"])
def test_a_store_handler_that_raises(
    on: Handling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Processing failure, and a line of the log without the exception's own words."""

    def failing(*_arguments: object) -> None:
        raise ValueError("Smith^John")

    monkeypatch.setattr(on.store_handler, method, failing)
    on.take(store_message("1.2.3", image()))
    assert on.answer() == (1, Status.PROCESSING_FAILURE, "internal error, see the log")
    assert "an instance failed: ValueError at" in caplog.text
    assert "Smith" not in caplog.text
    assert list(on.incoming.iterdir()) == []


def test_a_store_handler_that_has_logged_why(
    on: Handling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not logged again."""

    def failing(*_arguments: object) -> None:
        raise StoreHandlerFailedError("said already")

    monkeypatch.setattr(on.store_handler, "received", failing)
    on.take(store_message("1.2.3", image()))
    assert on.answer().status == Status.PROCESSING_FAILURE
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- other messages -------------------------------------------------------------------------------------


def test_other_messages_are_handed_on_whole(on: Handling) -> None:
    """With and without a data set; what serves them says whether the association goes on."""
    find = command(0x20, MR, data_set=True)
    on.take(p_data(3, 3, ECHO), p_data(1, 3, find), p_data(1, 0, b"ab"), p_data(1, 2, b"cd"))
    assert on.served == [EncodedMessage(3, ECHO, None), EncodedMessage(1, find, b"abcd")]
    assert on.handler.deadline is None
    on.serves = False
    with pytest.raises(ConnectionEndedError, match="a request that is not served"):
        on.take(p_data(3, 3, ECHO))


# -- what ends an association ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pdus", "said"),
    [
        ([p_data(1, 2, b"ab")], "data set without a command"),
        (
            [p_data(1, 3, command(1, MR, data_set=True, instance="1.2")), p_data(3, 2, b"ab")],
            "data set without",
        ),
        (
            [p_data(1, 3, command(1, MR, data_set=True, instance="1.2")), p_data(3, 3, ECHO)],
            "within a data set",
        ),
        ([p_data(1, 1, bytes(9000)), p_data(1, 1, bytes(9000))], "a command set that is too long"),
        ([p_data(1, 3, b"\xff" * 20)], "broken, or in no accepted context"),
        ([p_data(5, 3, ECHO)], "broken, or in no accepted context"),
        (
            [p_data(3, 3, command(0x20, MR, data_set=True)), *[p_data(3, 0, bytes(60_000))] * 18],
            "than the limit",
        ),
    ],
)
def test_what_breaks_the_protocol(on: Handling, pdus: list[bytes], said: str) -> None:
    """The connection ends with the reason."""
    with pytest.raises(ConnectionEndedError, match=said):
        on.take(*pdus)


def test_the_limit_of_an_object(tmp_path: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
    """A data set may be as long as the limit, and not a byte longer."""
    data = image()
    on = Handling(tmp_path, *sockets, max_object_size=len(data))
    on.take(store_message("1.2.3", data))
    assert on.answer().status == 0
    with pytest.raises(ConnectionEndedError, match="longer than the object limit"):
        on.take(store_message("1.2.3", data + b"\0"))
    on.handler.close()
    assert list(on.incoming.iterdir()) == []


def test_a_message_has_a_deadline_from_its_first_byte(on: Handling) -> None:
    """It does not move while the message goes on, and there is none between messages."""
    rq = command(1, MR, data_set=True, instance="1.2.3")
    assert on.handler.deadline is None
    on.take(p_data(1, 1, rq[:10]))
    deadline = on.handler.deadline
    assert deadline is not None
    on.take(p_data(1, 3, rq[10:]), p_data(1, 0, image()[:100]))
    assert on.handler.deadline == deadline
    on.take(p_data(1, 2, image()[100:]))
    assert on.handler.deadline is None


def test_closing_drops_what_is_not_whole(on: Handling) -> None:
    """Half a data set leaves no file; closing twice, or between messages, does nothing."""
    on.handler.close()
    on.take(p_data(1, 3, command(1, MR, data_set=True, instance="1.2.3")))
    for _ in range(60):  # more than fits into the reader's buffer
        on.take(p_data(1, 0, bytes(50_000)))
    assert len(list(on.incoming.iterdir())) == 1
    on.handler.close()
    on.handler.close()
    assert list(on.incoming.iterdir()) == []
