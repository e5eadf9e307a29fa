"""What one job is: the key of the container in which an image gathers, made of its stored bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from urllib.parse import quote_from_bytes

from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import ConfigurationError

GatherBy: TypeAlias = "Literal['series', 'study', 'patient'] | Sequence[str]"
"""What one job is: a series, a study, a patient, or what has the same values of attributes, by keyword."""

_PATIENT: Final = ("PatientID", "IssuerOfPatientID")
_LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "patient": _PATIENT,
    "study": (*_PATIENT, "StudyInstanceUID"),
    "series": (*_PATIENT, "StudyInstanceUID", "SeriesInstanceUID"),
}
_OPTIONAL: Final = frozenset({"IssuerOfPatientID"})
_PADDING: Final = b" \0"
_TEXT: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
"""Of other VRs no key is made: what is padding of text is a part of a binary number (PS3.5 section 6.2)."""
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%/@\\")


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the images of a pipeline are divided into containers.

    Attributes
    ----------
    name : str
        ``"series"``, ``"study"``, ``"patient"``, or the keywords with commas between them.
    keywords : tuple of str
        The attributes whose stored bytes make the key. Patients are told apart by their issuer, too, where
        Patient ID is one of them.
    joins_issuer : bool
        Whether the Issuer of Patient ID is a part of the Patient ID before it, and not one of its own.
    """

    name: str
    keywords: tuple[str, ...]
    joins_issuer: bool = True

    @classmethod
    def of(cls, gather_by: GatherBy) -> Grouping:
        """Return the grouping that `gather_by` means.

        Raises
        ------
        ConfigurationError
            When it is no level, and names an attribute that DICOM does not have or that is no text.
        """
        if isinstance(gather_by, str) and gather_by in _LEVELS:
            return cls(gather_by, _LEVELS[gather_by])
        keywords = (gather_by,) if isinstance(gather_by, str) else tuple(gather_by)
        unknown = [keyword for keyword in keywords if tag_for_keyword(keyword) is None]
        if unknown or not keywords:
            named = ", ".join(map(repr, unknown)) or "nothing"
            msg = f"gather_by names {named}: it is 'series', 'study', 'patient', or keywords of attributes"
            raise ConfigurationError(msg)
        vrs = ((keyword, dictionary_VR(keyword)) for keyword in keywords)
        if binary := [f"{keyword!r} ({vr})" for keyword, vr in vrs if vr not in _TEXT]:
            msg = f"gather_by names {', '.join(binary)}: images are gathered by attributes that are text"
            raise ConfigurationError(msg)
        name = ", ".join(keywords)
        if "PatientID" not in keywords or "IssuerOfPatientID" in keywords:
            return cls(name, keywords, joins_issuer=False)
        after = keywords.index("PatientID") + 1
        return cls(name, (*keywords[:after], "IssuerOfPatientID", *keywords[after:]))

    @property
    def tags(self) -> tuple[int, ...]:
        """The tags whose stored bytes make the key."""
        return _tags_of(self.keywords)

    @property
    def indexed(self) -> frozenset[int]:
        """What an index must hold so that no file is opened for a key."""
        return frozenset(tag | STORED_BYTES for tag in self.tags)

    @property
    def is_level(self) -> bool:
        """Whether one job is a series, a study or a patient, not what has the same values of attributes."""
        return self.name in _LEVELS

    @property
    def one_group(self) -> bool:
        """Whether images of one key belong together whatever their series."""
        return self.name in {"series", "study"}

    def key(self, image: Dataset) -> str:
        """Return the key of an image's container, an empty text where it lacks what makes the key.

        The parts stand in the order of :attr:`keywords` with slashes between them, the Issuer of Patient ID
        behind an ``@``. What is no printable ASCII is written as ``%XX``: equal keys are equal bytes.
        """
        if isinstance(image, LazyDataset):
            texts = image.indexed_values(_stored_tags_of(self.keywords))
            if None not in texts:
                return _key_of_texts(self.keywords, self.joins_issuer, tuple(texts))
        return _key_of(self.keywords, self.joins_issuer, self._values(image))

    def lacking(self, image: Dataset) -> str:
        """Return which attributes the key needs and the image lacks, in words."""
        values = zip(self.keywords, self._values(image), strict=True)
        return ", ".join(
            f"{keyword} {Tag(keyword)}" for keyword, value in values if not value and keyword not in _OPTIONAL
        )

    def _values(self, image: Dataset) -> Iterable[bytes]:
        return (stored_bytes(image, tag) for tag in self.tags)


@lru_cache
def _tags_of(keywords: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(Tag(keyword)) for keyword in keywords)


@lru_cache
def _stored_tags_of(keywords: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(tag | STORED_BYTES for tag in _tags_of(keywords))


@lru_cache(maxsize=1024)
def _key_of_texts(keywords: tuple[str, ...], joins_issuer: bool, texts: tuple[str, ...]) -> str:
    """Return the key of bytes of the index, each as one character. The images of a series have the same."""
    return _key_of(keywords, joins_issuer, (text.encode("latin-1") for text in texts))


def _key_of(keywords: tuple[str, ...], joins_issuer: bool, values: Iterable[bytes]) -> str:
    parts: list[str] = []
    for keyword, value in zip(keywords, values, strict=True):
        part = quote_from_bytes(value, safe=_PLAIN)
        if keyword == "IssuerOfPatientID" and joins_issuer:
            parts[-1] += f"@{part}" if part else ""
        elif part or keyword in _OPTIONAL:
            parts.append(part)
        else:
            return ""
    return "/".join(parts)


def stored_bytes(image: Dataset, tag: int) -> bytes:
    """Return the bytes of a value as they are stored, without padding; none where it is missing.

    Of a data set that was made in memory, or whose value was decoded already, they are the bytes that would
    be stored.
    """
    if isinstance(image, LazyDataset):
        indexed = image.indexed_value(tag | STORED_BYTES)
        if isinstance(indexed, str):
            return indexed.encode("latin-1")
    if tag not in image:
        return b""
    element = image.get_item(tag)
    if isinstance(element, RawDataElement):
        return (element.value or b"").strip(_PADDING)
    value = image[tag].value
    values = value if isinstance(value, MultiValue | list) else () if value is None else (value,)
    text = "\\".join(map(str, values))
    charset = image.get("SpecificCharacterSet", "ISO_IR 6") or "ISO_IR 6"
    encodings = convert_encodings(charset)
    try:
        return bytes(encode_string(text, encodings)).strip(_PADDING)
    except (UnicodeError, ValueError):
        return text.encode("utf-8").strip(_PADDING)
