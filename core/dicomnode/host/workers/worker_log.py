"""What a worker writes to its standard output and error: the end of it is kept, the rest counted."""

from __future__ import annotations

import os


class LogTail:
    """Reads a pipe and keeps the last bytes.

    Parameters
    ----------
    descriptor : int
        The reading end of the pipe.
    kept : int
        How many bytes are kept.
    rate : int
        How many bytes are read in one call. A process that writes more waits for the next call: a flood costs
        the host neither disk nor memory, and little time.

    Attributes
    ----------
    dropped : int
        How many bytes are missing in front of what was kept.
    closed : bool
        Whether every process that could write has closed its end.
    """

    def __init__(self, descriptor: int, kept: int = 64 * 1024, rate: int = 2 * 2**20) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.kept, self.rate = kept, rate
        self.dropped = 0
        self.closed = False
        self._bytes = bytearray()

    def read(self) -> bool:
        """Read what has come, and return whether there is more than is read in one call."""
        budget = self.rate
        while budget > 0:
            try:
                piece = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return False
            if not piece:
                self.closed = True
                return False
            budget -= len(piece)
            self._bytes += piece
            excess = len(self._bytes) - self.kept
            if excess > 0:
                del self._bytes[:excess]
                self.dropped += excess
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._bytes.clear()
        self.dropped = 0

    def text(self) -> str:
        """Return what was kept, with a line in front that says how much is missing."""
        kept = self._bytes.decode("utf-8", "replace")
        return f"[{self.dropped} bytes before this were dropped]\n{kept}" if self.dropped else kept
