"""The attributes that sorting images and reading their pixels take, read from a file without a dataset.

A dataset of a hundred elements takes pydicom most of a millisecond, four times as long as reading the
pixels of a CT slice. Sorting and reading pixels take four dozen attributes, so for images that still lie on
disk these are picked out of the header of the file. Whatever is unusual (nested functional groups, a broken
number, big endian) is left to the dataset itself: there is no sorting header then.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO, Final

from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.dicom.reading.header_reader import (
    HeaderBytes,
    HeaderReader,
    PixelLocation,
    UnsupportedHeaderError,
    skip_file_meta,
)
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.encodings import encoding_of
from dicomnode.dicom.values.tags import PIXEL_KEYWORDS
from dicomnode.errors import DicomnodeError, FileGoneError

SORTING_KEYWORDS: Final = (
    # which image it is, and of what
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "InstanceNumber"),
    # where it lies
    *("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "NumberOfFrames", "GridFrameOffsetVector", "SliceVector"),
    # when and how it was taken
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "EchoTime", "InversionTime"),
    *("EffectiveEchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TriggerTime", "FlipAngle"),
    *("NominalCardiacTriggerDelayTime", "FrameReferenceTime", "TimeSlotVector", "TimeSliceVector"),
    *("RRIntervalVector", "EnergyWindowVector", "PhaseVector", "AcquisitionNumber", "FrameType"),
    *("FrameAcquisitionNumber", "ComplexImageComponent", "FrameAcquisitionDateTime"),
    *("AcquisitionDateTime", "AcquisitionTime"),
    # how its values are stored
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "RescaleType", "Units"),
    *("DoseGridScaling", "DoseUnits"),
)
"""The attributes of a sorting header, by keyword."""
_SEQUENCES_NOT_READ: Final = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DetectorInformationSequence",
    "ModalityLUTSequence",
    "RealWorldValueMappingSequence",
)
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@dataclass(frozen=True, slots=True, eq=False)
class SortingHeader:
    """The attributes of an image that were read from its file. Answers ``get(keyword)`` as the dataset would.

    Parameters
    ----------
    image : LazyDataset
        The handle, which answers for all other attributes.
    transfer_syntax : UID
        How the file is encoded.
    size : int
        Length of the file.
    modified : int
        When it was changed last, ns.
    values : dict of str to object
        Attribute -> plain value; ``None`` or ``""`` where it is empty.
    pixels : PixelLocation or None
        Where the pixels are.
    """

    image: LazyDataset
    transfer_syntax: UID
    size: int
    modified: int
    values: dict[str, Any] = field(default_factory=dict)
    pixels: PixelLocation | None = None

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return a value, the default where the attribute is absent."""
        if keyword in self.values:
            return self.values[keyword]
        return default if keyword in _KNOWN_KEYWORDS else self.image.get(keyword, default)

    @property
    def bytes_available(self) -> int:
        """How many bytes of native pixels the file has; fewer than it says if it was cut."""
        if self.pixels is None or self.pixels.length is None:
            return 0
        return max(min(self.pixels.length, self.size - self.pixels.offset), 0)

    def read_into(self, file: BinaryIO, at: int, buffer: Any) -> None:
        """Read a part of the pixels.

        Parameters
        ----------
        file : BinaryIO
            The image's file, ``image.opened()``.
        at : int
            The first byte, counted from the beginning of the pixels.
        buffer : buffer
            Is filled.

        Raises
        ------
        FileGoneError
            When the file is another one by now, or shorter.
        """
        status = os.fstat(file.fileno())
        if self.pixels is None or (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            raise FileGoneError(
                f"{self.image.path}: the file has been changed or replaced since its header was read"
            )
        file.seek(self.pixels.offset + at)
        if file.readinto(buffer) < memoryview(buffer).nbytes:  # type: ignore[attr-defined]  # of real files
            raise FileGoneError(f"{self.image.path}: the file became shorter while it was read")

    def __contains__(self, keyword: str) -> bool:
        if keyword in _PIXEL_KEYWORDS:
            return self.pixels is not None and self.pixels.keyword == keyword
        return keyword in self.values if keyword in _KNOWN_KEYWORDS else keyword in self.image


_KNOWN_KEYWORDS: Final = frozenset((*SORTING_KEYWORDS, *_SEQUENCES_NOT_READ))
_PIXEL_KEYWORDS: Final = frozenset(PIXEL_KEYWORDS.values())
_KEYWORDS: Final = {int(tag_for_keyword(keyword) or 0): keyword for keyword in SORTING_KEYWORDS}
_READER: Final = HeaderReader(
    frozenset(_KEYWORDS), frozenset(int(tag_for_keyword(keyword) or 0) for keyword in _SEQUENCES_NOT_READ)
)


def read_sorting_header(image: Any) -> SortingHeader | None:
    """Read the sorting header of an image that lies on disk.

    Parameters
    ----------
    image : Dataset
        Only a :class:`LazyDataset` that was not read yet has one.

    Returns
    -------
    SortingHeader or None
        ``None`` where the dataset has to be asked.
    """
    if not isinstance(image, LazyDataset) or image.was_read:
        return None
    try:
        with image.opened() as file:
            return _read_file(file, image)
    except (UnsupportedHeaderError, DicomnodeError, OSError, ValueError):
        return None  # reading the dataset says what is wrong, if anything is


def _read_file(file: BinaryIO, image: LazyDataset) -> SortingHeader:
    status = os.fstat(file.fileno())
    header = HeaderBytes(file)
    at, name = skip_file_meta(header)
    syntax, native = _syntax(name)
    if not native:
        raise UnsupportedHeaderError
    raws, pixels = _READER.read(header, at, encoding_of(syntax))
    values = {_KEYWORDS[tag]: _decoded(vr, value) for tag, vr, value in raws}
    return SortingHeader(image, syntax, status.st_size, status.st_mtime_ns, values, pixels)


@lru_cache(maxsize=64)
def _syntax(name: str) -> tuple[UID, bool]:
    """Return a transfer syntax, and whether its elements are uncompressed and little endian."""
    uid = UID(name, validation_mode=IGNORE)
    # Encapsulated is explicit little endian but for the pixels (PS3.5 section A.4). A deflated header is not
    # readable as it lies, and the order of bytes in a big endian one is another.
    native = uid in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    return uid, native or (uid.is_transfer_syntax and uid.is_encapsulated)


@lru_cache(maxsize=4096)
def _decoded(vr: str, raw: bytes) -> Any:
    """Return the plain value of an element; most are the same in all slices."""
    if vr in _NUMBERS:
        count, rest = divmod(len(raw), struct.calcsize(_NUMBERS[vr]))
        if rest:
            raise UnsupportedHeaderError
        numbers = struct.unpack(f"<{count}{_NUMBERS[vr]}", raw)
        return (numbers if len(numbers) > 1 else numbers[0]) if numbers else None
    text = raw.decode("ascii").rstrip("\0 ")
    if vr not in ("DS", "IS"):
        return tuple(text.split("\\")) if "\\" in text else text
    if not text:
        return None
    kind = float if vr == "DS" else int
    numbers = tuple(kind(part) for part in text.split("\\"))
    return numbers if len(numbers) > 1 else numbers[0]


__all__ = ["SORTING_KEYWORDS", "SortingHeader", "read_sorting_header"]
