"""Connections that are busy at the same time take turns, instead of fighting for the interpreter.

Every system call lets go of the interpreter, and a thread that wants it back has to be woken. With four busy
associations each of the dozen calls for an instance became a change of threads, which cost more than all the
rest: an instance of 8 kB took 430 us of CPU instead of 190. Who has the turn finds the interpreter free.

A turn is a courtesy and not a lock: nobody waits for it longer than :data:`PATIENCE`, so that a connection
which is kept (by a slow disk, say) keeps nobody.
"""

from __future__ import annotations

import threading
from typing import Final

PATIENCE: Final = 0.005
"""Seconds that a connection waits for its turn before it goes on without."""


class FairnessSlot:
    """One connection's view of the turns; for its thread alone.

    Parameters
    ----------
    turns : threading.Lock, optional
        What all connections share. Without one there are no turns: everybody goes on at once.
    """

    __slots__ = ("_mine", "_turns")

    def __init__(self, turns: threading.Lock | None = None) -> None:
        self._turns, self._mine = turns, False

    def take(self) -> None:
        """Wait a moment for the turn."""
        if self._turns is not None and not self._mine:
            self._mine = self._turns.acquire(timeout=PATIENCE)

    def release(self) -> None:
        """Let others have it: before anything that waits for a peer, a disk, another thread."""
        if self._mine and self._turns is not None:
            self._mine = False
            self._turns.release()
