"""A remote AE as a destination: results are handed over by C-STORE (PS3.4 annex B)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.delivery.commitments import Commitments
from dicomnode.host.delivery.delivery_rules import outcome_of_status
from dicomnode.host.delivery.storage_commitment import STORAGE_COMMITMENT, CommitmentRequest
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.outgoing_association import AssociationEndedError
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.dimse.store_scu import StoreAssociation, UnfitFileError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

_MOST_CONTEXTS: Final = 128
_COMMITMENT_WAIT: Final = 1.0
_AWAITED: Final = "stored; the peer was asked to commit to it"


class PeerDestination:
    """Sends instances to a peer, over one association for all that is sent at a time.

    Where the configuration says so, the peer is asked afterwards to commit to what it stored (PS3.4 annex J).
    Its report may come within a second on the same association, or later on one of its own, which the
    receiver takes; both ways it is for :attr:`commitments`.

    Parameters
    ----------
    name : str
        The peer's name in the configuration.
    table : PeerTable
        Its AE title, address, timeout, TLS, and whether it is asked to commit.
    calling_ae_title : str
        This node's.

    Raises
    ------
    ConfigurationError
        When the peer has no address, or its TLS files cannot be used.

    Attributes
    ----------
    commitments : Commitments or None
        Who remembers what the peer is asked to commit to, and takes its reports; the outbox sets it. Without
        it the peer is not asked.
    """

    takes_files = False

    def __init__(self, name: str, table: PeerTable, calling_ae_title: str) -> None:
        self._peer = Peer(name, table, calling_ae_title)
        self.commitments: Commitments | None = None

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._peer.name

    @property
    def ae_title(self) -> str:
        """The peer's AE title."""
        return self._peer.table.ae_title

    def reconfigure(self, table: PeerTable) -> None:
        """Take another configuration of the peer; it counts from the next association.

        Raises
        ------
        ConfigurationError
            When it cannot be used; the old one stays.
        """
        self._peer.reconfigure(table)

    def break_off(self) -> None:
        """End the association that is open, and open no other."""
        self._peer.break_off()

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Send each item as it lies in the outbox, under its own UID.

        After a lost connection the item that was on its way is reported as one to send again, and the next
        one goes over a new association.

        Raises
        ------
        DeliveryError
            When no association can be had.
        """
        commitments = self.commitments if self._peer.table.storage_commitment == "ask" else None
        if commitments is None:
            yield from self._store(items)
            return
        stored: list[OutboxItem] = []
        try:
            for item, outcome in self._store(items):
                if outcome.delivery is Delivery.CONFIRMED:
                    stored.append(item)
                    yield item, replace(outcome, delivery=Delivery.STORED, reason=_AWAITED)
                else:
                    yield item, outcome
        except BaseException:  # GeneratorExit too: the host stops, and what was stored is to be committed to
            with suppress(DeliveryError):
                self._ask_to_commit(commitments, stored, 0.0)
            raise
        yield from self._commit(commitments, stored)

    # -- C-STORE ------------------------------------------------------------------------------------------

    def _store(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        instances = []
        for item in items:
            if item.SOPInstanceUID:
                instances.append(item)
            else:
                reason = "a peer takes DICOM instances only, and this is another file"
                yield item, Outcome(Delivery.REFUSED, reason)
        for group in _groups(instances):
            waiting = deque(group)
            while waiting:
                yield from self._store_over_one_association(waiting)

    def _store_over_one_association(self, waiting: deque[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        kinds = dict.fromkeys((item.SOPClassUID, item.TransferSyntaxUID) for item in waiting)
        with self._peer.storing(kinds) as association:
            while waiting and association.established:
                item = waiting.popleft()
                yield item, _stored(association, item)

    # -- storage commitment -------------------------------------------------------------------------------

    def _commit(
        self, commitments: Commitments, stored: Sequence[OutboxItem]
    ) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Ask for commitment, and say what becomes of what could not be asked for."""
        try:
            self._ask_to_commit(commitments, stored, _COMMITMENT_WAIT)
        except NoAcceptedContextError:
            outcome = Outcome(Delivery.CONFIRMED, "stored; the peer does not offer storage commitment", 0)
            yield from ((item, outcome) for item in stored)
        except DeliveryError as error:
            reason = f"stored, but the peer could not be asked to commit to it: {error}"
            yield from ((item, Outcome(Delivery.LATER, reason)) for item in stored)

    def _ask_to_commit(self, commitments: Commitments, stored: Sequence[OutboxItem], wait: float) -> None:
        if not stored:
            return
        request = CommitmentRequest(stored, partial(commitments.take_report, self.ae_title))
        with self._peer.asking(STORAGE_COMMITMENT, request.handle) as association:
            association.ensure_offered()
            commitments.remember(request.TransactionUID, self.name, stored)  # it may report at once
            request.ask(association, wait)


def _stored(association: StoreAssociation, item: OutboxItem) -> Outcome:
    try:
        status = association.send(item.path, item.SOPClassUID, item.SOPInstanceUID, item.TransferSyntaxUID)
    except NoAcceptedContextError as error:
        return Outcome(Delivery.REFUSED, f"{error}. Configure the peer to take it, then deliver again")
    except UnfitFileError as error:
        return Outcome(Delivery.REFUSED, str(error))
    except AssociationEndedError as error:
        return Outcome(Delivery.LATER, str(error))
    return outcome_of_status(status, association.error_comment)


def _groups(items: Sequence[OutboxItem]) -> Iterator[list[OutboxItem]]:
    """Divide items so that each group's kinds fit into the contexts of one association."""
    group: list[OutboxItem] = []
    kinds: set[tuple[str, str]] = set()
    for item in items:
        kind = (item.SOPClassUID, item.TransferSyntaxUID)
        if len(kinds | {kind}) > _MOST_CONTEXTS:
            yield group
            group, kinds = [], set()
        kinds.add(kind)
        group.append(item)
    if group:
        yield group
