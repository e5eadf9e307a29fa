"""The signals that a process is sent, one after the other."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Signals:
    """Takes signals at whatever instant they come; entered and left on the main thread.

    A handler may run between any two steps of the main thread, within a lock that it would have to take
    itself: one that set a :class:`threading.Event` while the event was being waited for would wait for ever.
    So the handlers do nothing, and the interpreter writes each signal's number into a pipe, without a lock.

    Parameters
    ----------
    numbers : iterable of signal.Signals
        Those that are taken. What has come before this is entered has its usual effect.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._came: list[int] = []

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        os.close(self._read)
        os.close(self._write)

    def wait(self) -> signal.Signals:
        """Wait for the next signal, and return it."""
        while not self._came:
            select.select([self._read], [], [])
            with suppress(BlockingIOError):
                self._came += [number for number in os.read(self._read, 4096) if number in self._numbers]
        return signal.Signals(self._came.pop(0))
