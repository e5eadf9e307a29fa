"""The identifiers by which an image has its place in a tree."""

from __future__ import annotations

import pytest

from dicomnode.dicom.tree.dicom_tree import DicomTree
from dicomnode.errors import ImageTreeError
from made_images import image


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_identifier_is_named(keyword: str, value: str | None) -> None:
    """An image that lacks an identifier is refused by its keyword, and leaves nothing behind."""
    tree, odd = DicomTree(), image("1")
    if value is None:
        del odd[keyword]
    else:
        odd[keyword].value = value
    with pytest.raises(ImageTreeError, match=f"no {keyword}"):
        tree.add_image(odd)
    assert not tree.patients


def test_images_without_a_patient_id() -> None:
    """The Patient ID may be empty or missing (PS3.3 section C.7.1.1): those are under the empty text."""
    tree, missing = DicomTree(), image("2")
    del missing.PatientID
    tree.add_images([image("1", patient=""), missing])
    assert list(tree.patients) == [""]
    assert len(tree) == 2
