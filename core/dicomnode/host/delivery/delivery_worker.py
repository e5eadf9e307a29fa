"""Delivers to one destination, on one thread, with patience."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Final

from dicomnode.errors import DeliveryError, PluginError
from dicomnode.host.configuration.config import DeliveryTable
from dicomnode.host.foundation.backoff import BackOff
from dicomnode.host.foundation.error_text import delivery_reason
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.foundation.retry_schedule import RetrySchedule
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import DeliveryRecord
from dicomnode.host.ledger.ledger_writes import note_deliveries, transition_delivery
from dicomnode.host.ledger.states import UNSETTLED, DeliveryState
from dicomnode.host.parsing.statuses import Service, status_text
from dicomnode.pipeline.destination import Delivery, Destination, OutboxItem, Outcome
from dicomnode.pipeline.outputs import PipelineOutput

_LOG = logging.getLogger(__name__)
_READING_INTERVAL: Final = 30.0
_MOST_AT_A_TIME: Final = 500
_MOST_FAILURES_IN_A_ROW: Final = 3
_LAST_WAIT: Final = 2.0
STATE_AFTER: Final = {
    Delivery.CONFIRMED: DeliveryState.CONFIRMED,
    Delivery.STORED: DeliveryState.STORED,
    Delivery.LATER: DeliveryState.PENDING,
    Delivery.REFUSED: DeliveryState.DEAD,
}
"""What became of an attempt -> the state in the ledger."""
_EVENTS: Final = {
    Delivery.CONFIRMED: (Station.DELIVERED, "confirmed by {name}", logging.INFO),
    Delivery.STORED: (Station.DELIVERED, "stored by {name}, which was asked to commit to them", logging.INFO),
    Delivery.LATER: (Station.UNDELIVERED, "for {name} are tried again later", logging.WARNING),
    Delivery.REFUSED: (Station.UNDELIVERED, "refused by {name} for good: dead letters", logging.ERROR),
}


class DeliveryWorker:
    """Delivers what is pending for one destination.

    Two things wait: an item that failed, for its own next attempt, and the whole destination (its back-off),
    when it cannot be used or nothing but failures comes from it. So one bad item never blocks the others, and
    a peer that is down is not called for each of a thousand items.

    Parameters
    ----------
    root : pathlib.Path
        The outbox, to which the items' paths are relative.
    ledger : Ledger
        What is pending, and where outcomes are entered.
    destination : Destination
        Where it goes.
    output_class : callable
        Entry-point name -> the output's class. It may raise.
    events : Events
        Where outcomes are reported.
    settings : DeliveryTable
        When what failed is tried again.
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
        settings: DeliveryTable,
        round_ended: Callable[[], None],
    ) -> None:
        self._root, self._ledger, self._destination = root, ledger, destination
        self._output_class, self._events, self._round_ended = output_class, events, round_ended
        self._back_off = BackOff(settings.first_retry, settings.longest_retry)
        self._commitment_wait = settings.commitment_wait
        self._schedule = RetrySchedule(max(settings.longest_retry, settings.commitment_wait))
        self._entered: set[int] = set()
        self._failed_rounds = 0
        self._backoff_until = self._next_reading = 0.0
        self._backoff_reason = ""
        self._stop = threading.Event()
        self._end_backoff = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver to {destination.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look into the ledger: there is something new."""
        self._woken.set()

    def end_backoff(self) -> None:
        """End the back-off of the destination: what kept it from being used may be mended."""
        self._end_backoff.set()
        self._woken.set()

    @property
    def backoff(self) -> tuple[float, str] | None:
        """For how many more seconds nothing is sent to the destination, and why; or ``None``."""
        left = self._backoff_until - time.monotonic()
        return (left, self._backoff_reason) if left > 0 else None

    def stop(self) -> None:
        """Begin nothing new. :meth:`join` waits for what is being sent."""
        self._stop.set()
        self._end_backoff.set()
        self._woken.set()

    def join(self, until: float) -> None:
        """Wait for the thread until a monotonic time, then have its destination break off."""
        if self._thread.ident is None:
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            _LOG.warning("%s takes too long: what is being sent is broken off", self._destination.name)
            self._destination.break_off()
            self._thread.join(_LAST_WAIT)

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
            except Exception:
                # The ledger cannot be used: a full disk, say. What was entered is kept until it can.
                _LOG.exception("delivery to %s has to wait", self._destination.name)
                self._stop.wait(self._back_off.first)
        self._ledger.close_reader()

    def _step(self) -> None:
        """Deliver some of what is due, or wait until something is."""
        now = time.monotonic()
        if now < self._backoff_until:
            if self._end_backoff.wait(self._backoff_until - now):
                self._backoff_until, self._failed_rounds = 0.0, 0
            self._woken.set()  # much may have come meanwhile
            return
        # An operator's command writes to the ledger without waking anybody.
        if self._woken.is_set() or now >= self._next_reading:
            self._read_ledger(now)
        due = self._schedule.due(_MOST_AT_A_TIME)
        if due:
            self._deliver_some(self._records(due))
            return
        wait = self._schedule.wait()
        until = self._next_reading if wait is None else min(self._next_reading, now + wait)
        self._woken.wait(max(until - now, 0.0))

    def _read_ledger(self, now: float) -> None:
        self._woken.clear()
        self._next_reading = now + _READING_INTERVAL
        self._commit()
        self._schedule.update(self._ledger.unsettled_deliveries(self._destination.name))

    def _records(self, due: Sequence[int]) -> list[DeliveryRecord]:
        """Return what is due, as it stands in the ledger, in the same order."""
        found = {record.id: record for record in self._ledger.deliveries_by_id(due)}
        records = []
        for number in due:
            record = found.get(number)
            if record is not None and record.state in UNSETTLED:
                records.append(record)
            else:
                self._schedule.remove(number)
        return records

    def _deliver_some(self, records: Sequence[DeliveryRecord]) -> None:
        tally = _Tally()
        self._end_backoff.clear()  # what is mended while this goes on ends the back-off that may follow
        if self._stop.is_set():
            return
        try:
            by_class = sorted(records, key=_class_name)  # stable: the order within a class stays
            for name, group in groupby(by_class, key=_class_name):
                if not self._deliver_kind(name, list(group), tally):
                    break
        finally:
            self._report_outcomes(tally)
            if self._entered:
                self._commit()
                failpoint("marked")
                self._round_ended()

    def _deliver_kind(self, name: str, records: list[DeliveryRecord], tally: _Tally) -> bool:
        """Deliver what one output class wrote; return whether to go on with the next class."""
        attempt = _Attempt(records, self._root)
        try:
            kind = self._output_class(name)
            failpoint("before send")
            with closing(_reports(kind.deliver(attempt.items, self._destination))) as reports:
                for item, outcome in reports:
                    failpoint("sent")
                    for record in attempt.report(item, outcome):
                        self._enter(record, outcome)
                        tally.add(record, outcome)
                    if self._stop.is_set() or tally.failures_in_a_row >= _MOST_FAILURES_IN_A_ROW:
                        return self._end_round(tally)
        except DeliveryError as error:
            self._begin_backoff(delivery_reason(error), str(error))
            return False
        except PluginError as error:  # of the class, not of an image
            self._postpone(attempt.unreported, str(error), tally)
        except Exception as error:
            _LOG.debug("the output class %r raised", name, exc_info=True)
            reason = f"the output class {name!r} raised {type(error).__name__}"
            self._postpone(attempt.unreported, reason, tally)
        else:
            reason = f"the output class {name!r} did not report what became of it"
            self._postpone(attempt.unreported, reason, tally)
        return not self._stop.is_set()

    def _end_round(self, tally: _Tally) -> bool:
        """End a round in which one failure follows another; back off where there was nothing else."""
        if tally.progress:
            self._failed_rounds = 0
        elif not self._stop.is_set():
            self._begin_backoff(tally.last_reason, tally.last_detail)
        return False

    # -- what becomes of it -------------------------------------------------------------------------------

    def _enter(self, record: DeliveryRecord, outcome: Outcome) -> None:
        """Enter an outcome at once. The ledger gathers what comes close together into one transaction."""
        state = STATE_AFTER[outcome.delivery]
        not_before = 0.0
        if outcome.delivery is Delivery.LATER:
            delay = self._back_off.delay(self._schedule.attempts(record.id) + 1)
            not_before = self._schedule.postpone(record.id, delay)
        elif outcome.delivery is Delivery.STORED:
            not_before = self._schedule.postpone(record.id, self._commitment_wait)
        else:
            self._schedule.remove(record.id)
        if outcome.delivery is not Delivery.LATER:
            self._failed_rounds = 0
        self._entered.add(record.id)
        self._ledger.post(
            transition_delivery(record.id, state, outcome.reason, outcome.status, not_before=not_before)
        )

    def _commit(self) -> None:
        """See to it that all that was entered is in the ledger, before that is read again."""
        if self._entered:
            self._ledger.flush()
            self._entered.clear()

    def _postpone(self, records: Sequence[DeliveryRecord], reason: str, tally: _Tally) -> None:
        """Try items again later, each at its own time: the fault is not the destination's."""
        for record in records:
            outcome = Outcome(Delivery.LATER, reason)
            self._enter(record, outcome)
            tally.add(record, outcome)
        if records:
            self._report(Station.UNDELIVERED, f"{len(records)} wait: {reason}", logging.ERROR)

    def _begin_backoff(self, reason: str, detail: str = "") -> None:
        """Send nothing to the destination for a while."""
        self._failed_rounds += 1
        delay = self._back_off.delay(self._failed_rounds)
        self._backoff_reason = reason
        self._backoff_until = time.monotonic() + delay
        self._ledger.post(note_deliveries(self._destination.name, detail or reason))
        self._report(
            Station.UNDELIVERED,
            f"nothing is sent to {self._destination.name} for {delay:.0f} s: {reason}",
            logging.WARNING,
            detail=detail if detail != reason else "",
        )

    def _report_outcomes(self, tally: _Tally) -> None:
        for (delivery, job, status), count in tally.counts.items():
            station, text, level = _EVENTS[delivery]
            message = f"{count} {text.format(name=self._destination.name)}"
            if status:
                message += f", {status_text(status, Service.STORE)}"
            detail = tally.reasons.get((delivery, job, status), "")
            record = self._ledger.job(job)
            pipeline = "" if record is None else record.pipeline
            event = Event(station, message, pipeline=pipeline, job=str(job), detail=detail, level=level)
            self._events.tell(event)

    def _report(self, station: Station, message: str, level: int, *, detail: str = "") -> None:
        self._events.tell(Event(station, message, detail=detail, level=level))


class _Attempt:
    """What is handed to an output class at once, and what it has not reported yet."""

    def __init__(self, records: Sequence[DeliveryRecord], root: Path) -> None:
        self._records: dict[OutboxItem, list[DeliveryRecord]] = {}
        for record in records:
            self._records.setdefault(OutboxItem.from_json(dict(record.item), root), []).append(record)
        self._open = dict(self._records)
        self._stored: set[OutboxItem] = set()
        self.items = tuple(self._records)

    def report(self, item: OutboxItem, outcome: Outcome) -> list[DeliveryRecord]:
        """Return the deliveries that an item stands for, unless its outcome is known already."""
        if outcome.delivery is Delivery.STORED:
            self._stored.add(item)
        elif item in self._stored:
            self._stored.discard(item)
            return self._records[item]
        return self._open.pop(item, [])

    @property
    def unreported(self) -> list[DeliveryRecord]:
        """The deliveries of which nothing was reported."""
        return [record for records in self._open.values() for record in records]


class _Tally:
    """What a round gave, for those who look on, and how it went."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Delivery, int, int | None]] = Counter()
        self.reasons: dict[tuple[Delivery, int, int | None], str] = {}
        self.failures_in_a_row = 0
        self.progress = False
        self.last_reason = ""  # in words for the log
        self.last_detail = ""  # for the ledger: it may name a patient's folder

    def add(self, record: DeliveryRecord, outcome: Outcome) -> None:
        """Count an outcome."""
        key = (outcome.delivery, record.job, outcome.status)
        self.counts[key] += 1
        self.reasons.setdefault(key, outcome.reason)
        if outcome.delivery is Delivery.LATER:
            self.failures_in_a_row += 1
            status = outcome.status
            self.last_reason = status_text(status, Service.STORE) if status else "one failure after another"
            self.last_detail = outcome.reason or self.last_reason
        else:
            self.failures_in_a_row = 0
            self.progress = True


def _class_name(record: DeliveryRecord) -> str:
    return str(record.item.get("output", ""))


def _reports(
    reports: Iterable[tuple[OutboxItem, Outcome]],
) -> Generator[tuple[OutboxItem, Outcome], None, None]:
    """Make sure that what an author's class returned can be closed: any iterable will do."""
    yield from reports
