"""A remote AE as a destination: results are handed over by C-STORE (PS3.4 annex B)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.delivery.delivery_outcome import outcome_of_status
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.dimse.requested_association import AssociationEndedError
from dicomnode.host.dimse.store_scu import StoreAssociation, UnfitFileError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

_MOST_CONTEXTS: Final = 128


class PeerDestination:
    """Sends instances to a peer, over one association for all that is sent at a time.

    That it is asked to commit to what it stored is another destination's doing, in which this one is wrapped:
    :class:`~dicomnode.host.delivery.committing_destination.CommittingDestination`.

    Parameters
    ----------
    name : str
        The peer's name in the configuration.
    table : PeerTable
        Its AE title, address, timeout, TLS.
    calling_ae_title : str
        This node's.

    Raises
    ------
    ConfigurationError
        When the peer has no address, or its TLS files cannot be used.

    Attributes
    ----------
    peer : Peer
        The remote AE.
    """

    takes_files = False

    def __init__(self, name: str, table: PeerTable, calling_ae_title: str) -> None:
        self.peer = Peer(name, table, calling_ae_title)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self.peer.name

    @property
    def ae_title(self) -> str:
        """The peer's AE title."""
        return self.peer.table.ae_title

    def reconfigure(self, table: PeerTable) -> None:
        """Take another configuration of the peer; it counts from the next association.

        Raises
        ------
        ConfigurationError
            When it cannot be used; the old one stays.
        """
        self.peer.reconfigure(table)

    def break_off(self) -> None:
        """End the association that is open, and open no other."""
        self.peer.break_off()

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Send each item as it lies in the outbox, under its own UID.

        After a lost connection the item that was on its way is reported as one to send again, and the next
        one goes over a new association.

        Raises
        ------
        DeliveryError
            When no association can be had.
        """
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
        with self.peer.store_association(kinds) as association:
            while waiting and association.established:
                item = waiting.popleft()
                yield item, _stored(association, item)


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
