"""A peer as a destination that is asked to commit to what it stored (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.commitments import Commitments
from dicomnode.host.delivery.peer_destination import PeerDestination
from dicomnode.host.delivery.storage_commitment import STORAGE_COMMITMENT, CommitmentRequest
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

_COMMITMENT_WAIT: Final = 1.0
_AWAITED: Final = "stored; the peer was asked to commit to it"


class CommittingDestination:
    """Sends instances to a peer, and asks it to commit to them where its configuration says so.

    The peer's report may come within a second on the same association, or later on one of its own, which the
    receiver takes; both ways it is for `commitments`.

    Parameters
    ----------
    destination : PeerDestination
        What sends.
    commitments : Commitments
        What remembers the requests, and takes the reports.
    """

    takes_files = False

    def __init__(self, destination: PeerDestination, commitments: Commitments) -> None:
        self._destination, self._commitments = destination, commitments

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._destination.name

    def break_off(self) -> None:
        """End the association that is open, and open no other."""
        self._destination.break_off()

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Send each item as :meth:`.PeerDestination.send` does, and ask the peer to commit to what it stored.

        Raises
        ------
        DeliveryError
            When no association can be had.
        """
        if self._destination.peer.table.storage_commitment != "ask":
            yield from self._destination.send(items)
            return
        stored: list[OutboxItem] = []
        try:
            for item, outcome in self._destination.send(items):
                if outcome.delivery is Delivery.CONFIRMED:
                    stored.append(item)
                    yield item, replace(outcome, delivery=Delivery.STORED, reason=_AWAITED)
                else:
                    yield item, outcome
        except BaseException:  # GeneratorExit too: the host stops, and what was stored is to be committed to
            with suppress(DeliveryError):
                self._ask(stored, 0.0)
            raise
        yield from self._commit(stored)

    def _commit(self, stored: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Ask for commitment, and say what becomes of what could not be asked for."""
        try:
            self._ask(stored, _COMMITMENT_WAIT)
        except NoAcceptedContextError:
            outcome = Outcome(Delivery.CONFIRMED, "stored; the peer does not offer storage commitment", 0)
            yield from ((item, outcome) for item in stored)
        except DeliveryError as error:
            reason = f"stored, but the peer could not be asked to commit to it: {error}"
            yield from ((item, Outcome(Delivery.LATER, reason)) for item in stored)

    def _ask(self, stored: Sequence[OutboxItem], wait: float) -> None:
        if not stored:
            return
        take_report = partial(self._commitments.take_report, self._destination.ae_title)
        request = CommitmentRequest(stored, take_report)
        with self._destination.peer.service_association(STORAGE_COMMITMENT, request.handle) as association:
            association.ensure_offered()
            self._commitments.remember(request.TransactionUID, self.name, stored)  # it may report at once
            request.ask(association, wait)
