"""P-DATA-TF PDUs and the presentation data values (PDVs) in them (PS3.8 section 9.3.5 and annex E)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dicomnode.host.dimse.bounded_reader import P_DATA, ConnectionEndedError

COMMAND: Final = 0x01
"""Bit of a message control header: the fragment belongs to a command set, and not to a data set."""
LAST: Final = 0x02
"""Bit of a message control header: it is the last fragment."""
PDV_HEADER: Final = 6
"""Bytes before the fragment: item length, context ID, message control header."""
PDU_AND_PDV_HEADER: Final = struct.Struct(">BxIIBB")
"""Of a PDU with one PDV: type, length, and what a PDV has before its fragment."""

_CONTEXT_AND_CONTROL: Final = 2  # they count in the item length of a PDV
_UNPACK_PDV = struct.Struct(">IBB").unpack_from
_BROKEN: Final = 0x06  # A-ABORT reason: invalid PDU parameter value (PS3.8 section 9.3.8)


class EncodedMessage(NamedTuple):
    """A whole DIMSE message as it came: its command set, its data set if there is one, and its context."""

    context_id: int
    command: bytes
    data_set: bytes | None


def read_pdv(buffer: memoryview, at: int, end: int) -> tuple[int, int, int]:
    """Read the header of a PDV.

    Parameters
    ----------
    buffer : memoryview
        A P-DATA-TF lies in it.
    at, end : int
        Where the PDV begins, and the PDU ends. The fragment begins at ``at + PDV_HEADER``.

    Returns
    -------
    context_id, control, after : int
        The presentation context, the message control header, and where the fragment ends.

    Raises
    ------
    ConnectionEndedError
        If the PDV does not end within the PDU.
    """
    if at + PDV_HEADER > end:
        raise ConnectionEndedError("broken P-DATA-TF", _BROKEN)
    length, context_id, control = _UNPACK_PDV(buffer, at)
    after = at + 4 + length
    if length < _CONTEXT_AND_CONTROL or after > end:
        raise ConnectionEndedError("broken presentation data value", _BROKEN)
    return context_id, control, after


def as_pdus(context_id: int, encoded: bytes, max_pdu_length: int, *, command: bool) -> bytes:
    """Divide a command set or a data set into P-DATA-TF PDUs, at least one.

    Parameters
    ----------
    context_id : int
        The presentation context.
    encoded : bytes
        The command set or data set.
    max_pdu_length : int
        The longest PDU that the peer takes; 0 is any.
    command : bool
        Whether it is a command set.
    """
    # Fragments have an even length (PS3.8 annex E.2), but for the last.
    room = max(max_pdu_length - PDV_HEADER, 2) & ~1 if max_pdu_length else max(len(encoded), 1)
    kind = COMMAND if command else 0
    pdus = []
    for at in range(0, max(len(encoded), 1), room):
        piece = encoded[at : at + room]
        control = kind | LAST if at + room >= len(encoded) else kind
        length = len(piece) + _CONTEXT_AND_CONTROL
        pdus.append(PDU_AND_PDV_HEADER.pack(P_DATA, length + 4, length, context_id, control) + piece)
    return b"".join(pdus)
