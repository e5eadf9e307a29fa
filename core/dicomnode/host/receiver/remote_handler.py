"""In a receiver process: the host's decisions about one connection, asked for over a channel.

What travels is plain data: identifiers, the index, the name of a file. The bytes are in the spool already.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import (
    AssociationEnd,
    AssociationInfo,
    Prevalidation,
    Prevalidator,
    StoreHandlerFailedError,
    StoreRequest,
)
from dicomnode.host.dimse.tls import PeerCertificate
from dicomnode.host.parsing.index import IndexedValue
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.receiver.remote_channel import ChannelClosedError, RemoteChannel

_ADMITTED_FOR: Final = 0.25
_MOST_ADMITTED: Final = 128


class Question(IntEnum):
    """What a receiver process may ask."""

    MAY_ASSOCIATE = 0
    ACCEPTS_CALLED_AE = 1
    ADMIT = 2
    RECEIVED = 3
    ENDED = 4
    COMMITTED = 5


class Answer(IntEnum):
    """How an answer begins."""

    GIVEN = 0
    FAILED = 1
    """The host's own code raised, which it has logged."""
    OS_ERROR = 2


class RemoteStoreHandler:
    """The host as one connection sees it: a :class:`StoreHandler`, the allow-list, the storage commitments.

    Parameters
    ----------
    channel : RemoteChannel
        To the host's thread for this connection.
    wanted : frozenset of int
        The host's.
    judge : Judge, optional
        Asks the pipelines' rules here, as far as they need no other image.
    """

    def __init__(
        self, channel: RemoteChannel, wanted: frozenset[int], prevalidate: Prevalidator | None = None
    ) -> None:
        self._channel, self.wanted, self._judge = channel, wanted, prevalidate
        self._announced = False
        self._admitted: dict[tuple[str, str], float] = {}

    def _ask(self, question: Question, *given: Any) -> Any:
        try:
            answer, value = self._channel.ask((int(question), *given))
        except ChannelClosedError:
            raise ConnectionEndedError("the host does not answer any more", 0x00) from None
        if answer == Answer.GIVEN:
            return value
        if answer == Answer.OS_ERROR:
            raise OSError(value, os.strerror(value))
        raise StoreHandlerFailedError("the host could not decide")

    def may_associate(self, calling: str, address: str, certificate: PeerCertificate | None) -> bool:
        """Ask the allow-list."""
        shown = None if certificate is None else tuple(certificate)
        return bool(self._ask(Question.MAY_ASSOCIATE, calling, address, shown))

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        """Ask whether an association is wanted."""
        return bool(self._ask(Question.ACCEPTS_CALLED_AE, called, calling, address))

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Ask before the data set is read; one yes is good for its like for a quarter of a second."""
        now = time.monotonic()
        kind = request.AffectedSOPClassUID, request.transfer_syntax_uid
        if self._admitted.get(kind, 0.0) > now:
            return None
        response = self._ask(Question.ADMIT, self._association(request), *_request(request))
        if response is not None:
            return StoreResponse(*response)
        if len(self._admitted) >= _MOST_ADMITTED:
            self._admitted.clear()
        self._admitted[kind] = now + _ADMITTED_FOR
        return None

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        """Judge a file and hand it over; what becomes of it is the host's business from now on."""
        if prevalidation is None and self._judge is not None:
            prevalidation = self._judge(request.association.called_ae_title, spooled.file, index)
        response = self._ask(
            Question.RECEIVED,
            self._association(request),
            *_request(request),
            index,
            spooled.file,
            spooled.size,
            spooled.dataset_offset,
            None if prevalidation is None else (prevalidation.container_key, prevalidation.reasons),
        )
        spooled.hand_over()
        return StoreResponse(*response)

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Tell that it is over."""
        with suppress(ConnectionEndedError):  # then the host knows
            self._ask(Question.ENDED, _association(association), end.value)

    def committed(self, calling: str, information: Dataset) -> int:
        """Hand on a report about storage commitment."""
        return int(self._ask(Question.COMMITTED, calling, information.to_json()))

    def _association(self, request: StoreRequest) -> tuple[Any, ...] | None:
        """Return what the host does not know yet of the association."""
        if self._announced:
            return None
        self._announced = True
        return _association(request.association)


def _association(info: AssociationInfo) -> tuple[Any, ...]:
    return (
        info.id,
        info.calling_ae_title,
        info.called_ae_title,
        info.peer_address,
        info.negotiated.isoformat(),
        info.peer_certificate,
    )


def _request(request: StoreRequest) -> tuple[Any, ...]:
    return (
        request.message_id,
        request.AffectedSOPClassUID,
        request.AffectedSOPInstanceUID,
        request.transfer_syntax_uid,
    )
