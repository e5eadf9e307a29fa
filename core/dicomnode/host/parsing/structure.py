"""A bounded, non-recursive walk over an encoded data set.

It proves that the data set can be read (every length lies within its container, every sequence and item
ends where it says, nesting and number of elements are bounded) and picks up the values of a few top-level
tags on the way. No value is decoded, no element object made: an ordinary header of a hundred elements costs
some 20 microseconds.

The work is divided in two. A *run* is a tight loop over ordinary elements of one data set or item, within
the bytes at hand; it stops at the first thing that is not ordinary. The :class:`_Walk` around it knows the
rest: sequences, items, delimiters, encapsulated Pixel Data, values that reach beyond the bytes at hand.

PS3.5 sections 7.1 (elements), 7.5 (sequences), A.4 (encapsulated Pixel Data), 6.2.2 note 1 (UN of undefined
length is implicit VR little endian inside).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from dicomnode.dicom.values.encodings import (
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_of,
)
from dicomnode.errors import StructureError

_DATASET, _SEQUENCE, _FRAGMENTS = range(3)
_NOTHING: Final[frozenset[int]] = frozenset()


class ByteSource(Protocol):
    """The bytes that are walked over, of which only some are at hand at a time."""

    def window(self, position: int, at_least: int) -> bytes:
        """Return bytes from `position` on: `at_least` that many (fewer only at the end), often more."""
        ...


class BytesSource:
    """A whole data set in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def window(self, position: int, at_least: int) -> bytes:  # noqa: ARG002 - all there is, is at hand
        """Return everything from `position` on."""
        return self._data[position:] if position else self._data


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """What a data set may not exceed, whatever it declares.

    Parameters
    ----------
    depth : int
        Sequences within sequences.
    elements : int
        Elements, items and fragments altogether.
    value_length : int
        Bytes of a wanted value; a longer one is reported as :attr:`Findings.too_long`, not returned.
    """

    depth: int = 64
    elements: int = 4_000_000
    value_length: int = 16_384


class RawValue(NamedTuple):
    """A value as it was encoded; `vr` is None where the transfer syntax does not tell."""

    vr: str | None
    value: bytes


@dataclass(slots=True)
class Findings:
    """What a walk has found.

    Attributes
    ----------
    values : dict
        Tag to the raw value of every wanted top-level element.
    little_endian : bool
        Of the values.
    pixel_data_length : int or None
        Of top-level, native Pixel Data (7FE0,0010) in bytes; None when there is none or it is encapsulated.
    fragments : int or None
        Of top-level encapsulated Pixel Data, the Basic Offset Table not counted; None when there is none.
    too_long : set of int
        Wanted tags whose value was longer than the limit.
    sequences : set of int
        Wanted tags of sequences (and of values of undefined length, which are read as such): they are there,
        but have no value here.
    elements : int
        How many elements, items and fragments there were, at all levels.
    """

    values: dict[int, RawValue] = field(default_factory=dict)
    little_endian: bool = True
    pixel_data_length: int | None = None
    fragments: int | None = None
    too_long: set[int] = field(default_factory=set)
    sequences: set[int] = field(default_factory=set)
    elements: int = 0


def walk(  # noqa: PLR0917 - what, where from and to, how, and what of it: they read in this order
    source: ByteSource,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    limits: WalkLimits = WalkLimits(),
) -> Findings:
    """Walk over the data set that lies in `source` from `start` to `end`.

    Parameters
    ----------
    source : ByteSource
        Where the bytes are.
    start, end : int
        The first byte of the data set, and the one after its last.
    transfer_syntax_uid : str
        How it is encoded. Deflated data sets must be inflated before.
    wanted : frozenset of int
        Top-level tags whose values to pick up.
    limits : WalkLimits, optional
        What it may not exceed.

    Raises
    ------
    StructureError
        If the data set cannot be read to its end, names a wanted element twice, or exceeds a limit. The
        message names tag and offset, never a value.
    OSError
        If `source` cannot be read.
    """
    return _Walk(source, start, end, transfer_syntax_uid, wanted, limits).run()


def walk_and_mark(  # noqa: PLR0917 - as walk
    source: ByteSource,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    limits: WalkLimits,
) -> tuple[Findings, list[tuple[int, int]], dict[int, tuple[int, int]]]:
    """Walk, and tell where everything lies that the outcome depends on.

    Returns
    -------
    findings : Findings
    marks : list of (int, int)
        Position and length of every header of an element, item or delimiter. Any other data set of the same
        length that has the same bytes there has the same structure.
    places : dict
        Tag to start and end (within the first bytes that `source` gives) of each of the findings' values;
        empty if some of them lie elsewhere.

    Raises
    ------
    StructureError, OSError
        As :func:`walk`.
    """
    marks: list[tuple[int, int]] = []
    walker = _Walk(source, start, end, transfer_syntax_uid, wanted, limits, marks)
    first = walker.data
    findings = walker.run()
    places: dict[int, tuple[int, int]] = {}
    for key, (_vr, data, begin, stop) in walker.found.items():
        tag = walker.encoding.tag(key)
        if tag in findings.values:
            if data is not first:
                return findings, marks, {}
            places[tag] = begin, stop
    return findings, marks, places


@lru_cache(maxsize=256)
def _keys(wanted: frozenset[int], encoding: Encoding) -> frozenset[int]:
    return frozenset(map(encoding.key, wanted)) | {encoding.pixel_data}


_Found = dict[int, tuple[int, bytes, int, int]]
"""Key to VR code, and bytes, start and end of the value: it is cut out only when all is well."""


def _explicit_run(  # noqa: PLR0917 - called for every item: keywords would cost
    data: bytes, at: int, stop: int, budget: int, encoding: Encoding, keys: frozenset[int], found: _Found
) -> tuple[int, int]:
    """Pass over ordinary elements; return where the first other thing begins, and how many were passed."""
    header, u32 = encoding.header, encoding.u32
    short_vrs, long_vrs = encoding.short_vrs, encoding.long_vrs
    mask, forbidden = encoding.group_mask, encoding.forbidden_groups
    for passed in range(budget):
        if at + 8 > stop:
            return at, passed
        key, vr, length = header(data, at)
        if vr in short_vrs:
            value = at + 8
        elif vr in long_vrs and at + 12 <= stop:
            value = at + 12
            length = u32(data, at + 8)[0]
        else:
            return at, passed
        after = value + length
        if after > stop or key & mask in forbidden:
            return at, passed
        if key in keys:
            if key in found:
                return at, passed
            found[key] = vr, data, value, after
        at = after
    return at, budget


def _implicit_run(  # noqa: PLR0917 - as above
    data: bytes, at: int, stop: int, budget: int, encoding: Encoding, keys: frozenset[int], found: _Found
) -> tuple[int, int]:
    """Do what :func:`_explicit_run` does where there is no VR; the dictionary knows the sequences."""
    header, sequences = encoding.header, encoding.sequence_keys
    mask, forbidden = encoding.group_mask, encoding.forbidden_groups
    for passed in range(budget):
        if at + 8 > stop:
            return at, passed
        key, length = header(data, at)
        after = at + 8 + length
        if after > stop or key in sequences or key & mask in forbidden:
            return at, passed
        if key in keys:
            if key in found:
                return at, passed
            found[key] = 0, data, at + 8, after
        at = after
    return at, budget


@dataclass(slots=True)
class _Frame:
    """A container that the walk is inside of: it ends at `end` if `defined`, else somewhere before."""

    kind: int
    end: int
    defined: bool
    encoding: Encoding
    key: int = 0


class _Walk:
    """The walk. With `marks`, it goes one element at a time and notes where every header lies."""

    def __init__(  # noqa: PLR0917 - as walk
        self,
        source: ByteSource,
        start: int,
        end: int,
        transfer_syntax_uid: str,
        wanted: frozenset[int],
        limits: WalkLimits,
        marks: list[tuple[int, int]] | None = None,
    ) -> None:
        self.marks = marks
        self.source, self.start, self.limits = source, start, limits
        self.encoding = encoding_of(transfer_syntax_uid)
        self.encapsulated = transfer_syntax_uid not in NATIVE
        self.keys = _keys(wanted, self.encoding)
        self.found: _Found = {}
        self.findings = Findings(little_endian=self.encoding.little)
        self.budget = limits.elements
        self.stack = [_Frame(_DATASET, end, True, self.encoding)]
        self.at = start
        self.data, self.base = source.window(start, 0), start

    def run(self) -> Findings:
        steps = (self._dataset, self._sequence, self._fragments)
        while self.stack:
            frame = self.stack[-1]
            if self.at == frame.end:
                self._close(frame)
                continue
            if self.budget <= 0:
                raise self._error(f"more than {self.limits.elements} elements")
            before = self.at
            steps[frame.kind](frame)
            # The walk ends because of this and nothing else: every step passes at least one byte, no frame
            # reaches past the data set, and a frame is closed at its end. A step that forgets it is an error.
            if self.at <= before:
                raise self._error("nothing that can be passed", frame)
        encoding, findings = self.encoding, self.findings
        for key, (vr, data, start, end) in self.found.items():
            tag = encoding.tag(key)
            if key == encoding.pixel_data:
                findings.pixel_data_length = end - start
            elif end - start > self.limits.value_length:
                findings.too_long.add(tag)
            else:
                findings.values[tag] = RawValue(encoding.vr_name(vr) if vr else None, data[start:end])
        findings.elements = self.limits.elements - self.budget
        return findings

    # -- what can be in a container -------------------------------------------------------------------------

    def _close(self, frame: _Frame) -> None:
        """Leave a container at its end; one of undefined length has to be closed by its delimiter before."""
        if not frame.defined:
            raise self._error("an end within a sequence or item of undefined length", frame, frame.key)
        self.stack.pop()

    def _dataset(self, frame: _Frame) -> None:
        self._refill(12, frame)
        top = len(self.stack) == 1
        stop = min(frame.end - self.base, len(self.data))
        keys = self.keys if top else _NOTHING
        run = _explicit_run if frame.encoding.explicit else _implicit_run
        budget = self.budget if self.marks is None else 1
        at, passed = run(self.data, self.at - self.base, stop, budget, frame.encoding, keys, self.found)
        if self.marks is not None and passed:
            self.marks.append((self.at, self._vr_and_length(frame, 0)[1]))
        self.at = self.base + at
        self.budget -= passed
        if passed == 0:
            self._unusual(frame, top)

    def _unusual(self, frame: _Frame, top: bool) -> None:
        """Take one step at what a run does not pass: delimiter, sequence, value beyond the bytes at hand."""
        key = self._u32(self.at, frame)
        encoding = frame.encoding
        if self.marks is not None:
            self.marks.append((self.at, 8))
        if key == encoding.item_end and not frame.defined:
            self._expect_empty(frame)
            self.stack.pop()
            return
        if key & encoding.group_mask in encoding.forbidden_groups:
            raise self._error("an element of a group that no data set has", frame, key)
        if key in self.found and top and key in self.keys:
            raise self._error("the same element twice", frame, key)
        vr, header_length, length = self._vr_and_length(frame, key)
        if self.marks is not None:
            self.marks.append((self.at, header_length))
        self.budget -= 1
        value = self.at + header_length
        is_sequence = vr == encoding.sq or (not encoding.explicit and key in encoding.sequence_keys)
        if top and key in self.keys and (is_sequence or length == UNDEFINED_LENGTH):
            self.findings.sequences.add(encoding.tag(key))
        if is_sequence:
            self._push(_SEQUENCE, (value, length), frame, key)
        elif length == UNDEFINED_LENGTH:
            self._undefined(vr, value, frame, key)
        else:
            self._long_value((value, length), vr, frame, key, top)

    def _vr_and_length(self, frame: _Frame, key: int) -> tuple[int, int, int]:
        """Return VR code (0 when implicit), length of the element's header, length of its value."""
        encoding = frame.encoding
        if not encoding.explicit:
            return 0, 8, self._u32(self.at + 4, frame)
        vr = encoding.u16(self.data, self.at + 4 - self.base)[0]
        if vr in encoding.short_vrs:
            return vr, 8, encoding.u16(self.data, self.at + 6 - self.base)[0]
        if vr in encoding.long_vrs or vr == encoding.sq:
            return vr, 12, self._u32(self.at + 8, frame)
        raise self._error("an unknown value representation", frame, key)

    def _undefined(self, vr: int, value: int, frame: _Frame, key: int) -> None:
        encoding = frame.encoding
        if not encoding.explicit and key != encoding.pixel_data:
            self._push(_SEQUENCE, (value, UNDEFINED_LENGTH), frame, key)
        elif vr == encoding.un:
            self._push(_SEQUENCE, (value, UNDEFINED_LENGTH), frame, key, IMPLICIT)
        elif vr in encoding.byte_vrs and self.encapsulated and encoding is EXPLICIT:
            self._push(_FRAGMENTS, (value, UNDEFINED_LENGTH), frame, key)
        else:
            raise self._error("an undefined length where none may be", frame, key)

    def _long_value(self, at: tuple[int, int], vr: int, frame: _Frame, key: int, top: bool) -> None:
        value, length = at
        after = value + length
        if after > frame.end:
            raise self._error("a value that reaches past the end of its data set", frame, key)
        if top and key in self.keys:
            data = self._read(value, length) if length <= self.limits.value_length else b""
            self.found[key] = vr, data, 0, length
        self.at = after

    def _sequence(self, frame: _Frame) -> None:
        key, length = self._item_header(frame)
        if key == frame.encoding.sequence_end and not frame.defined:
            self._expect_empty(frame)
            self.stack.pop()
        elif key == frame.encoding.item:
            self._push(_DATASET, (self.at + 8, length), frame, frame.key)
        else:
            raise self._error("something that is no item in a sequence", frame, frame.key)

    def _fragments(self, frame: _Frame) -> None:
        key, length = self._item_header(frame)
        top = len(self.stack) == 2 and frame.key == frame.encoding.pixel_data  # noqa: PLR2004 - the root and this
        if key == frame.encoding.sequence_end:
            self._expect_empty(frame)
            self.stack.pop()
        elif key != frame.encoding.item or length == UNDEFINED_LENGTH or self.at + 8 + length > frame.end:
            raise self._error("a broken fragment of encapsulated data", frame, frame.key)
        else:
            if top:
                known = self.findings.fragments
                self.findings.fragments = 0 if known is None else known + 1
            self.at += 8 + length

    # -- helpers --------------------------------------------------------------------------------------------

    def _item_header(self, frame: _Frame) -> tuple[int, int]:
        if self.at + 8 > frame.end:
            raise self._error("an end within a sequence", frame, frame.key)
        self._refill(8, frame)
        if self.marks is not None:
            self.marks.append((self.at, 8))
        self.budget -= 1
        return self._u32(self.at, frame), self._u32(self.at + 4, frame)

    def _expect_empty(self, frame: _Frame) -> None:
        if self._u32(self.at + 4, frame) != 0:
            raise self._error("a delimiter with a length", frame, frame.key)
        self.at += 8

    def _push(
        self, kind: int, at: tuple[int, int], frame: _Frame, key: int, encoding: Encoding | None = None
    ) -> None:
        value, length = at
        defined = length != UNDEFINED_LENGTH
        end = value + length if defined else frame.end
        if end > frame.end:
            raise self._error("a sequence or item that reaches past the end of its container", frame, key)
        if len(self.stack) > 2 * self.limits.depth:  # every level is a sequence and an item
            raise self._error(f"sequences nested deeper than {self.limits.depth}", frame, key)
        self.stack.append(_Frame(kind, end, defined, encoding or frame.encoding, key))
        self.at = value

    def _refill(self, need: int, frame: _Frame) -> None:
        """Get more bytes if fewer than `need` are at hand and `frame` has more."""
        need = min(need, frame.end - self.at)
        if need < 8:  # noqa: PLR2004 - the shortest header of an element or item
            raise self._error("an end within the header of an element", frame)
        if self.at + need <= self.base + len(self.data):
            return
        self.data, self.base = self.source.window(self.at, need), self.at
        if len(self.data) < need:
            raise self._error("fewer bytes than there should be", frame)

    def _read(self, position: int, length: int) -> bytes:
        offset = position - self.base
        if offset + length <= len(self.data):
            return self.data[offset : offset + length]
        value = self.source.window(position, length)[:length]
        if len(value) < length:
            raise self._error("fewer bytes than there should be")
        return value

    def _u32(self, position: int, frame: _Frame) -> int:
        offset = position - self.base
        if position + 4 > frame.end or offset + 4 > len(self.data):
            raise self._error("an end within the header of an element", frame)
        return int(frame.encoding.u32(self.data, offset)[0])

    def _error(self, what: str, frame: _Frame | None = None, key: int | None = None) -> StructureError:
        where = f"at offset {self.at - self.start}"
        if key is not None:
            tag = (frame or self.stack[0]).encoding.tag(key)
            where = f"({tag >> 16:04X},{tag & 0xFFFF:04X}) " + where
        return StructureError(f"{what}: {where}")
