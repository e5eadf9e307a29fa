"""C-STORE messages, from P-DATA in the reader's buffer to the answer, without an object for each PDU.

Fragments of a data set stay where the reader has put them, as slices of its buffer, until the message is
whole or the buffer is needed again; then all of them are written to the spool by one call. Commands other
than C-STORE are collected and handed on whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.bounded_reader import SMALL, BoundedReader, ConnectionEndedError
from dicomnode.host.dimse.message_templates import (
    LONGEST_COMMAND,
    Command,
    StoreCommand,
    StoreTemplates,
)
from dicomnode.host.dimse.p_data import COMMAND, LAST, PDV_HEADER, EncodedMessage, read_pdv
from dicomnode.host.dimse.spooled_file import IncomingFile, IncomingSpool
from dicomnode.host.dimse.store_handler import (
    AssociationInfo,
    StoreHandler,
    StoreHandlerFailedError,
    StoreRequest,
)
from dicomnode.host.foundation.error_text import type_and_line
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.parsing.file_meta import FileMeta
from dicomnode.host.parsing.inspection import RefusedDataSetError, inspect, is_uid
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.statuses import Status, StoreResponse

_LOG = logging.getLogger(__name__)
_HEAD: Final = 16_384
_LONGEST_COLLECTED: Final = 1_048_576
_INTERNAL_ERROR = StoreResponse.plain(Status.PROCESSING_FAILURE, "internal error, see the log")

ServeOther = Callable[[EncodedMessage], bool]
"""Serves a whole message that is no C-STORE; False ends the association."""


@dataclass(frozen=True, slots=True)
class AssociationContext:
    """What the messages of one association have in context."""

    association: AssociationInfo
    presentation_contexts: Mapping[int, tuple[str, str]]
    store_handler: StoreHandler
    spool: IncomingSpool
    settings: ReceiverSettings
    peer_max_pdu_length: int


class _IncomingMessage(Protocol):
    """A message whose data set is being received."""

    context_id: int

    def add(self, fragment: memoryview) -> None: ...
    def flush(self) -> None: ...
    def complete(self) -> None: ...
    def abandon(self) -> None: ...


class CStoreHandler:
    """Handles the P-DATA of one association.

    Attributes
    ----------
    deadline : float or None
        When the message that has begun must have ended (:func:`time.monotonic`); None between messages.
    stored, refused : int
        C-STOREs answered with and without Success.
    layouts : LayoutCache
        Of what was received before on this association.
    fairness : FairnessSlot
        The connection's.
    """

    def __init__(self, reader: BoundedReader, context: AssociationContext, serve_other: ServeOther) -> None:
        self._reader, self._context, self._serve_other = reader, context, serve_other
        self._buffer, self.fairness = reader.buffer, reader.fairness
        reader.before_reuse.subscribe(self._flush)
        self._command = bytearray()
        self._message: _IncomingMessage | None = None
        self.deadline: float | None = None
        self.stored = self.refused = 0
        self._told: set[tuple[int, str]] = set()
        self.layouts = LayoutCache()
        self._templates = StoreTemplates(context.peer_max_pdu_length)

    def handle_p_data(self, begin: int, end: int) -> None:
        """Act on the body of a P-DATA-TF that lies in the reader's buffer.

        Raises
        ------
        ConnectionEndedError
            If the peer breaks the protocol or a limit, or has gone.
        """
        buffer = self._buffer
        while begin < end:
            context_id, control, after = read_pdv(buffer, begin, end)
            fragment = buffer[begin + PDV_HEADER : after]
            begin = after
            if control & COMMAND:
                self._add_command_fragment(context_id, fragment, last=control & LAST != 0)
            else:
                message = self._message
                if message is None or message.context_id != context_id:
                    raise ConnectionEndedError("data set without a command", 0x02)
                message.add(fragment)
                if control & LAST:
                    message.complete()
                    self._message = self.deadline = None

    def close(self) -> None:
        """Drop what is not whole."""
        if self._message is not None:
            self._message.abandon()
            self._message = None

    def _flush(self) -> None:
        if self._message is not None:
            self._message.flush()

    def _add_command_fragment(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if self._message is not None:
            raise ConnectionEndedError("a command within a data set", 0x02)
        if self.deadline is None:
            self.deadline = time.monotonic() + self._context.settings.message_timeout
        self._command += fragment
        if len(self._command) > LONGEST_COMMAND:
            raise ConnectionEndedError("a command set that is too long", 0x06)
        if last:
            data = bytes(self._command)
            self._command.clear()
            self._begin_message(context_id, data)

    def _begin_message(self, context_id: int, data: bytes) -> None:
        command = self._templates.decode(data)
        if command is None or context_id not in self._context.presentation_contexts:
            raise ConnectionEndedError("a command set that is broken, or in no accepted context", 0x06)
        message: _IncomingMessage
        if command.store is None:
            message = _CollectedMessage(self, context_id, data, self._serve_other)
        else:
            message = _StoreMessage(self, context_id, command.store)
        if command.has_data_set:
            self._message = message
        else:
            message.complete()
            self.deadline = None

    def respond(self, context_id: int, command: StoreCommand, response: StoreResponse) -> None:
        """Answer a C-STORE."""
        if response.status == 0:
            self.stored += 1
        else:
            self.refused += 1
            kind = response.status, response.reason
            level = logging.DEBUG if kind in self._told else logging.INFO
            self._told.add(kind)
            _LOG.log(level, "refused an instance: %#06x %s", response.status, response.reason)
            if response.comment and response.comment != response.reason:
                _LOG.debug("the comment on the refusal: %s", response.comment)
        self._reader.send(self._templates.respond(context_id, command, response.status, response.comment))
        failpoint("answered")

    @property
    def context(self) -> AssociationContext:
        """What the messages have in context."""
        return self._context


class _StoreMessage:
    """A C-STORE: refused from its command on, or written to the spool as it comes."""

    def __init__(self, handler: CStoreHandler, context_id: int, command: StoreCommand) -> None:
        self._handler, self.context_id, self._command = handler, context_id, command
        self._fragments: list[bytes | memoryview] = []
        self._received = 0
        self._head = b""
        context = handler.context
        self._request = request = StoreRequest(
            context.association,
            command.message_id,
            command.AffectedSOPClassUID,
            command.AffectedSOPInstanceUID,
            context.presentation_contexts[context_id][1],
        )
        self._refusal = self._refusal_of(request, command)
        self._writer: IncomingFile | None = None

    def _refusal_of(self, request: StoreRequest, command: StoreCommand) -> StoreResponse | None:
        if not is_uid(command.AffectedSOPClassUID) or not is_uid(command.AffectedSOPInstanceUID):
            return StoreResponse.plain(Status.INVALID_REQUEST, "the request names no valid SOP instance")
        if not command.has_data_set:
            return StoreResponse.plain(Status.NO_DATA_SET, "the request has no data set")
        try:
            return self._handler.context.store_handler.admit(request)
        except ConnectionEndedError:
            raise
        except Exception as error:
            return _failure("admitting an instance", error)

    def add(self, fragment: memoryview) -> None:
        self._received += len(fragment)
        if self._received > self._handler.context.settings.max_object_size:
            raise ConnectionEndedError("a data set that is longer than the object limit", 0x00)
        if self._refusal is None:
            self._fragments.append(fragment)

    def flush(self) -> None:
        if self._refusal is not None or not self._fragments:
            return
        writer = self._writer
        if writer is None:
            writer = self._writer = self._new_writer()
            self._head = _joined_head(writer.prefix, self._fragments)
        try:
            if self._received > SMALL:
                self._handler.fairness.release()
            writer.write(self._fragments)
        except OSError as error:
            writer.abandon()
            self._refusal = _out_of_resources(error)
        self._fragments.clear()

    def _new_writer(self) -> IncomingFile:
        request = self._request
        association = request.association
        meta = FileMeta(
            request.AffectedSOPClassUID,
            request.AffectedSOPInstanceUID,
            request.transfer_syntax_uid,
            association.calling_ae_title,
            association.called_ae_title,
        )
        return self._handler.context.spool.new(meta)

    def complete(self) -> None:
        self.flush()
        response = self._refusal
        if response is None:
            try:
                response = self._finish_instance()
            except ConnectionEndedError:
                raise
            except RefusedDataSetError as refused:
                response = refused.response
            except OSError as error:
                response = _out_of_resources(error)
            except Exception as error:
                response = _failure("receiving an instance", error)
            finally:
                self.abandon()
        self._handler.respond(self.context_id, self._command, response)

    def _finish_instance(self) -> StoreResponse:
        writer, request, context = self._writer, self._request, self._handler.context
        if writer is None or not self._received:
            return StoreResponse.plain(Status.NO_DATA_SET, "the data set is empty")
        index = inspect(
            writer.source(self._head),
            writer.dataset_offset,
            writer.size,
            request.transfer_syntax_uid,
            context.store_handler.wanted,
            context.settings.limits,
            expected=(request.AffectedSOPClassUID, request.AffectedSOPInstanceUID),
            layouts=self._handler.layouts,
        )
        spooled = writer.finish()
        try:
            return context.store_handler.received(request, index, spooled)
        finally:
            spooled.discard()

    def abandon(self) -> None:
        self._fragments.clear()
        if self._writer is not None:
            self._writer.abandon()


class _CollectedMessage:
    """Any other message, collected within bounds and handed on whole."""

    def __init__(self, handler: CStoreHandler, context_id: int, command: bytes, serve: ServeOther) -> None:
        self._handler, self.context_id, self._serve = handler, context_id, serve
        self._command = command
        self._data = bytearray()
        self._has_data = False

    def add(self, fragment: memoryview) -> None:
        self._has_data = True
        self._data += fragment
        if len(self._data) > _LONGEST_COLLECTED:
            raise ConnectionEndedError("a data set that is longer than the limit", 0x00)

    def flush(self) -> None:
        """Do nothing: what was added was copied."""

    def complete(self) -> None:
        self._handler.fairness.release()
        data_set = bytes(self._data) if self._has_data else None
        if not self._serve(EncodedMessage(self.context_id, self._command, data_set)):
            raise ConnectionEndedError("a request that is not served")

    def abandon(self) -> None:
        """Do nothing: it is in memory."""


def _joined_head(prefix: bytes, fragments: list[bytes | memoryview]) -> bytes:
    """Return the beginning of the file: enough, as a rule, for the whole walk."""
    pieces: list[bytes | memoryview] = [prefix]
    room = _HEAD
    for fragment in fragments:
        pieces.append(fragment[:room])
        room -= len(fragment)
        if room <= 0:
            break
    return b"".join(pieces)


def _out_of_resources(error: OSError) -> StoreResponse:
    _LOG.error("an instance could not be written: %s", error.strerror or type(error).__name__)
    return StoreResponse.plain(Status.OUT_OF_RESOURCES, f"not stored: {error.strerror or 'storage failed'}")


def _failure(doing: str, error: Exception) -> StoreResponse:
    if not isinstance(error, StoreHandlerFailedError):
        _LOG.error("%s failed: %s", doing, type_and_line(error))
    return _INTERNAL_ERROR


__all__ = ["AssociationContext", "CStoreHandler", "Command", "ServeOther"]
