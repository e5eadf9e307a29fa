"""Storage commitment: a peer that took instances is asked to say that it will keep them (PS3.4 annex J)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.delivery_outcome import delivery_after
from dicomnode.host.dimse.dimse_scu import DimseAssociation, DimseMessage
from dicomnode.host.parsing.statuses import (
    UNKNOWN_FAILURE_REASON,
    Service,
    Status,
    peer_status,
)
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""

_LOG = logging.getLogger(__name__)
_WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
_N_EVENT_REPORT_RQ, _N_ACTION_RQ = 0x0100, 0x0130
_REQUEST_COMMITMENT: Final = 1


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a peer says about instances that it was asked to commit to.

    Attributes
    ----------
    TransactionUID : str
        Of the request that it answers (0008,1195).
    committed : frozenset of str
        SOP Instance UIDs that it will keep.
    failed : mapping of str to int
        SOP Instance UID -> Failure Reason (0008,1197) of those that it will not.
    """

    TransactionUID: str
    committed: frozenset[str]
    failed: Mapping[str, int]

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> CommitmentReport:
        """Read the Event Information of an N-EVENT-REPORT (PS3.4 table J.3-3).

        Raises
        ------
        DeliveryError
            When it is broken, or does not say which request it answers.
        """
        try:
            transaction = str(dataset.get("TransactionUID") or "")
            committed = frozenset(
                str(each.ReferencedSOPInstanceUID) for each in dataset.get("ReferencedSOPSequence") or ()
            )
            failed = {
                str(each.ReferencedSOPInstanceUID): int(each.get("FailureReason", UNKNOWN_FAILURE_REASON))
                for each in dataset.get("FailedSOPSequence") or ()
            }
        except Exception as error:  # whatever pydicom stumbles over
            msg = f"the report about storage commitment cannot be read: {type(error).__name__}"
            raise DeliveryError(msg) from None
        if not transaction:
            raise DeliveryError("the report about storage commitment has no Transaction UID")
        return cls(transaction, committed, failed)

    def outcome(self, uid: str) -> Outcome | None:
        """Return what it means for the delivery of an instance, or ``None`` where it does not say."""
        if uid in self.failed:
            reason = self.failed[uid]
            known = peer_status(reason, Service.COMMITMENT)
            meaning = f"reason {reason:#06x}" if known is None else known.meaning
            return Outcome(delivery_after(known), f"the peer does not commit to it: {meaning}")
        if uid in self.committed:
            return Outcome(Delivery.CONFIRMED, "the peer has committed to it")
        return None


class CommitmentRequest:
    """Asks a peer to commit to instances that it has stored.

    Parameters
    ----------
    items : sequence of OutboxItem
        What it has stored.
    take_report : callable
        Takes the Event Information of a report that comes on the same association, and returns the status
        with which it is answered.

    Attributes
    ----------
    TransactionUID : str
        By which the report on it is known.
    """

    def __init__(self, items: Sequence[OutboxItem], take_report: Callable[[Dataset], int]) -> None:
        self.TransactionUID = str(generate_uid(prefix=None))
        self._items, self._take_report = items, take_report
        self._reported = False

    def ask(self, association: DimseAssociation, wait: float) -> None:
        """Ask, and wait a moment for a report on the same association.

        Parameters
        ----------
        association : DimseAssociation
            Open, with the peer, made with :meth:`handle`.
        wait : float
            Seconds. A peer that takes longer reports on an association of its own.

        Raises
        ------
        NoAcceptedContextError
            When the peer does not offer storage commitment.
        DeliveryError
            When it refuses the request, or does not answer.
        """
        command = {
            "CommandField": _N_ACTION_RQ,
            "RequestedSOPClassUID": STORAGE_COMMITMENT,
            "RequestedSOPInstanceUID": _WELL_KNOWN_INSTANCE,
            "ActionTypeID": _REQUEST_COMMITMENT,
        }
        for answer in association.request(command, self._dataset()):
            if answer.status:
                msg = f"it refuses the request for storage commitment with status {answer.status:#06x}"
                raise DeliveryError(msg)
        association.serve(wait, until=lambda: self._reported)

    def handle(self, message: DimseMessage) -> int:
        """Take a report that comes on the association of the request. It may be on an earlier one."""
        if message.field != _N_EVENT_REPORT_RQ:
            return Status.UNRECOGNISED_OPERATION
        try:
            report = message.dataset()
        except DeliveryError as error:
            _LOG.warning("%s", error)
            return Status.PROCESSING_FAILURE
        self._reported |= report.get("TransactionUID") == self.TransactionUID
        return self._take_report(report)

    def _dataset(self) -> Dataset:
        request = Dataset()
        request.TransactionUID = self.TransactionUID
        request.ReferencedSOPSequence = []
        for item in self._items:
            reference = Dataset()
            reference.ReferencedSOPClassUID = item.SOPClassUID
            reference.ReferencedSOPInstanceUID = item.SOPInstanceUID
            request.ReferencedSOPSequence.append(reference)
        return request
