"""How elements are encoded in each transfer syntax (PS3.5 section 7.1 and annex A), as tables.

They serve readers that go over many elements and look at few: the structure walk of a host
(``dicomnode.host.parsing.structure``) and :mod:`dicomnode.dicom.reading.header_reader`.

A tag is handled as the one integer that reading its four bytes gives ("key"): with little endian that is
``element << 16 | group``, with big endian ``group << 16 | element``. Turning every key into a tag would
cost more than the rest of such a walk; turning the few wanted tags into keys costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydicom._dicom_dict import DicomDictionary

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
JPIP_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
NATIVE: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG})
"""Transfer syntaxes whose Pixel Data is not encapsulated (PS3.5 section A.1 to A.3, A.5)."""

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD

# PS3.5 section 7.1.2: these have a 16-bit length, all others (SQ is apart) two reserved bytes and 32 bits.
_SHORT = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"
_LONG = "OB OD OF OL OV OW SV UC UN UR UT UV"
# Groups 0 and 2 belong to commands and to file meta information; FFFE is for delimiters, which are no
# elements. (Groups 1, 3, 5, 7 and FFFF are forbidden too, PS3.5 section 7.8.1, but are seen, and readable.)
_FORBIDDEN_GROUPS = (0, 2, 0xFFFE)

_Unpack = Callable[[Any, int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One of the three ways in which elements are laid out (PS3.5 section 7.1)."""

    explicit: bool
    little: bool
    header: _Unpack
    """Explicit: key, VR, 16-bit length; implicit: key, 32-bit length."""
    u16: _Unpack
    u32: _Unpack
    short_vrs: frozenset[int]
    long_vrs: frozenset[int]
    sequence_keys: frozenset[int]
    """For implicit VR: the tags that the dictionary knows as sequences."""
    group_mask: int
    forbidden_groups: frozenset[int]
    item: int
    item_end: int
    sequence_end: int
    pixel_data: int
    sq: int
    un: int
    byte_vrs: frozenset[int]

    def key(self, tag: int) -> int:
        """Return what reading the four bytes of `tag` gives."""
        return _swapped(tag) if self.little else tag

    tag = key  # swapping twice is the identity

    def vr_code(self, vr: str) -> int:
        """Return what reading the two characters of a VR gives."""
        return int.from_bytes(vr.encode("ascii"), "little" if self.little else "big")

    def vr_name(self, code: int) -> str:
        """Return the two characters of a VR, the inverse of :meth:`vr_code`."""
        return code.to_bytes(2, "little" if self.little else "big").decode("ascii", "replace")


def _swapped(tag: int) -> int:
    return (tag & 0xFFFF) << 16 | tag >> 16


def _make(*, explicit: bool, little: bool) -> Encoding:
    order = "<" if little else ">"

    def key(tag: int) -> int:
        return _swapped(tag) if little else tag

    def code(vr: str) -> int:
        return int.from_bytes(vr.encode("ascii"), "little" if little else "big")

    def codes(vrs: Iterable[str]) -> frozenset[int]:
        return frozenset(map(code, vrs))

    return Encoding(
        explicit=explicit,
        little=little,
        header=struct.Struct(order + ("IHH" if explicit else "II")).unpack_from,
        u16=struct.Struct(order + "H").unpack_from,
        u32=struct.Struct(order + "I").unpack_from,
        short_vrs=codes(_SHORT.split()),
        long_vrs=codes(_LONG.split()),
        sequence_keys=frozenset(key(tag) for tag, entry in DicomDictionary.items() if entry[0] == "SQ"),
        group_mask=0xFFFF if little else 0xFFFF0000,
        forbidden_groups=frozenset(group if little else group << 16 for group in _FORBIDDEN_GROUPS),
        item=key(ITEM),
        item_end=key(ITEM_END),
        sequence_end=key(SEQUENCE_END),
        pixel_data=key(0x7FE00010),
        sq=code("SQ"),
        un=code("UN"),
        byte_vrs=codes(("OB", "OW")),
    )


IMPLICIT: Final = _make(explicit=False, little=True)
EXPLICIT: Final = _make(explicit=True, little=True)
BIG: Final = _make(explicit=True, little=False)


@cache
def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the layout of a transfer syntax: explicit little endian for all but two."""
    return {IMPLICIT_LITTLE: IMPLICIT, EXPLICIT_BIG: BIG}.get(transfer_syntax_uid, EXPLICIT)
