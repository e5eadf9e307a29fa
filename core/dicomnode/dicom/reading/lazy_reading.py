"""Reading a DICOM file so that Pixel Data stays on disk (PS3.10 section 7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator, read_dataset, read_partial
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicomnode.dicom.reading.lazy_elements import ElementOnDisk
from dicomnode.dicom.values.tags import PIXEL_KEYWORDS
from dicomnode.errors import DicomnodeError, FileGoneError, StructureError

_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one file from another that has come to the same path."""

    size: int
    modified: int

    @classmethod
    def of(cls, file: BinaryIO) -> _Stamp:
        status = os.fstat(file.fileno())
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _ValueInFile:
    """Where the value of an element is: calling it reads the value. Picklable."""

    path: str
    stamp: _Stamp
    offset: int
    implicit_vr: bool
    little_endian: bool

    def __call__(self) -> bytes:
        with opened(self.path) as file:
            if _Stamp.of(file) != self.stamp:
                msg = f"{self.path}: the file has been changed or replaced since its header was read"
                raise FileGoneError(msg)
            file.seek(self.offset)
            element = next(data_element_generator(file, self.implicit_vr, self.little_endian))
        value = element.value
        if not isinstance(value, bytes):
            msg = f"{self.path}: no value for {element.tag} at offset {self.offset}"
            raise StructureError(msg)
        return value


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a DICOM file for reading.

    Raises
    ------
    FileGoneError
        When there is no such file.
    StructureError
        When what was read in the block is not DICOM.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path costs as much as the opening
            yield file
    except FileNotFoundError as error:
        if isinstance(error, FileGoneError):
            raise
        msg = f"{path}: the file of this dataset is no longer there; was it removed, or its input released?"
        raise FileGoneError(msg) from error
    except (InvalidDicomError, EOFError, StopIteration) as error:
        msg = f"{path}: not a readable DICOM file ({error or type(error).__name__})"
        raise StructureError(msg) from error


def read_without_pixels(path: str) -> FileDataset:
    """Read a file, its pixel elements as :class:`ElementOnDisk`.

    A deflated file (PS3.5 section A.5) has no offsets to come back to, so it is read whole.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    FileGoneError
        When there is no such file.
    StructureError
        When it is not DICOM, or broken.
    """
    try:
        return _read_without_pixels(path)
    except (DicomnodeError, MemoryError):
        raise
    except Exception as error:  # whatever pydicom stumbles over
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; pydicom's own, about a file that ends too early, have no number
        msg = f"{path}: not a readable DICOM file ({type(error).__name__})"
        raise StructureError(msg) from None  # its text may hold values


def _read_without_pixels(path: str) -> FileDataset:
    met: list[tuple[BaseTag, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXEL_KEYWORDS:
            met.append((tag, vr, length))
            return True
        return False

    with opened(path) as file:
        dataset = read_partial(file, stop_when=at_pixels)
        if met and dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            file.seek(0)
            return read_partial(file)
        little_endian = dataset.original_encoding[1] is not False
        while met:
            tag, vr, length = met.pop()
            where = _ValueInFile(path, _Stamp.of(file), file.tell(), vr is None, little_endian)
            element = ElementOnDisk(
                tag, vr or dictionary_VR(tag), where, is_undefined_length=length == _UNDEFINED
            )
            _skip(file, implicit_vr=vr is None, little_endian=little_endian)
            rest = read_dataset(file, vr is None, little_endian, stop_when=at_pixels)
            dataset._dict[tag] = _resolved(element, dataset, little_endian=little_endian)
            dataset._dict.update(rest._dict)
    return dataset


def _skip(file: BinaryIO, *, implicit_vr: bool, little_endian: bool) -> None:
    """Move past the element at the file's position, without keeping its value."""
    next(data_element_generator(file, implicit_vr, little_endian, defer_size=0))


def _resolved(element: ElementOnDisk, dataset: FileDataset, *, little_endian: bool) -> DataElement:
    """Settle "OB or OW", which depends on the dataset (PS3.5 section 8.2)."""
    resolved = correct_ambiguous_vr_element(element, dataset, little_endian)
    return resolved if isinstance(resolved, DataElement) else element
