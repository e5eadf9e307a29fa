"""Calls from a receiver process to the host, about one connection: a message there, a message back.

Both ends are ours, of one installation, so messages are Python's own plain data (:mod:`marshal`): tuples,
text, numbers, lists and dictionaries take a few microseconds, where JSON takes twenty. Nothing is ever
written to disk.
"""

from __future__ import annotations

import marshal
import socket
import struct
from contextlib import suppress
from typing import Any, Final

_HEADER = struct.Struct("<I")
_PIECE: Final = 65_536
_LONGEST: Final = 64 * 2**20


class ChannelClosedError(OSError):
    """The other process has closed its end, or has ended."""


class ProcessChannel:
    """One end of a connected stream socket. For one thread.

    Parameters
    ----------
    sock : socket.socket
        Blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock

    def send(self, message: Any) -> None:
        """Send a message.

        Raises
        ------
        ChannelClosedError
            If the other end is closed.
        """
        data = marshal.dumps(message)
        try:
            self._socket.sendall(_HEADER.pack(len(data)) + data)
        except OSError as error:
            raise ChannelClosedError(str(error)) from None

    def receive(self) -> Any:
        """Wait for a message.

        Raises
        ------
        ChannelClosedError
            If the other end is closed.
        """
        # No call is sent before the last one has returned, so what is there belongs to one message.
        data = self._piece(_PIECE)
        while len(data) < _HEADER.size:
            data += self._piece(_PIECE)
        length = _HEADER.size + _HEADER.unpack_from(data)[0]
        if length > _LONGEST:
            raise ChannelClosedError("a message that is too long")
        if len(data) < length:
            pieces = [data]
            missing = length - len(data)
            while missing:
                pieces.append(self._piece(min(missing, _PIECE)))
                missing -= len(pieces[-1])
            data = b"".join(pieces)
        return marshal.loads(memoryview(data)[_HEADER.size :])  # noqa: S302 - our own process wrote it

    def call(self, message: Any) -> Any:
        """Send a message, and return the one that comes back."""
        self.send(message)
        return self.receive()

    def close(self) -> None:
        """Close this end; wakes the thread that waits at the other one."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _piece(self, most: int) -> bytes:
        try:
            data = self._socket.recv(most)
        except OSError as error:
            raise ChannelClosedError(str(error)) from None
        if not data:
            raise ChannelClosedError("closed")
        return data
