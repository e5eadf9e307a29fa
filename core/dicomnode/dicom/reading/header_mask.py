"""Comparing the element headers of data sets that are laid out alike, without walking from one to the next.

The slices of a series have the same elements, most of them with values of the same length. Where the bytes of
all element headers are the same, the values lie in the same places. Comparing them as one integer takes a few
microseconds for a hundred elements; a walk over them takes 90 to 210 (``docs/architecture.md``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class HeaderMask:
    """The element headers in a piece of a data set. The values between them do not count.

    Parameters
    ----------
    size : int
        Bytes of the piece.
    mask : int
        The piece as a little-endian integer, each byte of a header 0xFF and every other 0.
    expected : int
        What the headers are: a piece that has this under the mask has the same headers.
    """

    size: int
    mask: int
    expected: int

    @classmethod
    def of(cls, data: bytes, start: int, size: int, headers: Iterable[tuple[int, int]]) -> Self:
        """Return the mask of the headers that lie at some places of a piece.

        Parameters
        ----------
        data : bytes
            What holds the piece.
        start, size : int
            Where the piece begins in `data`, and its length.
        headers : iterable of (int, int)
            Where bytes of headers begin in `data`, and how many they are. They may overlap.
        """
        mask = bytearray(size)
        for at, length in headers:
            mask[at - start : at - start + length] = b"\xff" * length
        number = int.from_bytes(mask, "little")
        return cls(size, number, int.from_bytes(data[start : start + size], "little") & number)

    def matches(self, data: bytes, start: int) -> bool:
        """Return whether the piece of `data` that begins at `start` has the same headers."""
        piece = data[start : start + self.size]
        return int.from_bytes(piece, "little") & self.mask == self.expected

    def gaps(self) -> list[tuple[int, int]]:
        """Return start and end, within the piece, of the runs of bytes between the headers."""
        return [run.span() for run in re.finditer(rb"\0+", self.mask.to_bytes(self.size, "little"))]
