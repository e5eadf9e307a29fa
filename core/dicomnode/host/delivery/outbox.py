"""The outbox: results that wait for delivery, and a delivery worker for each destination."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.host.configuration.config import DeliveryTable
from dicomnode.host.delivery.commitments import Commitments
from dicomnode.host.delivery.committing_destination import CommittingDestination
from dicomnode.host.delivery.delivery_worker import DeliveryWorker
from dicomnode.host.delivery.peer_destination import PeerDestination
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import make_deliveries_due, note_deliveries
from dicomnode.pipeline.destination import Destination
from dicomnode.pipeline.outputs import PipelineOutput

_LOG = logging.getLogger(__name__)


class Outbox:
    """Delivers what the ledger holds as pending, one thread a destination.

    Every outcome is entered in the ledger as soon as it is known; what was not entered, because the host was
    killed, is sent again under the same UID. A new outbox on the same ledger goes on where the
    last one stopped.

    Parameters
    ----------
    root : pathlib.Path
        The folder to which the items' paths are relative.
    ledger : Ledger
        Where deliveries are entered.
    destinations : mapping of str to Destination
        Every configured destination by name.
    output_class : callable
        Entry-point name of an output -> its class. It may raise.
    events : Events
        Where outcomes are reported.
    settings : DeliveryTable
        When what failed is tried again.
    settled : callable
        Called with the number of a built job of which nothing is pending any more (or never was), on a thread
        of the outbox, one call at a time. It must take the job out of the state ``BUILT``; a job that stays
        there (because the callable raised, or the host was killed) is passed again with the next one.
    job_events : JobEvents
        What says that there is something new to deliver, or that it is to be tried now.
    """

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        output_class: Callable[[str], type[PipelineOutput]],
        *,
        events: Events,
        settings: DeliveryTable,
        settled: Callable[[int], None],
        job_events: JobEvents,
    ) -> None:
        self._ledger, self._events, self._settled = ledger, events, settled
        self._commitments = Commitments(
            root, ledger, destinations, events=events, settings=settings, entered=self.wake
        )
        self._delivery_workers = {
            name: DeliveryWorker(
                root,
                ledger,
                self._committing(destination),
                output_class,
                events=events,
                settings=settings,
                round_ended=self._wake_settler,
            )
            for name, destination in destinations.items()
        }
        self._unknown: set[str] = set()
        self._stopping = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        job_events.deliveries_entered.subscribe(self.wake)
        job_events.deliveries_due.subscribe(self.end_backoff)

    def start(self) -> None:
        """Begin to deliver."""
        for delivery_worker in self._delivery_workers.values():
            delivery_worker.start()
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """Look into the ledger: there is something new. Returns at once."""
        self._woken.set()
        for delivery_worker in self._delivery_workers.values():
            delivery_worker.wake()

    def retry_now(self, names: Iterable[str]) -> None:
        """Try at once what is pending for some destinations: what kept it from being sent may be mended."""
        for name in names:
            if (delivery_worker := self._delivery_workers.get(name)) is not None:
                with suppress(sqlite3.Error):  # that the ledger cannot be written is reported by itself
                    self._ledger.write(make_deliveries_due(destination=name))
                delivery_worker.end_backoff()

    def end_backoff(self, names: Iterable[str]) -> None:
        """Try at once what is due for some destinations, however long its back-off would last.

        What failed and waits for its own next attempt goes on waiting.
        """
        for name in names:
            if (delivery_worker := self._delivery_workers.get(name)) is not None:
                delivery_worker.end_backoff()

    def backoffs(self) -> dict[str, tuple[float, str]]:
        """Return destination -> for how many more seconds nothing is sent to it after failures, and why."""
        backoffs = {name: worker.backoff for name, worker in self._delivery_workers.items()}
        return {name: backoff for name, backoff in backoffs.items() if backoff is not None}

    def stop(self, grace: float = 10.0) -> None:
        """Stop. What is being sent is finished, for as long as `grace` seconds; then it is broken off."""
        until = time.monotonic() + grace
        for delivery_worker in self._delivery_workers.values():
            delivery_worker.stop()
        for delivery_worker in self._delivery_workers.values():
            delivery_worker.join(until)
        self._stopping = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(max(1.0, until - time.monotonic()))

    def take_report(self, ae_title: str, event_information: Dataset) -> int:
        """Take a report about storage commitment that a peer sends on an association of its own.

        See :meth:`~dicomnode.host.delivery.commitments.Commitments.take_report`.
        """
        return self._commitments.take_report(ae_title, event_information)

    # -- the thread that settles ----------------------------------------------------------------------------

    def _committing(self, destination: Destination) -> Destination:
        if isinstance(destination, PeerDestination):
            return CommittingDestination(destination, self._commitments)
        return destination

    def _wake_settler(self) -> None:
        self._woken.set()

    def _run(self) -> None:
        last = False
        while not last:
            self._woken.wait()
            self._woken.clear()
            last = self._stopping
            try:
                self._settle()
                self._report_unknown()
            except Exception:
                _LOG.exception("the outbox could not look after finished jobs")
        self._ledger.close_reader()

    def _settle(self) -> None:
        for job in self._ledger.settled_jobs():
            try:
                self._settled(job)
            except Exception:
                _LOG.exception("job %d is delivered, but that could not be dealt with", job)

    def _report_unknown(self) -> None:
        """Report, once, destinations that the configuration does not have. What is for them waits."""
        for name, count in self._ledger.unsettled_counts().items():
            if name in self._delivery_workers or name in self._unknown:
                continue
            self._unknown.add(name)
            reason = f"the configuration has no destination {name!r}"
            self._ledger.post(note_deliveries(name, reason))
            message = f"{count} wait: {reason}. Add it and restart the host, or discard the jobs"
            self._events.tell(Event(Station.UNDELIVERED, message, level=logging.ERROR))
