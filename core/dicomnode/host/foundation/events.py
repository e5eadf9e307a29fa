"""What the host tells of itself while images pass: one event a station, for the log and whoever looks on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_log = logging.getLogger("dicomnode.host")


class Station(Enum):
    """The stations of the route."""

    RECEIVED = "received"
    REFUSED = "refused"
    ASSOCIATION = "association"
    WAITING = "waiting"
    JOB = "job"
    BUILT = "built"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    RELEASED = "released"
    HISTORY = "history"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a station.

    Attributes
    ----------
    station : Station
        Where.
    message : str
        What, in words that hold no patient data: events are logged at INFO.
    pipeline, job : str
        Whose, where that is known.
    association : str
        The ids of the associations that it comes from, with commas between them, where another thread serves
        them than the one that tells.
    detail : str
        What may hold patient data; logged at DEBUG only.
    level : int
        As in :mod:`logging`.
    """

    station: Station
    message: str
    pipeline: str = ""
    job: str = ""
    association: str = ""
    detail: str = ""
    level: int = logging.INFO


class Events:
    """Hands each event to the log and to every listener."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Add a listener. It is called on the thread of the station, and must be quick."""
        with self._lock:
            self._listeners.append(listener)

    def wanted(self, level: int) -> bool:
        """Say whether anybody would learn of an event: what happens for every image need not be told."""
        return bool(self._listeners) or _log.isEnabledFor(level)

    def tell(self, event: Event) -> None:
        """Log an event, its pipeline and job as fields of the record, and hand it to every listener."""
        names = ("pipeline", "job", "association")
        fields = {"station": event.station.value, **{name: getattr(event, name) for name in names}}
        _log.log(event.level, "%s: %s", event.station.value, event.message, extra=fields)
        if event.detail:
            _log.debug("%s: %s", event.station.value, event.detail, extra=fields)
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(event)
