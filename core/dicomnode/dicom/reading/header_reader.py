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

from dicomnode.dicom.reading.header_mask import HeaderMask
from dicomnode.dicom.values.encodings import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED_LENGTH, Encoding
from dicomnode.dicom.values.tags import PIXEL_KEYWORDS

# The header of a CT of 100 elements takes 2.4 kB, so that one read is enough for most files. Scanners write
# private elements of some hundred kilobytes in front of the pixels; what is longer than _MOST_READ is rare
# enough to be left to pydicom, and a broken length must not have a whole volume read.
FIRST_READ: Final = 1 << 13
_MOST_READ: Final = 1 << 20
_MOST_HEADERS: Final = 1 << 13
# Each known layout is compared with a file before it is walked over, so a few of them pay and many do not.
_MOST_LAYOUTS: Final = 16
_META_LENGTH: Final = b"\x02\x00\x00\x00UL\x04\x00"
_META_SYNTAX: Final = b"\x02\x00\x10\x00UI"
_SHORT: Final = 8
_LONG: Final = 12
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # in file meta


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
    """Element headers at fixed distances from each other; the last one's length is free."""

    headers: HeaderMask
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
            end = at + run.headers.size
            if end > len(header.data) and not header.extend_to(end):
                return None
            data = header.data
            if not run.headers.matches(data, at):
                return None
            found += [(tag, vr, data[at + start : at + stop]) for tag, vr, start, stop in run.values]
            length = int.from_bytes(data[end - run.length_size : end], "little")
            at = end
            if run.last is not None:
                if length == UNDEFINED_LENGTH or not header.extend_to(end + length):
                    return None
                data = header.data
                found.append((*run.last, data[end : end + length]))
        return found, PixelLocation(self.pixels, at, None if length == UNDEFINED_LENGTH else length)


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
        self, header: HeaderBytes, at: int, encoding: Encoding
    ) -> tuple[list[EncodedValue], PixelLocation]:
        """Return the wanted values in the order of their tags, and where the pixels are.

        Parameters
        ----------
        header : HeaderBytes
            The header.
        at : int
            Where the dataset starts.
        encoding : Encoding
            How it is encoded.

        Raises
        ------
        UnsupportedHeaderError
            When the dataset has to be read instead; always of big endian, which is retired.
        """
        if not encoding.little:
            raise UnsupportedHeaderError
        for layout in reversed(self._layouts[encoding.explicit].values()):
            if (found := layout.read(header, at)) is not None:
                return found
        headers = self._walk(header, at, encoding)
        self._learn(header.data, headers, explicit=encoding.explicit)
        values = [
            (each.tag, each.vr, header.require(start + each.length)[start : start + each.length])
            for each in headers[:-1]
            if each.top_level and each.tag in self._wanted
            for start in (each.at + each.size,)
        ]
        last = headers[-1]
        return values, PixelLocation(
            last.tag, last.at + last.size, None if last.length == UNDEFINED_LENGTH else last.length
        )

    def _walk(self, header: HeaderBytes, at: int, encoding: Encoding) -> list[_ElementHeader]:
        """Return the headers up to that of the pixels, those within sequences of undefined length too."""
        headers: list[_ElementHeader] = []
        depth = 0
        while len(headers) < _MOST_HEADERS:
            element = self._element_header(header, at, encoding, top_level=not depth)
            headers.append(element)
            tag, vr, length = element.tag, element.vr, element.length
            if element.top_level:
                if tag in PIXEL_KEYWORDS:
                    return headers
                undecided = tag in self._wanted and (length == UNDEFINED_LENGTH or vr != self._vrs[tag])
                if undecided or tag in self._sequences:
                    raise UnsupportedHeaderError
            if tag in (ITEM_END, SEQUENCE_END):
                if not depth:
                    raise UnsupportedHeaderError
                depth -= 1
            elif length == UNDEFINED_LENGTH:
                if tag != ITEM and vr != "SQ" and (encoding.explicit or vr != "UN"):
                    raise UnsupportedHeaderError
                depth += 1
                length = 0
            # The walk ends: each step passes a header, and there are at most _MOST_HEADERS of them.
            at += element.size + length
        raise UnsupportedHeaderError

    def _element_header(
        self, header: HeaderBytes, at: int, encoding: Encoding, *, top_level: bool
    ) -> _ElementHeader:
        data = header.require(at + _SHORT)
        if not encoding.explicit:
            key, length = encoding.header(data, at)
            tag = encoding.tag(key)
            return _ElementHeader(at, _SHORT, 4, length, tag, self._vrs.get(tag, "UN"), top_level)
        key, code, length = encoding.header(data, at)
        tag = encoding.tag(key)
        if tag in (ITEM, ITEM_END, SEQUENCE_END):  # these have no VR (PS3.5 section 7.5)
            length = encoding.u32(data, at + 4)[0]
            return _ElementHeader(at, _SHORT, 4, length, tag, "UN", top_level)
        if code in encoding.short_vrs:
            return _ElementHeader(at, _SHORT, 2, length, tag, encoding.vr_name(code), top_level)
        if code not in encoding.long_vrs and code != encoding.sq:
            raise UnsupportedHeaderError
        length = encoding.u32(header.require(at + _LONG), at + _SHORT)[0]
        return _ElementHeader(at, _LONG, 4, length, tag, encoding.vr_name(code), top_level)

    def _learn(self, data: bytes, headers: list[_ElementHeader], *, explicit: bool) -> None:
        """Keep the layout; elements whose length was seen to differ are free from then on."""
        # Defined lengths count as zero. They are not left out: what follows an undefined length could then
        # be taken for one, and data sets of different structure would have the same shape.
        shape = b"".join(
            data[e.at : e.at + e.size]
            if e.length == UNDEFINED_LENGTH
            else data[e.at : e.at + e.size - e.length_size] + bytes(e.length_size)
            for e in headers[:-1]
        )
        with self._lock:
            known = dict(self._layouts[explicit])
            before = known.pop(shape, None)
            free = frozenset({len(headers) - 1})
            if before is not None:
                differing = (n for n, each in enumerate(headers) if each.length != before.lengths[n])
                free = before.free.union(differing)
            while len(known) >= _MOST_LAYOUTS:
                known.pop(next(iter(known)))
            known[shape] = self._layout(data, headers, free)
            self._layouts[explicit] = known  # readers see the old ones or the new ones, whole

    def _layout(self, data: bytes, headers: list[_ElementHeader], free: frozenset[int]) -> _Layout:
        runs: list[_Run] = []
        begin = headers[0].at
        fixed: list[tuple[int, int]] = []
        values: list[tuple[int, str, int, int]] = []
        for number, each in enumerate(headers):
            wanted = each.top_level and each.tag in self._wanted
            end = each.at + each.size
            fixed.append((each.at, each.size - (each.length_size if number in free else 0)))
            if number not in free:
                if wanted:
                    values.append((each.tag, each.vr, end - begin, end - begin + each.length))
                continue
            mask = HeaderMask.of(data, begin, end - begin, fixed)
            runs.append(_Run(mask, tuple(values), each.length_size, (each.tag, each.vr) if wanted else None))
            begin, fixed, values = end + each.length, [], []
        return _Layout(tuple(runs), headers[-1].tag, free, tuple(each.length for each in headers))


__all__ = [
    "EncodedValue",
    "HeaderBytes",
    "HeaderReader",
    "PixelLocation",
    "UnsupportedHeaderError",
    "skip_file_meta",
]
