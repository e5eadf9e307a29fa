"""The host's side of a connection that a receiver process serves: what is decided, and how it ends."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode.host.configuration.receiver_settings import AllowedPeer
from dicomnode.host.dimse.pynetdicom_private import CommitmentHandler
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.receiver.allowed_peers import AllowedPeers
from dicomnode.host.receiver.forwarded_connection import ForwardedConnection, HostDecisions
from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel
from dicomnode.host.receiver.store_handler_proxy import CallResult, HostMethod
from dicomnode.host.spool.spool import Spool
from receiving import RecordingStoreHandler

FIELDS = ("a1", "FROM", "DICOMNODE", "10.1.2.3", "2026-01-02T03:04:05+00:00", "scanner")
ASSOCIATION = AssociationInfo(
    "a1", "FROM", "DICOMNODE", "10.1.2.3", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "scanner"
)
ASKED = (7, "1.2.1", "1.2.3", "1.2.840.10008.1.2.1")
REQUEST = StoreRequest(ASSOCIATION, *ASKED)
RETURNED = int(CallResult.RETURNED)


class Handler(RecordingStoreHandler):
    """Records requests, prevalidations and ends; raises an exception where one is set."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[AssociationInfo, AssociationEnd]] = []
        self.prevalidations: list[Prevalidation | None] = []
        self.requests: list[StoreRequest] = []
        self.raises: Exception | None = None

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        self.requests.append(request)
        if self.raises is not None:
            raise self.raises
        return super().admit(request)

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, Any],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        self.prevalidations.append(prevalidation)
        if self.raises is not None:
            raise self.raises
        return super().received(request, index, spooled, prevalidation)

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        self.ends.append((association, end))
        if self.raises is not None:
            raise self.raises


class Serving:
    """A connection that is served on a thread, with the test in the place of the receiver process."""

    def __init__(self, directory: Path, commitments: CommitmentHandler | None = None) -> None:
        self.store_handler = Handler()
        self.spool = Spool(directory / "spool", "process")
        self.allowed = AllowedPeers([AllowedPeer("ONE", certificate="scanner")])
        self.ended = threading.Event()
        self.sock, self.peer = socket.socketpair()
        self.peer.settimeout(10)
        self._handed_over = threading.Event()
        self._channels: list[ProcessChannel] = []
        decisions = HostDecisions(self.store_handler, self.spool, self.allowed, commitments)
        self.connection = ForwardedConnection(self.sock, self._take, decisions)
        self._thread = threading.Thread(target=self.connection.run)

    def _take(self, _sock: socket.socket, channel: socket.socket) -> Any:
        self._channels.append(ProcessChannel(channel.dup()))
        self._handed_over.set()
        return self.ended.set

    @property
    def channel(self) -> ProcessChannel:
        """What the receiver process calls the host with."""
        assert self._handed_over.wait(10)
        return self._channels[0]

    def call(self, method: HostMethod, *arguments: Any) -> Any:
        """Call as the receiver process does; return how it ended, and the value."""
        return self.channel.call((int(method), *arguments))

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Close the receiver process's end, and wait until the connection is over."""
        self.channel.close()
        self.wait()

    def wait(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def file(self) -> Path:
        """Return a file that the receiver process has written."""
        path = self.spool.root / "incoming" / "file"
        path.write_bytes(b"0123456789")
        return path


@contextmanager
def serving(directory: Path, commitments: CommitmentHandler | None = None) -> Iterator[Serving]:
    """Serve a connection until the block is left."""
    on = Serving(directory, commitments)
    on.start()
    try:
        yield on
    finally:
        on.finish()
        on.peer.close()


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Serving]:
    """Serve a connection."""
    with serving(tmp_path) as made:
        yield made


# -- what is decided ------------------------------------------------------------------------------------


def test_the_allow_list_is_the_hosts(on: Serving) -> None:
    """Title and certificate are compared with the list, also after it has changed."""
    ask = (HostMethod.MAY_ASSOCIATE, "ONE", "10.1.2.3")
    assert on.call(*ask, ("ab", "scanner")) == (RETURNED, True)
    assert on.call(*ask, ("ab", "other")) == (RETURNED, False)
    assert on.call(*ask, None) == (RETURNED, False)
    on.allowed.replace([AllowedPeer("ONE")])
    assert on.call(*ask, None) == (RETURNED, True)


def test_called_titles_are_the_store_handlers(on: Serving) -> None:
    """Whether a called title is wanted is the answer of the store handler."""
    assert on.call(HostMethod.ACCEPTS_CALLED_AE, "DICOMNODE", "FROM", "10.1.2.3") == (RETURNED, True)
    assert on.call(HostMethod.ACCEPTS_CALLED_AE, "OTHER", "FROM", "10.1.2.3") == (RETURNED, False)


def test_the_association_is_remembered(on: Serving) -> None:
    """The association comes with the first request only; the later ones are of the same."""
    assert on.call(HostMethod.ADMIT, FIELDS, *ASKED) == (RETURNED, None)
    on.store_handler.refusal = StoreResponse(0x0124, "no", "why")
    assert on.call(HostMethod.ADMIT, None, *ASKED) == (RETURNED, (0x0124, "no", "why"))
    assert on.store_handler.requests == [REQUEST, REQUEST]


def test_a_file_that_is_kept(on: Serving) -> None:
    """A received file gets its final name here; index and prevalidation reach the store handler."""
    file = on.file()
    index = {0x00100020: "P1"}
    answer = on.call(HostMethod.RECEIVED, FIELDS, *ASKED, index, str(file), 10, 4, ("P1", {"ct": None}))
    assert answer == (RETURNED, (0, None, ""))
    ((request, seen, kept),) = on.store_handler.kept
    assert (request, seen) == (REQUEST, index)
    assert kept.read_bytes() == b"0123456789"
    assert on.store_handler.prevalidations == [Prevalidation("P1", {"ct": None})]
    assert not file.exists()


def test_a_file_that_is_not_kept_is_removed(on: Serving) -> None:
    """What the store handler refuses does not stay in the spool, and its answer goes back whole."""
    file = on.file()
    on.store_handler.answer = StoreResponse(0xA700, "full", "disk")
    answer = on.call(HostMethod.RECEIVED, FIELDS, *ASKED, {}, str(file), 10, 4, None)
    assert answer == (RETURNED, (0xA700, "full", "disk"))
    assert on.store_handler.prevalidations == [None]
    assert not file.exists()


@pytest.mark.parametrize(
    ("raised", "answer"),
    [
        (OSError(errno.ENOSPC, "no space"), (int(CallResult.OS_ERROR), errno.ENOSPC)),
        (OSError("without a number"), (int(CallResult.OS_ERROR), errno.EIO)),
        (ValueError("PatientName^Secret"), (int(CallResult.FAILED), None)),
    ],
)
def test_a_store_handler_that_raises(
    on: Serving, raised: Exception, answer: tuple[int, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception costs the one instance; its text is not logged, and the next call is answered."""
    file = on.file()
    on.store_handler.raises = raised
    assert on.call(HostMethod.RECEIVED, FIELDS, *ASKED, {}, str(file), 10, 4, None) == answer
    assert not file.exists()
    assert "Secret" not in caplog.text
    assert ("received failed: ValueError at" in caplog.text) is isinstance(raised, ValueError)
    on.store_handler.raises = None
    assert on.call(HostMethod.ADMIT, None, *ASKED) == (RETURNED, None)


def test_reports_on_storage_commitment(tmp_path: Path) -> None:
    """A report reaches the handler as a data set, and the status is its; without one it is not supported."""
    reports: list[tuple[str, Dataset]] = []

    def take(calling: str, information: Dataset) -> int:
        reports.append((calling, information))
        return 0x0110

    information = Dataset()
    information.TransactionUID = "1.2.9"
    ask = (HostMethod.TAKE_COMMITMENT_REPORT, "PACS", information.to_json())
    with serving(tmp_path / "with", take) as on:
        assert on.call(*ask) == (RETURNED, 0x0110)
    assert reports == [("PACS", information)]
    with serving(tmp_path / "without") as on:
        assert on.call(*ask) == (RETURNED, 0x0122)


# -- how it ends ----------------------------------------------------------------------------------------


def test_an_end_that_the_process_reports(tmp_path: Path) -> None:
    """The end is reported to the store handler once, as the process gave it."""
    with serving(tmp_path) as on:
        on.call(HostMethod.ADMIT, FIELDS, *ASKED)
        assert on.call(HostMethod.ASSOCIATION_ENDED, FIELDS, "released") == (RETURNED, None)
    assert on.store_handler.ends == [(ASSOCIATION, AssociationEnd.RELEASED)]
    assert on.ended.is_set()


def test_an_end_without_a_request_before(tmp_path: Path) -> None:
    """An association on which nothing was asked is reported with the fields of the report itself."""
    with serving(tmp_path) as on:
        on.call(HostMethod.ASSOCIATION_ENDED, FIELDS, "aborted")
    assert on.store_handler.ends == [(ASSOCIATION, AssociationEnd.ABORTED)]


@pytest.mark.parametrize("raised", [None, ValueError("why")])
def test_a_process_that_ends_without_a_report(tmp_path: Path, raised: Exception | None) -> None:
    """Where the process has ended, the host ends the association as aborted, whatever that raises."""
    with serving(tmp_path) as on:
        on.call(HostMethod.ADMIT, FIELDS, *ASKED)
        on.store_handler.raises = raised
    assert on.store_handler.ends == [(ASSOCIATION, AssociationEnd.ABORTED)]
    assert on.ended.is_set()


def test_a_process_that_ends_before_an_association(tmp_path: Path) -> None:
    """Without an association there is no end to report; the pool is called as the connection is over."""
    with serving(tmp_path) as on:
        on.call(HostMethod.MAY_ASSOCIATE, "ONE", "10.1.2.3", None)
    assert on.store_handler.ends == []
    assert on.ended.is_set()


def test_the_host_does_not_wait_any_longer(tmp_path: Path) -> None:
    """Closing from another thread ends the association as cut off, and closes the channel."""
    with serving(tmp_path) as on:
        on.call(HostMethod.ADMIT, FIELDS, *ASKED)
        on.connection.close()
        on.wait()
        with pytest.raises(ChannelClosedError):
            on.channel.receive()
    assert on.store_handler.ends == [(ASSOCIATION, AssociationEnd.CUT_OFF)]


def test_without_a_process_the_peer_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no receiver process runs, the peer's connection is closed and the log says why."""
    on = Serving(tmp_path)
    decisions = HostDecisions(on.store_handler, on.spool, on.allowed, None)
    with on.peer, caplog.at_level(logging.ERROR):
        ForwardedConnection(on.sock, lambda _sock, _channel: None, decisions).run()
        assert on.peer.recv(1) == b""
    assert "a connection was closed: no receiver process runs" in caplog.text


def test_the_hosts_own_copy_of_the_peers_socket_is_closed(on: Serving) -> None:
    """The host keeps no descriptor of the peer: the connection ends when the receiver process closes it."""
    on.call(HostMethod.MAY_ASSOCIATE, "ONE", "10.1.2.3", None)
    assert on.sock.fileno() == -1
    assert on.peer.recv(1) == b""
