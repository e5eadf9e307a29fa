"""The identifiers by which an image has its place in a tree (PS3.3 section C.7)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ImageTreeError

_IDENTIFIERS = {
    "PatientID": 0x00100020,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SOPInstanceUID": 0x00080018,
}


def identifier(image: Dataset, keyword: str) -> str:
    """Return an identifier of an image as text; only the Patient ID may be empty (PS3.3 section C.7.1.1).

    Raises
    ------
    ImageTreeError
        When the image lacks it.
    """
    value = image.indexed_value(_IDENTIFIERS[keyword]) if isinstance(image, LazyDataset) else None
    value = value or image.get(keyword)
    if value:
        return str(value)
    if keyword == "PatientID":
        return ""
    path = getattr(image, "path", None)
    msg = f"an image has no {keyword}, so no tree can hold it{'' if path is None else f': {safe_text(path)}'}"
    raise ImageTreeError(msg)
