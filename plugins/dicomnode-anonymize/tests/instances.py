"""Instances for the tests: small, whole, and full of what identifies."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_WHEEL = Path(pydicom.data.__file__).parent / "test_files"
SECRET = "Quagmire"
DATE = "20240229"


def wheel_file(name: str) -> Path:
    """Return a file of pydicom's wheel; pydicom's own finder would try to download one that is not there."""
    path = _WHEEL / name
    assert path.is_file(), f"pydicom's wheel has no {name}"
    return path


def ct(**more: object) -> FileDataset:
    """Return the CT image of pydicom's wheel, with more attributes."""
    dataset = pydicom.dcmread(wheel_file("CT_small.dcm"))
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def mr() -> FileDataset:
    """Return the MR image of pydicom's wheel."""
    return pydicom.dcmread(wheel_file("MR_small.dcm"))


def bare(SOPClassUID: str, **more: object) -> FileDataset:  # noqa: N803 - DICOM's own spelling
    """Return an instance of a SOP class that has nothing but its identity, and more attributes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = SOPClassUID, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName = "4711-Q", f"{SECRET}^Quentin"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(value_type: str, concept: Dataset, **more: object) -> Dataset:
    """Return a content item of a report."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", value_type, [concept]
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item
