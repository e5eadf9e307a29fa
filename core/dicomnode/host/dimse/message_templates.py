"""C-STORE command sets as bytes (PS3.7 sections 6.3 and 9.3.1): read and written without element objects."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dicomnode.host.dimse.p_data import PDU_AND_PDV_HEADER, as_pdus

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
NO_DATA_SET: Final = 0x0101
LONGEST_COMMAND: Final = 16_384
_ELEMENT = struct.Struct("<HHI")
_NUMBER = struct.Struct("<H").unpack_from
_PACK_NUMBER = struct.Struct("<H").pack
_SOP_CLASS, _COMMAND, _MESSAGE_ID, _DATA_SET, _SOP_INSTANCE = 0x0002, 0x0100, 0x0110, 0x0800, 0x1000
_RESPONDED_TO, _STATUS, _COMMENT = 0x0120, 0x0900, 0x0902
_NUMBER_LENGTH: Final = 2
_LONGEST_UID: Final = 64
_MOST_RESPONSES: Final = 256
_RESPONDED_TO_HEADER: Final = b"\0\0\x20\x01\x02\0\0\0"


class StoreCommand(NamedTuple):
    """What matters of a C-STORE-RQ; the UIDs as they came, without padding."""

    message_id: int
    AffectedSOPClassUID: str
    AffectedSOPInstanceUID: str
    has_data_set: bool


class Command(NamedTuple):
    """Any command set: its Command Field, whether a data set follows, and more if it is a C-STORE-RQ."""

    field: int
    has_data_set: bool
    store: StoreCommand | None


class DecodedStoreResponse(NamedTuple):
    """What matters of a C-STORE-RSP; the comment as it came, without padding."""

    message_id: int
    status: int
    comment: str


def decode_command(data: bytes) -> Command | None:
    """Read a command set; None if it is broken or lacks what every command has.

    It is always implicit VR little endian (PS3.7 section 6.3.1).
    """
    values = _values(data)
    if values is None:
        return None
    field, data_set = _number(values, _COMMAND), _number(values, _DATA_SET)
    if field is None or data_set is None:
        return None
    has_data_set = data_set != NO_DATA_SET
    if field != C_STORE_RQ:
        return Command(field, has_data_set, None)
    message_id = _number(values, _MESSAGE_ID)
    if message_id is None:
        return None
    store = StoreCommand(
        message_id,
        values.get(_SOP_CLASS, b"").decode("ascii", "replace").strip("\0 "),
        values.get(_SOP_INSTANCE, b"").decode("ascii", "replace").strip("\0 "),
        has_data_set,
    )
    return Command(field, has_data_set, store)


def decode_store_response(data: bytes) -> DecodedStoreResponse | None:
    """Read the command set of a C-STORE-RSP; None if it is broken or something else."""
    values = _values(data)
    if values is None or _number(values, _COMMAND) != C_STORE_RSP:
        return None
    message_id, status = _number(values, _RESPONDED_TO), _number(values, _STATUS)
    if message_id is None or status is None:
        return None
    return DecodedStoreResponse(
        message_id, status, values.get(_COMMENT, b"").decode("ascii", "replace").strip("\0 ")
    )


def _values(data: bytes) -> dict[int, bytes] | None:
    values: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        if at + 8 > end:
            return None
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += 8
        if group != 0 or at + length > end:
            return None
        values[element] = data[at : at + length]
        at += length
    return values


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return _NUMBER(value, 0)[0] if len(value) == _NUMBER_LENGTH else None


def encode_store_request(sop_class: str, sop_instance: str, message_id: int) -> bytes:
    """Return the command set of a C-STORE-RQ of medium priority, whose data set follows."""
    body = b"%b%b%b" % (
        _uid(_SOP_CLASS, sop_class),
        b"\0\0\x00\x01\x02\0\0\0\x01\x00"  # CommandField
        b"\0\0\x10\x01\x02\0\0\0%b"  # MessageID
        b"\0\0\x00\x07\x02\0\0\0\x00\x00"  # Priority: medium
        b"\0\0\x00\x08\x02\0\0\0\x01\x00" % struct.pack("<H", message_id),  # CommandDataSetType: there is one
        _uid(_SOP_INSTANCE, sop_instance),
    )
    return b"\0\0\0\0\x04\0\0\0%b%b" % (struct.pack("<I", len(body)), body)


def encode_store_response(command: StoreCommand, status: int, comment: str | None) -> bytes:
    """Return the command set of a C-STORE-RSP.

    The comment is made ASCII and cut to the 64 characters of an LO; it is left out of a success.
    """
    parts = [_uid(_SOP_CLASS, command.AffectedSOPClassUID)]
    parts.append(
        b"\0\0\x00\x01\x02\0\0\0\x01\x80"  # CommandField
        b"\0\0\x20\x01\x02\0\0\0%b"  # MessageIDBeingRespondedTo
        b"\0\0\x00\x08\x02\0\0\0\x01\x01"  # CommandDataSetType: none
        b"\0\0\x00\x09\x02\0\0\0%b" % (struct.pack("<H", command.message_id), struct.pack("<H", status))
    )
    if comment and status:
        parts.append(_element(_COMMENT, _printable(comment), b" "))
    parts.append(_uid(_SOP_INSTANCE, command.AffectedSOPInstanceUID))
    body = b"".join(parts)
    return b"\0\0\0\0\x04\0\0\0%b%b" % (struct.pack("<I", len(body)), body)


def _printable(text: str) -> bytes:
    safe = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return safe[:64].encode("ascii")


def _uid(element: int, uid: str) -> bytes:
    return _element(element, uid.encode("ascii", "replace")[:64], b"\0")


def _element(element: int, value: bytes, pad: bytes) -> bytes:
    if len(value) % 2:
        value += pad
    return _ELEMENT.pack(0, element, len(value)) + value


class _CommandTemplate(NamedTuple):
    """What two C-STORE-RQs of one peer have in common: all but message ID and SOP Instance UID."""

    length: int
    head: bytes
    middle: bytes
    tail: bytes
    sop_class: str


class StoreTemplates:
    """The C-STORE commands of one association, decoded by what differs from the last. For one thread.

    Parameters
    ----------
    peer_max_pdu_length : int
        The longest PDU that the peer takes; 0 is any.
    """

    def __init__(self, peer_max_pdu_length: int) -> None:
        self._longest = peer_max_pdu_length
        self._template: _CommandTemplate | None = None
        self._responses: dict[tuple[int, str, int], tuple[bytes, bytes]] = {}

    def decode(self, data: bytes) -> Command | None:
        """Do what :func:`decode_command` does."""
        template = self._template
        if template is not None and len(data) == template.length:
            number, uid = len(template.head), len(template.head) + 2 + len(template.middle)
            uid_end = template.length - len(template.tail)
            if (
                data[:number] == template.head
                and data[number + 2 : uid] == template.middle
                and data[uid_end:] == template.tail
            ):
                instance = data[uid:uid_end].decode("ascii", "replace").strip("\0 ")
                store = StoreCommand(_NUMBER(data, number)[0], template.sop_class, instance, True)
                return Command(C_STORE_RQ, True, store)
        command = decode_command(data)
        if command is not None and command.store is not None and command.has_data_set:
            self._template = _template_of(data, command.store.AffectedSOPClassUID)
        return command

    def respond(self, context_id: int, command: StoreCommand, status: int, comment: str | None) -> bytes:
        """Return the PDUs of a C-STORE-RSP."""
        uid = command.AffectedSOPInstanceUID
        if status != 0 or not uid.isascii():
            return as_pdus(
                context_id, encode_store_response(command, status, comment), self._longest, command=True
            )
        key = context_id, command.AffectedSOPClassUID, len(uid)
        parts = self._responses.get(key)
        if parts is None:
            whole = encode_store_response(command, status, None)
            pdus = as_pdus(context_id, whole, self._longest, command=True)
            if (
                len(pdus) - len(whole) != PDU_AND_PDV_HEADER.size
                or len(self._responses) >= _MOST_RESPONSES
                or len(uid) > _LONGEST_UID
            ):
                return pdus
            # The response ends with the UID; the message ID stands where the command field's element ends.
            number = pdus.index(_RESPONDED_TO_HEADER) + len(_RESPONDED_TO_HEADER)
            end = len(pdus) - len(uid) - len(uid) % 2
            parts = self._responses[key] = pdus[:number], pdus[number + 2 : end]
        pad = b"\0" if len(uid) % 2 else b""
        return b"%b%b%b%b%b" % (
            parts[0],
            _PACK_NUMBER(command.message_id),
            parts[1],
            uid.encode("ascii"),
            pad,
        )


def _template_of(data: bytes, sop_class: str) -> _CommandTemplate | None:
    number = uid = end = at = 0
    while at < len(data):
        _group, element, length = _ELEMENT.unpack_from(data, at)
        at += 8
        if element == _MESSAGE_ID:
            number = at
        elif element == _SOP_INSTANCE:
            uid, end = at, at + length
        at += length
    if not 0 < number + 2 <= uid:
        return None
    return _CommandTemplate(len(data), data[:number], data[number + 2 : uid], data[end:], sop_class)
