"""One sync for all threads that wait for it: leader and followers."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SharedSync:
    """Runs an expensive action (a directory's fsync, a commit) once for every thread that waits for it.

    A caller needs an action that *begins* after its call. The first one becomes the leader and runs it;
    those who come while it runs wait for the next run, of which one of them is the leader. However many
    threads call at once, each waits for at most two runs.

    Parameters
    ----------
    action : callable
        Runs on the thread of the leader, never twice at the same time. What it raises is raised in every
        caller whom that run served.

    Examples
    --------
    >>> sync = SharedSync(lambda: None)
    >>> sync()
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._changed = threading.Condition(threading.Lock())
        self._tickets = 0  # how many calls there were
        self._done = 0  # the last ticket that a finished run has served
        self._running = False
        self._failures: list[tuple[int, int, BaseException]] = []  # of the runs that failed: tickets served
        self._waiting = 0

    def __call__(self) -> None:
        """Return once an action that began after this call has ended; raise what it raised."""
        with self._changed:
            self._tickets += 1
            ticket = self._tickets
            self._waiting += 1
            try:
                while self._running and self._done < ticket:
                    self._changed.wait()
                if self._done >= ticket:
                    self._raise_failure(ticket)
                    return
                self._running = True
                served = self._tickets
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self._failures.clear()
        self._lead(served)

    def _lead(self, served: int) -> None:
        failure: BaseException | None = None
        try:
            self._action()
        except BaseException as error:
            failure = error
            raise
        finally:
            with self._changed:
                if failure is not None and self._waiting:
                    self._failures.append((self._done + 1, served, failure))
                self._done = served
                self._running = False
                self._changed.notify_all()

    def _raise_failure(self, ticket: int) -> None:
        for first, last, failure in self._failures:
            if first <= ticket <= last:
                if isinstance(failure, OSError):
                    raise OSError(failure.errno, failure.strerror, failure.filename) from failure
                raise RuntimeError(f"the shared sync failed: {failure!r}") from failure
