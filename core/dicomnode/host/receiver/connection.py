"""One connection, from TLS handshake to the last byte, on one thread of its own."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from dicomnode.dicom.values.safe import safe_text
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.bounded_reader import (
    ABORT,
    ASSOCIATE_RQ,
    HEADER_LENGTH,
    P_DATA,
    RELEASE_RQ,
    BoundedReader,
    ConnectionEndedError,
)
from dicomnode.host.dimse.c_store_handler import AssociationContext, CStoreHandler
from dicomnode.host.dimse.fairness import FairnessSlot
from dicomnode.host.dimse.pynetdicom_private import AcceptedAssociation, Negotiator
from dicomnode.host.dimse.spooled_file import IncomingSpool
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, StoreHandler
from dicomnode.host.dimse.tls import PeerCertificate, ServerTLS, peer_certificate
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.failpoints import failpoint

_LOG = logging.getLogger(__name__)
_LINGER = 1.0
_REJECTED_LINGER = 5.0  # a slow peer may need a while to read that it was rejected
_IDLE_BEFORE_STOP = 1.0
_REJECTED_PERMANENT, _BY_USER, _BY_PRESENTATION = 0x01, 0x01, 0x03
_CALLING_NOT_RECOGNISED, _CALLED_NOT_RECOGNISED = 0x03, 0x07
_REJECTED_TRANSIENT, _CONGESTION = 0x02, 0x01


@dataclass(slots=True)
class StopDeadline:
    """Set when the receiver stops: `at` is the moment (monotonic) at which every association ends."""

    at: float | None = None

    def set(self, at: float) -> None:
        """End every association at a moment (monotonic), and those that are idle before."""
        self.at = at


class AllowList(Protocol):
    """Knows which peers may associate."""

    def may_associate(self, calling: str, address: str, certificate: PeerCertificate | None) -> bool:
        """Say whether one and the same peer has this title, address and certificate."""
        ...


@dataclass(slots=True)
class ConnectionContext:
    """What all connections of a receiver share."""

    settings: ReceiverSettings
    store_handler: StoreHandler
    spool: IncomingSpool
    negotiator: Negotiator
    allowed: AllowList
    tls: ServerTLS | None
    stop: StopDeadline = field(default_factory=StopDeadline)
    fairness_lock: threading.Lock | None = None


class Connection:
    """Serves one peer.

    Parameters
    ----------
    sock : socket.socket
        Accepted; closed by :meth:`run`.
    address : str
        The peer's.
    context : ConnectionContext
    """

    def __init__(self, sock: socket.socket, address: str, context: ConnectionContext) -> None:
        self._socket, self._address, self._context = sock, address, context
        self._reader: BoundedReader | None = None
        self._handler: CStoreHandler | None = None
        self._info: AssociationInfo | None = None
        self._idle_since = time.monotonic()
        self._association_end = AssociationEnd.ABORTED

    def run(self) -> None:
        """Serve until the association ends, one way or another. Raises nothing."""
        try:
            self._serve()
        except ConnectionEndedError as ended:
            _LOG.info("connection from %s ended: %s", self._address, ended)
            self._abort(ended.abort_reason)
        except Exception as error:
            _LOG.error("connection from %s failed: %s", self._address, type(error).__name__)
            _LOG.debug("the failure", exc_info=True)
            self._abort(0x00)
        finally:
            self._finish()

    def close(self) -> None:
        """Break the connection, from another thread: the host does not wait any longer."""
        self._association_end = AssociationEnd.CUT_OFF
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # -- serving --------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        settings = self._context.settings
        deadline = time.monotonic() + settings.acse_timeout
        certificate = self._handshake(settings.acse_timeout)
        reader = self._reader = BoundedReader(
            self._socket,
            settings.max_pdu_length,
            settings.pdu_timeout,
            self._check_stop,
            fairness=FairnessSlot(self._context.fairness_lock),
        )
        kind, begin, end = reader.next_pdu(deadline)
        if kind != ASSOCIATE_RQ:
            return
        pdu = bytes(reader.buffer[begin - HEADER_LENGTH : end])
        association = self._context.negotiator.association(self._socket, reader.send)
        handler = self._negotiate(association, pdu, certificate)
        if handler is None:
            reader.drain(_REJECTED_LINGER)
        else:
            self._receive(reader, handler, association)

    def _handshake(self, timeout: float) -> PeerCertificate | None:
        tls = self._context.tls
        if tls is None:
            return None
        self._socket.settimeout(timeout)  # of the whole handshake, not of each of its reads
        try:
            sock = tls.context().wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
            self._socket = sock
            sock.do_handshake()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise ConnectionEndedError(f"TLS handshake failed: {safe_text(reason)}") from None
        return peer_certificate(sock)

    def _negotiate(
        self, association: AcceptedAssociation, pdu: bytes, certificate: PeerCertificate | None
    ) -> CStoreHandler | None:
        context, reader = self._context, self._reader
        request = association.decode_request(pdu)
        if request is None or reader is None:
            _LOG.info("association request from %s is broken", self._address)
            return None
        info = AssociationInfo(
            id=secrets.token_hex(8),
            calling_ae_title=str(request.calling_ae_title or "").strip(),
            called_ae_title=str(request.called_ae_title or "").strip(),
            peer_address=self._address,
            negotiated=datetime.now(UTC),
            peer_certificate=certificate.common_name if certificate else None,
        )
        log_context.association.set(info.id)  # this thread serves no other
        if not self._check_association(association, info, certificate):
            return None
        contexts = association.accept(request)
        if not contexts:
            _LOG.info("association with %s: no context could be accepted", safe_text(info.calling_ae_title))
        self._info = info
        reader.established()
        association_context = AssociationContext(
            info,
            contexts,
            context.store_handler,
            context.spool,
            context.settings,
            association.peer_max_pdu_length,
        )
        self._handler = CStoreHandler(reader, association_context, association.serve)
        _LOG.info("association from %s at %s", safe_text(info.calling_ae_title), self._address)
        return self._handler

    def _check_association(
        self, association: AcceptedAssociation, info: AssociationInfo, certificate: PeerCertificate | None
    ) -> bool:
        calling, called = info.calling_ae_title, info.called_ae_title
        if self._context.stop.at is not None:
            association.reject(_REJECTED_TRANSIENT, _BY_PRESENTATION, _CONGESTION)
        elif not self._context.allowed.may_associate(calling, self._address, certificate):
            _LOG.warning("rejected unknown peer %s at %s", safe_text(calling), self._address)
            association.reject(_REJECTED_PERMANENT, _BY_USER, _CALLING_NOT_RECOGNISED)
        elif not self._context.store_handler.accepts_called_ae(called, calling, self._address):
            _LOG.warning("rejected %s: called AE title %s unknown", safe_text(calling), safe_text(called))
            association.reject(_REJECTED_PERMANENT, _BY_USER, _CALLED_NOT_RECOGNISED)
        else:
            return True
        return False

    def _receive(
        self, reader: BoundedReader, handler: CStoreHandler, association: AcceptedAssociation
    ) -> None:
        idle = self._context.settings.idle_timeout
        while True:
            now = time.monotonic()
            if handler.deadline is None:
                reader.rewind()
                self._idle_since = now
                kind, begin, end = reader.next_pdu(now + idle, strict=False)
            elif now > handler.deadline:
                raise ConnectionEndedError("too slow: a message's deadline has passed", 0x00)
            else:
                kind, begin, end = reader.next_pdu(min(handler.deadline, now + idle))
            if kind == P_DATA:
                handler.handle_p_data(begin, end)
            elif kind == RELEASE_RQ and handler.deadline is None:
                if not association.is_release_request(bytes(reader.buffer[begin - HEADER_LENGTH : end])):
                    raise ConnectionEndedError("broken release request", 0x06)
                self._release(handler, association)
                reader.drain(_LINGER)
                return
            elif kind == ABORT:
                raise ConnectionEndedError("aborted by the peer")
            else:
                raise ConnectionEndedError(f"unexpected PDU of type {kind:#04x}", 0x02)

    # -- endings --------------------------------------------------------------------------------------------

    def _release(self, handler: CStoreHandler, association: AcceptedAssociation) -> None:
        """Answer a release, once it is durable that there was one."""
        if handler.stored and self._info is not None:
            self._context.store_handler.release_requested(self._info)
        self._association_end = AssociationEnd.RELEASED  # also where the answer does not reach the peer
        association.release()
        failpoint("release answered")
        self._report_end()  # only now: who waits for the release to act on it must find all bytes sent

    def _check_stop(self) -> None:
        stop_at = self._context.stop.at
        if stop_at is None:
            return
        now, handler = time.monotonic(), self._handler
        idle = handler is None or handler.deadline is None
        if now >= stop_at or (idle and now - self._idle_since > _IDLE_BEFORE_STOP):
            self._association_end = AssociationEnd.CUT_OFF
            raise ConnectionEndedError("shutting down", 0x00)

    def _abort(self, reason: int | None) -> None:
        if reason is None or self._reader is None:
            return
        source = 0x02 if reason else 0x00  # PS3.8 section 9.3.8: service provider or service user
        with suppress(ConnectionEndedError):
            self._reader.send(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason]))

    def _finish(self) -> None:
        try:
            if self._reader is not None:
                self._reader.fairness.release()
            if self._handler is not None:
                self._handler.close()
            self._report_end()
        finally:
            with suppress(OSError):
                if isinstance(self._socket, ssl.SSLSocket):
                    self._socket.settimeout(_LINGER)
                self._socket.close()

    def _report_end(self) -> None:
        info, self._info = self._info, None
        handler = self._handler
        if info is None or handler is None:
            return
        _LOG.info(
            "association from %s %s: %d stored, %d refused",
            safe_text(info.calling_ae_title),
            self._association_end.value,
            handler.stored,
            handler.refused,
        )
        try:
            self._context.store_handler.association_ended(info, self._association_end)
        except Exception as error:
            _LOG.error("the end of an association could not be processed: %s", type(error).__name__)
