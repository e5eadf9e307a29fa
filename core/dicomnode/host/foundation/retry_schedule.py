"""When each of several things is tried again: on the monotonic clock, whatever the wall clock does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_SHARE_OF_RETRIES: Final = 10

Pending = tuple[int, int, int, float]
"""Number, order among what was never tried, attempts so far, and the wall-clock time of the next one."""


@dataclass(slots=True)
class _Entry:
    order: int
    attempts: int
    not_before: float
    at: float


class RetrySchedule:
    """What is to be tried, and when; for one destination, or one peer that is asked for images.

    The ledger keeps wall-clock times, for people and for the next start. They are turned into monotonic ones
    when an entry is first seen (or was changed by somebody else), and never waited for longer than `longest`.

    Parameters
    ----------
    longest : float
        Seconds that anything waits at most.
    clock, wall : callable
        The monotonic and the wall clock.
    """

    def __init__(
        self,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._longest, self._clock, self._wall = longest, clock, wall
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def update(self, pending: Iterable[Pending]) -> None:
        """Take over what the ledger holds now."""
        known, now, wall = self._entries, self._clock(), self._wall()
        self._entries = {}
        for number, order, attempts, not_before in pending:
            entry = known.get(number)
            if entry is None or entry.not_before != not_before:
                wait = min(max(not_before - wall, 0.0), self._longest)
                entry = _Entry(order, attempts, not_before, now + wait)
            self._entries[number] = entry

    def due(self, most: int) -> list[int]:
        """Return what may be tried now: first what was never tried, then always some of what has failed.

        What has failed stands last, so that it is in nobody's way.
        """
        now = self._clock()
        fresh: list[tuple[int, int]] = []
        failed: list[tuple[float, int]] = []
        for number, entry in self._entries.items():
            if entry.at > now:
                continue
            if entry.attempts:
                failed.append((entry.at, number))
            else:
                fresh.append((entry.order, number))
        failed.sort()
        fresh.sort()
        chosen = fresh[: most - min(len(failed), most // _SHARE_OF_RETRIES)]
        return [number for _, number in (*chosen, *failed[: most - len(chosen)])]

    def wait(self) -> float | None:
        """Return the seconds until something is due, or ``None`` where there is nothing to wait for."""
        if not self._entries:
            return None
        return max(min(entry.at for entry in self._entries.values()) - self._clock(), 0.0)

    def attempts(self, number: int) -> int:
        """Return how often something was tried."""
        entry = self._entries.get(number)
        return 0 if entry is None else entry.attempts

    def postpone(self, number: int, seconds: float) -> float:
        """Count an attempt, and wait before the next; return the wall-clock time for the ledger."""
        not_before = self._wall() + seconds
        old = self._entries.get(number)
        order, attempts = (0, 0) if old is None else (old.order, old.attempts)
        self._entries[number] = _Entry(order, attempts + 1, not_before, self._clock() + seconds)
        return not_before

    def remove(self, number: int) -> None:
        """Forget what is over."""
        self._entries.pop(number, None)
