"""Delivers to one destination, on one thread, with patience."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from ..errors import DeliveryError, DicomnodeError
from ..pipeline.destination import Delivery, Destination, OutboxItem, Outcome
from ..pipeline.outputs import PipelineOutput
from .delivery_rules import BackOff, described_status
from .events import Event, Events, Station
from .ledger import Ledger
from .ledger_records import DeliveryRecord
from .ledger_writes import move_delivery
from .states import DeliveryState

_log = logging.getLogger(__name__)
_POLL: Final = 30.0
_MOST_AT_A_TIME: Final = 500
_MOST_FAILURES_IN_A_ROW: Final = 3
_STATES: Final = {
    Delivery.CONFIRMED: DeliveryState.CONFIRMED,
    Delivery.LATER: DeliveryState.PENDING,
    Delivery.REFUSED: DeliveryState.DEAD,
}


@dataclass(frozen=True, slots=True)
class _Due:
    """When an item is tried, on the monotonic clock, and what the ledger said when that was worked out."""

    not_before: float
    at: float


class Courier:
    """Delivers what is pending for one destination.

    Two things wait: an item that failed, for its own next attempt, and the whole destination, when it cannot
    be used or nothing but failures comes from it. So one bad item never blocks the others, and a peer that is
    down is left in peace.

    Parameters
    ----------
    root : pathlib.Path
        The outbox, to which the items' paths are relative.
    ledger : Ledger
    destination : Destination
    output_class : callable
        Entry-point name -> the output's class. It may raise.
    events : Events
    back_off : BackOff
    round_ended : callable
        Called after each round in which anything was entered in the ledger.
    """

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        destination: Destination,
        output_class: Callable[[str], type[PipelineOutput]],
        *,
        events: Events,
        back_off: BackOff,
        round_ended: Callable[[], None],
    ) -> None:
        self._root, self._ledger, self._destination = root, ledger, destination
        self._output_class, self._events, self._back_off = output_class, events, back_off
        self._round_ended = round_ended
        self._due: dict[int, _Due] = {}
        self._failures = 0
        self._in_a_row = 0
        self._rest_until = 0.0
        self._stopping = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver to {destination.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look into the ledger: there is something new."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing new. :meth:`join` waits for what is being sent."""
        self._stopping = True
        self._woken.set()

    def join(self, until: float) -> None:
        """Wait for the thread until a monotonic time, then have its destination break off."""
        if self._thread.ident is None:
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._destination.break_off()
            self._thread.join(1.0)

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                wait = self._round()
            except Exception:
                _log.exception("delivery to %s failed", self._destination.name)
                wait = self._back_off.first
            self._woken.wait(wait)

    def _round(self) -> float:
        """Deliver what is due; return for how long there is nothing to do."""
        while not self._stopping:
            now = time.monotonic()
            if now < self._rest_until:
                return min(self._rest_until - now, _POLL)
            pending = self._pending(now)
            due = [record for record in pending if self._due[record.id].at <= now]
            if not due:
                return min([_POLL, *(self._due[record.id].at - now for record in pending)])
            # What has failed before goes last, so that it does not stand in the way.
            due.sort(key=lambda record: (record.attempts, record.job, record.id))
            self._deliver_some(due[:_MOST_AT_A_TIME])
            self._round_ended()
        return 0.0

    def _pending(self, now: float) -> list[DeliveryRecord]:
        records = self._ledger.deliveries(DeliveryState.PENDING, destination=self._destination.name)
        known, wall = self._due, time.time()
        self._due = {}
        for record in records:
            due = known.get(record.id)
            if due is None or due.not_before != record.not_before:
                # The wall clock is asked once, when an item is first seen: it may jump while this runs.
                wait = min(max(record.not_before - wall, 0.0), self._back_off.longest)
                due = _Due(record.not_before, now + wait)
            self._due[record.id] = due
        return records

    def _deliver_some(self, records: Sequence[DeliveryRecord]) -> None:
        by_class = sorted(records, key=lambda record: str(record.item.get("output", "")))
        for name, group in groupby(by_class, key=lambda record: str(record.item.get("output", ""))):
            if self._stopping or time.monotonic() < self._rest_until:
                return
            self._deliver_kind(name, list(group))

    def _deliver_kind(self, name: str, records: list[DeliveryRecord]) -> None:
        attempt = _Attempt(records, self._root)
        try:
            kind = self._output_class(name)
            with closing(_reports(kind.deliver(attempt.items, self._destination))) as reports:
                for item, outcome in reports:
                    for record in attempt.report(item):
                        self._enter(record, outcome)
                    if self._enough():
                        break
        except DeliveryError as error:
            self._rest(str(error))
        except DicomnodeError as error:
            self._blame(attempt.unreported, str(error))
        except Exception as error:
            _log.debug("the output class %r raised", name, exc_info=True)
            self._blame(attempt.unreported, f"the output class {name!r} raised {type(error).__name__}")
        else:
            if not self._enough():
                self._blame(attempt.unreported, f"the output class {name!r} did not report it")

    def _enough(self) -> bool:
        if self._in_a_row >= _MOST_FAILURES_IN_A_ROW:
            self._rest(f"{self._in_a_row} failures in a row")
            self._in_a_row = 0
        return self._stopping or time.monotonic() < self._rest_until

    # -- what becomes of it -------------------------------------------------------------------------------

    def _enter(self, record: DeliveryRecord, outcome: Outcome) -> None:
        if outcome.delivery is Delivery.LATER:
            self._in_a_row += 1
            self._later(record, outcome.reason, outcome.status)
            return
        self._failures = self._in_a_row = 0
        state = _STATES[outcome.delivery]
        self._ledger.write(move_delivery(record.id, state, outcome.reason, outcome.status))
        if state is DeliveryState.DEAD:
            self._tell(
                f"{self._destination.name} refuses an instance for good"
                + (f", {described_status(outcome.status)}" if outcome.status is not None else ""),
                logging.ERROR,
                job=str(record.job),
                detail=outcome.reason,
            )

    def _later(self, record: DeliveryRecord, reason: str, status: int | None) -> None:
        delay = self._back_off.delay(record.attempts + 1)
        not_before = time.time() + delay
        self._due[record.id] = _Due(not_before, time.monotonic() + delay)
        self._ledger.write(
            move_delivery(record.id, DeliveryState.PENDING, reason, status, not_before=not_before)
        )

    def _blame(self, records: Sequence[DeliveryRecord], reason: str) -> None:
        """Try items again later, each at its own time: the fault is not the destination's."""
        for record in records:
            self._later(record, reason, None)
        if records:
            self._tell(f"{len(records)} for {self._destination.name} wait: {reason}", logging.ERROR)

    def _rest(self, reason: str) -> None:
        """Leave the destination in peace for a while."""
        self._failures += 1
        delay = self._back_off.delay(self._failures)
        self._rest_until = time.monotonic() + delay
        self._tell(f"{self._destination.name} waits {delay:.0f} s: {reason}", logging.WARNING)

    def _tell(self, message: str, level: int, *, job: str = "", detail: str = "") -> None:
        self._events.tell(Event(Station.UNDELIVERED, message, job=job, detail=detail, level=level))


class _Attempt:
    """What is handed to an output class at once, and what it has not reported yet."""

    def __init__(self, records: Sequence[DeliveryRecord], root: Path) -> None:
        self._records: dict[OutboxItem, list[DeliveryRecord]] = {}
        for record in records:
            self._records.setdefault(OutboxItem.from_json(dict(record.item), root), []).append(record)
        self.items = tuple(self._records)

    def report(self, item: OutboxItem) -> list[DeliveryRecord]:
        """Return the deliveries that an item stands for, the first time that it is reported."""
        return self._records.pop(item, [])

    @property
    def unreported(self) -> list[DeliveryRecord]:
        """The deliveries of which nothing was reported."""
        return [record for records in self._records.values() for record in records]


def _reports(
    reports: Iterator[tuple[OutboxItem, Outcome]],
) -> Generator[tuple[OutboxItem, Outcome], None, None]:
    """Make sure that what an author's class returned can be closed: any iterable will do."""
    yield from reports
