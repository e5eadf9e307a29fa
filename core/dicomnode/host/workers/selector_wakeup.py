"""Wakes a thread that waits in a selector."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class SelectorWakeup:
    """A pipe that a selector waits for; any thread may notify it, also after its owner has closed it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._read

    def notify(self, *, wait: bool = True) -> None:
        """Wake the owner, unless it has closed this.

        Parameters
        ----------
        wait : bool
            Whether to wait for another thread that notifies at this moment, and wakes the owner as well.

        The lock prevents a write to a descriptor that was closed: its number may belong to another file by
        then, and the byte would be written into that file.
        """
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._write >= 0:
                with suppress(BlockingIOError):  # the pipe is full: the owner will wake
                    os.write(self._write, b"!")
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Forget the notifications so far, so that the selector waits again."""
        with suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Close it; later notifications do nothing."""
        with self._lock:
            ends, self._read, self._write = (self._read, self._write), -1, -1
            for descriptor in ends:
                if descriptor >= 0:
                    os.close(descriptor)
