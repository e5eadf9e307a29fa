"""Checking a value against its value representation (PS3.5 section 6.2) where it is written.

:func:`make_element` is the one place where a Python value becomes a pydicom ``DataElement``: it converts
(numbers to ``DS`` of at most 16 characters, dates to ``DA``), then checks type, length, characters, range and
multiplicity, so that a mistake is reported with keyword and value at its origin and not by the PACS.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
import numbers
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import MAX_VALUE_LEN, STR_VR_REGEXES, PersonName, format_number_as_ds

from dicomnode.dicom.values.private_blocks import forget_private_blocks
from dicomnode.dicom.values.tags import describe_tag
from dicomnode.errors import InvalidValueError

_INTEGER_RANGES = {
    "US": (0, 2**16 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
    "IS": (-(2**31), 2**31 - 1),
}
_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_TEXT = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
# In these a backslash is a character and not the separator of values (PS3.5 section 6.2).
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"}) | _BYTES
_NO_CONTROL = re.compile(
    r"[\x00-\x1a\x1c-\x1f\x7f]"
)  # ESC (0x1b) switches character sets (PS3.5 section 6.1.2.5)
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d$")  # the time zone that ends a DT; any other "-" is a range
_KNOWN_VRS = frozenset(_INTEGER_RANGES) | _BYTES | _TEXT | {"AT", "DS", "FD", "FL", "SQ"}
_PN_GROUPS, _PN_COMPONENTS = 3, 5

ErrorOf = Callable[[str], InvalidValueError]


def make_element(tag: BaseTag, vr: str, value: Any, *, creator: str | None = None) -> DataElement:
    """Convert and check a value, and return it as a data element.

    Parameters
    ----------
    tag : BaseTag
        The tag; of a private attribute the nominal one.
    vr : str
        The value representation. ``"US or SS"`` and its kin are decided by the value where it can decide.
    value : Any
        The value: text, numbers, dates, bytes, datasets, or a list of them. ``None`` and ``""`` make an
        empty element (Type 2).
    creator : str, optional
        The private creator, for the message.

    Returns
    -------
    DataElement
        A new element; it shares nothing with ``value``.

    Raises
    ------
    InvalidValueError
        When the value does not fit: the message names keyword, VR, value and rule.
    """
    name = describe_tag(tag, creator)
    vr = resolve_vr(name, vr, value)

    def error_of(why: str) -> InvalidValueError:
        return InvalidValueError(f"{name} ({tag.group:04x},{tag.element:04x}), VR {vr}: {why}")

    if vr == "SQ":
        return DataElement(tag, vr, _sequence(value, error_of))
    values = [_convert(vr, single, error_of) for single in _values(vr, value)]
    if creator is None:
        _check_multiplicity(tag, vr, len(values), error_of)
    if not values:
        return DataElement(tag, vr, None)
    return DataElement(tag, vr, values[0] if len(values) == 1 else values, already_converted=False)


def trusted_element(keyword: str, vr: str, value: Any) -> DataElement:
    """Return an element of a value that the library itself has made, without checking it again.

    Parameters
    ----------
    keyword : str
        A standard attribute.
    vr : str
        Its value representation.
    value : Any
        Fits it.
    """
    return DataElement(_tag_of(keyword), vr, value, validation_mode=IGNORE)


@cache
def _tag_of(keyword: str) -> BaseTag:
    return Tag(keyword)


def resolve_vr(name: str, vr: str, value: Any) -> str:
    """Decide between the VRs that the dictionary offers for one attribute (``"US or SS"``).

    Parameters
    ----------
    name : str
        What to call the attribute in the message.
    vr : str
        One VR, or several joined by ``" or "`` as pydicom's dictionary has them.
    value : Any
        The value that is to be written.

    Returns
    -------
    str
        One VR.

    Raises
    ------
    InvalidValueError
        When the VR is unknown, or neither the dictionary nor the value decides.
    """
    choices = vr.split(" or ")
    if unknown := [choice for choice in choices if choice not in _KNOWN_VRS]:
        raise InvalidValueError(f"{name}: {unknown[0]!r} is not a value representation (PS3.5 section 6.2)")
    if len(choices) == 1:
        return vr
    if isinstance(value, bytes | bytearray):
        if choices[-1] == "OW" and "OB" not in choices:
            return "OW"
    elif {"US", "SS"} <= set(choices):
        values = _values("US", value)
        if all(isinstance(v, numbers.Integral) for v in values):
            return "SS" if any(v < 0 for v in values) else "US"
    elif "US" in choices:
        return "US"
    raise InvalidValueError(f"{name} may be {vr}: say which, VR={choices[0]!r} or VR={choices[-1]!r}")


def _values(vr: str, value: Any) -> list[Any]:
    """Split what was given into single values; empty text and ``None`` are no value."""
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        value = value.tolist()
    if value is None or (isinstance(value, str) and value == ""):
        return []
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str) and vr not in _ONE_VALUE:
        return list(value.split("\\"))
    if isinstance(value, list | tuple | MultiValue):
        return [single.value if isinstance(single, Enum) else single for single in value]
    return [value]


def _sequence(value: Any, error_of: ErrorOf) -> DicomSequence:
    if value is None:
        return DicomSequence()
    items = [value] if isinstance(value, Dataset) else value
    if not isinstance(items, Iterable) or isinstance(items, str | bytes):
        raise error_of(f"{_shown(value)} is not a dataset or a list of datasets")
    items = list(items)
    if wrong := [item for item in items if not isinstance(item, Dataset)]:
        raise error_of(f"an item is {_shown(wrong[0])}, not a pydicom Dataset")
    copied = copy.deepcopy(items)
    for item in copied:
        forget_private_blocks(item)
    return DicomSequence(copied)


def _convert(vr: str, value: Any, error_of: ErrorOf) -> Any:
    if vr in _BYTES:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise error_of(f"{_shown(value)} is not bytes")
        return bytes(value)
    if vr == "AT":
        return _attribute_tag(value, error_of)
    if vr == "DS":
        return _decimal(value, error_of)
    if vr in _INTEGER_RANGES:
        return _integer(vr, value, error_of)
    if vr in ("FL", "FD"):
        return _floating(value, error_of)
    return _text(vr, value, error_of)


def _attribute_tag(value: Any, error_of: ErrorOf) -> BaseTag:
    try:
        return Tag(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise error_of(f"{_shown(value)} is not a tag") from error


def _decimal(value: Any, error_of: ErrorOf) -> str:
    if isinstance(value, str):
        if value.strip() == "":
            return ""
        if not STR_VR_REGEXES["DS"].match(value) or len(value) > MAX_VALUE_LEN["DS"]:
            raise error_of(f"{_shown(value)} is not a decimal number of at most 16 characters")
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        raise error_of(f"{_shown(value)} is not a number")
    if not math.isfinite(value):
        raise error_of(
            f"{_shown(value)} cannot be written as a decimal string; DICOM has no NaN or infinity here"
        )
    # pydicom keeps the text a number was read with; that text is wanted as long as it is short enough.
    original = str(getattr(value, "original_string", "") or "")
    if original and len(original) <= MAX_VALUE_LEN["DS"]:
        return original
    if isinstance(value, numbers.Integral) and len(str(int(value))) <= MAX_VALUE_LEN["DS"]:
        return str(int(value))
    text = str(format_number_as_ds(float(value)))
    if not math.isfinite(float(text)):  # rounding to 16 characters left the range of a double
        raise error_of(f"{_shown(value)} cannot be written in 16 characters")
    return text


def _integer(vr: str, value: Any, error_of: ErrorOf) -> int:
    if isinstance(value, str) and vr == "IS" and STR_VR_REGEXES["IS"].match(value):
        value = int(value)
    # Not through float(), which cannot hold every 64-bit number.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise error_of(f"{_shown(value)} is not a whole number")
    low, high = _INTEGER_RANGES[vr]
    if not low <= int(value) <= high:
        raise error_of(f"{_shown(value)} is outside {low} to {high}")
    return int(value)


def _floating(value: Any, error_of: ErrorOf) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise error_of(f"{_shown(value)} is not a number")
    return float(value)


def _text(vr: str, value: Any, error_of: ErrorOf) -> Any:
    text = _as_text(vr, value, error_of)
    if not text:
        return text
    if "\\" in text and vr not in _ONE_VALUE:
        raise error_of(f"{_shown(text)} holds a backslash, which separates values")
    controls = _CONTROL_BUT_LINES if vr in ("LT", "ST", "UT") else _NO_CONTROL
    if controls.search(text):
        raise error_of(f"{_shown(text)} holds a control character")
    if vr == "PN":
        return _person_name(text, error_of)
    if len(text) > (limit := MAX_VALUE_LEN.get(vr, len(text))):
        raise error_of(f"{_shown(text)} has {len(text)} characters, at most {limit} are allowed")
    pattern = STR_VR_REGEXES.get(vr)
    if pattern is not None and not pattern.match(text):
        raise error_of(f"{_shown(text)} {_RULES.get(vr, 'is not of the form that the VR wants')}")
    if vr in ("DA", "DT", "TM"):
        _check_moment(vr, text, error_of)
    return text


_RULES = {
    "AE": "may only hold printable ASCII characters",
    "AS": "is not an age: three digits and D, W, M or Y, such as 042Y",
    "CS": "may only hold upper-case letters, digits, space and underscore",
    "DA": "is not a date YYYYMMDD",
    "DT": "is not a date and time YYYYMMDDHHMMSS.FFFFFF&ZZXX",
    "TM": "is not a time HHMMSS.FFFFFF",
    "UI": "is not a UID: digits and dots, no component with a leading zero",
}


def _as_text(vr: str, value: Any, error_of: ErrorOf) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, PersonName) and vr == "PN":
        return str(value)
    if isinstance(value, dt.datetime):
        if vr == "DT":
            return value.strftime("%Y%m%d%H%M%S.%f%z")
        value = value.date() if vr == "DA" else value.time()
    if isinstance(value, dt.date) and vr == "DA":
        return value.strftime("%Y%m%d")
    if isinstance(value, dt.time) and vr == "TM":
        return value.strftime("%H%M%S.%f")
    raise error_of(f"{_shown(value)} is not text")


def _check_moment(vr: str, text: str, error_of: ErrorOf) -> None:
    if "-" in (_OFFSET.sub("", text) if vr == "DT" else text):
        raise error_of(f"{_shown(text)} is a range, which only a query may hold")
    if vr == "DA":
        try:
            dt.datetime.strptime(text, "%Y%m%d")
        except ValueError:
            raise error_of(f"{_shown(text)} is not a day of the calendar") from None


def _person_name(text: str, error_of: ErrorOf) -> str:
    groups = text.split("=")
    if len(groups) > _PN_GROUPS:
        raise error_of(f"{_shown(text)} has {len(groups)} component groups, at most {_PN_GROUPS} are allowed")
    for group in groups:
        if len(group) > MAX_VALUE_LEN["LO"]:
            raise error_of(
                f"{_shown(text)} has a component group of {len(group)} characters, at most 64 are allowed"
            )
        if group.count("^") >= _PN_COMPONENTS:
            raise error_of(f"{_shown(text)} has more than {_PN_COMPONENTS} components in a group")
    return text


def _check_multiplicity(tag: BaseTag, vr: str, count: int, error_of: ErrorOf) -> None:
    if count == 0:
        return
    if vr in _ONE_VALUE and count > 1:
        raise error_of(f"{count} values given, the VR allows one")
    try:
        wanted = dictionary_VM(tag)
    except KeyError:
        return
    if not allows_multiplicity(wanted, count):
        raise error_of(f"{count} value{'s' * (count != 1)} given, the multiplicity is {wanted}")


def allows_multiplicity(wanted: str, count: int) -> bool:
    """Say whether ``count`` values satisfy a multiplicity of PS3.6: ``1``, ``1-3``, ``1-n``, ``2-2n``."""
    return any(_one_multiplicity(part.strip(), count) for part in wanted.split(" or "))


def _one_multiplicity(wanted: str, count: int) -> bool:
    low, _, high = wanted.partition("-")
    if not high:
        return count == int(low)
    if high.endswith("n"):
        step = int(high[:-1] or 1)
        return count >= int(low) and count % step == 0
    return int(low) <= count <= int(high)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"  # noqa: PLR2004 - one line
