"""An association that this node requests: connected, negotiated, and ended, each within a deadline.

pynetdicom's PDUs encode and decode (:mod:`dicomnode.host.dimse.association_request`); nothing of it runs,
and no thread. What is done over it is up to the subclasses.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final, Self

from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import Acceptance, Proposal, decode_rejection
from dicomnode.host.dimse.bounded_reader import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    FROM_ACCEPTOR,
    HEADER_LENGTH,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    BoundedReader,
    ConnectionEndedError,
)
from dicomnode.host.dimse.message_templates import LONGEST_COMMAND, decode_command
from dicomnode.host.dimse.p_data import COMMAND, LAST, PDV_HEADER, EncodedMessage, read_pdv

_LEAST_LONGEST_PDU: Final = 65_536
_RELEASE_TIMEOUT: Final = 5.0
_RELEASE_RQ_PDU: Final = b"\x05\0\0\0\0\4\0\0\0\0"
_ABORT_PDU: Final = b"\x07\0\0\0\0\4\0\0\0\0"


class AssociationEndedError(DeliveryError):
    """The association is over: nothing was sent."""


class RequestedAssociation:
    """An association with a peer. For one thread, but for :meth:`break_off`.

    Parameters
    ----------
    host, port
        Where the peer listens.
    called_ae_title, calling_ae_title : str
        The peer's, and this node's.
    proposal : Proposal
        The presentation contexts.
    timeout : float
        Seconds for each step: to connect (TLS included), to answer the request, to take bytes.
    tls : ssl.SSLContext, optional
        Speak TLS, with this context.

    Attributes
    ----------
    established : bool
        Whether anything can be sent.
    """

    def __init__(
        self,
        host: str,
        port: int,
        called_ae_title: str,
        calling_ae_title: str,
        proposal: Proposal,
        *,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._timeout, self._tls = host, port, timeout, tls
        self._called, self._calling = called_ae_title, calling_ae_title
        self._proposal = proposal
        self._lock = threading.Lock()
        self._broken_off = False
        self._socket: socket.socket | None = None
        self._reader: BoundedReader | None = None
        self._acceptance: Acceptance | None = None
        self.established = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    # -- beginning ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and negotiate.

        Raises
        ------
        AssociationRejectedError
            If the peer rejects the association.
        DeliveryError
            If there is no peer, or it does not answer in time or not as it should.
        """
        where = f"{self._host}:{self._port}"
        try:
            self._negotiate(time.monotonic() + self._timeout)
        except (OSError, ConnectionEndedError) as error:
            self._close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DeliveryError(f"no association with {self._called!r} at {where}: {reason}") from None
        except BaseException:
            self._close()
            raise

    def _negotiate(self, deadline: float) -> None:
        sock = self._connect()
        reader = self._reader = BoundedReader(
            sock,
            max(self._proposal.max_pdu_length, _LEAST_LONGEST_PDU),
            self._timeout,
            lambda: None,
            FROM_ACCEPTOR,
        )
        reader.send(self._proposal.encode_request(self._calling, self._called))
        kind, begin, end = reader.next_pdu(deadline)
        pdu = bytes(reader.buffer[begin - HEADER_LENGTH : end])
        if kind == ASSOCIATE_RJ:
            raise decode_rejection(pdu)
        if kind != ASSOCIATE_AC:
            raise ConnectionEndedError("the peer aborted")
        self._acceptance = self._proposal.decode_acceptance(pdu)
        reader.established()
        self.established = True

    def _connect(self) -> socket.socket:
        sock = socket.create_connection((self._host, self._port), self._timeout)
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
            except BaseException:
                sock.close()
                raise
        with self._lock:
            self._socket = sock
            if self._broken_off:
                raise ConnectionEndedError("broken off")
        return sock

    # -- receiving ------------------------------------------------------------------------------------------

    def _receive_message(self, deadline: float, longest_data_set: int) -> EncodedMessage:
        """Wait for a whole DIMSE message.

        Raises
        ------
        ConnectionEndedError
            If the peer ends the association, breaks the protocol, or goes on past `deadline` or the bound.
        """
        reader = self._reader
        if reader is None or not self.established:
            raise ConnectionEndedError("not open")
        command, data_set, announced = bytearray(), bytearray(), False
        while True:
            kind, begin, end = reader.next_pdu(deadline)
            if kind == RELEASE_RQ:
                raise ConnectionEndedError("released by the peer")
            if kind != P_DATA:
                raise ConnectionEndedError("aborted by the peer" if kind == ABORT else "an unexpected PDU")
            while begin < end:
                context_id, control, after = read_pdv(reader.buffer, begin, end)
                (command if control & COMMAND else data_set).extend(reader.buffer[begin + PDV_HEADER : after])
                begin = after
                if len(command) > LONGEST_COMMAND or len(data_set) > longest_data_set:
                    raise ConnectionEndedError("a message that is too long")
                if control & COMMAND and control & LAST:
                    decoded = decode_command(bytes(command))
                    if decoded is None:
                        raise ConnectionEndedError("a broken message")
                    announced = decoded.has_data_set
                    if not announced:
                        return EncodedMessage(context_id, bytes(command), None)
                elif control & LAST:
                    if not announced:
                        raise ConnectionEndedError("a data set without a command")
                    return EncodedMessage(context_id, bytes(command), bytes(data_set))

    # -- ending ---------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Release the association and close. Does nothing if it is over; raises nothing."""
        reader = self._reader
        if self.established and reader is not None:
            self.established = False
            with suppress(ConnectionEndedError):
                deadline = time.monotonic() + min(self._timeout, _RELEASE_TIMEOUT)
                reader.send(_RELEASE_RQ_PDU)
                while reader.next_pdu(deadline)[0] not in {RELEASE_RP, ABORT}:
                    pass
        self._close()

    def abort(self) -> None:
        """Abort the association and close. Does nothing if it is over; raises nothing."""
        sock = self._socket
        if self.established and sock is not None:
            self.established = False
            with suppress(OSError):
                sock.settimeout(0.1)  # for a peer that takes nothing any more
                sock.sendall(_ABORT_PDU)
        self._close()

    def break_off(self) -> None:
        """End it from another thread: a :meth:`send` under way returns None, :meth:`open` fails."""
        with self._lock:
            self._broken_off = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        self.established = False
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None:
            with suppress(OSError):
                sock.close()
