"""In a receiver process: calls the host for the decisions about one connection.

Arguments and results are plain data: identifiers, the index, the name of a file. The bytes are in the spool
already.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomnode.dicom.values.indexed_value import IndexedValue
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
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel

_ADMITTED_FOR: Final = 0.25
_MOST_ADMITTED: Final = 128


class HostMethod(IntEnum):
    """What a receiver process may call in the host."""

    MAY_ASSOCIATE = 0
    ACCEPTS_CALLED_AE = 1
    ADMIT = 2
    RECEIVED = 3
    RELEASE_REQUESTED = 4
    ASSOCIATION_ENDED = 5
    TAKE_COMMITMENT_REPORT = 6


class CallResult(IntEnum):
    """How a call ended; with it comes a value."""

    RETURNED = 0
    """The value is what the method returned."""
    FAILED = 1
    """The host's own code raised an exception, which it has logged. There is no value."""
    OS_ERROR = 2
    """The value is an error number."""


class StoreHandlerProxy:
    """The host for one connection: a :class:`StoreHandler`, the allow-list, the storage commitments.

    Parameters
    ----------
    channel : ProcessChannel
        To the host's thread for this connection.
    wanted : frozenset of int
        As of the host's store handler.
    prevalidate : Prevalidator, optional
        Asks the pipelines' rules here, as far as they need no other image.
    """

    def __init__(
        self, channel: ProcessChannel, wanted: frozenset[int], prevalidate: Prevalidator | None = None
    ) -> None:
        self._channel, self.wanted, self._prevalidate = channel, wanted, prevalidate
        self._announced = False
        self._admitted: dict[tuple[str, str], float] = {}

    def _call(self, method: HostMethod, *arguments: Any) -> Any:
        try:
            result, value = self._channel.call((int(method), *arguments))
        except ChannelClosedError:
            raise ConnectionEndedError("the host does not answer any more", 0x00) from None
        if result == CallResult.RETURNED:
            return value
        if result == CallResult.OS_ERROR:
            raise OSError(value, os.strerror(value))
        raise StoreHandlerFailedError("the host could not decide")

    def may_associate(self, calling: str, address: str, certificate: PeerCertificate | None) -> bool:
        """Ask the allow-list."""
        fields = None if certificate is None else tuple(certificate)
        return bool(self._call(HostMethod.MAY_ASSOCIATE, calling, address, fields))

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        """Ask whether an association is wanted."""
        return bool(self._call(HostMethod.ACCEPTS_CALLED_AE, called, calling, address))

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Ask before the data set is read.

        Where the host refuses nothing, it is not asked again for the same SOP class and transfer syntax for a
        quarter of a second: the question takes a tenth of the time of a small instance.
        """
        now = time.monotonic()
        kind = request.AffectedSOPClassUID, request.transfer_syntax_uid
        if self._admitted.get(kind, 0.0) > now:
            return None
        response = self._call(HostMethod.ADMIT, self._new_association(request), *_request_fields(request))
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
        """Prevalidate a file and hand it over: the host decides what becomes of it."""
        if prevalidation is None and self._prevalidate is not None:
            prevalidation = self._prevalidate(request.association.called_ae_title, spooled.file, index)
        response = self._call(
            HostMethod.RECEIVED,
            self._new_association(request),
            *_request_fields(request),
            index,
            spooled.file,
            spooled.size,
            spooled.dataset_offset,
            None if prevalidation is None else (prevalidation.container_key, prevalidation.reasons),
        )
        spooled.hand_over()
        return StoreResponse(*response)

    def release_requested(self, association: AssociationInfo) -> None:
        """Have the host make it durable that an association was released."""
        self._call(HostMethod.RELEASE_REQUESTED, _association_fields(association))

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Report that it is over."""
        with suppress(ConnectionEndedError):  # then the host knows
            self._call(HostMethod.ASSOCIATION_ENDED, _association_fields(association), end.value)

    def take_commitment_report(self, calling: str, information: Dataset) -> int:
        """Hand on a report on storage commitment; return the status with which it is answered."""
        return int(self._call(HostMethod.TAKE_COMMITMENT_REPORT, calling, information.to_json()))

    def _new_association(self, request: StoreRequest) -> tuple[Any, ...] | None:
        """Return the association with its first request; the host remembers it."""
        if self._announced:
            return None
        self._announced = True
        return _association_fields(request.association)


def _association_fields(info: AssociationInfo) -> tuple[Any, ...]:
    return (
        info.id,
        info.calling_ae_title,
        info.called_ae_title,
        info.peer_address,
        info.negotiated.isoformat(),
        info.peer_certificate,
    )


def _request_fields(request: StoreRequest) -> tuple[Any, ...]:
    return (
        request.message_id,
        request.AffectedSOPClassUID,
        request.AffectedSOPInstanceUID,
        request.transfer_syntax_uid,
    )
