"""A remote AE as a destination: results are handed over by C-STORE (PS3.4 annex B)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from ..errors import ConfigurationError, DeliveryError
from ..pipeline.destination import Delivery, OutboxItem, Outcome
from .association_request import AssociationRejectedError, NoAcceptedContextError
from .client_tls import client_context
from .config import PeerTable
from .config_values import Address
from .delivery_rules import outcome_of_status
from .store_scu import AssociationEndedError, StoreAssociation, UnfitFileError

_MOST_CONTEXTS: Final = 128
_CALLING_NOT_RECOGNISED: Final = (1, 3)
_CALLED_NOT_RECOGNISED: Final = (1, 7)


class PeerDestination:
    """Sends instances to a peer, over one association for all that is sent at a time.

    Parameters
    ----------
    name : str
        The peer's name in the configuration.
    peer : PeerTable
        Its AE title, address, timeout, TLS.
    calling_ae_title : str
        This node's.

    Raises
    ------
    ConfigurationError
        When the peer has no address, or its TLS files cannot be used.
    """

    takes_files = False

    def __init__(self, name: str, peer: PeerTable, calling_ae_title: str) -> None:
        _check(name, peer)
        self._name, self._peer, self._calling = name, peer, calling_ae_title
        self._lock = threading.Lock()
        self._association: StoreAssociation | None = None
        self._broken_off = False

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._name

    def reconfigure(self, peer: PeerTable) -> None:
        """Take another configuration of the peer; it counts from the next association.

        Raises
        ------
        ConfigurationError
            When it cannot be used; the old one stays.
        """
        _check(self._name, peer)
        self._peer = peer

    def break_off(self) -> None:
        """End the association that is open, and open no other."""
        with self._lock:
            self._broken_off = True
            if self._association is not None:
                self._association.break_off()

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
                yield from self._send_over_one_association(waiting)

    def _send_over_one_association(self, waiting: deque[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        association = self._associate(waiting)
        try:
            while waiting and association.established:
                item = waiting.popleft()
                yield item, _stored(association, item)
        finally:
            association.release()
            with self._lock:
                self._association = None

    def _associate(self, items: Sequence[OutboxItem]) -> StoreAssociation:
        peer = self._peer
        address = _address(self._name, peer)
        association = StoreAssociation(
            address.host,
            address.port,
            peer.ae_title,
            self._calling,
            dict.fromkeys((item.SOPClassUID, item.TransferSyntaxUID) for item in items),
            timeout=peer.timeout,
            tls=client_context(self._name, peer),
        )
        with self._lock:
            if self._broken_off:
                raise DeliveryError("broken off")
            self._association = association
        try:
            association.open()
        except AssociationRejectedError as error:
            raise DeliveryError(f"{self._name}: {error}{self._remedy(error)}") from None
        except DeliveryError as error:
            raise DeliveryError(f"{self._name}: {error}") from None
        return association

    def _remedy(self, error: AssociationRejectedError) -> str:
        """Return what can be done about a rejection (PS3.8 table 9-21), as far as we know."""
        why = (error.source, error.diagnostic)
        if why == _CALLED_NOT_RECOGNISED:
            return f". Correct peers.{self._name}.ae_title, {self._peer.ae_title!r}, or the peer's own"
        if why == _CALLING_NOT_RECOGNISED:
            return f". Tell the peer that it may take results from the AE title {self._calling!r}"
        return ""


def _address(name: str, peer: PeerTable) -> Address:
    if peer.address is None:
        msg = f"peers.{name} has no address, so nothing can be sent to it: set peers.{name}.address"
        raise ConfigurationError(msg)
    return peer.address


def _check(name: str, peer: PeerTable) -> None:
    _address(name, peer)
    client_context(name, peer)


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
