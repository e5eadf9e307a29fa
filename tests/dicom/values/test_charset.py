"""SpecificCharacterSet is chosen so that every text can be written."""

import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.dicom.values.charset import UNICODE, charset_holds, settle_charset


def text(value, vr="LO"):
    return DataElement(0x00081030, vr, value)


@pytest.mark.parametrize(
    ("declared", "value", "holds"),
    [
        (None, "plain", True),
        (None, "Müller", False),
        ("", "Müller", False),
        ("ISO_IR 6", "Müller", False),
        ("ISO_IR 100", "Müller", True),
        ("ISO_IR 100", "Łódź", False),
        ("ISO_IR 101", "Łódź", True),
        ("ISO_IR 144", "Привет", True),
        (UNICODE, "山田 ω Ł", True),
        (["", "ISO 2022 IR 87"], "山田", False),  # code extensions are not juggled with
        (["", "ISO 2022 IR 87"], "plain", True),
        ("NO SUCH SET", "plain", True),
        ("NO SUCH SET", "ü", False),
    ],
)
def test_a_character_set_holds_what_it_can_encode(declared, value, holds):
    """PS3.3 C.12.1.1.2; a set that nobody knows holds ASCII."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert charset_holds(declared, [text("plain"), text(value)]) is holds


def test_only_text_counts():
    """Codes, UIDs and numbers are ASCII by definition; several values and names count."""
    assert charset_holds(None, [DataElement(0x00080060, "CS", "CT"), DataElement(0x00280010, "US", 5)])
    assert not charset_holds(None, [text(["plain", "ü"])])
    assert not charset_holds(None, [DataElement(0x00100010, "PN", "Müller^Jörg")])


def test_nested_text_counts():
    """Text within items, however deep (PS3.3 C.12.1.1.2 applies to them as well)."""
    inner, outer = Dataset(), Dataset()
    inner.StudyDescription = "Müller"
    outer.ReferencedStudySequence = [inner]
    assert not charset_holds(None, [DataElement(0x00081110, "SQ", Sequence([outer]))])


def test_a_set_that_holds_all_is_kept():
    """UTF-8 is declared only where it is needed."""
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.StudyDescription = "ISO_IR 100", "Müller"
    settle_charset(dataset)
    assert dataset.SpecificCharacterSet == "ISO_IR 100"
    settle_charset(dataset, [text("Łódź")])
    assert dataset.SpecificCharacterSet == UNICODE


@given(value=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), max_size=20))
def test_text_is_read_back_as_it_was(value):
    """Whatever is written under the settled character set comes back."""
    dataset = Dataset()
    dataset.StudyDescription = value
    settle_charset(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dataset.save_as(file)
    file.seek(0)
    assert (dcmread(file, force=True).StudyDescription or "").rstrip() == value.rstrip()
