"""Raw values of indexed elements as plain JSON data.

The index is kept in the ledger and answers for the data set without opening its file, so its values are
what :class:`~dicomnode.LazyDataset` can take without knowing how they were encoded: text is decoded and
split, numbers are numbers. Values that make no sense for their VR stay text: judging them is up to whoever
asked for them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import TEXT_VR_DELIMS

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.dicom.values.tags import ABSENT, PIXEL_KEYWORDS, STORED_BYTES
from dicomnode.host.parsing.structure import Findings, RawValue

SPECIFIC_CHARACTER_SET = 0x00080005
STORED: Final = "stored bytes"
"""In the place of a VR: the value is not decoded."""
_LATIN = ("iso8859",)

_ENCODED_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # PS3.5 section 6.1.2.3
_ONE_VALUE = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is no separator in these
_NUMBERS = {
    "FD": "d",
    "FL": "f",
    "OD": "d",
    "OF": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_NOT_INDEXED = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})


@cache
def vr_of(tag: int) -> str:
    """Return the VR that the dictionary gives a tag, ``UN`` if it does not know it (cached)."""
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return "US" if vr.startswith("US") else vr  # "US or SS": signedness is not worth another look-up


def index_of(findings: Findings, wanted: frozenset[int]) -> dict[int, IndexedValue]:
    """Decode the wanted values that a walk has found.

    Parameters
    ----------
    findings : Findings
        What :func:`~dicomnode.host.parsing.structure.walk` returned.
    wanted : frozenset of int
        The tags to decode, if they are there.

    Returns
    -------
    dict
        Tag to str, int, float, None (an empty value) or a list of these. Bulk data and sequences are left
        out. What is wanted with :data:`~dicomnode.dicom.values.tags.STORED_BYTES` is there in any case, empty
        where the data set does not have it; another tag that it does not have, Pixel Data apart, is there
        with :data:`~dicomnode.dicom.values.tags.ABSENT`.
    """
    encodings = encodings_of(findings)
    index: dict[int, IndexedValue] = {}
    for tag, raw in findings.values.items():
        if tag in wanted:
            vr = indexed_vr(raw.vr, tag)
            if vr not in _NOT_INDEXED:
                index[tag] = decoded_value(vr, raw.value, encodings, findings.little_endian)
    present = findings.values.keys() | findings.too_long | findings.sequences | PIXEL_KEYWORDS.keys()
    for tag in wanted:
        if tag & STORED_BYTES:
            stored = findings.values.get(tag ^ STORED_BYTES)
            index[tag] = "" if stored is None else stored_text(stored.value)
        elif tag not in present:
            index[tag | ABSENT] = 1
    return index


def stored_text(value: bytes) -> str:
    """Return the bytes of a value without their padding, each as one character."""
    return value.strip(b" \0").decode("latin-1")


def indexed_vr(vr: str | None, tag: int) -> str:
    """Return the VR that a value is decoded by: the dictionary's where the data set has none."""
    return vr_of(tag) if vr is None or vr == "UN" else vr


def decoded_value(
    vr: str,
    value: bytes,
    encodings: tuple[str, ...],
    little_endian: bool,
) -> IndexedValue:
    """Return a raw value as plain JSON data, a copy."""
    if vr == STORED:
        return stored_text(value)
    decoded = _decode(vr, value, encodings, little_endian)
    return decoded.copy() if type(decoded) is list else decoded


def text_of(values: Mapping[int, RawValue], tag: int) -> str:
    """Return one ASCII value without its padding, such as a UID; empty if it is not there."""
    raw = values.get(tag)
    return raw.value.decode("ascii", "replace").strip(" \0") if raw else ""


def encodings_of(findings: Findings) -> tuple[str, ...]:
    """Return Python's names for a data set's Specific Character Set (PS3.3 section C.12.1.1.2)."""
    raw = findings.values.get(SPECIFIC_CHARACTER_SET)
    if raw is None or not raw.value.strip(b" \0"):
        return _LATIN
    terms = [term.strip() for term in raw.value.decode("ascii", "replace").strip(" \0").split("\\")]
    # What pydicom does not know it warns about by value: that would put the sender's text into the log.
    known = [term if term in python_encoding else "" for term in terms]
    return tuple(convert_encodings(known))


# Most indexed values are those of the instance before: the patient, the study, the size of the image.
@lru_cache(maxsize=2048)
def _decode(vr: str, value: bytes, encodings: tuple[str, ...], little_endian: bool) -> IndexedValue:
    if vr in _NUMBERS:
        return _numbers(_NUMBERS[vr], value, little_endian=little_endian)
    if vr == "AT":
        halves = _numbers("H", value, little_endian=little_endian)
        pairs = halves if isinstance(halves, list) else []
        numbers = [int(str(g)) << 16 | int(str(e)) for g, e in zip(pairs[::2], pairs[1::2], strict=False)]
        return _one_or_list(list[IndexedValue](numbers))
    text = _text(vr, value, encodings)
    if vr in _ONE_VALUE:
        return text.rstrip(" \0") or None
    convert = {"DS": _float, "IS": _int}.get(vr, _clean)
    return _one_or_list([convert(part) for part in text.rstrip(" \0").split("\\")])


def _text(vr: str, value: bytes, encodings: tuple[str, ...]) -> str:
    if vr not in _ENCODED_TEXT or (b"\x1b" not in value and value.isascii()):
        return value.decode("ascii", "replace")
    if len(encodings) == 1:  # no code extensions: an escape is a character like any other
        return value.decode(encodings[0], "replace")
    return str(decode_bytes(value, encodings, set(TEXT_VR_DELIMS)))


def _numbers(code: str, value: bytes, *, little_endian: bool) -> IndexedValue:
    count = len(value) // struct.calcsize("<" + code)
    layout = ("<" if little_endian else ">") + f"{count}{code}"
    return _one_or_list(list(struct.unpack_from(layout, value)))


def _one_or_list(values: list[IndexedValue]) -> IndexedValue:
    if len(values) > 1:
        return values
    return values[0] if values else None


def _clean(text: str) -> str | None:
    return text.strip(" \0") or None


def _int(text: str) -> IndexedValue:
    text = text.strip(" \0")
    try:
        return int(text) if text else None
    except ValueError:
        return text


def _float(text: str) -> IndexedValue:
    text = text.strip(" \0")
    try:
        number = float(text) if text else None
    except ValueError:
        return text
    return number if number is None or math.isfinite(number) else text
