"""In the host: a connection that was forwarded to a receiver process, and the decisions about it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.host.dimse.pynetdicom_private import CommitmentHandler
from dicomnode.host.dimse.store_handler import (
    AssociationEnd,
    AssociationInfo,
    Prevalidation,
    StoreHandler,
    StoreRequest,
)
from dicomnode.host.dimse.tls import PeerCertificate
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.error_text import type_and_line
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.receiver.allowed_peers import AllowedPeers
from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel
from dicomnode.host.receiver.store_handler_proxy import CallResult, HostMethod
from dicomnode.host.spool.spool import Spool
from dicomnode.host.spool.spool_writer import FinishedFile

_LOG = logging.getLogger(__name__)
_ResponseFields = tuple[int, str | None, str]


@dataclass(frozen=True, slots=True)
class HostDecisions:
    """What decides, for all connections."""

    store_handler: StoreHandler
    spool: Spool
    allowed: AllowedPeers
    commitments: CommitmentHandler | None


class ForwardedConnection:
    """Answers the calls of a receiver process about one connection, on a thread of its own.

    Parameters
    ----------
    sock : socket.socket
        The peer's; given to the process by `hand_over`, and closed here.
    hand_over : callable
        Gives the peer's socket and the channel's other end to a receiver process; returns what to call when
        the connection has ended, or None where there is no process.
    decisions : HostDecisions
    """

    def __init__(
        self,
        sock: socket.socket,
        hand_over: Callable[[socket.socket, socket.socket], Callable[[], None] | None],
        decisions: HostDecisions,
    ) -> None:
        self._socket, self._hand_over, self._decisions = sock, hand_over, decisions
        self._association: AssociationInfo | None = None
        self._channel: ProcessChannel | None = None
        self._end = AssociationEnd.ABORTED
        self._methods: tuple[Callable[..., Any], ...] = tuple(
            getattr(self, f"_{method.name.lower()}") for method in HostMethod
        )

    def run(self) -> None:
        """Serve until the receiver process has done with the connection. Raises nothing."""
        ours, theirs = socket.socketpair()
        with ours:
            with self._socket, theirs:
                ended = self._hand_over(self._socket, theirs)
            if ended is None:
                _LOG.error("a connection was closed: no receiver process runs")
                return
            self._channel = ProcessChannel(ours)
            try:
                self._serve(self._channel)
            except ChannelClosedError:
                self._process_ended()
            finally:
                ended()

    def close(self) -> None:
        """Leave the connection, from another thread: the host does not wait any longer."""
        self._end = AssociationEnd.CUT_OFF
        if self._channel is not None:
            self._channel.close()

    def _serve(self, channel: ProcessChannel) -> None:
        while True:
            method, *arguments = channel.receive()
            try:
                result, value = CallResult.RETURNED, self._methods[method](*arguments)
            except OSError as error:
                result, value = CallResult.OS_ERROR, error.errno or errno.EIO
            except Exception as error:
                _LOG.error("%s failed: %s", HostMethod(method).name.lower(), type_and_line(error))
                result, value = CallResult.FAILED, None
            channel.send((int(result), value))

    def _process_ended(self) -> None:
        """End the association, where the receiver process has ended without doing so."""
        association, self._association = self._association, None
        if association is not None:
            with suppress(Exception):
                self._decisions.store_handler.association_ended(association, self._end)

    # -- the methods that are called ------------------------------------------------------------------------

    def _may_associate(self, calling: str, address: str, certificate: tuple[str, str] | None) -> bool:
        shown = None if certificate is None else PeerCertificate(*certificate)
        return self._decisions.allowed.may_associate(calling, address, shown)

    def _accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        return self._decisions.store_handler.accepts_called_ae(called, calling, address)

    def _admit(self, association: tuple[Any, ...] | None, *request: Any) -> _ResponseFields | None:
        response = self._decisions.store_handler.admit(self._request(association, *request))
        return None if response is None else _response_fields(response)

    def _received(self, association: tuple[Any, ...] | None, *arguments: Any) -> _ResponseFields:
        *request, index, file, size, offset, prevalidated = arguments
        prevalidation = None if prevalidated is None else Prevalidation(*prevalidated)
        spooled = FinishedFile(file, size, offset, self._decisions.spool)
        try:
            response = self._decisions.store_handler.received(
                self._request(association, *request), index, spooled, prevalidation
            )
        finally:
            spooled.discard()
        return _response_fields(response)

    def _release_requested(self, association: tuple[Any, ...]) -> None:
        self._decisions.store_handler.release_requested(self._association or _association_of(association))

    def _association_ended(self, association: tuple[Any, ...], end: str) -> None:
        info = self._association or _association_of(association)
        self._association = None
        self._decisions.store_handler.association_ended(info, AssociationEnd(end))

    def _take_commitment_report(self, calling: str, information: str) -> int:
        handler = self._decisions.commitments
        if handler is None:
            return int(Status.SOP_CLASS_NOT_SUPPORTED)
        return int(handler(calling, Dataset.from_json(information)))

    def _request(self, association: tuple[Any, ...] | None, *fields: Any) -> StoreRequest:
        if association is not None:
            self._association = _association_of(association)
            log_context.association.set(self._association.id)
        if self._association is None:
            raise ChannelClosedError("a request without an association")
        return StoreRequest(self._association, *fields)


def _response_fields(response: StoreResponse) -> _ResponseFields:
    return int(response.status), response.comment, response.reason  # marshal takes no enumeration


def _association_of(fields: tuple[Any, ...]) -> AssociationInfo:
    id_, calling, called, address, negotiated, certificate = fields
    return AssociationInfo(id_, calling, called, address, datetime.fromisoformat(negotiated), certificate)
