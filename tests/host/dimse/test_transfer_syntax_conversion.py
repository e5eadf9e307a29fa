"""A file's data set in another uncompressed transfer syntax: the same values, and nothing on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from dicomnode.errors import StructureError
from dicomnode.host.dimse.transfer_syntax_conversion import convert_file
from receiving import small_dataset

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"


def converted(path: Path, target: str) -> Dataset:
    descriptor, begin, end = convert_file(path, target)
    try:
        data = os.pread(descriptor, end - begin, begin)
    finally:
        os.close(descriptor)
    assert len(data) == end - begin
    return pydicom.filereader.read_dataset(DicomBytesIO(data), target == IMPLICIT, True)


@pytest.mark.parametrize("source", [EXPLICIT, IMPLICIT, DEFLATED])
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
def test_values_stay(tmp_path: Path, source: str, target: str) -> None:
    """Pixels, text and numbers whose VR depends on the pixels are the same in every encoding."""
    original = small_dataset(PatientName="Smith^Jöhn", SpecificCharacterSet="ISO_IR 100")
    original.PixelRepresentation = 1
    original.add_new(0x00280106, "SS", -3)
    original.file_meta.TransferSyntaxUID = source
    path = tmp_path / "image.dcm"
    pydicom.dcmwrite(path, original, implicit_vr=source == IMPLICIT, little_endian=True)
    read = converted(path, target)
    assert read.PixelData == original.PixelData
    assert read[0x00280106].value == -3
    assert read.SOPInstanceUID == original.SOPInstanceUID
    assert str(read.PatientName) == "Smith^Jöhn"


def test_the_file_is_anonymous(tmp_path: Path) -> None:
    """Nothing is written beside the original, and nothing is left open but what is returned."""
    path = tmp_path / "image.dcm"
    small_dataset().save_as(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    descriptor, _begin, _end = convert_file(path, IMPLICIT)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    os.close(descriptor)
    assert [each.name for each in tmp_path.iterdir()] == ["image.dcm"]


@pytest.mark.parametrize("target", ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", DEFLATED])
def test_other_transfer_syntaxes_are_not_converted_to(tmp_path: Path, target: str) -> None:
    """Only the two that every peer knows."""
    with pytest.raises(StructureError, match="no conversion to"):
        convert_file(tmp_path / "not looked at", target)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """That it is gone is the operating system's error; what pydicom stumbles over is one of its structure."""
    with pytest.raises(FileNotFoundError):
        convert_file(tmp_path / "gone", IMPLICIT)
    (tmp_path / "text").write_text("no DICOM" * 100)
    with pytest.raises(StructureError, match="it cannot be converted: InvalidDicomError"):
        convert_file(tmp_path / "text", IMPLICIT)
