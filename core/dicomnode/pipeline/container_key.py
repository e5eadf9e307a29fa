"""The key of a container, made of the stored bytes of what its images have in common."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote_from_bytes

from pydicom.charset import convert_encodings, encode_string
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES

PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021
_PADDING: Final = b" \0"
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%@\\")


def key_tags(tag: int) -> tuple[int, ...]:
    """Return the tags whose stored bytes make a key: with the Patient ID, its issuer, too."""
    return (PATIENT_ID, ISSUER_OF_PATIENT_ID) if tag == PATIENT_ID else (tag,)


def stored_key(image: Dataset, tag: int) -> str:
    """Return the key of an image's container, an empty text where it lacks what makes the key.

    The Issuer of Patient ID stands behind an ``@``. What is no printable ASCII is written as ``%XX``: equal
    keys are equal bytes, whatever their character set decodes them to.
    """
    value, *others = (quote_from_bytes(stored_bytes(image, each), safe=_PLAIN) for each in key_tags(tag))
    return "@".join([value, *filter(None, others)]) if value else ""


def stored_bytes(image: Dataset, tag: int) -> bytes:
    """Return the bytes of a value as they are stored, without padding; none where it is missing.

    Of a data set that was made in memory, or whose value was decoded already, they are the bytes that would
    be stored.
    """
    if isinstance(image, LazyDataset):
        indexed = image.indexed_value(tag | STORED_BYTES)
        if isinstance(indexed, str):
            return indexed.encode("latin-1")
        decoded = image.indexed_value(tag)
        if isinstance(decoded, str) and decoded.isascii():  # an index of before: ASCII lost nothing
            return decoded.encode("ascii").strip(_PADDING)
    if tag not in image:
        return b""
    element = image.get_item(tag)
    if isinstance(element, RawDataElement):
        return (element.value or b"").strip(_PADDING)
    value = image[tag].value
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue | list) else str(value or "")
    charset = image.get("SpecificCharacterSet", "ISO_IR 6") or "ISO_IR 6"
    encodings = convert_encodings(charset)
    try:
        return bytes(encode_string(text, encodings)).strip(_PADDING)
    except (UnicodeError, ValueError):
        return text.encode("utf-8").strip(_PADDING)
