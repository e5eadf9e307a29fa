"""What travels between the receiver and whatever decides about a received instance.

The receiver (:mod:`dicomnode.host.receiver.scp`) knows the network and the disk; a :class:`StoreHandler`
knows pipelines, ledger and trees. This module is all that both know of each other.

The life of one C-STORE, in the order in which the store handler sees it::

    accepts_called_ae     once, while the association is negotiated
    admit                   before the body is read: may refuse without reading (and storing) it
    received                the body is whole, readable and synced; the answer is the C-STORE status
    release_requested       before a release is answered, of an association that brought an instance
    association_ended       once, for every association that was accepted

All methods are called on the thread of the association, so several at once for several associations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import DicomnodeError
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.parsing.statuses import StoreResponse


class StoreHandlerFailedError(DicomnodeError):
    """The store handler could not decide, and has logged why."""


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """One accepted association.

    Parameters
    ----------
    id : str
        Unique in this process and, as good as certainly, among all processes.
    calling_ae_title, called_ae_title : str
        As negotiated, without padding. They come from the network: escape them before they are logged.
    peer_address : str
        The IP address of the peer.
    negotiated : datetime
        When the association was accepted, with a time zone (for records; never used for deadlines).
    peer_certificate : str, optional
        The subject of the peer's certificate, when the association runs over mutual TLS.
    """

    id: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    negotiated: datetime
    peer_certificate: str | None = None


class AssociationEnd(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    """The peer released it: all that it had to send was sent."""
    ABORTED = "aborted"
    """The peer aborted it, broke a rule or a time limit, or its connection was lost."""
    CUT_OFF = "cut off"
    """This host was stopped: whether the peer had sent everything is unknown."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ (PS3.7 section 9.3.1), its UIDs checked, its data set not yet read."""

    association: AssociationInfo
    message_id: int
    AffectedSOPClassUID: str
    AffectedSOPInstanceUID: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Prevalidation:
    """What a receiver process found out of an image by itself, without the others that wait.

    Parameters
    ----------
    container_key : str
        The key of the patient container.
    reasons : mapping of str to str or None
        Input -> why it does not want the image, ``None`` where nothing in the image speaks against it. Inputs
        that must be asked where the other images are, are not in it.
    """

    container_key: str
    reasons: Mapping[str, str | None]


class Prevalidator(Protocol):
    """The rules of all pipelines, in a receiver process."""

    def __call__(self, called: str, file: str, index: Mapping[int, IndexedValue]) -> Prevalidation | None:
        """Validate an image that was sent to a called AE title; ``None`` leaves all to the host."""
        ...


PrevalidatorFactory: TypeAlias = Callable[[], Prevalidator]
"""Makes a prevalidator; picklable, so that each receiver process makes its own."""


class StoreHandler(Protocol):
    """Decides about associations and received instances; the receiver's only outlet.

    A method that raises costs that one association or instance a failure status (0x0110), nothing more.
    """

    @property
    def wanted(self) -> frozenset[int]:
        """The top-level tags that :meth:`received` gets as its index, besides ``ALWAYS_WANTED``."""
        ...

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        """Say whether an association to `called` is wanted; False is answered "called AE not recognised"."""
        ...

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Decide before the data set is read; None goes on, a response refuses without storing anything.

        A receiver may take None as good for what an association sends of the same SOP class and transfer
        syntax within a second.
        """
        ...

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        """Take an instance whose structure is sound and whose bytes are synced.

        The receiver has already checked that the identity tags (SOP class and instance, study, series) are
        there and agree with the request. `prevalidation` is what a receiver process has found out already.
        """
        ...

    def release_requested(self, association: AssociationInfo) -> None:
        """Make it durable that an association was released; the release is answered when this returns.

        Its requestor may forget what it has sent once it has the answer, so that whoever comes after a kill
        of this process must know that all was sent.
        """
        ...

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Learn that an accepted association is over, and how it ended."""
        ...
