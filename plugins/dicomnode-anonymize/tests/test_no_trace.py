"""Every file in pydicom's wheel: nothing that identified anybody is left anywhere in the bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from dicomnode_anonymize import Anonymizer
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from dicomnode import IdentityMapping

KEY = b"a key for the tests"
WHEEL = Path(pydicom.data.__file__).parent
FILES = sorted(
    path
    for path in WHEEL.rglob("*")
    if path.is_file()
    and path.suffix not in (".py", ".pyc", ".json", ".txt", ".md", ".zip", ".gz", ".dump", ".icc")
)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NUMBERS = [
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "AdmissionID",
    "DeviceSerialNumber",
    "PatientTelephoneNumbers",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "PatientAddress",
    "PatientComments",
    "AdditionalPatientHistory",
    "StudyDescription",
    "SeriesDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepID",
    "ImageComments",
    "ProtocolName",
    "DerivationDescription",
    "Occupation",
    "EthnicGroup",
    "RegionOfResidence",
    "MedicalAlerts",
]
# Attributes that Table E.1-1 leaves alone; in some files a private attribute or a description says the same.
KEPT = [
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "BodyPartExamined",
    "SequenceName",
    "Modality",
    "ImageID",
    "PositionReferenceIndicator",
]
NAMES_A_CLASS = re.compile("SOPClass|Syntax|CodingScheme")
WELL_KNOWN = re.compile(r"\d{1,4}|[A-Z]{1,3}|\W*|text")  # one report's observer is called "Enter text"


def read(path: Path) -> Dataset | None:
    """Return an instance, or None for what is none (DICOMDIRs, fragments, text)."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID"):
            return None
    except Exception:
        return None
    return None if "DirectoryRecordSequence" in dataset else dataset


def identifying(dataset: Dataset) -> Iterator[str]:
    """Yield what identifies, found by VR and by names, not by the plugin's tables."""
    for element in dataset.iterall():
        values = element.value if element.VM > 1 else [element.value]
        if element.VR == "UI" and not NAMES_A_CLASS.search(element.keyword):
            yield from (str(value) for value in values if value and value not in UID_dictionary)
        elif element.VR == "PN":
            for value in values:
                yield from (word for word in re.split(r"[\^= ]", str(value)) if len(word) > 3)
        elif element.VR in ("DA", "DT") or element.VR == "TM":
            yield from (str(value) for value in values if len(str(value)) >= 8)
        elif element.keyword in NUMBERS or (
            element.tag.is_private and element.VR in ("LO", "SH", "LT", "ST", "UT", "AE", "PN")
            and not element.tag.is_private_creator
        ):  # fmt: skip
            yield from (str(value) for value in values if value is not None and len(str(value)) > 4)


def header_bytes(dataset: Dataset) -> bytes:
    """Return the file that an instance is written as, without its pixels."""
    for keyword in PIXELS:
        if keyword in dataset:
            del dataset[keyword]
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def kept_texts(dataset: Dataset) -> str:
    """Return the values of the attributes that say what kind of device and image it is."""
    return " ".join(str(dataset.get(keyword, "")) for keyword in KEPT)


def is_in(value: bytes, file: bytes) -> bool:
    """Say whether a value stands in a file as a word or number of its own."""
    return value in file and re.search(rb"(?<![\w.])%b(?![\w.])" % re.escape(value), file) is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WHEEL)))
@pytest.mark.parametrize("options", [(), ("retain-patient-characteristics", "clean-structured-content")])
def test_nothing_is_left(path: Path, options: tuple[str, ...]) -> None:
    """No name, number, date, place, UID or private text of the original is anywhere in the new file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = read(path)
        if original is None:
            return
        anonymizer = Anonymizer(IdentityMapping(KEY), options, burned_in="flag")
        made = anonymizer.anonymize(pydicom.dcmread(path, force=True))
        told = kept_texts(original)
        found = header_bytes(made)
        charset = pydicom.charset.convert_encodings(original.get("SpecificCharacterSet", "ISO_IR 6"))[0]
        sought = {value.strip() for value in identifying(original) if value not in told}
        left = [
            value
            for value in sought
            if not WELL_KNOWN.fullmatch(value) and is_in(value.encode(charset, "replace"), found)
        ]
    assert not left
    assert not [element for element in made.iterall() if element.tag.is_private]
    assert found[:128] == b"\0" * 128
