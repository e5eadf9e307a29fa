"""C-STORE command sets as bytes (PS3.7 sections 6.3 and 9.3.1): read and written without element objects."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
NO_DATA_SET: Final = 0x0101
LONGEST_COMMAND: Final = 16_384
_ELEMENT = struct.Struct("<HHI")
_NUMBER = struct.Struct("<H").unpack_from
_SOP_CLASS, _COMMAND, _MESSAGE_ID, _DATA_SET, _SOP_INSTANCE = 0x0002, 0x0100, 0x0110, 0x0800, 0x1000
_RESPONDED_TO, _STATUS, _COMMENT = 0x0120, 0x0900, 0x0902
_NUMBER_LENGTH: Final = 2


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


class StoreAnswer(NamedTuple):
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


def decode_store_response(data: bytes) -> StoreAnswer | None:
    """Read the command set of a C-STORE-RSP; None if it is broken or something else."""
    values = _values(data)
    if values is None or _number(values, _COMMAND) != C_STORE_RSP:
        return None
    message_id, status = _number(values, _RESPONDED_TO), _number(values, _STATUS)
    if message_id is None or status is None:
        return None
    return StoreAnswer(message_id, status, values.get(_COMMENT, b"").decode("ascii", "replace").strip("\0 "))


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


def as_pdus(context_id: int, command: bytes, max_pdu_length: int) -> bytes:
    """Wrap a command set into P-DATA-TF PDUs of at most `max_pdu_length` bytes (0: any length)."""
    room = max(max_pdu_length - 6, 1) if max_pdu_length else len(command)
    pdus = []
    for at in range(0, len(command), room):
        piece = command[at : at + room]
        control = 0x03 if at + room >= len(command) else 0x01
        length = len(piece) + 2
        pdus.append(struct.pack(">BxIIBB", 0x04, length + 4, length, context_id, control) + piece)
    return b"".join(pdus)
