"""Telling others that something happened, without knowing them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVarTuple

Values = TypeVarTuple("Values")


class Notifier(Generic[*Values]):
    """Calls every subscriber when something happened.

    It stands between two parts that need each other: both are given it when they are made, so that neither
    has to be finished by assigning the other to it. A subscriber is called on the thread of the one that
    notifies, and must be quick. Subscribers are called in the order in which they subscribed. What one raises
    reaches the one that notifies.

    Examples
    --------
    >>> queued = Notifier[int]()
    >>> queued.subscribe(print)
    >>> queued.notify(7)
    7
    """

    def __init__(self) -> None:
        self._subscribers: tuple[Callable[[*Values], object], ...] = ()
        self._lock = threading.Lock()

    def subscribe(self, subscriber: Callable[[*Values], object]) -> None:
        """Have a callable called from now on, with what :meth:`notify` is given."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def notify(self, *values: *Values) -> None:
        """Call every subscriber."""
        for subscriber in self._subscribers:
            subscriber(*values)
