"""Responses to requests of ours, as PDUs."""

from __future__ import annotations

import struct

from pydicom.dataset import Dataset

from raw_peer import element, p_data
from receiving import encoded


def uid(number: int, text: str) -> bytes:
    """Return an element of a command set that is a UID."""
    return element(number, text.encode() + b"\0" * (len(text) % 2))


def response(
    field: int, status: int, *, data: bool = False, message_id: int = 1, extra: bytes = b""
) -> bytes:
    """Return the command set of a response as a PDU."""
    body = element(0x0100, struct.pack("<H", field)) + element(0x0120, struct.pack("<H", message_id))
    body += element(0x0800, b"\x01\x00" if data else b"\x01\x01") + element(0x0900, struct.pack("<H", status))
    body += extra
    return p_data(1, 3, element(0, struct.pack("<I", len(body))) + body)


def answered(status: int, dataset: Dataset) -> bytes:
    """Return a pending C-FIND response with its data set."""
    return response(0x8020, status, data=True) + p_data(1, 2, encoded(dataset))
