"""The reader of PDUs: every wait ends at its deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from dicomnode.host.dimse.bounded_reader import P_DATA, BoundedReader, ConnectionEndedError
from raw_peer import p_data


@pytest.fixture
def connection() -> Iterator[tuple[BoundedReader, socket.socket]]:
    """Return a reader of an established association, and the peer's end of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _address = server.accept()
    with ours, theirs:
        reader = BoundedReader(ours, 4096, 5.0, lambda: None)
        reader.established()
        yield reader, theirs


def test_a_deadline_counts_for_what_has_come_already(connection: tuple[BoundedReader, socket.socket]) -> None:
    """After the deadline no PDU is returned, though a whole one lies in the buffer."""
    reader, theirs = connection
    theirs.sendall(p_data(1, 0, b"") * 3)
    later = time.monotonic() + 10
    assert reader.next_pdu(later)[0] == P_DATA
    assert reader.has_partial
    with pytest.raises(ConnectionEndedError, match="deadline"):
        reader.next_pdu(time.monotonic() - 1)
    assert reader.next_pdu(later)[0] == P_DATA


def test_a_deadline_counts_for_what_comes_at_once(connection: tuple[BoundedReader, socket.socket]) -> None:
    """After the deadline nothing is received any more, though a PDU waits in the socket."""
    reader, theirs = connection
    theirs.sendall(p_data(1, 0, b""))
    with pytest.raises(ConnectionEndedError, match="deadline"):
        reader.next_pdu(time.monotonic() - 1)


def test_a_pdu_that_begins_in_time_has_its_own_time(connection: tuple[BoundedReader, socket.socket]) -> None:
    """Where the deadline is not strict, a PDU that came before it was looked for is returned."""
    reader, theirs = connection
    theirs.sendall(p_data(1, 0, b""))
    assert reader.next_pdu(time.monotonic(), strict=False)[0] == P_DATA
