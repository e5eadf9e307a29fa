"""Requests other than C-STORE over an association that this node requests: C-FIND, C-MOVE, N-ACTION.

One message at a time, on the caller's thread, each wait with a deadline (PS3.7 section 6.3). What the peer
asks meanwhile of its own accord (an N-EVENT-REPORT) is answered by a handler.
"""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from dicomnode.dicom.values.encodings import EXPLICIT_LITTLE
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import NegotiatedContext, Proposal
from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.message_templates import NO_DATA_SET
from dicomnode.host.dimse.p_data import EncodedMessage, as_pdus
from dicomnode.host.dimse.requested_association import AssociationEndedError, RequestedAssociation
from dicomnode.host.parsing.statuses import PENDING, Status

_LONGEST_DATA_SET: Final = 4 * 2**20
_LONGEST_ANSWER, _LONGEST_RECEIVED = 16_384, 131_072
_RESPONSE: Final = 0x8000
_NUMBERS: Final = frozenset(
    {"CommandField", "MessageID", "MessageIDBeingRespondedTo", "Status", "EventTypeID"}
)


@dataclass(frozen=True, slots=True)
class DimseMessage:
    """A DIMSE message: its command set, its data set as it was encoded, and its presentation context."""

    command: Dataset
    data: bytes
    context_id: int
    transfer_syntax_uid: str

    @classmethod
    def decode(cls, encoded: EncodedMessage, transfer_syntax_uid: str) -> DimseMessage:
        """Decode the command set of a message.

        Raises
        ------
        ConnectionEndedError
            When it is broken.
        """
        try:
            command = _decoded_command(encoded.command)
        except Exception as error:  # whatever pydicom stumbles over
            raise ConnectionEndedError(f"a broken message ({type(error).__name__})") from None
        return cls(command, encoded.data_set or b"", encoded.context_id, transfer_syntax_uid)

    @property
    def field(self) -> int:
        """The Command Field (0000,0100)."""
        return int(self.command.get("CommandField", 0))

    @property
    def status(self) -> int:
        """The Status (0000,0900); a response without one is a failure."""
        return int(self.command.get("Status", Status.PROCESSING_FAILURE))

    @property
    def pending(self) -> bool:
        """Whether more responses follow."""
        return self.status in PENDING

    @property
    def comment(self) -> str:
        """The Error Comment (0000,0902), as the peer sent it."""
        return str(self.command.get("ErrorComment", "") or "")

    def dataset(self) -> Dataset:
        """Return the data set, decoded.

        Raises
        ------
        DeliveryError
            When it is broken.
        """
        syntax = UID(self.transfer_syntax_uid)
        try:
            dataset = read_dataset(BytesIO(self.data), syntax.is_implicit_VR, syntax.is_little_endian)
            for _ in dataset.iterall():
                pass  # each is decoded here: later, an error could come from wherever it is used
        except Exception as error:  # whatever pydicom stumbles over
            msg = f"the peer's answer cannot be read: {type(error).__name__}"
            raise DeliveryError(msg) from None
        return dataset


def _decoded_command(data: bytes) -> Dataset:
    """Decode a command set, all of its elements.

    Raises
    ------
    Exception
        Whatever pydicom stumbles over; ValueError where a number is none, or several.
    """
    command = read_dataset(BytesIO(data), True, True)
    for element in command:  # each is decoded here: later, an error could come from anywhere
        if element.keyword in _NUMBERS and not isinstance(element.value, int):
            raise ValueError(f"{element.keyword} is not one number")
    return command


RequestHandler = Callable[[DimseMessage], int]
"""Handles a request of the peer, and returns the status with which it is answered."""


class DimseAssociation(RequestedAssociation):
    """An association on which this node asks for something.

    Parameters
    ----------
    host, port, called_ae_title, calling_ae_title
        Who is asked, and by whom.
    sop_class : str
        Of the service.
    timeout : float
        Seconds for each step, and for each response unless :meth:`request` is given another time.
    tls : ssl.SSLContext, optional
        Speak TLS, with this context.
    handler : callable, optional
        What answers requests of the peer's.
    received : iterable of (str, str)
        SOP class and transfer syntax of instances that the peer will send on it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        called_ae_title: str,
        calling_ae_title: str,
        sop_class: str,
        *,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
        handler: RequestHandler | None = None,
        received: Iterable[tuple[str, str]] = (),
    ) -> None:
        received = list(received)
        longest = _LONGEST_RECEIVED if received else _LONGEST_ANSWER
        proposal = Proposal([(sop_class, EXPLICIT_LITTLE)], received, longest)
        super().__init__(host, port, called_ae_title, calling_ae_title, proposal, timeout=timeout, tls=tls)
        self._sop_class, self._handler = sop_class, handler
        self._message_id = 0

    @property
    def context(self) -> NegotiatedContext:
        """The context in which requests are sent.

        Raises
        ------
        NoAcceptedContextError
            When the peer does not offer the service.
        """
        if self._acceptance is None:
            raise AssociationEndedError("the association is not open")
        return self._acceptance.context_for(self._sop_class, EXPLICIT_LITTLE)

    def ensure_offered(self) -> None:
        """See to it that the peer offers the service, before anything is done for a request.

        Raises
        ------
        NoAcceptedContextError
            When it does not.
        """
        _ = self.context

    def request(
        self, command: dict[str, Any], dataset: Dataset | None, timeout: float | None = None
    ) -> Iterator[DimseMessage]:
        """Send a request and yield the responses, the last of which is not pending.

        Parameters
        ----------
        command : dict of str to Any
            Keywords and values of the command set, but for what every message has.
        dataset : pydicom.Dataset, optional
            Its data set.
        timeout : float, optional
            Seconds to wait for each response.

        Raises
        ------
        DeliveryError
            When the association ends, or a response does not come in time or cannot be read.
        """
        wait = self._timeout if timeout is None else timeout
        self._message_id += 1
        number, context = self._message_id, self.context
        self._send(context, {**command, "MessageID": number}, dataset)
        while True:
            message = self._next_response(time.monotonic() + wait)
            if message.command.get("MessageIDBeingRespondedTo") != number:
                raise self._end("an answer to another message")
            yield message
            if not message.pending:
                return

    def serve(self, seconds: float, until: Callable[[], bool]) -> None:
        """Answer what the peer asks, for some seconds, or until that is enough. Raises nothing."""
        deadline = time.monotonic() + seconds
        try:
            while not until() and self.established and time.monotonic() < deadline:
                message = self._receive(deadline, may_be_silent=True)
                if message is not None:
                    self._respond(message)
        except DeliveryError:
            return  # it has ended the association

    # -- messages -------------------------------------------------------------------------------------------

    def _send(self, context: NegotiatedContext, command: dict[str, Any], dataset: Dataset | None) -> None:
        reader, acceptance = self._reader, self._acceptance
        if reader is None or acceptance is None or not self.established:
            raise AssociationEndedError(f"the association with {self._called!r} has ended")
        longest = acceptance.max_pdu_length
        has_data = NO_DATA_SET if dataset is None else 0x0001
        encoded = _encoded_command({**command, "CommandDataSetType": has_data})
        pdus = as_pdus(context.context_id, encoded, longest, command=True)
        if dataset is not None:
            encoded = _encoded(dataset, context.transfer_syntax_uid)
            pdus += as_pdus(context.context_id, encoded, longest, command=False)
        reader.rewind()
        try:
            reader.send(pdus)
        except ConnectionEndedError as error:
            raise self._end(str(error)) from None

    def _next_response(self, deadline: float) -> DimseMessage:
        """Return the next response; requests that come before it are answered."""
        while True:
            message = self._receive(deadline)
            if message is None:
                raise self._end("no response in time")
            if message.field & _RESPONSE:
                return message
            self._respond(message)

    def _respond(self, request: DimseMessage) -> None:
        status: int = Status.UNRECOGNISED_OPERATION
        if self._handler is not None and not request.field & _RESPONSE:
            status = self._handler(request)
        response = {"CommandField": request.field | _RESPONSE, "Status": int(status)}
        response["MessageIDBeingRespondedTo"] = request.command.get("MessageID", 0)
        for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"):
            if keyword in request.command:
                response[keyword] = request.command[keyword].value
        self._send(NegotiatedContext(request.context_id, request.transfer_syntax_uid), response, None)

    def _receive(self, deadline: float, *, may_be_silent: bool = False) -> DimseMessage | None:
        """Return the next message; ``None`` where none has begun in time, if that is allowed."""
        try:
            encoded = self._receive_message(deadline, _LONGEST_DATA_SET)
            return DimseMessage.decode(encoded, self._syntax(encoded.context_id))
        except ConnectionEndedError as error:
            silent = self._reader is not None and not self._reader.has_partial
            if may_be_silent and silent and time.monotonic() >= deadline:
                return None
            raise self._end(str(error)) from None

    def _syntax(self, context_id: int) -> str:
        contexts = {} if self._acceptance is None else self._acceptance.accepted_contexts()
        if context_id not in contexts:
            raise ConnectionEndedError("a message in no accepted context")
        return contexts[context_id][1]

    def _end(self, reason: str) -> AssociationEndedError:
        self.abort()
        return AssociationEndedError(f"the association with {self._called!r} has ended: {reason}")


def _encoded_command(values: dict[str, Any]) -> bytes:
    command = Dataset()
    for keyword, value in values.items():
        setattr(command, keyword, value)
    body = _encoded(command, "1.2.840.10008.1.2")
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    syntax = UID(transfer_syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()
