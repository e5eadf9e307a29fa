"""A data set from a file as P-DATA-TF PDUs, with two system calls for each megabyte.

The fragments of a data set differ in nothing but their bytes, so a buffer holds many PDUs whose headers are
made once; the file is read into the gaps between them (``preadv``), and all of them are sent at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from dicomnode.host.dimse.bounded_reader import P_DATA
from dicomnode.host.dimse.p_data import LAST, PDU_AND_PDV_HEADER, PDV_HEADER

_ROOM_FOR_COMMAND: Final = 1024
_BUFFER: Final = 1_048_576
_MOST_PDUS: Final = 512  # IOV_MAX is 1024
_LONGEST: Final = 262_144

Send = Callable[[memoryview], None]


class DataSetPDUs:
    """PDUs to send data sets with; for one association.

    Parameters
    ----------
    max_pdu_length : int
        The longest P-DATA-TF that the peer takes; 0 is any.
    """

    def __init__(self, max_pdu_length: int) -> None:
        longest = min(max_pdu_length or _LONGEST, _LONGEST)
        self._room = max(longest - PDV_HEADER, 2) & ~1  # fragments have an even length
        self._step = PDU_AND_PDV_HEADER.size + self._room
        self._count = min(max(_BUFFER // self._step, 1), _MOST_PDUS)
        self._buffer = memoryview(bytearray(_ROOM_FOR_COMMAND + self._count * self._step))
        begins = [_ROOM_FOR_COMMAND + number * self._step for number in range(self._count)]
        self._begins = begins
        self._gaps = [self._buffer[at + PDU_AND_PDV_HEADER.size : at + self._step] for at in begins]
        self._context_id = -1

    def send(  # noqa: PLR0917 - the file, and what it is sent with
        self, descriptor: int, begin: int, end: int, context_id: int, command: bytes, send: Send
    ) -> None:
        """Send a command, given as PDUs, and a data set.

        Parameters
        ----------
        descriptor : int
            The file, open for reading.
        begin, end : int
            Where the data set lies in it; it may not be empty.
        context_id : int
            The presentation context.
        command : bytes
            The PDUs of the command set.
        send : callable
            Sends all of what it is given.

        Raises
        ------
        OSError
            If the file cannot be read. Part of the message may have been sent.
        """
        if context_id != self._context_id:
            for at in self._begins:
                self._mark(at, self._room, context_id, 0)
            self._context_id = context_id
        first = _ROOM_FOR_COMMAND
        if len(command) <= _ROOM_FOR_COMMAND:
            first -= len(command)
            self._buffer[first:_ROOM_FOR_COMMAND] = command
        else:
            send(memoryview(command))
        whole = self._count * self._room
        while end - begin > whole:
            self._read(descriptor, self._gaps.copy(), begin)
            send(self._buffer[first:])
            begin, first = begin + whole, _ROOM_FOR_COMMAND
        self._send_last(descriptor, begin, end - begin, first, send)

    def _send_last(self, descriptor: int, begin: int, left: int, first: int, send: Send) -> None:
        pdus = -(-left // self._room)
        at = self._begins[pdus - 1]
        length = left - (pdus - 1) * self._room
        gaps = [*self._gaps[: pdus - 1], self._gaps[pdus - 1][:length]]
        self._mark(at, length, self._context_id, LAST)
        try:
            self._read(descriptor, gaps, begin)
            send(self._buffer[first : at + PDU_AND_PDV_HEADER.size + length])
        finally:
            self._mark(at, self._room, self._context_id, 0)

    def _mark(self, at: int, length: int, context_id: int, control: int) -> None:
        PDU_AND_PDV_HEADER.pack_into(
            self._buffer, at, P_DATA, length + PDV_HEADER, length + PDV_HEADER - 4, context_id, control
        )

    @staticmethod
    def _read(descriptor: int, gaps: list[memoryview], offset: int) -> None:
        left = sum(map(len, gaps))
        while count := os.preadv(descriptor, gaps, offset):
            left -= count
            if not left:
                return
            offset += count  # a signal has interrupted a long read
            while count >= len(gaps[0]):
                count -= len(gaps.pop(0))
            gaps[0] = gaps[0][count:]
        raise OSError("the file has become shorter while it was sent")
