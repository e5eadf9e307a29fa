"""Messages between host, supervisor and worker: one JSON object a line, over a socket pair."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

_PIECE = 1 << 16
LONGEST = 256 * 2**20
"""Bytes of one message: a job of a million images fits, and the host cannot be made to hold more."""


class Channel:
    """One end of the connection.

    Parameters
    ----------
    connection : socket.socket
        A stream socket.
    blocking : bool
        Whether :meth:`receive` waits. The host and the supervisor never wait for another process: they send
        what can be sent and keep the rest until the socket takes it.
    """

    def __init__(self, connection: socket.socket, *, blocking: bool) -> None:
        self._connection = connection
        connection.setblocking(blocking)
        self._blocking = blocking
        self._received = bytearray()
        self._unsent = bytearray()
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._connection.fileno()

    @property
    def unsent(self) -> bool:
        """Whether something waits until the socket can be written to."""
        return bool(self._unsent)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, as much of it as the socket takes now."""
        self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # the other side has gone: reading ends the stream
            self._unsent.clear()

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that have come; :attr:`closed` is set at the end of the stream.

        Raises
        ------
        ValueError
            When what comes is no message: the stream cannot be used any more.
        """
        self._read()
        while (end := self._received.find(b"\n")) >= 0:
            message = json.loads(self._received[:end])
            del self._received[: end + 1]
            if not isinstance(message, dict):
                msg = "a message is not an object"
                raise ValueError(msg)  # noqa: TRY004 - of a stream, not of an argument
            yield message

    def _read(self) -> None:
        """Read what has come; of a blocking socket one piece."""
        try:
            while piece := self._connection.recv(_PIECE):
                self._received += piece
                if len(self._received) > LONGEST:
                    msg = f"a message is longer than {LONGEST} bytes"
                    raise ValueError(msg)
                if self._blocking:
                    return
        except BlockingIOError:
            return
        except OSError:  # the other side has gone
            pass
        self.closed = True

    def mark_closed(self) -> None:
        """Count as closed from now on, because what came is no message of ours; the socket stays open."""
        self.closed = True

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()
        self.closed = True
