"""Reads PDUs from a peer that may be slow, silent or hostile, within bounds of memory and time.

All bytes go into one buffer, made once for each connection and used again and again. What keeps views into it
(the C-STORE handler does, instead of copying) is notified before the bytes are overwritten.
"""

from __future__ import annotations

import mmap
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from dicomnode.errors import DicomnodeError
from dicomnode.host.dimse.fairness import FairnessSlot
from dicomnode.host.foundation.notifier import Notifier

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
HEADER_LENGTH: Final = 6
_TICK: Final = 0.5
_PDU_HEADER = struct.Struct(">BxI").unpack_from
_LONGEST_OTHER: Final = 1024
# A proposal of 128 contexts with every transfer syntax there is takes some 150 kB.
FROM_REQUESTOR: Final[Mapping[int, int]] = {ASSOCIATE_RQ: 262_144, ABORT: _LONGEST_OTHER}
"""What may come first where the peer requests the association: type of PDU to its greatest length."""
FROM_ACCEPTOR: Final[Mapping[int, int]] = {
    ASSOCIATE_AC: 262_144,
    ASSOCIATE_RJ: _LONGEST_OTHER,
    ABORT: _LONGEST_OTHER,
}
"""What may come first where the peer accepts it."""
# "Maximum length" (PS3.8 section D.1) is understood by some to leave out a PDV's own header.
_SLACK: Final = 64
_LEAST_BUFFER: Final = 1_048_576
_TOO_SLOW: Final = "too slow: a deadline has passed"
SMALL: Final = 65_536
"""Bytes that are copied in less time than threads are changed."""


class ConnectionEndedError(DicomnodeError):
    """The association cannot go on; `abort_reason` is for an A-ABORT (PS3.8 9.3.8), None sends none."""

    def __init__(self, message: str, abort_reason: int | None = None) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason


class BoundedReader:
    """PDUs from a connected socket.

    Parameters
    ----------
    sock : socket.socket
        Connected, blocking, TLS or not; its time-outs become the reader's.
    max_pdu_length : int
        Longest P-DATA-TF to take, in bytes.
    pdu_timeout : float
        Seconds from the first byte of a PDU to its last.
    on_tick : callable
        Called twice a second while nothing comes; what it raises ends the waiting.
    first : mapping
        Which PDUs may come before the association is established, and how long they may be.
    fairness : FairnessSlot, optional
        Acquired when a small PDU has come, released before the next one is waited for.

    Attributes
    ----------
    buffer : memoryview
        What :meth:`next_pdu` returns are positions in it.
    before_reuse : Notifier
        Notified before bytes that were returned earlier are overwritten.
    """

    def __init__(
        self,
        sock: socket.socket,
        max_pdu_length: int,
        pdu_timeout: float,
        on_tick: Callable[[], None],
        first: Mapping[int, int] = FROM_REQUESTOR,
        *,
        fairness: FairnessSlot | None = None,
    ) -> None:
        self._socket, self._pdu_timeout, self._on_tick = sock, pdu_timeout, on_tick
        self._longest = max_pdu_length + _SLACK
        self._longest_by_type = first
        self._associated = False
        self.fairness = fairness or FairnessSlot()
        size = max(_LEAST_BUFFER, 4 * max_pdu_length)
        # Mapped, not allocated: pages that no byte has reached yet take no memory, and all are given back.
        self.buffer = memoryview(mmap.mmap(-1, size))
        self.before_reuse: Notifier[()] = Notifier()
        self._begin = self._end = 0  # what was received and not yet returned
        self._plain = not isinstance(sock, ssl.SSLSocket)
        self._configure()

    def _configure(self) -> None:
        sock = self._socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._plain:
            # The kernel keeps the time-out: a timeout of Python's would cost a poll() for every recv().
            sock.settimeout(None)
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(_TICK * 1_000_000))
            )
            seconds = max(int(self._pdu_timeout), 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))
        else:
            sock.settimeout(_TICK)

    def established(self) -> None:
        """Take the PDUs of an established association from now on."""
        self._associated = True
        self._longest_by_type = {
            P_DATA: self._longest,
            **dict.fromkeys((RELEASE_RQ, RELEASE_RP, ABORT), _LONGEST_OTHER),
        }

    @property
    def has_partial(self) -> bool:
        """Whether bytes of a next PDU have arrived already."""
        return self._end > self._begin

    def next_pdu(self, deadline: float, *, strict: bool = True) -> tuple[int, int, int]:
        """Wait for a whole PDU.

        Parameters
        ----------
        deadline : float
            In terms of :func:`time.monotonic`: when the PDU must have begun and, if `strict`, have ended too.
        strict : bool
            False gives a PDU that begins just before the deadline its full time.

        Returns
        -------
        kind, begin, end : int
            The type of the PDU, and where its body (without the six bytes of header) lies in :attr:`buffer`.

        Raises
        ------
        ConnectionEndedError
            If the peer closed, was too slow, or declares a PDU that is unknown or too long.
        """
        # Also where the PDU is there already. A loop that waits for the end of a message with one deadline
        # ends because of this, even if the peer sends fragments without a byte for ever.
        if strict and time.monotonic() > deadline:
            raise ConnectionEndedError(_TOO_SLOW, 0x00)
        begin, end = self._begin, self._end
        if end - begin >= HEADER_LENGTH and self._associated:
            kind, length = _PDU_HEADER(self.buffer, begin)
            after = begin + HEADER_LENGTH + length
            if after <= end and kind == P_DATA and length <= self._longest:
                self._begin = after
                return kind, begin + HEADER_LENGTH, after
        return self._wait_for_pdu(deadline, strict=strict)

    def _wait_for_pdu(self, deadline: float, *, strict: bool) -> tuple[int, int, int]:
        if not self.has_partial:
            self._fill(1, deadline, within=strict)
        pdu_deadline = time.monotonic() + self._pdu_timeout
        deadline = min(deadline, pdu_deadline) if strict else pdu_deadline
        self._fill(HEADER_LENGTH, deadline)
        kind, length = _PDU_HEADER(self.buffer, self._begin)
        self._check(kind, length)
        self._fill(HEADER_LENGTH + length, deadline)
        begin = self._begin + HEADER_LENGTH
        self._begin = begin + length
        if length <= SMALL:
            self.fairness.acquire()
        return kind, begin, begin + length

    def _check(self, kind: int, length: int) -> None:
        longest = self._longest_by_type.get(kind)
        if longest is None:
            reason = 0x02 if ASSOCIATE_RQ <= kind <= ABORT else 0x01
            raise ConnectionEndedError(f"unexpected PDU of type {kind:#04x}", reason)
        if length > longest:
            raise ConnectionEndedError(f"PDU of type {kind:#04x} declares {length} bytes", 0x06)

    def _fill(self, need: int, deadline: float, *, within: bool = True) -> None:
        """Receive until `need` bytes are there; `within` a message the peer may wait for our TCP ACK."""
        if self._end - self._begin >= need:
            return
        self._make_room(need)
        while True:
            if within:
                # Clients with Nagle's algorithm keep back the data set until the command is acknowledged, for
                # which TCP would take 40 ms. It must be asked for again every time.
                with suppress(OSError):  # closed by the peer: recv will say so
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self._receive()
            if self._end - self._begin >= need:
                return
            if time.monotonic() > deadline:
                raise ConnectionEndedError(_TOO_SLOW, 0x00)

    def _receive(self) -> None:
        self.fairness.release()
        try:
            count = self._socket.recv_into(self.buffer[self._end :])
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            self._on_tick()
            return
        except OSError as error:
            raise ConnectionEndedError(f"connection lost: {error.strerror or error}") from None
        if count == 0:
            raise ConnectionEndedError("connection closed by the peer")
        self._end += count

    def _make_room(self, need: int) -> None:
        have = self._end - self._begin
        room = len(self.buffer) - self._begin
        # Receive into what is left as long as a good piece is left: the more lies in the buffer together, the
        # fewer writes there are. Begin anew only when it gets tight.
        if room >= max(need, len(self.buffer) // 4):
            return
        self.before_reuse.notify()
        if have:
            self.buffer[:have] = self.buffer[self._begin : self._end]
        self._begin, self._end = 0, have

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`.

        Raises
        ------
        ConnectionEndedError
            If the peer has gone, or does not take it in time.
        """
        try:
            if self._plain:
                self._socket.sendall(data)
            else:
                self._socket.settimeout(self._pdu_timeout)
                self._socket.sendall(data)
                self._socket.settimeout(_TICK)
        except OSError as error:
            raise ConnectionEndedError(f"answer not taken: {error.strerror or error}") from None

    def rewind(self) -> None:
        """Fill the buffer from its beginning again: the bytes that were returned are not needed any more."""
        if self._begin == self._end:
            self._begin = self._end = 0

    def drain(self, seconds: float) -> None:
        """Read and forget what still comes, until the peer closes or `seconds` have passed."""
        self.fairness.release()
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                try:
                    if not self._socket.recv_into(self.buffer):
                        return
                except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
                    continue
        except OSError:
            return
