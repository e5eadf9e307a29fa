"""Data sets of every nesting as bytes, for tests of what reads them: no library writes them.

A data set is a list of elements; a sequence holds items, an item elements. Whether a length is defined is
chosen for each sequence and each item (PS3.5 section 7.5). What is within an UN of undefined length is
implicit VR little endian (section 6.2.2 note 1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import strategies as st

IMPLICIT, EXPLICIT, BIG, RLE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
)
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, RLE)
_UNDEFINED = 0xFFFFFFFF
_LONG = {"OB", "OW", "SQ", "UN", "UT"}
_SEQUENCES = (0x00081115, 0x00081140, 0x00400275)  # the dictionary knows them where there is no VR
_PRIVATE = 0x00091001
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True)
class Plain:
    """An element with a value of its own."""

    tag: int
    vr: str
    value: bytes

    def encoded(self, syntax: str) -> bytes:
        """Return its bytes."""
        return _header(self.tag, self.vr, len(self.value), syntax) + self.value


@dataclass(frozen=True)
class Item:
    """An item of a sequence."""

    elements: tuple[Plain | Nested, ...]
    defined: bool

    def encoded(self, syntax: str) -> bytes:
        """Return its bytes."""
        content = b"".join(element.encoded(syntax) for element in self.elements)
        if self.defined:
            return _delimiter(_ITEM, len(content), syntax) + content
        return _delimiter(_ITEM, _UNDEFINED, syntax) + content + _delimiter(_ITEM_END, 0, syntax)


@dataclass(frozen=True)
class Nested:
    """A sequence, or an UN of undefined length that holds one."""

    tag: int
    vr: str
    items: tuple[Item, ...]
    defined: bool

    def encoded(self, syntax: str) -> bytes:
        """Return its bytes."""
        inner = IMPLICIT if self.vr == "UN" else syntax
        content = b"".join(item.encoded(inner) for item in self.items)
        if self.defined:
            return _header(self.tag, self.vr, len(content), syntax) + content
        end = _delimiter(_SEQUENCE_END, 0, inner)
        return _header(self.tag, self.vr, _UNDEFINED, syntax) + content + end


@dataclass(frozen=True)
class Fragments:
    """Encapsulated Pixel Data (PS3.5 section A.4), the first fragment its Basic Offset Table."""

    fragments: tuple[bytes, ...]
    tag: int = 0x7FE00010

    def encoded(self, syntax: str) -> bytes:
        """Return its bytes."""
        content = b"".join(_delimiter(_ITEM, len(each), syntax) + each for each in self.fragments)
        return _header(self.tag, "OB", _UNDEFINED, syntax) + content + _delimiter(_SEQUENCE_END, 0, syntax)


Element = Plain | Nested | Fragments


def _order(syntax: str) -> str:
    return ">" if syntax == BIG else "<"


def _tag(tag: int, syntax: str) -> bytes:
    return struct.pack(_order(syntax) + "HH", tag >> 16, tag & 0xFFFF)


def _delimiter(tag: int, length: int, syntax: str) -> bytes:
    return _tag(tag, syntax) + struct.pack(_order(syntax) + "I", length)


def _header(tag: int, vr: str, length: int, syntax: str) -> bytes:
    if syntax == IMPLICIT:
        return _delimiter(tag, length, syntax)
    if vr in _LONG:
        return _tag(tag, syntax) + vr.encode() + struct.pack(_order(syntax) + "HI", 0, length)
    return _tag(tag, syntax) + vr.encode() + struct.pack(_order(syntax) + "H", length)


_VALUES = st.binary(max_size=4).map(lambda value: value + b"\0" * (len(value) % 2))
_PLAIN = st.builds(
    Plain,
    st.sampled_from((0x00080060, 0x00100010, _PRIVATE, 0x00091002)),
    st.sampled_from(("CS", "LO", "UN", "OB")),
    _VALUES,
)


def _nested(content: st.SearchStrategy[Plain | Nested]) -> st.SearchStrategy[Plain | Nested]:
    items = st.lists(st.builds(Item, st.lists(content, max_size=3).map(tuple), st.booleans()), max_size=2)
    sequences = st.builds(Nested, st.sampled_from(_SEQUENCES), st.just("SQ"), items.map(tuple), st.booleans())
    unknown = st.builds(Nested, st.just(_PRIVATE), st.just("UN"), items.map(tuple), st.just(False))
    return sequences | unknown


CONTENT = st.recursive(_PLAIN, _nested, max_leaves=8)
_PIXELS = st.builds(Fragments, st.lists(_VALUES, max_size=3).map(tuple))


@st.composite
def data_sets(draw: st.DrawFn, syntax: str) -> list[Element]:
    """Draw the elements of a data set, encapsulated Pixel Data where `syntax` has it."""
    elements: list[Element] = list(draw(st.lists(CONTENT, max_size=4)))
    if syntax == RLE and draw(st.booleans()):
        elements.append(draw(_PIXELS))
    return elements
