"""What peers were asked to commit to, and what they report: matched by Transaction UID (PS3.4 annex J).

A request is entered in the ledger before it is sent, so that its report is known whenever it comes: at once
on the same association, or days later, after a restart, on one of the peer's own. A peer may still answer a
request after it was asked again for the same instances. That it has committed to them is true then, too; what
it says against them is old, since they were sent anew.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import DeliveryTable
from dicomnode.host.delivery.delivery_worker import STATE_AFTER
from dicomnode.host.delivery.storage_commitment import CommitmentReport
from dicomnode.host.foundation.backoff import BackOff
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import AskedDelivery, DeliveryRecord
from dicomnode.host.ledger.ledger_writes import remember_commitment, transition_delivery
from dicomnode.host.ledger.states import DeliveryState
from dicomnode.host.parsing.statuses import Status
from dicomnode.pipeline.destination import Delivery, Destination, OutboxItem, Outcome

_LOG = logging.getLogger(__name__)
_EVENTS: Final = {
    Delivery.CONFIRMED: (Station.DELIVERED, "{name} has committed to {count}", logging.INFO),
    Delivery.LATER: (Station.UNDELIVERED, "{name} does not commit to {count}: tried again", logging.WARNING),
    Delivery.REFUSED: (Station.UNDELIVERED, "{name} never commits to {count}: dead letters", logging.ERROR),
}


class Commitments:
    """Remembers what peers were asked to commit to, and enters what they report.

    Parameters
    ----------
    root : pathlib.Path
        The outbox, to which the items' paths are relative.
    ledger : Ledger
        Where requests and outcomes are entered.
    destinations : mapping of str to Destination
        Every configured destination by name.
    events : Events
        Where outcomes are reported.
    settings : DeliveryTable
        When what a peer does not commit to is sent again.
    entered : callable
        Called after outcomes were entered in the ledger.
    """

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        *,
        events: Events,
        settings: DeliveryTable,
        entered: Callable[[], None],
    ) -> None:
        self._root, self._ledger, self._events, self._entered = root, ledger, events, entered
        self._destinations = dict(destinations)
        self._back_off = BackOff(settings.first_retry, settings.longest_retry)

    def remember(self, TransactionUID: str, destination: str, items: Sequence[OutboxItem]) -> None:  # noqa: N803 - DICOM's own spelling
        """Enter a request, and return once that is durable: the peer may be asked then.

        Parameters
        ----------
        TransactionUID : str
            Of the request (0008,1195).
        destination : str
            Who will be asked.
        items : sequence of OutboxItem
            What it stored.

        Raises
        ------
        DeliveryError
            When the ledger cannot be written.
        """
        paths = [str(item.path.relative_to(self._root)) for item in items]
        try:
            self._ledger.write(remember_commitment(TransactionUID, destination, paths))
        except sqlite3.Error as error:
            raise DeliveryError(f"the ledger cannot be written: {error}") from None

    def take_report(self, ae_title: str, event_information: Dataset) -> int:
        """Take a report about storage commitment.

        Parameters
        ----------
        ae_title : str
            The peer's AE title: as it called, or as it was called.
        event_information : pydicom.Dataset
            Of the N-EVENT-REPORT (PS3.4 table J.3-3). Instances that its request was not about are passed
            over.

        Returns
        -------
        int
            The status with which it is answered (PS3.7 section 10.1.1.1.8): 0x0115, invalid argument value,
            where this peer was asked nothing under the Transaction UID; nothing has changed then.
        """
        try:
            report = CommitmentReport.from_dataset(event_information)
            if not self._was_asked(ae_title, report.TransactionUID):
                message = "%s reports on storage commitment that it was not asked for: transaction %s"
                _LOG.warning(message, safe_text(ae_title), safe_text(report.TransactionUID))
                return Status.INVALID_ARGUMENT_VALUE
            self._enter_report(report)
        except (DeliveryError, sqlite3.Error) as error:
            _LOG.warning("%s: %s", safe_text(ae_title), error)
            return Status.PROCESSING_FAILURE
        return Status.SUCCESS

    def _was_asked(self, ae_title: str, TransactionUID: str) -> bool:  # noqa: N803 - DICOM's own spelling
        name = self._ledger.asked_to_commit(TransactionUID)
        destination = None if name is None else self._destinations.get(name)
        return destination is not None and getattr(destination, "ae_title", None) == ae_title

    def _enter_report(self, report: CommitmentReport) -> None:
        self._ledger.flush()  # the peer may be quicker than the worker, which only posts it
        outcomes: list[tuple[DeliveryRecord, Outcome]] = []
        for asked in self._ledger.commitments(report.TransactionUID):
            outcome = report.outcome(str(asked.record.item["SOPInstanceUID"]))
            if outcome is not None and _counts(asked, outcome):
                outcomes.append((asked.record, outcome))
        for record, outcome in outcomes:
            self._enter(record, outcome)
        self._report(outcomes)
        self._entered()

    def _enter(self, record: DeliveryRecord, outcome: Outcome) -> None:
        not_before = 0.0
        if outcome.delivery is Delivery.LATER:
            not_before = time.time() + self._back_off.delay(record.attempts)
        state = STATE_AFTER[outcome.delivery]
        self._ledger.write(
            transition_delivery(record.id, state, outcome.reason, outcome.status, not_before=not_before)
        )

    def _report(self, outcomes: Sequence[tuple[DeliveryRecord, Outcome]]) -> None:
        """Report each outcome once for each job."""
        counts = Counter(
            (record.destination, record.job, outcome.delivery, outcome.reason) for record, outcome in outcomes
        )
        for (name, job, delivery, reason), count in counts.items():
            station, text, level = _EVENTS[delivery]
            message = text.format(name=name, count=f"{count} instance{'s' * (count != 1)}")
            known = self._ledger.job(job)
            pipeline = "" if known is None else known.pipeline
            self._events.tell(
                Event(station, message, pipeline=pipeline, job=str(job), detail=reason, level=level)
            )


def _counts(asked: AskedDelivery, outcome: Outcome) -> bool:
    """Say whether what a report says of a delivery is still true."""
    if outcome.delivery is Delivery.CONFIRMED:
        return True
    return asked.last and asked.record.state is DeliveryState.STORED
