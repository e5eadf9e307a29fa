"""Things to do at a time, on one thread."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class TimerThread:
    """Does things when they are due, one after the other. Monotonic: a clock that jumps changes nothing.

    Parameters
    ----------
    name : str
        Of the thread.
    now : callable
        Seconds that only grow; :func:`time.monotonic` but in simulations.
    """

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()  # it may be held twice by one thread
        self._stopping = False
        self._wakes_at = -math.inf
        """When the thread looks again by itself; before all times while it is awake."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def at(self, delay: float, action: Callable[[], None], *, patience: float = 0.0) -> None:
        """Do something in so many seconds; what is due at the same time keeps the order of the asking.

        Parameters
        ----------
        delay : float
        action : callable
        patience : float
            Seconds by which it may come later, together with others: to wake a thread for each of a thousand
            small things takes longer than to do them. What is due after it is done after it all the same.
        """
        with self._changed:
            due = self._now() + delay
            heapq.heappush(self._due, (due, next(self._count), action))
            if due + patience < self._wakes_at:
                self._wakes_at = due + patience
                self._changed.notify_all()

    def now(self) -> float:
        """Return the time, in seconds that only grow."""
        return self._now()

    def call(self, action: Callable[[], T]) -> T:
        """Do something on the thread, behind what was due before, and return what it returns.

        On the thread itself, or where the thread does not run (in a simulation), it is done at once.

        Raises
        ------
        Exception
            What the action raises.
        """
        if (
            self._thread.ident is None
            or not self._thread.is_alive()
            or threading.current_thread() is self._thread
        ):
            return action()
        outcome: Future[T] = Future()

        def carry_out() -> None:
            try:
                outcome.set_result(action())
            except BaseException as error:
                outcome.set_exception(error)

        with self._changed:
            ending = self._stopping  # it may have looked for the last time at what is due
            if not ending:
                self.at(0.0, carry_out)
        if ending:
            self._thread.join()
            return action()
        return outcome.result()

    def stop(self) -> None:
        """Do what is due already, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def run_due(self) -> float | None:
        """Do what is due, on this thread; return the seconds until something else is, or ``None``."""
        while True:
            with self._changed:
                if not self._due:
                    return None
                wait = self._due[0][0] - self._now()
                if wait > 0:
                    return wait
                action = heapq.heappop(self._due)[2]
            try:
                action()
            except Exception:
                _LOG.exception("something that was due failed")

    def _run(self) -> None:
        while True:
            self.run_due()
            with self._changed:
                if self._due and self._due[0][0] <= self._now():
                    continue
                if self._stopping:
                    return
                self._sleep(self._due[0][0] if self._due else math.inf)

    def _sleep(self, until: float) -> None:
        """Wait, with the lock held, until something is due or the thread is to end."""
        self._wakes_at = until
        while not self._stopping and (wait := self._wakes_at - self._now()) > 0:
            self._changed.wait(None if wait == math.inf else wait)
        self._wakes_at = -math.inf
