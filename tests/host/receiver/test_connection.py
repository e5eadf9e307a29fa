"""One connection: whom it accepts, how it serves, and how it ends in each case."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from certificates import client_context, make_certificate
from dicomnode.host.configuration.receiver_settings import AllowedPeer, ReceiverSettings, TLSSettings
from dicomnode.host.dimse.pynetdicom_private import Negotiator
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo
from dicomnode.host.dimse.tls import ServerTLS
from dicomnode.host.receiver import connection
from dicomnode.host.receiver.allowed_peers import AllowedPeers
from dicomnode.host.receiver.connection import Connection, ConnectionContext, StopDeadline
from dicomnode.host.spool.spool import Spool
from raw_peer import ACCEPTED, EXPLICIT, MR, REJECTED, RELEASED, RawPeer, associate_request, command, p_data
from receiving import RecordingStoreHandler, dataset_bytes, encoded, small_dataset

ABORT = 7
BY_USER, BY_PROVIDER = 0, 2
UID = "1.2.3"


class Handler(RecordingStoreHandler):
    """Records how associations ended; raises an exception where one is set."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[AssociationInfo, AssociationEnd]] = []
        self.raises: Exception | None = None

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        if self.raises is not None:
            raise self.raises
        return super().accepts_called_ae(called, calling, address)

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        self.ends.append((association, end))
        super().association_ended(association, end)
        if self.raises is not None:
            raise self.raises


class Serving:
    """A connection that is served on a thread of its own; the test is the peer."""

    def __init__(
        self, directory: Path, peers: tuple[AllowedPeer, ...], tls: TLSSettings | None, **settings: Any
    ):
        self.store_handler = Handler()
        self.allowed = AllowedPeers(peers)
        made = ReceiverSettings(**{"port": 0, **settings})
        self.context = ConnectionContext(
            made,
            self.store_handler,
            Spool(directory / "spool", "process"),
            Negotiator(made),
            self.allowed,
            None if tls is None else ServerTLS(tls),
            fairness_lock=threading.Lock(),
        )
        self.incoming = directory / "spool" / "incoming"
        self._server = socket.create_server(("127.0.0.1", 0))
        self._accepted = threading.Event()
        self._connections: list[Connection] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        sock, (address, _port) = self._server.accept()
        self._connections.append(Connection(sock, address, self.context))
        self._accepted.set()
        self._connections[0].run()

    @property
    def address(self) -> tuple[str, int]:
        return self._server.getsockname()[:2]

    @property
    def connection(self) -> Connection:
        assert self._accepted.wait(10)
        return self._connections[0]

    @property
    def ends(self) -> list[AssociationEnd]:
        """How the associations ended, once the connection is over."""
        self.wait()
        return [end for _association, end in self.store_handler.ends]

    def wait(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._server.close()


Serve = Callable[..., AbstractContextManager[tuple[Serving, RawPeer]]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Return what serves a connection, and gives it with its peer."""

    @contextmanager
    def begin(
        peers: tuple[AllowedPeer, ...] = (),
        tls: TLSSettings | None = None,
        client: Any = None,
        **settings: Any,
    ) -> Iterator[tuple[Serving, RawPeer]]:
        on = Serving(tmp_path, peers, tls, **settings)
        with RawPeer(on.address, tls=client) as peer:
            yield on, peer
        on.wait()

    return begin


def image() -> bytes:
    return encoded(small_dataset(SOPInstanceUID=UID))


def begin_message() -> bytes:
    return p_data(1, 3, command(1, MR, data_set=True, instance=UID))


def aborted(peer: RawPeer) -> tuple[int, int]:
    """Return source and reason of the A-ABORT that comes next."""
    kind, body = peer.receive()
    assert kind == ABORT
    return body[2], body[3]


# -- serving --------------------------------------------------------------------------------------------


def test_an_association_that_is_released(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Instances are stored, an echo is answered, and the release is reported with the peer's titles."""
    data = image()
    with caplog.at_level(logging.INFO), serve() as (on, peer):
        assert peer.associate(calling=b"FROM") == ACCEPTED
        assert peer.store(UID, data) == 0
        assert peer.echo() == 0
        assert peer.release() == RELEASED
    ((_request, _index, path),) = on.store_handler.kept
    assert dataset_bytes(path) == data
    ((association, end),) = on.store_handler.ends
    assert end is AssociationEnd.RELEASED
    assert (association.calling_ae_title, association.called_ae_title) == ("FROM", "DICOMNODE")
    assert (association.peer_address, association.peer_certificate) == ("127.0.0.1", None)
    assert "association from FROM released: 1 stored, 0 refused" in caplog.text


def test_the_lock_is_free_afterwards(serve: Serve) -> None:
    """A connection that has ended within a message does not hold the lock that all connections share."""
    with serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(begin_message())
    assert on.ends == [AssociationEnd.ABORTED]
    assert on.context.fairness_lock is not None
    assert on.context.fairness_lock.acquire(blocking=False)


# -- who is accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "answer"),
    [
        (b"ONE", b"DICOMNODE", None),
        (b"TWO", b"DICOMNODE", (1, 1, 3)),
        (b"ONE", b"OTHER", (1, 1, 7)),
    ],
)
def test_titles_that_are_not_recognised(
    serve: Serve, calling: bytes, called: bytes, answer: tuple[int, int, int] | None
) -> None:
    """A rejection says which title it is about (PS3.8 table 9-21), and no end is reported."""
    with serve((AllowedPeer("ONE"),)) as (on, peer):
        peer.send(associate_request({1: (MR, EXPLICIT)}, called=called, calling=calling))
        kind, body = peer.receive()
        assert kind == (ACCEPTED if answer is None else REJECTED)
        if answer is not None:
            assert tuple(body[1:4]) == answer
    assert len(on.ends) == (answer is None)


def test_a_receiver_that_stops_rejects(serve: Serve) -> None:
    """While the receiver stops, an association is rejected for now: the peer may try again."""
    with serve() as (on, peer):
        on.context.stop.set(1e12)
        peer.send(associate_request({1: (MR, EXPLICIT)}))
        kind, body = peer.receive()
        assert (kind, tuple(body[1:4])) == (REJECTED, (2, 3, 1))
    assert on.ends == []


def test_a_request_that_is_broken(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A request that cannot be read ends the connection, and no association is reported."""
    with caplog.at_level(logging.INFO), serve() as (on, peer):
        peer.send(b"\x01\0\0\0\0\x08brokenPD")
        assert peer.receive()[0] == ABORT
    assert on.ends == []
    assert "association request from 127.0.0.1 is broken" in caplog.text


def test_what_is_no_association_request(serve: Serve) -> None:
    """Another PDU in the place of the request is aborted as unexpected."""
    with serve() as (on, peer):
        peer.send(begin_message())
        assert aborted(peer) == (BY_PROVIDER, 2)
    assert on.ends == []


def test_no_context_that_could_be_accepted(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An association of no known SOP class is accepted without a context, which is logged."""
    with caplog.at_level(logging.INFO), serve() as (_on, peer):
        peer.send(associate_request({1: ("1.2.3", EXPLICIT)}, calling=b"FROM"))
        peer.receive()
    assert "association with FROM: no context could be accepted" in caplog.text


# -- TLS ------------------------------------------------------------------------------------------------


def test_a_certificate_names_the_peer(serve: Serve, tmp_path: Path) -> None:
    """With mutual TLS the certificate's common name is in the record of the association."""
    authority, _key = make_certificate(tmp_path, "authority")
    tls = TLSSettings(*make_certificate(tmp_path, "server", authority), authority)
    client = client_context(authority, make_certificate(tmp_path, "scanner", authority))
    with serve((AllowedPeer(certificate="scanner"),), tls, client) as (on, peer):
        assert peer.associate() == ACCEPTED
        assert peer.release() == RELEASED
    assert [association.peer_certificate for association, _end in on.store_handler.ends] == ["scanner"]


def test_a_handshake_that_fails(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that does not speak TLS is disconnected; the log gives the reason."""
    tls = TLSSettings(*make_certificate(tmp_path, "server"))
    with caplog.at_level(logging.INFO), serve((AllowedPeer("RAW"),), tls) as (on, peer):
        peer.send(associate_request({1: (MR, EXPLICIT)}))
        while peer.receive()[0] not in (0, ABORT):
            pass
    assert on.ends == []
    assert "connection from 127.0.0.1 ended: TLS handshake failed: " in caplog.text


# -- how it ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"\x07\0\0\0\0\4\0\0\0\0", "aborted by the peer"),
        (b"", "connection closed by the peer"),
    ],
)
def test_a_peer_that_ends_it(
    serve: Serve, sent: bytes, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An abort and a lost connection are reported as aborted, and what was not whole is removed."""
    with caplog.at_level(logging.INFO), serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(begin_message() + p_data(1, 0, image()[:2000]) + sent)
    assert on.ends == [AssociationEnd.ABORTED]
    assert f"connection from 127.0.0.1 ended: {logged}" in caplog.text
    assert not list(on.incoming.iterdir())


def test_a_release_within_a_message(serve: Serve) -> None:
    """A release before the end of a message is unexpected: the association is aborted, not released."""
    with serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(begin_message() + b"\x05\0\0\0\0\4\0\0\0\0")
        assert aborted(peer) == (BY_PROVIDER, 2)
    assert on.ends == [AssociationEnd.ABORTED]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [({"idle_timeout": 0.01}, b""), ({"message_timeout": 0.01}, begin_message())],
)
def test_a_peer_that_is_too_slow(serve: Serve, settings: dict[str, float], sent: bytes) -> None:
    """Silence between messages, and a message that does not come to its end, are aborted by this node."""
    with serve(**settings) as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(sent)
        assert aborted(peer) == (BY_USER, 0)
    assert on.ends == [AssociationEnd.ABORTED]


@pytest.mark.parametrize(("sent", "moment"), [(b"", 1e12), (begin_message(), 0.0)])
def test_stopping(serve: Serve, sent: bytes, moment: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle association ends before the moment of the stop, any other at it: both count as cut off."""
    monkeypatch.setattr(connection, "_IDLE_BEFORE_STOP", 0.0)
    with serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(sent)
        on.context.stop.set(moment)
        assert aborted(peer) == (BY_USER, 0)
    assert on.ends == [AssociationEnd.CUT_OFF]


def test_closing_from_another_thread(serve: Serve) -> None:
    """A connection that the host closes ends as cut off, also within a message."""
    with serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        peer.send(begin_message())
        on.connection.close()
        assert peer.receive()[0] == 0
    assert on.ends == [AssociationEnd.CUT_OFF]


def test_a_failure_of_our_own(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the host's code aborts the connection; its type is logged, its text is not."""
    with caplog.at_level(logging.INFO), serve() as (on, peer):
        on.store_handler.raises = ValueError("PatientName^Secret")
        peer.send(associate_request({1: (MR, EXPLICIT)}))
        assert aborted(peer) == (BY_USER, 0)
    assert on.ends == []
    assert "connection from 127.0.0.1 failed: ValueError" in caplog.text
    assert "Secret" not in caplog.text


def test_an_end_that_cannot_be_processed(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Where the report of the end raises, that is logged, and the connection is closed all the same."""
    with serve() as (on, peer):
        assert peer.associate() == ACCEPTED
        on.store_handler.raises = ValueError("PatientName^Secret")
        assert peer.release() == RELEASED
    assert on.ends == [AssociationEnd.RELEASED]
    assert "the end of an association could not be processed: ValueError" in caplog.text
    assert "Secret" not in caplog.text


def test_a_stop_deadline_is_unset_at_first() -> None:
    """Until the receiver stops there is no moment at which associations end."""
    deadline = StopDeadline()
    assert deadline.at is None
    deadline.set(12.5)
    assert deadline.at == 12.5
