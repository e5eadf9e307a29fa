"""The receiver: listens, receives instances into the spool, asks the sink, answers."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomnode.errors import DicomnodeError
from dicomnode.host.encodings import DEFLATED, JPIP_DEFLATED
from dicomnode.host.file_meta import FileMeta
from dicomnode.host.inspection import RefusedDataSetError, inspect
from dicomnode.host.receiver_settings import ReceiverSettings
from dicomnode.host.reception_types import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    AssociationInfo,
    StoreRequest,
    StoreResponse,
    StoreSink,
)
from dicomnode.host.spool import Spool

_LOG = logging.getLogger(__name__)


class Receiver:
    """Listens for associations and receives instances.

    Parameters
    ----------
    settings : ReceiverSettings
    sink : StoreSink
        Decides about associations and instances.
    spool : Spool
        Where the bytes go.
    """

    def __init__(self, settings: ReceiverSettings, sink: StoreSink, spool: Spool) -> None:
        self._settings, self._sink, self._spool = settings, sink, spool
        self._server: Any = None
        self._associations: dict[Any, AssociationInfo] = {}
        self._lock = threading.Lock()

    @property
    def address(self) -> tuple[str, int]:
        """Where the receiver listens: host and port."""
        return cast("tuple[str, int]", self._server.server_address[:2])

    def start(self) -> None:
        """Bind and listen.

        Raises
        ------
        OSError
            If the address cannot be bound (the port is in use).
        """
        settings = self._settings
        entity = AE(settings.ae_title)
        entity.maximum_pdu_size = settings.max_pdu_length
        entity.maximum_associations = settings.max_associations
        entity.network_timeout = settings.idle_timeout
        entity.acse_timeout = settings.acse_timeout
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), self._transfer_syntaxes())
        handlers: list[tuple[Any, Callable[[Any], Any]]] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, lambda event: self._ended(event, released=True)),
            (evt.EVT_ABORTED, lambda event: self._ended(event, released=False)),
            (evt.EVT_CONN_CLOSE, lambda event: self._ended(event, released=False)),
        ]
        self._server = entity.start_server(
            (settings.host, settings.port), block=False, evt_handlers=cast("Any", handlers)
        )

    def stop(self, grace: float = 10.0) -> None:
        """Stop listening; end associations that are still there after `grace` seconds."""
        deadline = threading.Event()
        while self._associations and grace > 0:
            deadline.wait(0.05)
            grace -= 0.05
        self._server.shutdown()

    def _transfer_syntaxes(self) -> list[str]:
        from pynetdicom import ALL_TRANSFER_SYNTAXES

        refused = {} if self._settings.deflated else {DEFLATED, *JPIP_DEFLATED}
        return [uid for uid in ALL_TRANSFER_SYNTAXES if uid not in refused]

    def _requested(self, event: Any) -> None:
        request = event.assoc.requestor.primitive
        info = AssociationInfo(
            id=secrets.token_hex(8),
            calling_ae_title=request.calling_ae_title.strip(),
            called_ae_title=request.called_ae_title.strip(),
            peer_address=event.assoc.requestor.address,
            negotiated=datetime.now(UTC),
        )
        if not self._sink.accepts_called_ae(info.called_ae_title, info.calling_ae_title, info.peer_address):
            event.assoc.acse.send_reject(0x01, 0x01, 0x07)
            threading.Event().wait(0.2)  # or pynetdicom closes before the rejection is sent
            return
        with self._lock:
            self._associations[event.assoc] = info

    def _ended(self, event: Any, *, released: bool) -> None:
        with self._lock:
            info = self._associations.pop(event.assoc, None)
        if info is not None:
            self._sink.association_ended(info, released=released)

    def _store(self, event: Any) -> Dataset:
        answer = Dataset()
        try:
            response = self._receive(event)
        except OSError:
            response = StoreResponse(OUT_OF_RESOURCES, "cannot be written to disk")
        except RefusedDataSetError as refused:
            response = refused.response
        except Exception as error:
            _LOG.error("receiving an instance failed: %s", type(error).__name__)
            response = StoreResponse(PROCESSING_FAILURE, "internal error")
        answer.Status = response.status
        if response.comment:
            answer.ErrorComment = response.comment.encode("ascii", "replace").decode()[:64]
        return answer

    def _receive(self, event: Any) -> StoreResponse:
        command = event.request
        request = StoreRequest(
            association=self._associations[event.assoc],
            message_id=command.MessageID,
            AffectedSOPClassUID=str(command.AffectedSOPClassUID),
            AffectedSOPInstanceUID=str(command.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        refusal = self._sink.admit(request)
        if refusal is not None:
            return refusal
        return receive_whole(request, command.DataSet.getvalue(), self._sink, self._spool, self._settings)


def receive_whole(
    request: StoreRequest, data: bytes, sink: StoreSink, spool: Spool, settings: ReceiverSettings
) -> StoreResponse:
    """Spool a data set that is in memory, check it and hand it to the sink."""
    meta = FileMeta(
        request.AffectedSOPClassUID,
        request.AffectedSOPInstanceUID,
        request.transfer_syntax_uid,
        request.association.calling_ae_title,
        request.association.called_ae_title,
    )
    writer = spool.new(meta)
    try:
        writer.write([data])
        index = inspect(
            writer.source(),
            writer.dataset_offset,
            writer.size,
            request.transfer_syntax_uid,
            sink.wanted,
            settings.limits,
            expected=(request.AffectedSOPClassUID, request.AffectedSOPInstanceUID),
        )
        spooled = writer.finish()
    except (OSError, DicomnodeError):
        writer.abandon()
        raise
    try:
        return sink.received(request, index, spooled)
    finally:
        spooled.discard()
