"""Wakes a thread that waits in a selector."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class SelectorWakeup:
    """A pipe that a selector listens to; rung by any thread, also after its owner has closed it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._read

    def notify(self, *, wait: bool = True) -> None:
        """Wake the owner, if it still listens.

        Parameters
        ----------
        wait : bool
            Whether to wait for somebody else who rings at this moment; he wakes the owner as well.

        The lock is what keeps this from a descriptor that was closed: its number may be a file of somebody
        else's by then, and a byte written to it would be in that file.
        """
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._write >= 0:
                with suppress(BlockingIOError):  # it has been rung often enough
                    os.write(self._write, b"!")
        finally:
            self._lock.release()

    def heard(self) -> None:
        """Take note of what was rung so far."""
        with suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Close it; it is silent from now on."""
        with self._lock:
            ends, self._read, self._write = (self._read, self._write), -1, -1
            for descriptor in ends:
                if descriptor >= 0:
                    os.close(descriptor)
