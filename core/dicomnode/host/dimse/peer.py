"""A peer that this node connects to: its associations, and what to do about one that it rejects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from dicomnode.errors import ConfigurationError, DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.configuration.config_values import Address
from dicomnode.host.dimse.association_request import AssociationRejectedError
from dicomnode.host.dimse.client_tls import client_context
from dicomnode.host.dimse.dimse_scu import DimseAssociation, RequestHandler
from dicomnode.host.dimse.requested_association import RequestedAssociation
from dicomnode.host.dimse.store_scu import StoreAssociation

_A = TypeVar("_A", bound=RequestedAssociation)
_CALLING_NOT_RECOGNISED = (1, 3)
_CALLED_NOT_RECOGNISED = (1, 7)


class Peer:
    """A remote AE, as it is configured.

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
    """

    def __init__(self, name: str, table: PeerTable, calling_ae_title: str) -> None:
        _check(name, table)
        self.name, self.table, self._calling = name, table, calling_ae_title
        self._lock = threading.Lock()
        self._open: set[RequestedAssociation] = set()
        self._broken_off = False

    def reconfigure(self, table: PeerTable) -> None:
        """Take another configuration; it counts from the next association.

        Raises
        ------
        ConfigurationError
            When it cannot be used; the old one stays.
        """
        _check(self.name, table)
        self.table = table

    def break_off(self) -> None:
        """End the associations that are open, from another thread, and open no other."""
        with self._lock:
            self._broken_off = True
            for association in self._open:
                association.break_off()

    def store_association(
        self, contexts: Iterable[tuple[str, str]]
    ) -> AbstractContextManager[StoreAssociation]:
        """Open an association for C-STORE, and release it afterwards.

        Parameters
        ----------
        contexts : iterable of (str, str)
            SOP class and transfer syntax of what will be sent.

        Raises
        ------
        DeliveryError
            When there is none to be had; the message says what to do where that is known.
        """
        return self.association(StoreAssociation, contexts)

    def service_association(
        self, sop_class: str, handler: RequestHandler | None = None
    ) -> AbstractContextManager[DimseAssociation]:
        """Open an association for another service, and release it afterwards.

        Parameters
        ----------
        sop_class : str
            Of the service.
        handler : callable, optional
            What answers requests of the peer.

        Raises
        ------
        DeliveryError
            As :meth:`store_association`.
        """
        return self.association(DimseAssociation, sop_class, handler=handler)

    @contextmanager
    def association(self, kind: type[_A], proposed: Any, **options: Any) -> Iterator[_A]:
        """Open an association of any kind, and release it afterwards.

        Parameters
        ----------
        kind : type
            Its class.
        proposed
            What the class takes after the AE titles: presentation contexts, or the SOP class of a service.
        **options
            Further arguments of the class.

        Raises
        ------
        DeliveryError
            As :meth:`store_association`.
        """
        table, address = self.table, _address(self.name, self.table)
        # Each kind has a signature of its own after the AE titles, which a type variable cannot say.
        make: Callable[..., _A] = kind
        association = make(
            address.host,
            address.port,
            table.ae_title,
            self._calling,
            proposed,
            timeout=table.timeout,
            tls=client_context(self.name, table),
            **options,
        )
        with self._opened(association):
            yield association

    @contextmanager
    def _opened(self, association: _A) -> Iterator[_A]:
        with self._lock:
            if self._broken_off:
                raise DeliveryError("broken off")
            self._open.add(association)
        try:
            self._open_one(association)
            yield association
        finally:
            association.release()
            with self._lock:
                self._open.discard(association)

    def _open_one(self, association: RequestedAssociation) -> None:
        try:
            association.open()
        except AssociationRejectedError as error:
            raise DeliveryError(f"{self.name}: {error}{self._remedy(error)}") from None
        except DeliveryError as error:
            raise DeliveryError(f"{self.name}: {error}") from None

    def _remedy(self, error: AssociationRejectedError) -> str:
        """Return what can be done about a rejection (PS3.8 table 9-21), as far as we know."""
        why = (error.source, error.diagnostic)
        if why == _CALLED_NOT_RECOGNISED:
            return f". Correct peers.{self.name}.ae_title, {self.table.ae_title!r}, or the peer's own"
        if why == _CALLING_NOT_RECOGNISED:
            return f". Make this node's AE title, {self._calling!r}, known to the peer"
        return ""


def _address(name: str, table: PeerTable) -> Address:
    if table.address is None:
        msg = f"peers.{name} has no address, so nothing can be sent to it: set peers.{name}.address"
        raise ConfigurationError(msg)
    return table.address


def _check(name: str, table: PeerTable) -> None:
    _address(name, table)
    client_context(name, table)
