"""A remote AE as a destination: results are handed over by C-STORE (PS3.4 annex B)."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from ..errors import ConfigurationError, DeliveryError
from ..pipeline.destination import Delivery, OutboxItem, Outcome
from .config import PeerTable
from .delivery_rules import outcome_of_status
from .file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_MOST_CONTEXTS: Final = 128
_NO_REASON_GIVEN: Final = 0x02
_PLAIN: Final = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
_REJECTIONS: Final = {
    0x01: "user rejection",
    0x02: "no reason given",
    0x03: "SOP class not supported",
    0x04: "transfer syntax not supported",
}
_ASSOCIATION_REJECTIONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "it does not know our AE title {calling!r}: enter it at the peer",
    (1, 7): "nobody there has the AE title {called!r}: correct peers.{name}.ae_title or the peer's own",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Source and diagnostic of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


class PeerDestination:
    """Sends instances to a peer, over one association for all that is sent at a time.

    Parameters
    ----------
    name : str
        The peer's name in the configuration.
    peer : PeerTable
        Its AE title, address and timeout.
    calling_ae_title : str
        This node's.

    Raises
    ------
    ConfigurationError
        When the peer has no address.
    """

    takes_files = False

    def __init__(self, name: str, peer: PeerTable, calling_ae_title: str) -> None:
        if peer.address is None:
            raise ConfigurationError(f"peers.{name} has no address, so nothing can be sent to it")
        self._name, self._peer, self._calling = name, peer, calling_ae_title
        self._address = peer.address
        self._association: Association | None = None
        self._broken_off = threading.Event()

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._name

    def break_off(self) -> None:
        """Abort the association that is open, from another thread."""
        self._broken_off.set()
        association = self._association
        if association is not None:
            association.abort()

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Send each item as it lies in the outbox, under its own UID.

        After a lost connection the item that was on its way is reported as one to send again, and the next
        one goes over a new association.

        Raises
        ------
        DeliveryError
            When no association can be had.
        """
        sound = []
        for item in items:
            if not item.SOPInstanceUID:
                yield (
                    item,
                    Outcome(Delivery.REFUSED, "a peer takes DICOM instances only, and this is another file"),
                )
            elif not item.path.is_file():
                yield item, Outcome(Delivery.REFUSED, f"the file has gone from the outbox: {item.path}")
            else:
                sound.append(item)
        for group in _groups(sound):
            waiting = deque(group)
            while waiting:
                yield from self._send_over_one_association(waiting)

    def _send_over_one_association(self, waiting: deque[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        association = self._associate(waiting)
        numbers = itertools.cycle(range(1, 65_536))
        try:
            while waiting:
                item = waiting.popleft()
                yield item, self._store(association, item, next(numbers))
                if not association.is_established and _any_accepted(association):
                    return
        finally:
            self._association = None
            if association.is_established:
                association.release()

    def _associate(self, items: Iterable[OutboxItem]) -> Association:
        peer = self._peer
        entity = AE(self._calling)
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = (
            peer.timeout
        )
        association = entity.associate(
            self._address.host, self._address.port, _contexts(items), ae_title=peer.ae_title
        )
        self._association = association
        if association.is_established or association.rejected_contexts:
            return association
        if association.is_rejected:
            raise DeliveryError(f"{self._told()} rejects the association: {self._why_rejected(association)}")
        raise DeliveryError(f"{self._told()} cannot be reached, or does not answer")

    def _told(self) -> str:
        return f"{self._name} ({self._peer.ae_title} at {self._address})"

    def _why_rejected(self, association: Association) -> str:
        answer = association.acceptor.primitive
        if answer is None:
            return "no reason given"
        reason = _ASSOCIATION_REJECTIONS.get(
            (answer.result_source or 0, answer.diagnostic or 0), "no reason given"
        )
        return reason.format(calling=self._calling, called=self._peer.ae_title, name=self._name)

    def _store(self, association: Association, item: OutboxItem, number: int) -> Outcome:
        refusal = _refused_context(association, item)
        if refusal is not None:
            return refusal
        try:
            status = association.send_c_store(item.path, msg_id=number)
        except (RuntimeError, ValueError) as error:
            if not association.is_established:
                return outcome_of_status(None)
            return Outcome(Delivery.REFUSED, f"the instance cannot be encoded for the peer: {error}")
        if "Status" not in status:
            association.abort()
            return outcome_of_status(None)
        return outcome_of_status(int(status.Status), str(status.get("ErrorComment", "") or ""))


def _groups(items: Sequence[OutboxItem]) -> Iterator[list[OutboxItem]]:
    """Divide items so that each group's contexts fit into one association."""
    group: list[OutboxItem] = []
    contexts = 0
    known: set[tuple[str, str]] = set()
    for item in items:
        kind = (item.SOPClassUID, item.TransferSyntaxUID)
        if kind not in known:
            known.add(kind)
            contexts += 2 if item.TransferSyntaxUID in _PLAIN else 1
            if contexts > _MOST_CONTEXTS:
                yield group
                group, known, contexts = [], {kind}, 2
        group.append(item)
    if group:
        yield group


def _contexts(items: Iterable[OutboxItem]) -> list[PresentationContext]:
    """Propose each SOP class as it was written, and a plain encoding as the other, into which it converts."""
    proposed: dict[tuple[str, str], None] = {}
    for item in items:
        proposed[item.SOPClassUID, item.TransferSyntaxUID] = None
        if item.TransferSyntaxUID in _PLAIN:
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                proposed[item.SOPClassUID, syntax] = None
    return [build_context(sop_class, syntax) for sop_class, syntax in proposed]


def _fits(item: OutboxItem, context: PresentationContext) -> bool:
    syntax = context.transfer_syntax[0] if context.transfer_syntax else ""
    return context.abstract_syntax == item.SOPClassUID and (
        syntax == item.TransferSyntaxUID or {syntax, item.TransferSyntaxUID} <= _PLAIN
    )


def _any_accepted(association: Association) -> bool:
    return bool(association.accepted_contexts)


def _refused_context(association: Association, item: OutboxItem) -> Outcome | None:
    if any(_fits(item, context) for context in association.accepted_contexts):
        return None
    results = {
        each.result for each in association.rejected_contexts if each.abstract_syntax == item.SOPClassUID
    }
    why = (
        ", ".join(sorted(_REJECTIONS.get(result or 0, "unknown reason") for result in results))
        or "no reason given"
    )
    reason = (
        f"no accepted presentation context for {UID(item.SOPClassUID).name} with "
        f"{UID(item.TransferSyntaxUID).name}: {why}. Configure the peer to take it, then retry"
    )
    # "No reason" is the provider's passing trouble (PS3.8 table 9-18); the others will be said again.
    passing = results <= {_NO_REASON_GIVEN}
    return Outcome(Delivery.LATER if passing else Delivery.REFUSED, reason)
