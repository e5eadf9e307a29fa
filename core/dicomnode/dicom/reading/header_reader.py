"""Picking elements out of the header of a file: all that comes before its pixels (PS3.5 section 7).

A walk from element header to element header finds the elements. The slices of a series have the same
elements, most of them of the same length, so what a walk has found is kept as a *layout*: where it holds for
another file (which its element headers show, compared as a few big integers), the elements are where they
were, and no walk is needed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from pydicom.datadict import dictionary_VR

from dicomnode.dicom.values.tags import PIXEL_KEYWORDS

FIRST_READ: Final = 1 << 13
_MOST_READ: Final = 1 << 20
_MOST_ENTRIES: Final = 1 << 13
_MOST_LAYOUTS: Final = 16
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ENDS: Final = frozenset({0xFFFEE00D, 0xFFFEE0DD})
_DELIMITERS: Final = 0xFFFE
_META_LENGTH: Final = b"\x02\x00\x00\x00UL\x04\x00"
_META_SYNTAX: Final = b"\x02\x00\x10\x00UI"
_SHORT: Final = 8
_LONG: Final = 12
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


class UnsupportedHeaderError(Exception):
    """A header that this module does not read (nested oddly, too long, broken): read the dataset instead."""


EncodedValue = tuple[int, str, bytes]
"""An encoded value of the top level: tag, VR, bytes."""


class PixelLocation(NamedTuple):
    """Where Pixel Data is: its tag, the offset of its value in the file, and its length in bytes.

    The length is ``None`` for encapsulated frames (PS3.5 section A.4).
    """

    tag: int
    offset: int
    length: int | None

    @property
    def keyword(self) -> str:
        """``"PixelData"``, ``"FloatPixelData"`` or ``"DoubleFloatPixelData"``."""
        return PIXEL_KEYWORDS[self.tag]


class HeaderBytes:
    """The first bytes of a file, more of them when they are asked for.

    Parameters
    ----------
    file : BinaryIO
        At its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = file.read(FIRST_READ)

    def require(self, end: int) -> bytes:
        """Return the bytes from the beginning up to ``end`` at least.

        Raises
        ------
        UnsupportedHeaderError
            When the file is shorter, or that is more than a header should have.
        """
        if end > len(self.data) and not self.extend_to(end):
            raise UnsupportedHeaderError
        return self.data

    def extend_to(self, end: int) -> bool:
        """Read more if need be; return whether there are bytes up to ``end``, within what is read at most."""
        if len(self.data) < end <= _MOST_READ:
            self.data += self._file.read(max(end, 4 * len(self.data)) - len(self.data))
        return end <= len(self.data)


def skip_file_meta(header: HeaderBytes) -> tuple[int, str]:
    """Return where the file meta information ends, and the transfer syntax (PS3.10 section 7.1).

    Raises
    ------
    UnsupportedHeaderError
        When there is none.
    """
    data = header.data
    if data[128:132] != b"DICM":
        raise UnsupportedHeaderError
    if data[132:140] == _META_LENGTH:
        end = 144 + int.from_bytes(data[140:144], "little")
        named = data.find(_META_SYNTAX, 144, end)
        if named >= 0:
            start = named + _SHORT
            length = int.from_bytes(data[start - 2 : start], "little")
            return end, _uid(data[start : start + length])
    at, syntax = 132, b""
    while data[at : at + 2] == b"\x02\x00":
        wide = data[at + 4 : at + 6] in _LONG_VRS
        start = at + (_LONG if wide else _SHORT)
        length = int.from_bytes(data[start - (4 if wide else 2) : start], "little")
        if data[at : at + 4] == b"\x02\x00\x10\x00":
            syntax = data[start : start + length]
        at = start + length
    if not syntax:
        raise UnsupportedHeaderError
    return at, _uid(syntax)


def _uid(value: bytes) -> str:
    if not value.isascii():
        raise UnsupportedHeaderError
    return value.rstrip(b"\0 ").decode("ascii")


class _ElementHeader(NamedTuple):
    """Where an element's header is, its size, how much of that is the length, and the length."""

    at: int
    size: int
    length_size: int
    length: int
    tag: int
    vr: str
    top_level: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """Headers at fixed distances from each other; the last one's length is free."""

    size: int
    mask: int
    expected: int
    """What the bytes are under the mask: the element headers, as one integer."""
    values: tuple[tuple[int, str, int, int], ...]
    """Tag, VR, start and end of the wanted values within the run."""
    length_size: int
    last: tuple[int, str] | None
    """Tag and VR of the value behind the run, if it is wanted."""


@dataclass(frozen=True, slots=True)
class _Layout:
    runs: tuple[_Run, ...]
    pixels: int
    """The tag of the pixels."""
    free: frozenset[int]
    """Which headers, by number, have a length that may differ."""
    lengths: tuple[int, ...]
    """The lengths, when it was learnt."""

    def read(self, header: HeaderBytes, at: int) -> tuple[list[EncodedValue], PixelLocation] | None:
        """Return the wanted values and the pixels of a file that is laid out so; ``None`` if it is not."""
        found: list[EncodedValue] = []
        length = 0
        for run in self.runs:
            at += length
            end = at + run.size
            if end > len(header.data) and not header.extend_to(end):
                return None
            data = header.data
            if int.from_bytes(data[at:end], "little") & run.mask != run.expected:
                return None
            found += [(tag, vr, data[at + start : at + stop]) for tag, vr, start, stop in run.values]
            length = int.from_bytes(data[end - run.length_size : end], "little")
            at = end
            if run.last is not None:
                if length == _UNDEFINED or not header.extend_to(end + length):
                    return None
                data = header.data
                found.append((*run.last, data[end : end + length]))
        return found, PixelLocation(self.pixels, at, None if length == _UNDEFINED else length)


class HeaderReader:
    """Reads the wanted elements of headers, and remembers how they were laid out. Safe in several threads.

    Parameters
    ----------
    wanted : frozenset of int
        Tags of the top level.
    sequences : frozenset of int
        Sequences whose presence means that the dataset has to be read.
    """

    def __init__(self, wanted: frozenset[int], sequences: frozenset[int]) -> None:
        self._wanted = wanted
        self._sequences = sequences
        self._vrs = {tag: dictionary_VR(tag) for tag in wanted | sequences}
        self._layouts: dict[bool, dict[bytes, _Layout]] = {False: {}, True: {}}
        self._lock = threading.Lock()

    def read(
        self, header: HeaderBytes, at: int, *, implicit: bool
    ) -> tuple[list[EncodedValue], PixelLocation]:
        """Return the wanted values in the order of their tags, and where the pixels are.

        Parameters
        ----------
        header : HeaderBytes
            The header.
        at : int
            Where the dataset starts.
        implicit : bool
            Whether VRs are implicit; little endian in either case.

        Raises
        ------
        UnsupportedHeaderError
            When the dataset has to be read instead.
        """
        for layout in reversed(self._layouts[implicit].values()):
            if (found := layout.read(header, at)) is not None:
                return found
        headers = self._walk(header, at, implicit)
        self._learn(header.data, headers, implicit)
        values = [
            (each.tag, each.vr, header.require(start + each.length)[start : start + each.length])
            for each in headers[:-1]
            if each.top_level and each.tag in self._wanted
            for start in (each.at + each.size,)
        ]
        last = headers[-1]
        return values, PixelLocation(
            last.tag, last.at + last.size, None if last.length == _UNDEFINED else last.length
        )

    def _walk(self, header: HeaderBytes, at: int, implicit: bool) -> list[_ElementHeader]:
        """Return the headers up to that of the pixels, those within sequences of undefined length too."""
        headers: list[_ElementHeader] = []
        depth = 0
        while len(headers) < _MOST_ENTRIES:
            size, length_size, tag, vr = self._element_header(header, at, implicit)
            length = int.from_bytes(header.data[at + size - length_size : at + size], "little")
            if tag in PIXEL_KEYWORDS and not depth:
                return [*headers, _ElementHeader(at, size, length_size, length, tag, vr, top_level=True)]
            if not depth and (
                tag in self._sequences
                or (tag in self._wanted and (length == _UNDEFINED or vr != self._vrs[tag]))
            ):
                raise UnsupportedHeaderError
            headers.append(_ElementHeader(at, size, length_size, length, tag, vr, not depth))
            if tag in _ENDS:
                if not depth:
                    raise UnsupportedHeaderError
                depth -= 1
            elif length == _UNDEFINED:
                if tag != _ITEM and vr != "SQ" and not (implicit and vr == "UN"):
                    raise UnsupportedHeaderError
                depth += 1
                length = 0
            at += size + length
        raise UnsupportedHeaderError

    def _element_header(self, header: HeaderBytes, at: int, implicit: bool) -> tuple[int, int, int, str]:
        data = header.require(at + _SHORT)
        group = int.from_bytes(data[at : at + 2], "little")
        tag = group << 16 | int.from_bytes(data[at + 2 : at + 4], "little")
        if implicit or group == _DELIMITERS:
            return _SHORT, 4, tag, self._vrs.get(tag, "UN")
        vr = data[at + 4 : at + 6]
        if vr in _SHORT_VRS:
            return _SHORT, 2, tag, vr.decode("ascii")
        if vr not in _LONG_VRS:
            raise UnsupportedHeaderError
        header.require(at + _LONG)
        return _LONG, 4, tag, vr.decode("ascii")

    def _learn(self, data: bytes, headers: list[_ElementHeader], implicit: bool) -> None:
        """Keep the layout; elements whose length was seen to differ are free from then on."""
        # Defined lengths count as zero. They are not left out: what follows an undefined length could then
        # be taken for one, and data sets of different structure would have the same shape.
        shape = b"".join(
            data[e.at : e.at + e.size]
            if e.length == _UNDEFINED
            else data[e.at : e.at + e.size - e.length_size] + bytes(e.length_size)
            for e in headers[:-1]
        )
        with self._lock:
            known = dict(self._layouts[implicit])
            before = known.pop(shape, None)
            free = frozenset({len(headers) - 1})
            if before is not None:
                differing = (n for n, each in enumerate(headers) if each.length != before.lengths[n])
                free = before.free.union(differing)
            while len(known) >= _MOST_LAYOUTS:
                known.pop(next(iter(known)))
            known[shape] = self._layout(data, headers, free)
            self._layouts[implicit] = known  # readers see the old ones or the new ones, whole

    def _layout(self, data: bytes, headers: list[_ElementHeader], free: frozenset[int]) -> _Layout:
        runs: list[_Run] = []
        begin = headers[0].at
        mask = bytearray()
        values: list[tuple[int, str, int, int]] = []
        for number, each in enumerate(headers):
            fixed = each.size - (each.length_size if number in free else 0)
            mask += bytes(each.at - begin - len(mask)) + b"\xff" * fixed + bytes(each.size - fixed)
            wanted = each.top_level and each.tag in self._wanted
            end = each.at + each.size
            if number not in free:
                if wanted:
                    values.append((each.tag, each.vr, end - begin, end - begin + each.length))
                continue
            mask_value = int.from_bytes(mask, "little")
            expected = int.from_bytes(data[begin:end], "little") & mask_value
            last = (each.tag, each.vr) if wanted else None
            runs.append(_Run(len(mask), mask_value, expected, tuple(values), each.length_size, last))
            begin, mask, values = end + each.length, bytearray(), []
        return _Layout(tuple(runs), headers[-1].tag, free, tuple(each.length for each in headers))


__all__ = [
    "EncodedValue",
    "HeaderBytes",
    "HeaderReader",
    "PixelLocation",
    "UnsupportedHeaderError",
    "skip_file_meta",
]
